//! How tables, interfaces and comments are called.

use std::sync::Arc;

/// The tables of this product; it never names another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `inet palisade`: who may reach whom.
    #[default]
    Policies,
    /// `bridge palisade`: under which addresses pods may send that are ports of a bridge.
    BridgedSources,
    /// `inet palisade_sources`: under which addresses pods may send that are behind routes of their own.
    RoutedSources,
    /// `inet palisade_host`: who may reach ports of nodes.
    Host,
    /// `inet palisade_bans`: with whom nobody may speak.
    Bans,
}

impl Table {
    /// All of them.
    pub const ALL: [Table; 5] =
        [Table::Policies, Table::BridgedSources, Table::RoutedSources, Table::Host, Table::Bans];

    /// Its name within its family.
    pub fn name(self) -> &'static str {
        match self {
            Table::Policies | Table::BridgedSources => "palisade",
            Table::RoutedSources => "palisade_sources",
            Table::Host => "palisade_host",
            Table::Bans => "palisade_bans",
        }
    }

    /// Whether it is of the family `bridge`; otherwise it is of `inet`.
    pub fn is_of_bridges(self) -> bool {
        self == Table::BridgedSources
    }
}

/// The name of a network interface, 1 to 15 bytes (`IFNAMSIZ` with the final zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName([u8; InterfaceName::BYTES]);

impl InterfaceName {
    /// What the kernel keeps of a name, filled up with zeros.
    pub(crate) const BYTES: usize = 16;

    /// A name; `None` if no interface can have it (`dev_valid_name`).
    pub fn new(name: &str) -> Option<InterfaceName> {
        let forbidden =
            |byte: u8| byte == b'/' || byte == b':' || byte == 0 || byte.is_ascii_whitespace() || byte == 0x0b;
        if name.is_empty() || name == "." || name == ".." || name.bytes().any(forbidden) {
            return None;
        }
        let mut bytes = [0; InterfaceName::BYTES];
        bytes[..InterfaceName::BYTES - 1].get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(InterfaceName(bytes))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(InterfaceName::BYTES);
        str::from_utf8(&self.0[..end]).unwrap_or("?")
    }

    pub(crate) fn bytes(&self) -> &[u8; InterfaceName::BYTES] {
        &self.0
    }
}

/// A comment on a table, chain or set: one line of at most [`Comment::BYTES_MAX`] bytes without quotes, so
/// that nft reads back what it prints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Comment(Arc<str>);

impl Comment {
    /// What nft allows (`NFTNL_UDATA_COMMENT_MAXLEN` is 128 with the final zero).
    pub const BYTES_MAX: usize = 127;

    /// A comment that says as much of the text as fits.
    pub fn new(text: &str) -> Comment {
        let clean: String = text
            .chars()
            .map(|character| match character {
                '"' => '\'',
                control if control.is_control() => ' ',
                other => other,
            })
            .collect();
        if clean.len() <= Comment::BYTES_MAX {
            return Comment(clean.into());
        }
        let ellipsis = "...";
        let end = clean.floor_char_boundary(Comment::BYTES_MAX - ellipsis.len());
        Comment([&clean[..end], ellipsis].concat().into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_one_quotable_line_that_fits() {
        assert_eq!(Comment::new("pods app=\"web\"\nin shop").as_str(), "pods app='web' in shop");
        assert_eq!(Comment::new(&"a".repeat(127)).as_str().len(), 127);
        let long = Comment::new(&"ä".repeat(100));
        assert!(long.as_str().ends_with("...") && long.as_str().len() <= Comment::BYTES_MAX, "{long:?}");
    }
}
