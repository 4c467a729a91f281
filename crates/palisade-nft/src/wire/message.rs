//! Netlink messages: their heads, and the errors that answer them.

use super::attributes::{Attributes, Writer};
use super::numbers::{
    NF_INET_FORWARD, NF_INET_LOCAL_IN, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING, NF_INET_PRE_ROUTING,
    NFNL_SUBSYS_NFTABLES, NFPROTO_BRIDGE, NFPROTO_INET, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS, PRIORITY_MANGLE, PRIORITY_RAW,
};

use crate::ruleset::{Hook, Table};

/// `struct nlmsghdr`.
const HEAD_BYTES: usize = 16;
/// `struct nfgenmsg`.
const GENERAL_BYTES: usize = 4;
/// Where the attributes of a message begin.
pub(crate) const ATTRIBUTES_AT: usize = HEAD_BYTES + GENERAL_BYTES;
/// Where its sequence number is.
const SEQUENCE_AT: usize = 8;
/// Where its flags are.
const FLAGS_AT: usize = 6;

/// Just before what other programs do at the priority `filter`.
const BEFORE_FILTER: i32 = -5;
/// Before connection tracking (`NF_IP_PRI_RAW`, -300), after fragments are put together (`NF_IP_PRI_CONNTRACK_DEFRAG`, -400).
const BEFORE_RAW: i32 = PRIORITY_RAW - 10;
/// Before sources are translated (`NF_IP_PRI_NAT_SRC`, 100).
const BEFORE_SRCNAT: u32 = 90;
/// After addresses are translated (`NF_IP_PRI_NAT_SRC`, 100), before connections are confirmed.
const LAST: u32 = 300;

/// The type of an `nf_tables` message.
pub(crate) fn nf_tables(message: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | message
}

/// Appends the head of a message; [`end`] writes its length when the attributes are there.
pub(crate) fn begin(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16) -> usize {
    let [high, low] = resource.to_be_bytes();
    begin_with(bytes, kind, flags, sequence, &[family, 0, high, low])
}

/// As [`begin`], with another header than that of nfnetlink before the attributes; a multiple of four bytes.
pub(crate) fn begin_with(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, header: &[u8]) -> usize {
    let start = bytes.len();
    bytes.extend_from_slice(&0u32.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0u32.to_ne_bytes());
    bytes.extend_from_slice(header);
    start
}

pub(crate) fn end(bytes: &mut [u8], start: usize) {
    // A single message is far below 4 GiB; lists are cut into pieces before.
    let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

pub(crate) fn set_sequence(bytes: &mut [u8], start: usize, sequence: u32) {
    bytes[start + SEQUENCE_AT..start + SEQUENCE_AT + 4].copy_from_slice(&sequence.to_ne_bytes());
}

pub(crate) fn add_flags(bytes: &mut [u8], start: usize, flags: u16) {
    let at = start + FLAGS_AT;
    let flags = flags | u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
}

/// The number of the family of a table.
pub(crate) fn family(table: Table) -> u8 {
    if table.is_of_bridges() { NFPROTO_BRIDGE } else { NFPROTO_INET }
}

/// The number of a hook, and the priority in it. Bridges number the first of their hooks as IP does.
pub(crate) fn hook(hook: Hook) -> (u32, u32) {
    match hook {
        Hook::Forward => (NF_INET_FORWARD, 0),
        Hook::Prerouting => (NF_INET_PRE_ROUTING, PRIORITY_RAW.cast_unsigned()),
        Hook::Guard => (NF_INET_PRE_ROUTING, PRIORITY_MANGLE.cast_unsigned()),
        Hook::GuardInput => (NF_INET_LOCAL_IN, BEFORE_FILTER.cast_unsigned()),
        Hook::GuardForward => (NF_INET_FORWARD, BEFORE_FILTER.cast_unsigned()),
        Hook::GuardOutput => (NF_INET_LOCAL_OUT, BEFORE_FILTER.cast_unsigned()),
        Hook::GuardReply => (NF_INET_POST_ROUTING, LAST),
        Hook::BanSource => (NF_INET_PRE_ROUTING, BEFORE_RAW.cast_unsigned()),
        Hook::BanDestination => (NF_INET_POST_ROUTING, BEFORE_SRCNAT),
    }
}

/// A request about a table, with further attributes.
pub(crate) fn request(
    table: Table,
    message: u16,
    flags: u16,
    sequence: u32,
    write: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    let start = begin(&mut bytes, nf_tables(message), flags, sequence, family(table), 0);
    write(&mut Writer(&mut bytes));
    end(&mut bytes, start);
    bytes
}

/// A message that was received.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// Whom it is about: the port of the socket that asked, or that made the change which is told.
    pub(crate) port: u32,
    body: &'a [u8],
}

/// The answer to a message: no error is an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// A positive errno; 0 if all is well.
    pub(crate) errno: i32,
    /// What the kernel has to say about it.
    pub(crate) text: Option<String>,
    /// The offset in the message of the attribute that it dislikes.
    pub(crate) offset: Option<usize>,
}

impl<'a> Message<'a> {
    pub(crate) fn family(self) -> Option<u8> {
        self.body.first().copied()
    }

    pub(crate) fn attributes(self) -> Attributes<'a> {
        Attributes(self.body.get(GENERAL_BYTES..).unwrap_or_default())
    }

    /// The header and the attributes of a message whose header is not that of nfnetlink.
    pub(crate) fn split<const HEADER_BYTES: usize>(self) -> Option<([u8; HEADER_BYTES], Attributes<'a>)> {
        let (header, rest) = self.body.split_first_chunk()?;
        Some((*header, Attributes(rest)))
    }

    /// The answer that the message is, if it is one; a list that the kernel broke off ends with one.
    pub(crate) fn answer(self) -> Option<Answer> {
        if self.kind == NLMSG_DONE {
            let errno = i32::from_ne_bytes(self.body.get(..4)?.try_into().ok()?);
            return (errno < 0).then(|| Answer { errno: errno.saturating_neg(), text: None, offset: None });
        }
        if self.kind != NLMSG_ERROR {
            return None;
        }
        let errno = i32::from_ne_bytes(self.body.get(..4)?.try_into().ok()?);
        let mut answer = Answer { errno: errno.saturating_neg(), text: None, offset: None };
        if self.flags & NLM_F_ACK_TLVS != 0 {
            let request = self.body.get(4..)?;
            let request_bytes = if self.flags & NLM_F_CAPPED != 0 {
                HEAD_BYTES
            } else {
                u32::from_ne_bytes(request.get(..4)?.try_into().ok()?) as usize
            };
            let attributes = Attributes(request.get(request_bytes.next_multiple_of(4)..).unwrap_or_default());
            answer.text = attributes.find_string(NLMSGERR_ATTR_MSG).map(str::to_string);
            answer.offset = attributes
                .find(NLMSGERR_ATTR_OFFS)
                .and_then(|attribute| attribute.value.try_into().ok())
                .map(|bytes| u32::from_ne_bytes(bytes) as usize);
        }
        Some(answer)
    }
}

/// The messages in what was received at once.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let head = self.0.get(..HEAD_BYTES)?;
        let number = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let short = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        let length = number(0) as usize;
        let body = self.0.get(HEAD_BYTES..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind: short(4), flags: short(6), sequence: number(8), port: number(12), body })
    }
}
