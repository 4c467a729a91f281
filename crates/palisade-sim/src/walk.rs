//! The second witness: a packet's way through the compiled tables of the nodes it crosses, with the entries
//! that decided.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::tables::{PeerGroup, SubjectPort, Tables};
use palisade_core::{Admit, Direction, NodeName, PortRange, Traffic, Verdict};

use crate::packet::{Owner, Packet};

/// The way of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Whether it arrives.
    pub verdict: Verdict,
    /// What was looked up, in order; the last step is the one that denied, if one did.
    pub steps: Vec<Step>,
}

/// One judgement on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub node: NodeName,
    /// Which of the two judgements.
    pub direction: Direction,
    /// The address judged.
    pub subject: IpAddr,
    /// The entry that decided; `None` if the address has none: it is no isolated pod of this node.
    pub entry: Option<Entry>,
    /// What it said.
    pub verdict: Verdict,
}

/// An entry of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub place: Place,
    /// Who it admits.
    pub admitted: Admitted,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The subject has this very port.
    Port,
    /// The subject's rest has a range around the port.
    Range(PortRange),
    /// The subject's rest, for what no port list mentions.
    Otherwise,
}

/// Who an entry admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Everyone.
    Everyone,
    /// Nobody.
    Nobody,
    /// A group, by its description.
    Group(Arc<str>),
}

/// Lets a packet walk through the tables of the nodes. A node that has none lets everything pass.
pub fn walk(tables: &BTreeMap<NodeName, Tables>, packet: &Packet) -> Trace {
    let mut steps = Vec::new();
    for node in forwarding_nodes(packet) {
        let Some(tables) = tables.get(node) else { continue };
        for direction in Direction::ALL {
            let step = judge(tables, node, direction, packet);
            let verdict = step.verdict;
            steps.push(step);
            if verdict == Verdict::Deny {
                return Trace { verdict, steps };
            }
        }
    }
    Trace { verdict: Verdict::Allow, steps }
}

/// The nodes that forward the packet, in its order. What a node itself sends or receives is not forwarded there,
/// and a packet to the sender's own address never leaves.
fn forwarding_nodes(packet: &Packet) -> Vec<&NodeName> {
    let Packet { source, destination, .. } = packet;
    if source.address == destination.address {
        return Vec::new();
    }
    let is_node = |owner: &Owner| *owner == Owner::Node;
    let mut nodes = Vec::new();
    for (end, other) in [(source, destination), (destination, source)] {
        let own_node = is_node(&other.owner) && other.node == end.node;
        if let (Owner::Pod(_), Some(node), false) = (&end.owner, &end.node, own_node)
            && !nodes.contains(&node)
        {
            nodes.push(node);
        }
    }
    nodes
}

fn judge(tables: &Tables, node: &NodeName, direction: Direction, packet: &Packet) -> Step {
    let (source, destination) = (packet.source.address, packet.destination.address);
    let (subject, peer) = match direction {
        Direction::Egress => (source, destination),
        Direction::Ingress => (destination, source),
    };
    let found = look_up(tables, direction, subject, packet.traffic);
    let verdict = Verdict::allow_if(match &found {
        None | Some((_, Some(Admit::Everyone))) => true,
        Some((_, None)) => false,
        Some((_, Some(Admit::Group(id)))) => tables.groups.get(id).is_some_and(|group| includes(group, peer)),
    });
    let entry = found.map(|(place, admit)| {
        let admitted = match admit {
            None => Admitted::Nobody,
            Some(Admit::Everyone) => Admitted::Everyone,
            Some(Admit::Group(id)) => Admitted::Group(
                tables.groups.get(id).map_or_else(|| "no such group".into(), |group| group.description.clone()),
            ),
        };
        Entry { place, admitted }
    });
    Step { node: node.clone(), direction, subject, entry, verdict }
}

/// The steps of `palisade_core::tables`, one by one.
fn look_up(
    tables: &Tables,
    direction: Direction,
    subject: IpAddr,
    traffic: Traffic,
) -> Option<(Place, Option<&Admit>)> {
    let subjects = &tables.subjects[direction];
    if let Traffic::Port(transport, port) = traffic
        && let Some(admit) = subjects.ports.get(&SubjectPort { address: subject, transport, port })
    {
        return Some((Place::Port, Some(admit)));
    }
    let rest = tables.rests.get(subjects.isolated.get(&subject)?)?;
    if let Traffic::Port(transport, port) = traffic
        && let Some((_, range, admit)) =
            rest.ranges.iter().find(|(other, range, _)| *other == transport && range.contains(port))
    {
        return Some((Place::Range(*range), Some(admit)));
    }
    Some((Place::Otherwise, rest.otherwise.as_ref()))
}

fn includes(group: &PeerGroup, peer: IpAddr) -> bool {
    group.addresses.contains(&peer)
        || match peer {
            IpAddr::V4(peer) => group.blocks4.iter().any(|(first, last)| (first..=last).contains(&&peer)),
            IpAddr::V6(peer) => group.blocks6.iter().any(|(first, last)| (first..=last).contains(&&peer)),
        }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { node, direction, subject, verdict, .. } = self;
        write!(f, "{node}: {direction} of {subject}: ")?;
        let Some(Entry { place, admitted }) = &self.entry else { return write!(f, "not isolated here: {verdict}") };
        match place {
            Place::Port => write!(f, "entry for this port admits {admitted}: {verdict}"),
            Place::Range(range) => write!(f, "ports {range} admit {admitted}: {verdict}"),
            Place::Otherwise => write!(f, "no entry for this port, all else admits {admitted}: {verdict}"),
        }
    }
}

impl fmt::Display for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Admitted::Everyone => f.write_str("everyone"),
            Admitted::Nobody => f.write_str("nobody"),
            Admitted::Group(description) => f.write_str(description),
        }
    }
}
