//! Under which addresses pods may send: tables of their own, beside that of the policies.
//!
//! ```text
//! prerouting (hook)      packets that come by a veth pair: goto from_veth; all others are done here
//!
//! from_veth              with a tag of a VLAN: jump tagged
//!                        interface . source address is in the set, and it is not for the link: accept
//!                        by an interface of a pod: goto from_pod
//!                        under an address that is taken: goto taken
//!
//! from_pod               interface . source address is in the set: accept
//!                        without an address of its own yet, and on the link: ARP probes, neighbour discovery
//!                        all else: counted, dropped
//!
//! taken                  interface . source address is in the set, or the node itself has sent it: accept
//!                        all else: counted, dropped
//!
//! tagged                 by an interface of a pod, or so that whoever gets it takes it for untagged: counted, dropped
//! ```
//!
//! Policies are judged by address, so that a pod with `NET_RAW` that sends under the address of another would pass as
//! that one. Each packet from a pod is therefore held against the addresses that are known to be behind the interface
//! by which it comes, before anything else looks at it. Where pods are ports of a bridge only the family
//! `bridge` knows that interface (for `inet` all came by the bridge), and sees frames that never meet
//! an `inet` hook: ARP, and on a bridge without `bridge-nf-call-iptables` all of them. Routed pods
//! are held in `inet`.
//!
//! **What is bound is closed to all others**, also to interfaces that came later than the sets were written: by a veth pair of
//! which nothing is known nobody sends under the address of a known pod, or under that of a bridge. Other kinds of
//! interfaces are none of pods: what comes from other nodes, tunnels and machines is left alone, and pays one comparison.
//! Both tables have the same sets, since what is behind a bridge must not be forged from behind a route.
//!
//! **Tags.** What has a tag is no IP to `bridge-nf-call-iptables`, so that no policy judges it; but a pod that gets a frame for no
//! VLAN (a priority tag, or one around another) takes it as if it had no tag. Pods send no tags.
//!
//! **Link-local addresses** carry neighbour discovery and multicast listener reports, and nothing else. Policies know no
//! link-local address, so that pods on one bridge would reach one another past their isolation. Router advertisements and
//! redirects do not pass at all: pods are no routers.
//!
//! A table without interfaces is no table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use palisade_core::Family;

use crate::ruleset::{
    Chain, Comment, Elements, Field, Hook, InterfaceName, Key, Lookup, Name, Rule, Ruleset, Set, SetDefinition, Side,
    Statement, Table, Tag, Value, ValueType, Verdict,
};

/// The counter of what was dropped.
pub(crate) const FORGED: &str = "forged";
const INTERFACES: &str = "interfaces";
const PASSAGES: &str = "passages";

/// Multicast listener queries are a router's; these are a host's: report, done, router and neighbour solicitation, neighbour
/// advertisement, version 2 report (RFC 2710, RFC 4861, RFC 3810).
const DISCOVERY: [u8; 6] = [131, 132, 133, 135, 136, 143];

/// How pods are attached to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attached {
    /// As ports of a bridge.
    Bridged,
    /// By routes of their own.
    Routed,
}

impl Attached {
    /// Both kinds.
    pub const ALL: [Attached; 2] = [Attached::Bridged, Attached::Routed];

    /// The table in which their sources are held.
    pub fn table(self) -> Table {
        match self {
            Attached::Bridged => Table::BridgedSources,
            Attached::Routed => Table::RoutedSources,
        }
    }
}

/// What may come by which veth pairs of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The interfaces of pods, each with the addresses under which the pod may send by it, and under no others. Without
    /// addresses it may do nothing but discover.
    pub interfaces: BTreeMap<InterfaceName, BTreeSet<IpAddr>>,
    /// Other interfaces that may send under these addresses, although they are taken.
    pub besides: BTreeMap<InterfaceName, BTreeSet<IpAddr>>,
    /// Interfaces by which comes what the node itself has sent.
    pub passages: BTreeSet<InterfaceName>,
    /// The addresses under which no other veth pair may send.
    pub taken: BTreeSet<IpAddr>,
}

/// The ruleset that holds pods to their addresses.
pub fn lower_sources(attached: Attached, sources: &Sources) -> Ruleset {
    let mut ruleset = Ruleset::nothing(attached.table());
    if sources.interfaces.is_empty() {
        return ruleset;
    }
    let comment = "addresses under which pods may send, written by palisade; changes by others are undone";
    ruleset.comment = Some(Comment::new(comment));
    ruleset.counters.insert(FORGED.into(), Some(Comment::new("packets dropped for their source")));
    let names = sources.interfaces.keys().copied().map(Value::Interface);
    ruleset.sets.insert(INTERFACES.into(), set("interfaces that lead to pods", ValueType::Interface, names));
    let passages = sources.passages.iter().copied().map(Value::Interface);
    ruleset
        .sets
        .insert(PASSAGES.into(), set("interfaces that lead to the node itself", ValueType::Interface, passages));
    for family in Family::ALL {
        let address = Field::Address(family, Side::Source).value_type();
        let taken = sources.taken.iter().filter(|address| Family::of(**address) == family).copied().map(Value::from);
        let comment = "addresses under which no other interface may send";
        ruleset.sets.insert(taken_set(family), set(comment, address, taken));
        ruleset.sets.insert(addresses_set(family), own_addresses(family, sources));
    }
    ruleset.chains = [prerouting(), from_veth(attached), not_at_once(attached)].into();
    ruleset.chains.extend([from_pod(attached), taken(attached), link_local()]);
    if attached == Attached::Bridged {
        ruleset.chains.extend([tagged(), dropped()]);
    }
    ruleset
}

fn set(comment: &str, key: ValueType, values: impl Iterator<Item = Value>) -> Set {
    with_elements(comment, vec![key], values.map(|value| (Key::Single(value), None)).collect())
}

/// The set of what comes by the right interface.
fn own_addresses(family: Family, sources: &Sources) -> Set {
    let interfaces = sources.interfaces.iter().chain(&sources.besides);
    let pairs = interfaces.flat_map(|(name, addresses)| addresses.iter().map(move |address| (*name, *address)));
    let elements = pairs
        .filter(|(_, address)| Family::of(*address) == family)
        .map(|(name, address)| (Key::Concat(Box::new([Value::Interface(name), Value::from(address)])), None))
        .collect();
    let key = vec![ValueType::Interface, Field::Address(family, Side::Source).value_type()];
    with_elements("interface . address of the pod behind it", key, elements)
}

fn with_elements(comment: &str, key: Vec<ValueType>, elements: Elements) -> Set {
    let definition =
        SetDefinition { comment: Some(Comment::new(comment)), key, verdicts: false, interval: false, dynamic: None };
    Set { definition, elements }
}

fn addresses_set(family: Family) -> Name {
    format!("addresses{}", family.digit()).into()
}

fn taken_set(family: Family) -> Name {
    format!("taken{}", family.digit()).into()
}

fn prerouting() -> (Name, Chain) {
    let rule = vec![Statement::FromVeth, Statement::Verdict(Verdict::Goto("from_veth".into()))];
    let comment =
        Some(Comment::new("packets that come by a veth pair, as those of pods do, are held against addresses"));
    ("prerouting".into(), Chain { comment, hook: Some(Hook::Prerouting), rules: vec![rule] })
}

/// What pods send under their own addresses is done with one lookup.
fn from_veth(attached: Attached) -> (Name, Chain) {
    let to = |verdict: fn(Name) -> Verdict, chain: &str| Statement::Verdict(verdict(chain.into()));
    let mut rules = Vec::new();
    if attached == Attached::Bridged {
        rules.extend(Tag::ALL.map(|tag| vec![Statement::Tagged(tag), to(Verdict::Jump, "tagged")]));
    }
    rules.push(own(Field::Address(Family::V4, Side::Source), Family::V4));
    rules.push(vec![Statement::InNetwork(Side::Destination, IpNet::V6(link())), to(Verdict::Goto, "not_at_once")]);
    rules.push(own(Field::Address(Family::V6, Side::Source), Family::V6));
    rules.push(vec![to(Verdict::Goto, "not_at_once")]);
    let comment = Some(Comment::new("packets of pods under their own addresses pass at once"));
    ("from_veth".into(), Chain { comment, hook: None, rules })
}

fn not_at_once(attached: Attached) -> (Name, Chain) {
    let of_pods = vec![
        Statement::In(vec![Field::Interface], Lookup::Named(INTERFACES.into())),
        Statement::Verdict(Verdict::Goto("from_pod".into())),
    ];
    let is_taken = |(field, family): (Field, Family)| -> Rule {
        vec![
            Statement::In(vec![field], Lookup::Named(taken_set(family))),
            Statement::Verdict(Verdict::Goto("taken".into())),
        ]
    };
    let rules = std::iter::once(of_pods).chain(senders(attached).map(is_taken)).collect();
    let comment = Some(Comment::new("other packets: from pods, or from anybody but under no address that is taken"));
    ("not_at_once".into(), Chain { comment, hook: None, rules })
}

/// Addresses of the link (RFC 4291, section 2.5.6).
fn link() -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)
}

/// The fields that say who has sent something.
fn senders(attached: Attached) -> impl Iterator<Item = (Field, Family)> {
    let arp = (attached == Attached::Bridged).then_some((Field::ArpSender, Family::V4));
    let address = |family| (Field::Address(family, Side::Source), family);
    [Some(address(Family::V4)), arp, Some(address(Family::V6))].into_iter().flatten()
}

/// Accepts what comes by the interface of the address that a field has.
fn own(field: Field, family: Family) -> Rule {
    vec![
        Statement::In(vec![Field::Interface, field], Lookup::Named(addresses_set(family))),
        Statement::Verdict(Verdict::Accept),
    ]
}

fn from_pod(attached: Attached) -> (Name, Chain) {
    let discover = |side: Side, network: Ipv6Net| -> Rule {
        vec![Statement::InNetwork(side, IpNet::V6(network)), Statement::Verdict(Verdict::Goto("link_local".into()))]
    };
    // A packet that began under the sets of before a change may find its interface in those after it, so that it asks again.
    let mut rules = vec![own(Field::Address(Family::V4, Side::Source), Family::V4)];
    if attached == Attached::Bridged {
        rules.push(own(Field::ArpSender, Family::V4));
        // A probe asks whether an address is free, from none (RFC 5227, section 2.1.1).
        rules.push(vec![Statement::ArpFromNobody, Statement::Verdict(Verdict::Accept)]);
    }
    rules.push(vec![
        Statement::InNetwork(Side::Destination, IpNet::V6(link())),
        Statement::Verdict(Verdict::Jump("link_local".into())),
    ]);
    rules.push(own(Field::Address(Family::V6, Side::Source), Family::V6));
    rules.push(discover(Side::Source, link()));
    // Whether an address is free is asked from none in IPv6, too (RFC 4862, section 5.4.2).
    rules.push(discover(Side::Source, Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128)));
    rules.extend(forged());
    let comment = Some(Comment::new("what a pod may send: under its own addresses, and to find its neighbours"));
    ("from_pod".into(), Chain { comment, hook: None, rules })
}

/// Here, too, it is asked again whether the address is the interface's own: since the first question it may have become so.
fn taken(attached: Attached) -> (Name, Chain) {
    let by_passage = vec![
        Statement::In(vec![Field::Interface], Lookup::Named(PASSAGES.into())),
        Statement::Verdict(Verdict::Accept),
    ];
    let mut rules = vec![by_passage];
    rules.extend(senders(attached).map(|(field, family)| own(field, family)));
    rules.extend(forged());
    let comment =
        Some(Comment::new("under an address that is taken: nothing, but by the interfaces of whoever has it"));
    ("taken".into(), Chain { comment, hook: None, rules })
}

/// Others than pods may have VLANs of their own.
fn tagged() -> (Name, Chain) {
    let by = |set: &str| Statement::In(vec![Field::Interface], Lookup::Named(set.into()));
    let goto = |statement| vec![statement, Statement::Verdict(Verdict::Goto("dropped".into()))];
    let rules = vec![
        goto(by(INTERFACES)),
        vec![by(PASSAGES), Statement::Verdict(Verdict::Return)],
        goto(Statement::Tagged(Tag::Service)),
        goto(Statement::PriorityTagged),
    ];
    let comment = Some(Comment::new(
        "frames with tags, which no policy judges: none from pods, and none that pods take as untagged",
    ));
    ("tagged".into(), Chain { comment, hook: None, rules })
}

fn dropped() -> (Name, Chain) {
    let comment = Some(Comment::new("frames that nobody may send"));
    ("dropped".into(), Chain { comment, hook: None, rules: forged() })
}

/// Reached by `goto` it accepts, as the hook does; reached by `jump` it goes on.
fn link_local() -> (Name, Chain) {
    let kinds = DISCOVERY.map(|kind| (Key::Single(Value::Icmpv6Type(kind)), None)).into();
    let discovery =
        vec![Statement::In(vec![Field::Icmpv6Type], Lookup::Literal(kinds)), Statement::Verdict(Verdict::Return)];
    let comment = Some(Comment::new("from or to an address of the link: nothing but neighbour and listener discovery"));
    ("link_local".into(), Chain { comment, hook: None, rules: [vec![discovery], forged()].concat() })
}

/// A verdict never shares a rule with what may not go on.
fn forged() -> Vec<Rule> {
    vec![vec![Statement::Count(FORGED.into())], vec![Statement::Verdict(Verdict::Drop)]]
}

#[cfg(test)]
mod tests;
