//! Rulesets and transactions as nft text.
//!
//! A printed [`Ruleset`] is one `table … { … }` that `nft -f` loads into a kernel without that table,
//! with exactly the content that was printed. A printed [`Transaction`] is the list of nft commands that do the same.

use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, Ipv6Addr};

use palisade_core::{Family, Transport};

use crate::ruleset::{
    Chain, Comment, CtState, Dynamic, Elements, Field, Hook, Key, Lookup, Loopback, Name, Ruleset, Set, SetDefinition,
    Side, Stateful, Statement, Table, Tag, Value, ValueType, Verdict,
};
use crate::transaction::{Operation, Transaction};

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {{", self.table)?;
        if let Some(comment) = &self.comment {
            writeln!(f, "\t{comment}")?;
        }
        for (name, comment) in &self.counters {
            writeln!(f, "\n\tcounter {name} {{")?;
            if let Some(comment) = comment {
                writeln!(f, "\t\t{comment}")?;
            }
            writeln!(f, "\t\tpackets 0 bytes 0\n\t}}")?;
        }
        for (name, set) in &self.sets {
            write_set(f, name, set)?;
        }
        let (hooked, others): (Vec<_>, Vec<_>) = self.chains.iter().partition(|(_, chain)| chain.hook.is_some());
        for (name, chain) in hooked.into_iter().chain(others) {
            write_chain(f, self.table, name, chain)?;
        }
        for unknown in &self.unknown {
            writeln!(f, "\n\t# unknown: {unknown}")?;
        }
        writeln!(f, "}}")
    }
}

fn write_set(f: &mut Formatter<'_>, name: &Name, set: &Set) -> fmt::Result {
    let SetDefinition { comment, key, verdicts, interval, dynamic } = &set.definition;
    writeln!(f, "\n\t{} {name} {{", noun(&set.definition))?;
    writeln!(f, "\t\ttype {}{}", Joined(key, " . "), if *verdicts { " : verdict" } else { "" })?;
    if *interval {
        writeln!(f, "\t\tflags interval")?;
    }
    if let Some(Dynamic { size, timeout_seconds }) = dynamic {
        writeln!(f, "\t\tsize {size}\n\t\tflags dynamic,timeout\n\t\ttimeout {timeout_seconds}s")?;
    }
    if let Some(comment) = comment {
        writeln!(f, "\t\t{comment}")?;
    }
    if !set.elements.is_empty() {
        f.write_str("\t\telements = {")?;
        for (index, (key, verdict)) in set.elements.iter().enumerate() {
            f.write_str(if index == 0 { "\n\t\t\t" } else { ",\n\t\t\t" })?;
            write_element(f, key, verdict.as_ref())?;
        }
        f.write_str("\n\t\t}\n")?;
    }
    writeln!(f, "\t}}")
}

fn write_chain(f: &mut Formatter<'_>, table: Table, name: &Name, chain: &Chain) -> fmt::Result {
    writeln!(f, "\n\tchain {name} {{")?;
    if let Some(comment) = &chain.comment {
        writeln!(f, "\t\t{comment}")?;
    }
    if let Some(hook) = chain.hook {
        writeln!(f, "\t\t{}", HookOf(table, hook))?;
    }
    for rule in &chain.rules {
        writeln!(f, "\t\t{}", Joined(rule, " "))?;
    }
    writeln!(f, "\t}}")
}

fn write_elements(f: &mut Formatter<'_>, elements: &Elements) -> fmt::Result {
    f.write_str("{ ")?;
    for (index, (key, verdict)) in elements.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write_element(f, key, verdict.as_ref())?;
    }
    f.write_str(" }")
}

fn write_element(f: &mut Formatter<'_>, key: &Key, verdict: Option<&Verdict>) -> fmt::Result {
    match verdict {
        Some(verdict) => write!(f, "{key} : {verdict}"),
        None => key.fmt(f),
    }
}

fn noun(definition: &SetDefinition) -> &'static str {
    if definition.verdicts { "map" } else { "set" }
}

impl Display for Transaction {
    /// One command a line; nothing for an empty transaction.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let table = self.table();
        self.operations().iter().try_for_each(|operation| writeln!(f, "{}", InTable(table, operation)))
    }
}

/// An operation in a table.
pub(crate) struct InTable<'a>(pub(crate) Table, pub(crate) &'a Operation);

impl Display for InTable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let InTable(table, operation) = self;
        match operation {
            Operation::AddTable(None) => write!(f, "add table {table}"),
            Operation::AddTable(Some(comment)) => write!(f, "add table {table} {{ {comment}; }}"),
            Operation::DeleteTable => write!(f, "delete table {table}"),
            Operation::AddChain(name, hook, comment) => {
                write!(f, "add chain {table} {name}")?;
                let hook = hook.map(|hook| HookOf(*table, hook).to_string());
                let comment = comment.as_ref().map(|comment| format!("{comment};"));
                let parts: Vec<String> = hook.into_iter().chain(comment).collect();
                if parts.is_empty() { Ok(()) } else { write!(f, " {{ {} }}", parts.join(" ")) }
            }
            Operation::DeleteChain(name) => write!(f, "delete chain {table} {name}"),
            Operation::FlushChain(name) => write!(f, "flush chain {table} {name}"),
            Operation::AddRule(chain, rule) => write!(f, "add rule {table} {chain} {}", Joined(rule, " ")),
            Operation::AddSet(name, definition) => {
                let SetDefinition { comment, key, verdicts, interval, dynamic } = definition;
                write!(f, "add {} {table} {name} {{ type {}", noun(definition), Joined(key, " . "))?;
                f.write_str(if *verdicts { " : verdict;" } else { ";" })?;
                f.write_str(if *interval { " flags interval;" } else { "" })?;
                if let Some(Dynamic { size, timeout_seconds }) = dynamic {
                    write!(f, " size {size}; flags dynamic,timeout; timeout {timeout_seconds}s;")?;
                }
                if let Some(comment) = comment {
                    write!(f, " {comment};")?;
                }
                f.write_str(" }")
            }
            Operation::AddCounter(name, comment) => {
                write!(f, "add counter {table} {name}")?;
                comment.as_ref().map_or(Ok(()), |comment| write!(f, " {{ {comment}; }}"))
            }
            Operation::DeleteCounter(name) => write!(f, "delete counter {table} {name}"),
            Operation::DeleteSet(name) => write!(f, "delete set {table} {name}"),
            Operation::FlushSet(name) => write!(f, "flush set {table} {name}"),
            Operation::AddElements(set, elements) => {
                write!(f, "add element {table} {set} ")?;
                write_elements(f, elements)
            }
            Operation::DeleteElements(set, elements) => {
                write!(f, "delete element {table} {set} ")?;
                write_elements(f, elements)
            }
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Statement::In(fields, set) => write!(f, "{} {set}", Joined(fields, " . ")),
            Statement::VerdictMap(fields, map) => write!(f, "{} vmap {map}", Joined(fields, " . ")),
            Statement::InNetwork(side, network) => {
                let family = Family::of(network.network());
                write!(f, "{} {network}", Field::Address(family, *side))
            }
            Statement::FromVeth => f.write_str("meta iifkind \"veth\""),
            Statement::Tagged(Tag::Customer) => f.write_str("ether type 8021q"),
            Statement::Tagged(Tag::Service) => f.write_str("ether type 8021ad"),
            Statement::PriorityTagged => f.write_str("vlan id 0"),
            Statement::ArpFromNobody => f.write_str("arp saddr ip 0.0.0.0"),
            Statement::StateIs(state) => write!(f, "ct state {state}"),
            Statement::StateIsNot(state) => write!(f, "ct state != {state}"),
            Statement::IsReply => f.write_str("ct direction reply"),
            Statement::IsTranslated => f.write_str("ct status dnat"),
            Statement::IsLocal(side) => write!(f, "fib {}addr type local", side.letter()),
            Statement::Over(Loopback::In) => f.write_str("iiftype loopback"),
            Statement::Over(Loopback::Out) => f.write_str("oiftype loopback"),
            Statement::MarkIs { mask, value } => write!(f, "ct mark & {mask:#010x} == {value:#010x}"),
            Statement::MarkIsNot { mask, value } => write!(f, "ct mark & {mask:#010x} != {value:#010x}"),
            Statement::SetMark { mask, value } => write!(f, "ct mark set ct mark & {:#010x} | {value:#010x}", !mask),
            Statement::NotOpeningTcp => f.write_str("tcp flags & (fin | syn | rst | ack) != syn"),
            Statement::NotOpeningSctp => f.write_str("meta l4proto sctp @th,96,8 != 1"),
            Statement::Count(counter) => write!(f, "counter name \"{counter}\""),
            Statement::Update(field, set, stateful) => write!(f, "update @{set} {{ {field} {stateful} }}"),
            Statement::Log { prefix, group, bytes } => {
                write!(f, "log prefix \"{prefix}\" group {group} snaplen {bytes} queue-threshold 1")
            }
            Statement::ResetTcp => f.write_str("meta l4proto tcp reject with tcp reset"),
            Statement::Prohibit => f.write_str("reject with icmpx admin-prohibited"),
            Statement::Verdict(verdict) => verdict.fmt(f),
            Statement::Unknown(text) => write!(f, "# unknown: {text}"),
        }
    }
}

impl Display for Stateful {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Stateful::Counter => f.write_str("counter"),
            Stateful::Limit { per_second, burst } => write!(f, "limit rate {per_second}/second burst {burst} packets"),
        }
    }
}

impl Display for Lookup {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Lookup::Named(name) => write!(f, "@{name}"),
            Lookup::Literal(elements) => write_elements(f, elements),
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Field::Address(family, side) => {
                let protocol = match family {
                    Family::V4 => "ip",
                    Family::V6 => "ip6",
                };
                write!(f, "{protocol} {}addr", side.letter())
            }
            Field::Protocol => f.write_str("meta l4proto"),
            Field::Port(side) => write!(f, "th {}port", side.letter()),
            Field::TransportPort(transport, side) => write!(f, "{transport} {}port", side.letter()),
            Field::State => f.write_str("ct state"),
            Field::Icmpv6Type => f.write_str("icmpv6 type"),
            Field::Interface => f.write_str("iifname"),
            Field::ArpSender => f.write_str("arp saddr ip"),
        }
    }
}

impl Side {
    fn letter(self) -> char {
        match self {
            Side::Source => 's',
            Side::Destination => 'd',
        }
    }
}

impl Display for Side {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Destination => "destination",
        })
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

/// A hook in a table: families have their own names for priorities.
struct HookOf(Table, Hook);

impl Display for HookOf {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HookOf(_, Hook::Forward) => "type filter hook forward priority filter; policy accept;",
            HookOf(Table::BridgedSources, Hook::Prerouting) => {
                "type filter hook prerouting priority dstnat; policy accept;"
            }
            HookOf(_, Hook::Prerouting) => "type filter hook prerouting priority raw; policy accept;",
            HookOf(_, Hook::Guard) => "type filter hook prerouting priority mangle; policy accept;",
            HookOf(_, Hook::GuardInput) => "type filter hook input priority filter - 5; policy accept;",
            HookOf(_, Hook::GuardForward) => "type filter hook forward priority filter - 5; policy accept;",
            HookOf(_, Hook::GuardOutput) => "type filter hook output priority filter - 5; policy accept;",
            HookOf(_, Hook::BanSource) => "type filter hook prerouting priority raw - 10; policy accept;",
            HookOf(_, Hook::BanDestination) => "type filter hook postrouting priority srcnat - 10; policy accept;",
            HookOf(_, Hook::GuardReply) => "type filter hook postrouting priority 300; policy accept;",
        })
    }
}

impl Display for Table {
    /// The family and the name.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.is_of_bridges() { "bridge" } else { "inet" }, self.name())
    }
}

impl Display for Comment {
    /// The whole clause: `comment "…"`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "comment \"{}\"", self.as_str())
    }
}

impl Display for ValueType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueType::Ipv4 => "ipv4_addr",
            ValueType::Ipv6 => "ipv6_addr",
            ValueType::Protocol => "inet_proto",
            ValueType::Port => "inet_service",
            ValueType::State => "ct_state",
            ValueType::Icmpv6Type => "icmpv6_type",
            ValueType::Interface => "ifname",
        })
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Key::Single(value) => value.fmt(f),
            Key::Range(first, last) if first == last => first.fmt(f),
            Key::Range(first, last) => match prefix_length(*first, *last) {
                Some(length) => write!(f, "{first}/{length}"),
                None => write!(f, "{first}-{last}"),
            },
            Key::Concat(values) => Joined(values, " . ").fmt(f),
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Interface(name) => write!(f, "\"{}\"", name.as_str()),
            Value::Ipv4(address) => address.fmt(f),
            Value::Ipv6(address) => address.fmt(f),
            Value::Protocol(number) => match Transport::ALL.into_iter().find(|known| known.number() == *number) {
                Some(transport) => transport.fmt(f),
                None if *number == 1 => f.write_str("icmp"),
                None if *number == 58 => f.write_str("ipv6-icmp"),
                None => number.fmt(f),
            },
            Value::Port(number) => number.fmt(f),
            Value::State(state) => state.fmt(f),
            Value::Icmpv6Type(number) => match number {
                131 => f.write_str("mld-listener-report"),
                132 => f.write_str("mld-listener-done"),
                133 => f.write_str("nd-router-solicit"),
                134 => f.write_str("nd-router-advert"),
                135 => f.write_str("nd-neighbor-solicit"),
                136 => f.write_str("nd-neighbor-advert"),
                137 => f.write_str("nd-redirect"),
                143 => f.write_str("mld2-listener-report"),
                other => other.fmt(f),
            },
        }
    }
}

impl Display for CtState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CtState::Invalid => "invalid",
            CtState::Established => "established",
            CtState::Related => "related",
            CtState::New => "new",
            CtState::Untracked => "untracked",
        })
    }
}

/// The length of the prefix that is just this range of addresses, if there is one.
fn prefix_length(first: Value, last: Value) -> Option<u32> {
    match (first, last) {
        (Value::Ipv4(first), Value::Ipv4(last)) => {
            let host_bits = (first.to_bits() ^ last.to_bits()).count_ones();
            let network = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            let covers = first.to_bits() & network == first.to_bits() && first.to_bits() | !network == last.to_bits();
            covers.then_some(Ipv4Addr::BITS - host_bits)
        }
        (Value::Ipv6(first), Value::Ipv6(last)) => {
            let host_bits = (first.to_bits() ^ last.to_bits()).count_ones();
            let network = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            let covers = first.to_bits() & network == first.to_bits() && first.to_bits() | !network == last.to_bits();
            covers.then_some(Ipv6Addr::BITS - host_bits)
        }
        _ => None,
    }
}

/// Items with a separator between them.
struct Joined<'a, T>(&'a [T], &'a str);

impl<T: Display> Display for Joined<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(self.1)?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(first: &str, last: &str, text: &str) {
        let value = |text: &str| Value::from(text.parse::<std::net::IpAddr>().unwrap());
        assert_eq!(Key::Range(value(first), value(last)).to_string(), text);
    }

    #[test]
    fn a_range_prints_as_the_prefix_that_it_is() {
        check("10.0.0.0", "10.255.255.255", "10.0.0.0/8");
        check("0.0.0.0", "255.255.255.255", "0.0.0.0/0");
        check("10.0.0.1", "10.0.0.1", "10.0.0.1");
        check("10.0.0.1", "10.0.0.2", "10.0.0.1-10.0.0.2");
        check("10.0.0.0", "10.0.0.2", "10.0.0.0-10.0.0.2");
        check("10.0.0.4", "10.0.0.11", "10.0.0.4-10.0.0.11");
        check("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0");
        check("fd00::", "fd00::ffff", "fd00::/112");
        check("fd00::1", "fd00::ffff", "fd00::1-fd00::ffff");
    }
}
