//! What other programs keep in `nf_tables`, by name: read only, and only to tell people what stands beside us. But for one thing: the
//! elements of a set that its owner has us fill.

mod ipset;
mod set;

use std::collections::BTreeMap;
use std::fmt;

use crate::dialogue::Dialogue;
use crate::kernel::KernelError;
use crate::ruleset::Table;
use crate::wire::attributes::Attributes;
use crate::wire::message::{self, nf_tables};
use crate::wire::numbers as n;

pub use ipset::Ipset;
pub use set::{ForeignSet, SetError};

/// The families of tables, by their numbers.
const FAMILIES: [(u8, &str); 6] = [
    (n::NFPROTO_INET, "inet"),
    (n::NFPROTO_IPV4, "ip"),
    (n::NFPROTO_IPV6, "ip6"),
    (n::NFPROTO_BRIDGE, "bridge"),
    (n::NFPROTO_ARP, "arp"),
    (n::NFPROTO_NETDEV, "netdev"),
];

/// A table of another program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignTable {
    /// Its chains.
    pub chains: Vec<String>,
    /// Those of them that drop what arrives for the node itself, unless one of their rules says otherwise.
    pub drop_by_default: Vec<String>,
    /// Its flowtables: packets of the flows in them pass by all rules.
    pub flowtables: Vec<String>,
}

/// The name of a table, as `nft` writes it: `inet filter`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignName {
    family: u8,
    name: String,
}

impl ForeignName {
    /// A table by its family, as `nft` writes it, and its name; `None` if there is no such family.
    pub fn new(family: &str, name: &str) -> Option<ForeignName> {
        let (number, _) = FAMILIES.into_iter().find(|(_, known)| *known == family)?;
        Some(ForeignName { family: number, name: name.to_string() })
    }
}

/// The tables of other programs, in the network namespace of the calling thread. The list may be of no single state: others
/// go on meanwhile.
///
/// # Errors
///
/// If the kernel has no `nf_tables`, or the process may not use it.
pub fn foreign_tables() -> Result<BTreeMap<ForeignName, ForeignTable>, KernelError> {
    let failed = |operation| move |errno| KernelError::of(operation, errno);
    let mut dialogue = Dialogue::open().map_err(failed("open a netlink socket"))?;
    let mut tables = BTreeMap::new();
    let mut list = |operation, kind, each: &mut dyn FnMut(u8, Attributes<'_>)| {
        let request = |sequence| {
            let mut bytes = Vec::with_capacity(32);
            let start = message::begin(&mut bytes, nf_tables(kind), n::NLM_F_DUMP, sequence, n::NFPROTO_UNSPEC, 0);
            message::end(&mut bytes, start);
            bytes
        };
        let asked = dialogue.ask(request, |message| {
            if let Some(family) = message.family() {
                each(family, message.attributes());
            }
        });
        asked.map(drop).map_err(failed(operation))
    };
    list("list the tables", n::NFT_MSG_GETTABLE, &mut |family, attributes| {
        if let Some(name) = table_name(family, attributes) {
            tables.insert(name, ForeignTable::default());
        }
    })?;
    list("list the chains", n::NFT_MSG_GETCHAIN, &mut |family, attributes| {
        let table = table_name(family, attributes).and_then(|name| tables.get_mut(&name));
        if let (Some(table), Some(chain)) = (table, attributes.find_string(n::NFTA_CHAIN_NAME)) {
            table.chains.push(chain.to_string());
            if drops_by_default(attributes) {
                table.drop_by_default.push(chain.to_string());
            }
        }
    })?;
    // Kernels without flowtables do not know the question.
    let _ = list("list the flowtables", n::NFT_MSG_GETFLOWTABLE, &mut |family, attributes| {
        let table = table_name(family, attributes).and_then(|name| tables.get_mut(&name));
        if let (Some(table), Some(flowtable)) = (table, attributes.find_string(n::NFTA_FLOWTABLE_NAME)) {
            table.flowtables.push(flowtable.to_string());
        }
    });
    Ok(tables)
}

/// The chains that drop by default, with their tables.
pub fn default_drops(tables: &BTreeMap<ForeignName, ForeignTable>) -> impl Iterator<Item = (&ForeignName, &str)> {
    tables.iter().flat_map(|(name, table)| table.drop_by_default.iter().map(move |chain| (name, chain.as_str())))
}

/// Whether a chain is one of the input hook with the policy drop.
fn drops_by_default(attributes: Attributes<'_>) -> bool {
    let hook = attributes.find_nested(n::NFTA_CHAIN_HOOK);
    let place = hook.and_then(|hook| hook.find_number(n::NFTA_HOOK_HOOKNUM));
    place == Some(n::NF_INET_LOCAL_IN)
        && attributes.find_number(n::NFTA_CHAIN_POLICY) == Some(n::NF_DROP.cast_unsigned())
}

/// The table that a message is about, unless it is ours.
fn table_name(family: u8, attributes: Attributes<'_>) -> Option<ForeignName> {
    let name = attributes.find_string(n::NFTA_TABLE_NAME)?;
    let ours = Table::ALL.into_iter().any(|ours| message::family(ours) == family && ours.name() == name);
    (!ours).then(|| ForeignName { family, name: name.to_string() })
}

impl fmt::Display for ForeignName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = FAMILIES.into_iter().find(|(number, _)| *number == self.family);
        let family = family.map_or("?", |(_, family)| family);
        write!(f, "{family} {}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{in_new_namespace, nft};

    #[test]
    fn lists_what_others_have_and_not_what_is_ours() {
        in_new_namespace(|| {
            let rules = "add table ip cali\nadd chain ip cali cali-FORWARD\nadd table bridge other\n\
                         add table inet palisade\nadd chain inet palisade forward\n\
                         add table inet palisade_sources\nadd table ip palisade\n\
                         add chain ip cali input { type filter hook input priority 0; policy drop; }\n\
                         add chain ip cali output { type filter hook output priority 0; policy drop; }\n\
                         add chain ip palisade input { type filter hook input priority 0; }\n";
            if nft(&["-f", "-"], rules).is_none() {
                return;
            }
            let tables = foreign_tables().unwrap();
            let names: Vec<String> = tables.keys().map(ToString::to_string).collect();
            assert_eq!(names, ["ip cali", "ip palisade", "bridge other"]);
            let chains: Vec<_> = tables.values().flat_map(|table| &table.chains).collect();
            assert_eq!(chains, ["cali-FORWARD", "input", "output", "input"]);
            let dropping: Vec<_> = tables.values().map(|table| &table.drop_by_default[..]).collect();
            assert_eq!(dropping, [&["input".to_string()][..], &[], &[]]);
        });
    }
}
