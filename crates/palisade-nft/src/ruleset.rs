//! The ruleset as typed values: one table with its sets, verdict maps and chains.
//!
//! Only what this product writes can be said here. Whatever else the kernel may hold in our table reads
//! back as [`Statement::Unknown`] or as an entry of [`Ruleset::unknown`], which equals nothing we want.

mod names;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::{Family, Transport};

use crate::lower::{GENERATION_MASK, Generation};

pub use names::{Comment, InterfaceName, Table};

/// The name of a chain, set or map.
pub type Name = Arc<str>;

/// What our table holds. Ordered by name, so that equal rulesets print alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ruleset {
    /// Which table it is.
    pub table: Table,
    /// What the table is for.
    pub comment: Option<Comment>,
    /// Sets and verdict maps.
    pub sets: BTreeMap<Name, Set>,
    /// Named counters, with what they count; what they stand at is no content.
    pub counters: BTreeMap<Name, Option<Comment>>,
    /// Chains.
    pub chains: BTreeMap<Name, Chain>,
    /// Objects read from the kernel that no value here can express; always empty in a wanted ruleset.
    pub unknown: Vec<String>,
}

/// A chain and its rules, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `type filter hook forward priority filter`: what passes through the node, after DNAT and before SNAT.
    Forward,
    /// `type filter hook prerouting`, before connection tracking and everything else that asks for addresses:
    /// `priority raw`, and `priority dstnat` in the family `bridge`, both -300.
    Prerouting,
    /// `type filter hook prerouting priority mangle` (-150): after connection tracking, before DNAT and what filters beside it.
    Guard,
    /// `type filter hook input priority filter - 5`.
    GuardInput,
    /// `type filter hook forward priority filter - 5`.
    GuardForward,
    /// `type filter hook output priority filter - 5`: the source of replies is not translated back yet.
    GuardOutput,
    /// `type filter hook postrouting priority 300`: after addresses of replies were translated back.
    GuardReply,
    /// `type filter hook prerouting priority raw - 10` (-310): before connection tracking, after fragments are put together.
    BanSource,
    /// `type filter hook postrouting priority srcnat - 10` (90): after destinations are translated, before sources are.
    BanDestination,
}

impl Hook {
    /// All of them.
    pub const ALL: [Hook; 9] = [
        Hook::Forward,
        Hook::Prerouting,
        Hook::Guard,
        Hook::GuardInput,
        Hook::GuardForward,
        Hook::GuardOutput,
        Hook::GuardReply,
        Hook::BanSource,
        Hook::BanDestination,
    ];
}

/// A named set (`definition.verdicts` is false) or verdict map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Set {
    /// Everything but the elements; it cannot change while the set lives.
    pub definition: SetDefinition,
    /// The elements; none for a dynamic set, whose elements are state and no content.
    pub elements: Elements,
}

/// The elements of a set, each with its verdict if the set is a verdict map.
pub type Elements = BTreeMap<Key, Option<Verdict>>;

/// The head of a set or verdict map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetDefinition {
    /// What the elements are.
    pub comment: Option<Comment>,
    /// The type of a key: one, or several concatenated.
    pub key: Vec<ValueType>,
    /// Whether each element carries a verdict.
    pub verdicts: bool,
    /// Whether the keys are ranges ([`Key::Range`]) instead of single values; never with a concatenated key.
    pub interval: bool,
    /// Whether packets make the elements; never with verdicts or ranges.
    pub dynamic: Option<Dynamic>,
}

/// How packets may fill a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dynamic {
    /// The most elements.
    pub size: u32,
    /// How long an element stays after the last packet that updated it, in seconds.
    pub timeout_seconds: u32,
}

/// What each element of a dynamic set has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stateful {
    /// `counter`: counts packets and bytes.
    Counter,
    /// `limit rate N/second burst N packets`: goes on while packets are within the rate.
    Limit {
        /// Packets a second in the long run.
        per_second: u32,
        /// Packets at once.
        burst: u32,
    },
}

/// The key of an element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// One value.
    Single(Value),
    /// From the first to the last, both included; the only kind of key in an interval set.
    Range(Value, Value),
    /// Several values side by side.
    Concat(Box<[Value]>),
}

/// A value that packets are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The name of an interface.
    Interface(InterfaceName),
}

/// The type of a [`Value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// `ifname`
    Interface,
}

/// What connection tracking thinks of a packet; the numbers are the kernel's bits (`NF_CT_STATE_BIT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The sender.
    Source,
    /// The receiver.
    Destination,
}

impl Side {
    /// Both ends.
    pub const ALL: [Side; 2] = [Side::Source, Side::Destination];

    /// The end at the other side.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Source => Side::Destination,
            Side::Destination => Side::Source,
        }
    }
}

/// Something of a packet that sets are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// `iifname`: the interface by which the packet came.
    Interface,
    /// `arp saddr ip`: who an ARP packet says has sent it. Other packets do not match; only in the family `bridge`.
    ArpSender,
}

impl Field {
    /// The type of the field's values.
    pub fn value_type(self) -> ValueType {
        match self {
            Field::Address(Family::V4, _) | Field::ArpSender => ValueType::Ipv4,
            Field::Address(Family::V6, _) => ValueType::Ipv6,
            Field::Protocol => ValueType::Protocol,
            Field::Port(_) | Field::TransportPort(..) => ValueType::Port,
            Field::State => ValueType::State,
            Field::Icmpv6Type => ValueType::Icmpv6Type,
            Field::Interface => ValueType::Interface,
        }
    }
}

/// A tag of an Ethernet frame; the numbers are those of IEEE 802.1Q.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    /// That of a VLAN.
    Customer = 0x8100,
    /// That of a provider, around another.
    Service = 0x88a8,
}

impl Tag {
    /// Both kinds.
    pub const ALL: [Tag; 2] = [Tag::Customer, Tag::Service];
}

/// The set that a statement looks into.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// A set or map of the table.
    Named(Name),
    /// Elements written into the rule itself; the kernel holds them as an anonymous constant set.
    Literal(Elements),
}

/// One statement of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Statement {
    /// `FIELD . FIELD @set`: goes on if the set has the fields.
    In(Vec<Field>, Lookup),
    /// `FIELD . FIELD vmap @map`: takes the verdict of the fields, goes on if there is none.
    VerdictMap(Vec<Field>, Lookup),
    /// `ip saddr 10.0.0.0/8`: goes on if the address at that side is in the network.
    InNetwork(Side, IpNet),
    /// `meta iifkind "veth"`: goes on with a packet that comes by one end of a veth pair.
    FromVeth,
    /// `ether type 8021q` and the like: goes on with a frame that has such a tag; only in the family `bridge`.
    Tagged(Tag),
    /// `vlan id 0`: goes on with a frame whose tag names no VLAN, but a priority alone; only in the family `bridge`.
    PriorityTagged,
    /// `arp saddr ip 0.0.0.0`: goes on with an ARP packet that says that nobody has sent it; only in the family `bridge`.
    ArpFromNobody,
    /// `ct state new`: goes on if the packet is in the state.
    StateIs(CtState),
    /// `ct state != new`: goes on if the packet is in another state.
    StateIsNot(CtState),
    /// `ct direction reply`: goes on if the packet answers the one that made the conntrack entry.
    IsReply,
    /// `ct status dnat`: goes on if the destination of the connection was translated.
    IsTranslated,
    /// `fib daddr type local` and the like: goes on if the address at that side is one of this host.
    IsLocal(Side),
    /// `iiftype loopback`, `oiftype loopback`: goes on if the packet came, or goes, over the loopback interface.
    Over(Loopback),
    /// `ct mark & mask == value`: goes on if the field of the connection's mark has the value.
    MarkIs {
        /// The bits of the field.
        mask: u32,
        /// What they must be.
        value: u32,
    },
    /// `ct mark & mask != value`: goes on if the field of the connection's mark has another value.
    MarkIsNot {
        /// The bits of the field.
        mask: u32,
        /// What they must not be.
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
    /// `counter name "x"`: counts the packet.
    Count(Name),
    /// `update @set { FIELD counter }`: makes the element of the field, or finds it, and has it look at the packet. Does not go on
    /// if the set is full, or the element says no.
    Update(Field, Name, Stateful),
    /// `log prefix "x" group N snaplen N queue-threshold 1`: reports the packet to an NFLOG group, at once.
    Log {
        /// What the report begins with.
        prefix: Arc<str>,
        /// The group.
        group: u16,
        /// How much of the packet is reported, in bytes.
        bytes: u32,
    },
    /// `meta l4proto tcp reject with tcp reset`: ends a TCP packet with a reset; goes on with others.
    ResetTcp,
    /// `reject with icmpx admin-prohibited`: ends the packet with an ICMP error.
    Prohibit,
    /// A verdict; it ends the rule.
    Verdict(Verdict),
    /// Something in the kernel that this product does not write.
    Unknown(String),
}

/// The loopback interface as the way into the host or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loopback {
    /// The packet came by it.
    In,
    /// The packet goes by it.
    Out,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl Ruleset {
    /// Nothing in a table, as if it were not there.
    pub fn nothing(table: Table) -> Ruleset {
        Ruleset { table, ..Ruleset::default() }
    }

    /// Whether there is nothing, whichever table it is.
    pub fn is_nothing(&self) -> bool {
        let Ruleset { table: _, comment, sets, counters, chains, unknown } = self;
        comment.is_none() && sets.is_empty() && counters.is_empty() && chains.is_empty() && unknown.is_empty()
    }

    /// The generation of the rules in force, by the chain that marks connections with it; `None` if this is no ruleset of ours.
    pub fn generation(&self) -> Option<Generation> {
        let rules = &self.chains.get("forward")?.rules;
        rules.iter().flatten().find_map(|statement| match statement {
            Statement::SetMark { mask: GENERATION_MASK, value } => Generation::of_mark(*value),
            _ => None,
        })
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
            Value::Interface(_) => ValueType::Interface,
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
