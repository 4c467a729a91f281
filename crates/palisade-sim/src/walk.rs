//! The second witness: a packet's way through the compiled tables of the nodes it crosses, with the entries
//! that decided. A server outside of the cluster has tables, too, among those of the nodes under a [name](machine) of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::server::machine;
use palisade_core::tables::{PeerGroup, SubjectPort, Subjects, Tables};
use palisade_core::{
    AddressSet, Admit, BanTables, Direction, GuardedPorts, Guards, HostScope, HostTables, Layer, NodeName, PortRange,
    Traffic, Verdict,
};

use crate::packet::{Endpoint, Leg, Owner, Packet, Stage};

/// The way of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Whether it arrives.
    pub verdict: Verdict,
    /// What was looked up, in order; the last step is the one that denied, if one did.
    pub steps: Vec<Step>,
    /// The guards of the node that it goes to, on the nodes that have a say.
    pub guards: Vec<GuardStep>,
    /// The bans that it meets, on the nodes that have a say.
    pub bans: Vec<BanStep>,
    /// The way through the shadow: as it would be with all audited policies in force.
    pub shadow: Way,
}

/// What the steps of a way come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Whether the packet arrives.
    pub verdict: Verdict,
    /// What was looked up, in order; the last step is the one that denied, if one did.
    pub steps: Vec<Step>,
    /// The guards of the node that it goes to, on the nodes that have a say.
    pub guards: Vec<GuardStep>,
    /// The bans that it meets, on the nodes that have a say.
    pub bans: Vec<BanStep>,
}

/// A ban on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanStep {
    /// Where.
    pub node: NodeName,
    /// What is banned.
    pub address: IpAddr,
    /// The list, if it has a target and the other end is in it.
    pub target: Option<Arc<str>>,
}

/// One look at the guard of a node's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardStep {
    /// Where.
    pub node: NodeName,
    /// The ports around that of the packet, and who is admitted to them.
    pub ports: PortRange,
    /// Who is admitted.
    pub admitted: Admitted,
    /// What came of it.
    pub verdict: Verdict,
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
    /// Whether the address is in the node's pod ranges and no pod that the node knows has it.
    pub unknown_pod: bool,
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
    let Way { verdict, steps, guards, bans } = way(tables, packet, Layer::InForce);
    Trace { verdict, steps, guards, bans, shadow: way(tables, packet, Layer::Shadow) }
}

fn way(tables: &BTreeMap<NodeName, Tables>, packet: &Packet, layer: Layer) -> Way {
    let mut way = Way { verdict: Verdict::Allow, steps: Vec::new(), guards: Vec::new(), bans: Vec::new() };
    for leg in packet.legs() {
        go(tables, &leg, layer, &mut way);
        // Where policies deny it, the packet ends; guards and bans are all told.
        if way.steps.last().is_some_and(|step| step.verdict == Verdict::Deny) {
            break;
        }
    }
    way
}

/// One leg of the way.
fn go(tables: &BTreeMap<NodeName, Tables>, leg: &Leg, layer: Layer, way: &mut Way) {
    let packet = &leg.packet;
    for ban in bans(tables, leg, layer) {
        way.verdict = Verdict::Deny;
        if !way.bans.contains(&ban) {
            way.bans.push(ban);
        }
    }
    for node in guarding_nodes(leg) {
        let Some(tables) = tables.get(node).map(|tables| &tables.host) else { continue };
        // What the node translates does not come to its sockets.
        let is_asked = |scope: &HostScope| *scope == HostScope::Everything || leg.stage != Stage::Entering;
        for scope in HostScope::ALL.into_iter().filter(is_asked) {
            let Some(ports) = guarded_ports(tables, layer, scope, node, packet) else { continue };
            let step = ask_guard(tables, node, ports, packet.source.address);
            way.verdict = way.verdict.min(step.verdict);
            way.guards.push(step);
        }
    }
    way.ask_server(tables, leg, layer);
    for node in forwarding_nodes(tables, leg) {
        let Some(tables) = tables.get(node) else { continue };
        for direction in Direction::ALL {
            let subject = match direction {
                Direction::Egress => packet.source.address,
                Direction::Ingress => packet.destination.address,
            };
            let step = judge(tables, subjects(tables, layer, direction, subject), node, direction, packet);
            let verdict = step.verdict;
            way.steps.push(step);
            if verdict == Verdict::Deny {
                way.verdict = verdict;
                return;
            }
        }
    }
}

impl Way {
    /// The server that the packet goes to, unless it sends to itself: it knows itself by whatever address.
    fn ask_server(&mut self, tables: &BTreeMap<NodeName, Tables>, leg: &Leg, layer: Layer) {
        let Packet { source, destination, traffic, .. } = &leg.packet;
        let (Owner::Server(server), Traffic::Port(transport, port)) = (&destination.owner, *traffic) else { return };
        let name = machine(server);
        let Some(tables) = tables.get(&name).filter(|_| source.owner != destination.owner) else { return };
        let own = tables.host.layer(layer).own.as_ref().or(tables.host.guards.own.as_ref());
        let Some(guard) = own.and_then(|own| tables.host.definitions.get(own)) else { return };
        let is_asked = |ports: &&GuardedPorts| ports.transport == transport && ports.range.contains(port);
        for ports in guard.ports.iter().filter(is_asked) {
            let step = ask_guard(&tables.host, &name, ports, source.address);
            self.verdict = self.verdict.min(step.verdict);
            self.guards.push(step);
        }
    }
}

/// What the nodes at the ends ban, or the one that the leg is about. In the shadow all lists are in force.
fn bans(tables: &BTreeMap<NodeName, Tables>, leg: &Leg, layer: Layer) -> Vec<BanStep> {
    let Packet { source, destination, .. } = &leg.packet;
    let nodes: BTreeSet<&NodeName> = match &leg.node {
        Some(node) => BTreeSet::from([node]),
        None => source.node.iter().chain(&destination.node).collect(),
    };
    let mut steps = Vec::new();
    for (node, tables) in nodes.into_iter().filter_map(|node| Some((node, &tables.get(node)?.bans))) {
        for (end, other) in [(source.address, destination.address), (destination.address, source.address)] {
            let step = |target| BanStep { node: node.clone(), address: end, target };
            if is_banned(tables, layer, end) {
                steps.push(step(None));
            }
            let lists = tables.targeted.values().filter(|ban| ban.layer == Layer::InForce || layer == Layer::Shadow);
            let banning = lists.filter(|ban| holds(&ban.banned, end) && ban.pods.contains(&other));
            steps.extend(banning.map(|ban| step(Some(ban.description.clone()))));
        }
    }
    steps
}

fn is_banned(tables: &BanTables, layer: Layer, address: IpAddr) -> bool {
    holds(&tables.banned, address) || layer == Layer::Shadow && holds(&tables.would_ban, address)
}

fn holds(set: &AddressSet, address: IpAddr) -> bool {
    set.iter().any(|range| (range.first..=range.last).contains(&address))
}

/// What no audited policy is about has no shadow: for it holds what holds.
fn subjects(tables: &Tables, layer: Layer, direction: Direction, subject: IpAddr) -> &Subjects {
    let shadow = &tables.shadow[direction];
    match layer {
        Layer::Shadow if shadow.isolated.contains_key(&subject) => shadow,
        _ => &tables.subjects[direction],
    }
}

fn guarded_ports<'a>(
    tables: &'a HostTables,
    layer: Layer,
    scope: HostScope,
    node: &NodeName,
    packet: &Packet,
) -> Option<&'a GuardedPorts> {
    let in_force = || guard_of(&tables.guards, tables, scope, node, packet);
    match layer {
        Layer::InForce => in_force(),
        Layer::Shadow => guard_of(&tables.shadow, tables, scope, node, packet).or_else(in_force),
    }
}

/// The nodes on which the guard of the packet's destination is asked: that of the pod that sends it, and the one it goes to, unless that
/// sends it to itself; or the one that the leg is about, unless that sends it.
fn guarding_nodes(leg: &Leg) -> Vec<&NodeName> {
    let Packet { source, destination, .. } = &leg.packet;
    let sends = |node: &NodeName| source.owner == Owner::Node && source.node.as_ref() == Some(node);
    let to = destination.node.as_ref().filter(|to| destination.owner == Owner::Node && !sends(to));
    if leg.node.is_some() {
        return leg.node.iter().filter(|node| to.is_some() && !sends(node)).collect();
    }
    let from = source.node.as_ref().filter(|_| to.is_some() && matches!(source.owner, Owner::Pod(_)));
    from.filter(|from| Some(*from) != to).into_iter().chain(to).collect()
}

/// What guards the port on this node. Whatever address of its own the packet goes to, a node knows it for its own.
fn guard_of<'a>(
    guards: &Guards,
    tables: &'a HostTables,
    scope: HostScope,
    node: &NodeName,
    packet: &Packet,
) -> Option<&'a GuardedPorts> {
    let Traffic::Port(transport, port) = packet.traffic else { return None };
    let own = guards.own.as_ref().filter(|_| packet.destination.node.as_ref() == Some(node));
    let guard = tables.definitions.get(guards.nodes.get(&packet.destination.address).or(own)?)?;
    let is_asked =
        |ports: &&GuardedPorts| (ports.transport, ports.scope) == (transport, scope) && ports.range.contains(port);
    guard.ports.iter().find(is_asked)
}

fn ask_guard(tables: &HostTables, node: &NodeName, ports: &GuardedPorts, source: IpAddr) -> GuardStep {
    let group = ports.admitted.as_ref().and_then(|id| tables.groups.get(id));
    GuardStep {
        node: node.clone(),
        ports: ports.range,
        admitted: group.map_or(Admitted::Nobody, |group| Admitted::Group(group.description.clone())),
        verdict: Verdict::allow_if(group.is_some_and(|group| includes(group, source))),
    }
}

/// The nodes that forward the packet, in its order: those of the pods at its ends, and those in whose pod ranges an end is. What a
/// node itself sends or receives is not forwarded there, and a packet to the sender's own address never leaves. A leg of one node is about that:
/// what it has not translated yet it does not forward yet, and what it has it forwards, also back to the sender.
fn forwarding_nodes<'p>(tables: &'p BTreeMap<NodeName, Tables>, leg: &'p Leg) -> Vec<&'p NodeName> {
    let Packet { source, destination, .. } = &leg.packet;
    if let Some(node) = &leg.node {
        let is_end = |end: &Endpoint| end.owner == Owner::Node && end.node.as_ref() == Some(node);
        let forwards = leg.stage != Stage::Entering && !is_end(source) && !is_end(destination);
        return if forwards { vec![node] } else { Vec::new() };
    }
    if source.address == destination.address {
        return Vec::new();
    }
    let is_node = |owner: &Owner| *owner == Owner::Node;
    let mut nodes = Vec::new();
    for (end, other) in [(source, destination), (destination, source)] {
        let node = match (&end.owner, &end.node) {
            (Owner::Pod(_), node) => node.as_ref(),
            (Owner::Node, _) => None,
            (Owner::Server(_) | Owner::Outside, _) => {
                tables.iter().find(|(_, tables)| in_pod_ranges(tables, end.address)).map(|(node, _)| node)
            }
        };
        if let Some(node) = node
            && !(is_node(&other.owner) && other.node.as_ref() == Some(node))
            && !nodes.contains(&node)
        {
            nodes.push(node);
        }
    }
    nodes
}

fn judge(tables: &Tables, subjects: &Subjects, node: &NodeName, direction: Direction, packet: &Packet) -> Step {
    let (source, destination) = (packet.source.address, packet.destination.address);
    let (subject, peer) = match direction {
        Direction::Egress => (source, destination),
        Direction::Ingress => (destination, source),
    };
    let found = look_up(tables, subjects, subject, packet.traffic);
    let unknown_pod = found.is_none() && in_pod_ranges(tables, subject) && !tables.known.contains(&subject);
    let verdict = Verdict::allow_if(match &found {
        None => !unknown_pod,
        Some((_, Some(Admit::Everyone))) => true,
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
    Step { node: node.clone(), direction, subject, entry, unknown_pod, verdict }
}

/// The steps of `palisade_core::tables`, one by one.
fn look_up<'a>(
    tables: &'a Tables,
    subjects: &'a Subjects,
    subject: IpAddr,
    traffic: Traffic,
) -> Option<(Place, Option<&'a Admit>)> {
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

fn in_pod_ranges(tables: &Tables, address: IpAddr) -> bool {
    tables.pod_ranges.iter().any(|range| range.contains(&address))
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
        let Step { node, direction, subject, unknown_pod, verdict, .. } = self;
        write!(f, "{node}: {direction} of {subject}: ")?;
        if *unknown_pod {
            return write!(f, "unknown pod, in the node's pod ranges: {verdict}");
        }
        let Some(Entry { place, admitted }) = &self.entry else { return write!(f, "not isolated here: {verdict}") };
        match place {
            Place::Port => write!(f, "entry for this port admits {admitted}: {verdict}"),
            Place::Range(range) => write!(f, "ports {range} admit {admitted}: {verdict}"),
            Place::Otherwise => write!(f, "no entry for this port, all else admits {admitted}: {verdict}"),
        }
    }
}

impl fmt::Display for GuardStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GuardStep { node, ports, admitted, verdict } = self;
        write!(f, "{node}: guarded ports {ports} admit {admitted}: {verdict}")
    }
}

impl fmt::Display for BanStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BanStep { node, address, target } = self;
        write!(f, "{node}: {address} is banned")?;
        match target {
            Some(list) => write!(f, " for the target of {list}: {}", Verdict::Deny),
            None => write!(f, ": {}", Verdict::Deny),
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
