//! How packets are judged: the layout of the table, here and nowhere else.
//!
//! ```text
//! forward (hook)         the connection's mark says "judged under the rules in force": accept
//!    |
//!    |--not new-------------------> judge_again
//!    |-- egress                   each of the four is the same: two lookups, of which the first that hits decides
//!    |-- ingress                     1. subject . transport . port  ->  to_GROUP / from_GROUP
//!    |                               2. subject                     ->  rest_REST
//!    |                               a miss in both passes: the subject is no isolated pod of this node
//!    |--mid-stream TCP, SCTP------> judge_reply
//!    writes the generation into the mark, accepts
//!
//! judge_again
//!    |--invalid, untracked--------> unknown_direction: pass neighbour discovery, else judge both ways
//!    |--related-------------------> related: pass ICMP errors of a connection so marked, else go on
//!    |--reply---------------------> judge_reply: egress_reply, ingress_reply
//!    |-- egress, ingress
//! passed                 writes the generation into the mark, accepts
//! ```
//!
//! **Orientation.** Policies speak of who opens a connection. In a packet *as sent* by the opener the subject of
//! egress is the source, that of ingress is the destination, and the port is the destination port; in a
//! *reply* all of it is swapped. Each map therefore exists twice; the chains of a group exist once
//! for each side that the peer can be on (`to_…`, `from_…`). `forward` sees pod addresses and
//! ports in both orientations, since DNAT came before and masquerading comes after.
//!
//! **Generation.** A connection is marked with the number of the rules that let it pass, in eight bits of its mark
//! (the others belong to others, and are kept). When the number changes, every connection is judged again at
//! its next packet, in whichever direction that goes; one that is denied now stays cut until it is allowed again.
//!
//! **Unknown direction.** Without a conntrack entry, or for a TCP or SCTP packet that enters mid-stream, nobody
//! knows which end opened the connection: such a packet must be allowed in both orientations. Otherwise a
//! cut connection would come back through its other end.
//!
//! **Related.** An ICMP error has the mark of the connection it is about, and passes with it. A connection that a
//! conntrack helper expects starts with the mark of its master: it is judged like any other.

mod changes;
mod fixed;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU8;

use palisade_core::tables::SubjectPort;
use palisade_core::{Admit, Direction, Family, GroupId, PeerGroup, Rest, RestId, Tables, Transport};

use crate::ruleset::{
    Chain, Comment, Elements, Field, Key, Lookup, Name, Rule, Ruleset, Set, SetDefinition, Side, Statement, Value,
    ValueType, Verdict,
};

pub use changes::Held;

/// The bits of the connection mark that hold the generation; kube-proxy uses 0x4000 and 0x8000 of packet marks,
/// and some tools copy one mark to the other.
pub const GENERATION_MASK: u32 = 0x00ff_0000;

/// The number of the rules in force, 1 to 255; 0 is the mark of a connection that nobody judged.
///
/// It must change with every change that may deny something. Before a number is used again, no connection
/// may carry it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(NonZeroU8);

impl Generation {
    /// The first.
    pub const FIRST: Generation = Generation(NonZeroU8::MIN);

    /// A generation by its number; `None` for 0.
    pub fn new(number: u8) -> Option<Generation> {
        NonZeroU8::new(number).map(Generation)
    }

    /// The number.
    pub fn number(self) -> u8 {
        self.0.get()
    }

    /// The one after this; after 255 comes 1.
    #[must_use]
    pub fn next(self) -> Generation {
        Generation(self.0.checked_add(1).unwrap_or(NonZeroU8::MIN))
    }

    fn mark(self) -> u32 {
        u32::from(self.number()) << 16
    }
}

/// The ruleset that enforces the tables.
pub fn lower(tables: &Tables, generation: Generation) -> Ruleset {
    let mut ruleset = Ruleset {
        comment: Some(Comment::new("NetworkPolicy of this node, written by palisade; changes by others are undone")),
        chains: fixed::chains(generation),
        ..Ruleset::default()
    };
    for view in View::all() {
        let subjects = &tables.subjects[view.direction];
        let mut ports = Set::new(view.ports_definition());
        ports.elements = subjects.ports.iter().filter_map(|(key, admit)| view.port_element(key, admit)).collect();
        ruleset.sets.insert(view.ports_map(), ports);
        let mut pods = Set::new(view.pods_definition());
        pods.elements =
            subjects.isolated.iter().filter_map(|(address, rest)| view.pod_element(*address, rest)).collect();
        ruleset.sets.insert(view.pods_map(), pods);
    }
    for (id, group) in &tables.groups {
        ruleset.sets.extend(group_sets(id, group));
        ruleset.chains.extend(group_chains(id, group));
    }
    for (id, rest) in &tables.rests {
        ruleset.sets.extend(rest_maps(id, rest));
        ruleset.chains.extend(rest_chains(id, rest));
    }
    ruleset
}

/// How a packet lies to the connection it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Orientation {
    /// From the end that opened the connection.
    Sent,
    /// To the end that opened it.
    Reply,
}

impl Orientation {
    const ALL: [Orientation; 2] = [Orientation::Sent, Orientation::Reply];

    fn suffix(self) -> &'static str {
        match self {
            Orientation::Sent => "",
            Orientation::Reply => "_reply",
        }
    }

    /// Where the subject is: egress is judged for the opener, ingress for the other end.
    fn subject(self, direction: Direction) -> Side {
        match (self, direction) {
            (Orientation::Sent, Direction::Egress) | (Orientation::Reply, Direction::Ingress) => Side::Source,
            (Orientation::Sent, Direction::Ingress) | (Orientation::Reply, Direction::Egress) => Side::Destination,
        }
    }

    /// Where the peer of the subject is.
    fn peer(self, direction: Direction) -> Side {
        match self.subject(direction) {
            Side::Source => Side::Destination,
            Side::Destination => Side::Source,
        }
    }

    /// Where the port that policies speak of is: at the end that did not open the connection.
    fn port(self) -> Side {
        match self {
            Orientation::Sent => Side::Destination,
            Orientation::Reply => Side::Source,
        }
    }
}

/// One way to look at a packet: the pair of maps for a direction, a family and an orientation.
#[derive(Clone, Copy, Debug)]
struct View {
    direction: Direction,
    family: Family,
    orientation: Orientation,
}

impl View {
    fn all() -> impl Iterator<Item = View> {
        Direction::ALL.into_iter().flat_map(View::of)
    }

    fn of(direction: Direction) -> impl Iterator<Item = View> {
        Orientation::ALL.into_iter().flat_map(move |orientation| {
            Family::ALL.into_iter().map(move |family| View { direction, family, orientation })
        })
    }

    fn ports_map(self) -> Name {
        format!("{}_ports{}{}", self.direction, self.family.digit(), self.orientation.suffix()).into()
    }

    fn pods_map(self) -> Name {
        format!("{}_pods{}{}", self.direction, self.family.digit(), self.orientation.suffix()).into()
    }

    fn subject(self) -> Field {
        Field::Address(self.family, self.orientation.subject(self.direction))
    }

    fn ports_definition(self) -> SetDefinition {
        let text = match self.direction {
            Direction::Egress => "pod . transport . port of the peer : to whom the pod may open connections there",
            Direction::Ingress => "pod . transport . port of the pod : from whom the pod takes connections there",
        };
        SetDefinition {
            comment: Some(Comment::new(text)),
            key: vec![address_type(self.family), ValueType::Protocol, ValueType::Port],
            verdicts: true,
            interval: false,
        }
    }

    fn pods_definition(self) -> SetDefinition {
        let comment = Comment::new(&format!("pods isolated for {} : what holds on all other ports", self.direction));
        SetDefinition { comment: Some(comment), key: vec![address_type(self.family)], verdicts: true, interval: false }
    }

    /// The element for an exact port, if the subject is of this family.
    fn port_element(self, key: &SubjectPort, admit: &Admit) -> Option<(Key, Option<Verdict>)> {
        (Family::of(key.address) == self.family).then(|| (port_key(key), Some(self.admit(admit))))
    }

    /// The element for an isolated subject, if it is of this family.
    fn pod_element(self, address: IpAddr, rest: &RestId) -> Option<(Key, Option<Verdict>)> {
        (Family::of(address) == self.family)
            .then(|| (address_key(address), Some(Verdict::Goto(rest_chain(rest, self.orientation)))))
    }

    fn admit(self, admit: &Admit) -> Verdict {
        admit_verdict(admit, self.orientation.peer(self.direction))
    }
}

fn port_key(key: &SubjectPort) -> Key {
    Key::Concat(Box::new([
        Value::from(key.address),
        Value::Protocol(key.transport.number()),
        Value::Port(key.port.get()),
    ]))
}

fn address_key(address: IpAddr) -> Key {
    Key::Single(Value::from(address))
}

fn address_type(family: Family) -> ValueType {
    match family {
        Family::V4 => ValueType::Ipv4,
        Family::V6 => ValueType::Ipv6,
    }
}

fn admit_verdict(admit: &Admit, peer: Side) -> Verdict {
    match admit {
        Admit::Everyone => Verdict::Return,
        Admit::Group(id) => Verdict::Goto(group_chain(id, peer)),
    }
}

fn group_chain(id: &GroupId, peer: Side) -> Name {
    match peer {
        Side::Destination => format!("to_{id}").into(),
        Side::Source => format!("from_{id}").into(),
    }
}

/// The set of a group's pods; it is there in both families for every group, so that members can come and go.
fn peers_set(id: &GroupId, family: Family) -> Name {
    format!("peers{}_{id}", family.digit()).into()
}

/// The set of a group's address blocks; it is there only for a group that has blocks of the family.
fn blocks_set(id: &GroupId, family: Family) -> Name {
    format!("blocks{}_{id}", family.digit()).into()
}

fn rest_chain(id: &RestId, orientation: Orientation) -> Name {
    format!("rest_{id}{}", orientation.suffix()).into()
}

/// The map of a rest's port ranges; it is there only for a transport that has some.
fn ranges_map(id: &RestId, transport: Transport, orientation: Orientation) -> Name {
    format!("ranges_{id}_{transport}{}", orientation.suffix()).into()
}

fn group_sets(id: &GroupId, group: &PeerGroup) -> Vec<(Name, Set)> {
    let comment = Comment::new(&group.description);
    let definition = |family, interval| SetDefinition {
        comment: Some(comment.clone()),
        key: vec![address_type(family)],
        verdicts: false,
        interval,
    };
    let mut sets = Vec::new();
    for family in Family::ALL {
        let peers = group.addresses.iter().filter(|address| Family::of(**address) == family);
        let elements = peers.map(|address| (address_key(*address), None)).collect();
        sets.push((peers_set(id, family), Set { definition: definition(family, false), elements }));
    }
    let blocks4: Elements =
        group.blocks4.iter().map(|(first, last)| (Key::Range(Value::Ipv4(*first), Value::Ipv4(*last)), None)).collect();
    let blocks6: Elements =
        group.blocks6.iter().map(|(first, last)| (Key::Range(Value::Ipv6(*first), Value::Ipv6(*last)), None)).collect();
    for (family, elements) in [(Family::V4, blocks4), (Family::V6, blocks6)] {
        if !elements.is_empty() {
            sets.push((blocks_set(id, family), Set { definition: definition(family, true), elements }));
        }
    }
    sets
}

fn group_chains(id: &GroupId, group: &PeerGroup) -> [(Name, Chain); 2] {
    [Side::Destination, Side::Source].map(|side| {
        let mut sets: Vec<(Family, Name)> =
            Family::ALL.into_iter().map(|family| (family, peers_set(id, family))).collect();
        if !group.blocks4.is_empty() {
            sets.push((Family::V4, blocks_set(id, Family::V4)));
        }
        if !group.blocks6.is_empty() {
            sets.push((Family::V6, blocks_set(id, Family::V6)));
        }
        let mut rules: Vec<Rule> = sets
            .into_iter()
            .map(|(family, set)| {
                vec![
                    Statement::In(vec![Field::Address(family, side)], Lookup::Named(set)),
                    Statement::Verdict(Verdict::Return),
                ]
            })
            .collect();
        rules.push(fixed::deny());
        (group_chain(id, side), Chain { comment: Some(Comment::new(&group.description)), hook: None, rules })
    })
}

fn rest_maps(id: &RestId, rest: &Rest) -> Vec<(Name, Set)> {
    let mut maps = Vec::new();
    for orientation in Orientation::ALL {
        let peer = orientation.peer(rest.direction);
        let mut by_transport: BTreeMap<Transport, Elements> = BTreeMap::new();
        for (transport, range, admit) in &rest.ranges {
            let key = Key::Range(Value::Port(range.first().get()), Value::Port(range.last().get()));
            by_transport.entry(*transport).or_default().insert(key, Some(admit_verdict(admit, peer)));
        }
        for (transport, elements) in by_transport {
            let definition = SetDefinition {
                comment: Some(Comment::new(&rest.description)),
                key: vec![ValueType::Port],
                verdicts: true,
                interval: true,
            };
            maps.push((ranges_map(id, transport, orientation), Set { definition, elements }));
        }
    }
    maps
}

fn rest_chains(id: &RestId, rest: &Rest) -> [(Name, Chain); 2] {
    Orientation::ALL.map(|orientation| {
        let mut rules: Vec<Rule> = ranged_transports(rest)
            .into_iter()
            .map(|transport| {
                let field = Field::TransportPort(transport, orientation.port());
                let map = ranges_map(id, transport, orientation);
                vec![Statement::VerdictMap(vec![field], Lookup::Named(map))]
            })
            .collect();
        rules.push(match &rest.otherwise {
            Some(admit) => vec![Statement::Verdict(admit_verdict(admit, orientation.peer(rest.direction)))],
            None => fixed::deny(),
        });
        (rest_chain(id, orientation), Chain { comment: Some(Comment::new(&rest.description)), hook: None, rules })
    })
}

fn ranged_transports(rest: &Rest) -> Vec<Transport> {
    Transport::ALL.into_iter().filter(|transport| rest.ranges.iter().any(|(other, ..)| other == transport)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use palisade_core::{PortRange, tables::SubjectPort};

    use super::*;

    /// One pod: ingress on tcp 5432 from the web pods, on tcp 8000-9000 from a block; no egress but DNS.
    #[test]
    fn the_layout_is_the_one_that_is_written_down() {
        let mut tables = Tables::default();
        let port = |number| palisade_core::Port::new(number).unwrap();
        let address: IpAddr = "10.244.1.7".parse().unwrap();
        let (web, block) = (GroupId("3f9a".into()), GroupId("77c0".into()));
        let (ingress, egress) = (RestId("b1e4".into()), RestId("0d52".into()));
        tables.groups.insert(
            web.clone(),
            PeerGroup {
                description: "pods app=web in namespace shop".into(),
                addresses: BTreeSet::from(["10.244.1.9".parse().unwrap(), "fd44::9".parse().unwrap()]),
                ..PeerGroup::default()
            },
        );
        tables.groups.insert(
            block.clone(),
            PeerGroup {
                description: "10.0.0.0/8 except 10.96.0.0/12".into(),
                blocks4: [
                    ("10.0.0.0".parse().unwrap(), "10.95.255.255".parse().unwrap()),
                    ("10.112.0.0".parse().unwrap(), "10.255.255.255".parse().unwrap()),
                ]
                .into(),
                ..PeerGroup::default()
            },
        );
        let ranges = vec![(Transport::Tcp, PortRange::new(port(8000), port(9000)).unwrap(), Admit::Group(block))];
        let rest = |direction, description: &str, ranges| Rest {
            direction,
            description: description.into(),
            ranges,
            otherwise: None,
        };
        tables.rests.insert(ingress.clone(), rest(Direction::Ingress, "db/pg", ranges));
        tables.rests.insert(egress.clone(), rest(Direction::Egress, "nothing", vec![]));
        let key = |transport, number| SubjectPort { address, transport, port: port(number) };
        tables.subjects.ingress.ports.insert(key(Transport::Tcp, 5432), Admit::Group(web));
        tables.subjects.egress.ports.insert(key(Transport::Udp, 53), Admit::Everyone);
        tables.subjects.ingress.isolated.insert(address, ingress);
        tables.subjects.egress.isolated.insert(address, egress);
        let text = lower(&tables, Generation::FIRST).to_string();
        assert_eq!(
            text,
            include_str!("lower/example.nft"),
            "the layout changed; if that is meant, write it down:\n{text}"
        );
    }

    #[test]
    fn generations_go_round_and_leave_zero_out() {
        let mut generation = Generation::FIRST;
        for number in 1..=255 {
            assert_eq!(generation.number(), number);
            assert_eq!(generation.mark() & !GENERATION_MASK, 0);
            generation = generation.next();
        }
        assert_eq!(generation, Generation::FIRST);
        assert_eq!(Generation::new(0), None);
    }
}
