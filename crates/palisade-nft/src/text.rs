//! Rulesets and transactions as nft text.
//!
//! A printed [`Ruleset`] is one `table inet palisade { … }` that `nft -f` loads into a kernel without our table,
//! with exactly the content that was printed. A printed [`Transaction`] is the list of nft commands that do the same.

use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, Ipv6Addr};

use palisade_core::{Family, Transport};

use crate::ruleset::{
    Chain, Comment, CtState, Elements, Field, Hook, Key, Lookup, Name, Ruleset, Set, SetDefinition, Side, Statement,
    TABLE, Value, ValueType, Verdict,
};
use crate::transaction::{Operation, Transaction};

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {TABLE} {{")?;
        if let Some(comment) = &self.comment {
            writeln!(f, "\t{comment}")?;
        }
        for (name, set) in &self.sets {
            write_set(f, name, set)?;
        }
        let (hooked, others): (Vec<_>, Vec<_>) = self.chains.iter().partition(|(_, chain)| chain.hook.is_some());
        for (name, chain) in hooked.into_iter().chain(others) {
            write_chain(f, name, chain)?;
        }
        for unknown in &self.unknown {
            writeln!(f, "\n\t# unknown: {unknown}")?;
        }
        writeln!(f, "}}")
    }
}

fn write_set(f: &mut Formatter<'_>, name: &Name, set: &Set) -> fmt::Result {
    let SetDefinition { comment, key, verdicts, interval } = &set.definition;
    writeln!(f, "\n\t{} {name} {{", noun(&set.definition))?;
    writeln!(f, "\t\ttype {}{}", Joined(key, " . "), if *verdicts { " : verdict" } else { "" })?;
    if *interval {
        writeln!(f, "\t\tflags interval")?;
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

fn write_chain(f: &mut Formatter<'_>, name: &Name, chain: &Chain) -> fmt::Result {
    writeln!(f, "\n\tchain {name} {{")?;
    if let Some(comment) = &chain.comment {
        writeln!(f, "\t\t{comment}")?;
    }
    if let Some(hook) = &chain.hook {
        writeln!(f, "\t\t{hook}")?;
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
        self.operations().iter().try_for_each(|operation| writeln!(f, "{operation}"))
    }
}

impl Display for Operation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Operation::AddTable(None) => write!(f, "add table inet {TABLE}"),
            Operation::AddTable(Some(comment)) => write!(f, "add table inet {TABLE} {{ {comment}; }}"),
            Operation::DeleteTable => write!(f, "delete table inet {TABLE}"),
            Operation::AddChain(name, hook, comment) => {
                write!(f, "add chain inet {TABLE} {name}")?;
                let hook = hook.map(|hook| hook.to_string());
                let comment = comment.as_ref().map(|comment| format!("{comment};"));
                let parts: Vec<String> = hook.into_iter().chain(comment).collect();
                if parts.is_empty() { Ok(()) } else { write!(f, " {{ {} }}", parts.join(" ")) }
            }
            Operation::DeleteChain(name) => write!(f, "delete chain inet {TABLE} {name}"),
            Operation::FlushChain(name) => write!(f, "flush chain inet {TABLE} {name}"),
            Operation::AddRule(chain, rule) => write!(f, "add rule inet {TABLE} {chain} {}", Joined(rule, " ")),
            Operation::AddSet(name, definition) => {
                let SetDefinition { comment, key, verdicts, interval } = definition;
                write!(f, "add {} inet {TABLE} {name} {{ type {}", noun(definition), Joined(key, " . "))?;
                f.write_str(if *verdicts { " : verdict;" } else { ";" })?;
                f.write_str(if *interval { " flags interval;" } else { "" })?;
                if let Some(comment) = comment {
                    write!(f, " {comment};")?;
                }
                f.write_str(" }")
            }
            Operation::DeleteSet(name) => write!(f, "delete set inet {TABLE} {name}"),
            Operation::FlushSet(name) => write!(f, "flush set inet {TABLE} {name}"),
            Operation::AddElements(set, elements) => {
                write!(f, "add element inet {TABLE} {set} ")?;
                write_elements(f, elements)
            }
            Operation::DeleteElements(set, elements) => {
                write!(f, "delete element inet {TABLE} {set} ")?;
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
            Statement::StateIs(state) => write!(f, "ct state {state}"),
            Statement::StateIsNot(state) => write!(f, "ct state != {state}"),
            Statement::IsReply => f.write_str("ct direction reply"),
            Statement::MarkIs { mask, value } => write!(f, "ct mark & {mask:#010x} == {value:#010x}"),
            Statement::SetMark { mask, value } => write!(f, "ct mark set ct mark & {:#010x} | {value:#010x}", !mask),
            Statement::NotOpeningTcp => f.write_str("tcp flags & (fin | syn | rst | ack) != syn"),
            Statement::NotOpeningSctp => f.write_str("meta l4proto sctp @th,96,8 != 1"),
            Statement::Verdict(verdict) => verdict.fmt(f),
            Statement::Unknown(text) => write!(f, "# unknown: {text}"),
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

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Hook::Forward => f.write_str("type filter hook forward priority filter; policy accept;"),
        }
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
                133 => f.write_str("nd-router-solicit"),
                134 => f.write_str("nd-router-advert"),
                135 => f.write_str("nd-neighbor-solicit"),
                136 => f.write_str("nd-neighbor-advert"),
                137 => f.write_str("nd-redirect"),
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
