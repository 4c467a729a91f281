//! Netlink attributes: a length, a type, a value padded to four bytes; values may be attributes again.

use super::numbers::{NLA_F_NESTED, NLA_TYPE_MASK};

const HEADER_BYTES: usize = 4;

/// An attribute whose length is not known yet; give it back to [`Writer::end`].
#[must_use]
pub(crate) struct Open(usize);

/// Appends attributes to bytes.
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    /// Begins an attribute that holds attributes.
    pub(crate) fn begin(&mut self, kind: u16) -> Open {
        let open = Open(self.0.len());
        self.header(kind | NLA_F_NESTED, 0);
        open
    }

    /// Begins an attribute whose bytes are appended one after the other; after [`Writer::end`] comes [`Writer::pad`].
    pub(crate) fn begin_bytes(&mut self, kind: u16) -> Open {
        let open = Open(self.0.len());
        self.header(kind, 0);
        open
    }

    /// Ends it. What was written since is less than 64 KiB; whoever writes lists sees to it.
    #[expect(clippy::needless_pass_by_value, reason = "an attribute ends only once")]
    pub(crate) fn end(&mut self, open: Open) {
        let length = u16::try_from(self.0.len() - open.0).unwrap_or(u16::MAX);
        self.0[open.0..open.0 + 2].copy_from_slice(&length.to_ne_bytes());
    }

    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.header(kind, value.len());
        self.0.extend_from_slice(value);
        self.pad();
    }

    /// A number in network byte order, as `nf_tables` wants all of its numbers.
    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// The same of eight bytes.
    pub(crate) fn long_number(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A number in the byte order of the machine, as rtnetlink wants all of its numbers.
    pub(crate) fn native(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A string with its final zero.
    pub(crate) fn string(&mut self, kind: u16, value: &str) {
        self.header(kind, value.len() + 1);
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(0);
        self.pad();
    }

    fn header(&mut self, kind: u16, value_bytes: usize) {
        let length = u16::try_from(HEADER_BYTES + value_bytes).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
    }

    /// Appends zeros up to a multiple of four bytes; messages and attributes begin at such.
    pub(crate) fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// Attributes one after the other, up to the first that is cut off.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

/// Reads them.
pub(crate) struct AttributesIter<'a>(&'a [u8]);

/// One attribute that was read.
#[derive(Clone, Copy)]
pub(crate) struct Attribute<'a> {
    pub(crate) kind: u16,
    pub(crate) value: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// The first attribute of a type.
    pub(crate) fn find(self, kind: u16) -> Option<Attribute<'a>> {
        self.into_iter().find(|attribute| attribute.kind == kind)
    }

    pub(crate) fn find_number(self, kind: u16) -> Option<u32> {
        self.find(kind)?.number()
    }

    pub(crate) fn find_long_number(self, kind: u16) -> Option<u64> {
        self.find(kind)?.long_number()
    }

    pub(crate) fn find_native(self, kind: u16) -> Option<u32> {
        self.find(kind)?.native()
    }

    pub(crate) fn find_string(self, kind: u16) -> Option<&'a str> {
        self.find(kind)?.string()
    }

    pub(crate) fn find_nested(self, kind: u16) -> Option<Attributes<'a>> {
        self.find(kind).map(Attribute::nested)
    }
}

impl<'a> IntoIterator for Attributes<'a> {
    type Item = Attribute<'a>;
    type IntoIter = AttributesIter<'a>;

    fn into_iter(self) -> AttributesIter<'a> {
        AttributesIter(self.0)
    }
}

impl<'a> Iterator for AttributesIter<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let header = self.0.get(..HEADER_BYTES)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & NLA_TYPE_MASK;
        let value = self.0.get(HEADER_BYTES..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind, value })
    }
}

impl<'a> Attribute<'a> {
    pub(crate) fn number(self) -> Option<u32> {
        Some(u32::from_be_bytes(self.value.try_into().ok()?))
    }

    /// A number in the byte order of the machine, as rtnetlink has all of its numbers.
    pub(crate) fn native(self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.value.try_into().ok()?))
    }

    pub(crate) fn long_number(self) -> Option<u64> {
        Some(u64::from_be_bytes(self.value.try_into().ok()?))
    }

    pub(crate) fn string(self) -> Option<&'a str> {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        str::from_utf8(&self.value[..end]).ok()
    }

    pub(crate) fn nested(self) -> Attributes<'a> {
        Attributes(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        let mut writer = Writer(&mut bytes);
        writer.string(1, "abc");
        let open = writer.begin(2);
        writer.number(3, 0x0102_0304);
        writer.bytes(4, &[9]);
        writer.end(open);
        assert_eq!(bytes.len() % 4, 0);
        let attributes = Attributes(&bytes);
        assert_eq!(attributes.find_string(1), Some("abc"));
        let nested = attributes.find_nested(2).unwrap();
        assert_eq!(nested.find_number(3), Some(0x0102_0304));
        assert_eq!(nested.find(4).map(|attribute| attribute.value), Some(&[9][..]));
        assert_eq!(attributes.into_iter().count(), 2);
    }

    #[test]
    fn what_is_cut_off_is_not_read() {
        assert_eq!(Attributes(&[8, 0, 1, 0, 0]).into_iter().count(), 0);
        assert_eq!(Attributes(&[2, 0, 1, 0, 0, 0, 0, 0]).into_iter().count(), 0);
        assert_eq!(Attributes(&[0, 0, 0]).into_iter().count(), 0);
    }
}
