//! The ruleset as typed values: one table `inet palisade` with its sets, verdict maps and chains.
//!
//! Only what this product writes can be said here. Whatever else the kernel may hold in our table reads
//! back as [`Statement::Unknown`] or as an entry of [`Ruleset::unknown`], which equals nothing we want.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use palisade_core::{Family, Transport};

/// The name of our table, in the family `inet`.
pub const TABLE: &str = "palisade";

/// The name of a chain, set or map.
pub type Name = Arc<str>;

/// What our table holds. Ordered by name, so that equal rulesets print alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// What the table is for.
    pub comment: Option<Comment>,
    /// Sets and verdict maps.
    pub sets: BTreeMap<Name, Set>,
    /// Chains.
    pub chains: BTreeMap<Name, Chain>,
    /// Objects read from the kernel that no value here can express; always empty in a wanted ruleset.
    pub unknown: Vec<String>,
}

/// A chain and its rules, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// What the chain is for.
    pub comment: Option<Comment>,
    /// Where packets enter it; `None` for a chain that is only jumped to.
    pub hook: Option<Hook>,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// A rule: statements from left to right; the first that does not match ends it.
pub type Rule = Vec<Statement>;

/// Where a base chain is hooked in, with policy `accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `type filter hook forward priority filter`: what passes through the node, after DNAT and before SNAT.
    Forward,
}

/// A named set (`definition.verdicts` is false) or verdict map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Everything but the elements; it cannot change while the set lives.
    pub definition: SetDefinition,
    /// The elements.
    pub elements: Elements,
}

/// The elements of a set, each with its verdict if the set is a verdict map.
pub type Elements = BTreeMap<Key, Option<Verdict>>;

/// The head of a set or verdict map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetDefinition {
    /// What the elements are.
    pub comment: Option<Comment>,
    /// The type of a key: one, or several concatenated.
    pub key: Vec<ValueType>,
    /// Whether each element carries a verdict.
    pub verdicts: bool,
    /// Whether the keys are ranges ([`Key::Range`]) instead of single values; never with a concatenated key.
    pub interval: bool,
}

/// The key of an element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// One value.
    Single(Value),
    /// From the first to the last, both included; the only kind of key in an interval set.
    Range(Value, Value),
    /// Several values side by side.
    Concat(Box<[Value]>),
}

/// A value that packets are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// An IANA protocol number.
    Protocol(u8),
    /// A port.
    Port(u16),
    /// A state of connection tracking.
    State(CtState),
    /// An `ICMPv6` message type.
    Icmpv6Type(u8),
}

/// The type of a [`Value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueType {
    /// `ipv4_addr`
    Ipv4,
    /// `ipv6_addr`
    Ipv6,
    /// `inet_proto`
    Protocol,
    /// `inet_service`
    Port,
    /// `ct_state`
    State,
    /// `icmpv6_type`
    Icmpv6Type,
}

/// What connection tracking thinks of a packet; the numbers are the kernel's bits (`NF_CT_STATE_BIT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CtState {
    /// It belongs to no connection and cannot begin one; it has no conntrack entry.
    Invalid = 0x01,
    /// It belongs to a connection.
    Established = 0x02,
    /// It reports an error of a connection, or opens one that another announced.
    Related = 0x04,
    /// It opens a connection.
    New = 0x08,
    /// It is not tracked; IPv6 neighbour discovery never is.
    Untracked = 0x40,
}

impl CtState {
    /// Every state, in the order of the bits.
    pub const ALL: [CtState; 5] =
        [CtState::Invalid, CtState::Established, CtState::Related, CtState::New, CtState::Untracked];
}

/// Which end of a packet a header field belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The sender.
    Source,
    /// The receiver.
    Destination,
}

/// Something of a packet that sets are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `ip saddr` and the like. Packets of the other family do not match.
    Address(Family, Side),
    /// `meta l4proto`
    Protocol,
    /// `th sport`, `th dport`: the first or second 16 bits of whatever transport it is.
    Port(Side),
    /// `tcp dport` and the like. Packets of another transport do not match.
    TransportPort(Transport, Side),
    /// `ct state`
    State,
    /// `icmpv6 type`. Other packets do not match.
    Icmpv6Type,
}

impl Field {
    /// The type of the field's values.
    pub fn value_type(self) -> ValueType {
        match self {
            Field::Address(Family::V4, _) => ValueType::Ipv4,
            Field::Address(Family::V6, _) => ValueType::Ipv6,
            Field::Protocol => ValueType::Protocol,
            Field::Port(_) | Field::TransportPort(..) => ValueType::Port,
            Field::State => ValueType::State,
            Field::Icmpv6Type => ValueType::Icmpv6Type,
        }
    }
}

/// The set that a statement looks into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A set or map of the table.
    Named(Name),
    /// Elements written into the rule itself; the kernel holds them as an anonymous constant set.
    Literal(Elements),
}

/// One statement of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `FIELD . FIELD @set`: goes on if the set has the fields.
    In(Vec<Field>, Lookup),
    /// `FIELD . FIELD vmap @map`: takes the verdict of the fields, goes on if there is none.
    VerdictMap(Vec<Field>, Lookup),
    /// `ct state new`: goes on if the packet is in the state.
    StateIs(CtState),
    /// `ct state != new`: goes on if the packet is in another state.
    StateIsNot(CtState),
    /// `ct direction reply`: goes on if the packet answers the one that made the conntrack entry.
    IsReply,
    /// `ct mark & mask == value`: goes on if the field of the connection's mark has the value.
    MarkIs {
        /// The bits of the field.
        mask: u32,
        /// What they must be.
        value: u32,
    },
    /// `ct mark set ct mark & ~mask | value`: writes the field and leaves the bits of others alone.
    SetMark {
        /// The bits of the field.
        mask: u32,
        /// What they become.
        value: u32,
    },
    /// `tcp flags & (fin | syn | rst | ack) != syn`: goes on with a TCP packet that cannot be the first.
    NotOpeningTcp,
    /// `meta l4proto sctp @th,96,8 != 1`: goes on with an SCTP packet whose first chunk is no INIT (RFC 9260, 3.2).
    NotOpeningSctp,
    /// A verdict; it ends the rule.
    Verdict(Verdict),
    /// Something in the kernel that this product does not write.
    Unknown(String),
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It passes our table; other tables may still drop it.
    Accept,
    /// It is dropped, for good.
    Drop,
    /// Back to where the last `jump` was; at the hook, the policy.
    Return,
    /// On with a chain, and then with the next rule here.
    Jump(Name),
    /// On with a chain, and from there back to where the last `jump` was.
    Goto(Name),
}

/// A comment on a table, chain or set: one line of at most [`Comment::BYTES_MAX`] bytes without quotes, so
/// that nft reads back what it prints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

impl Set {
    /// An empty set or map.
    pub fn new(definition: SetDefinition) -> Set {
        Set { definition, elements: Elements::new() }
    }
}

impl Value {
    /// The type of the value.
    pub fn value_type(self) -> ValueType {
        match self {
            Value::Ipv4(_) => ValueType::Ipv4,
            Value::Ipv6(_) => ValueType::Ipv6,
            Value::Protocol(_) => ValueType::Protocol,
            Value::Port(_) => ValueType::Port,
            Value::State(_) => ValueType::State,
            Value::Icmpv6Type(_) => ValueType::Icmpv6Type,
        }
    }
}

impl From<std::net::IpAddr> for Value {
    fn from(address: std::net::IpAddr) -> Value {
        match address {
            std::net::IpAddr::V4(address) => Value::Ipv4(address),
            std::net::IpAddr::V6(address) => Value::Ipv6(address),
        }
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
