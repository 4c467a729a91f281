//! Flows near the edges of what the policies of a cluster say.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use palisade_core::{
    Direction, End, Family, Flow, HostPeer, NodeName, Peer, Pod, PodName, Port, PortMatch, Ports, Rule, Snapshot,
    Traffic, Transport,
};

use super::policies::OUTSIDE;
use super::{known_port, transport};
use crate::rng::Rng;

/// Random flows of this cluster. Ports lie at, inside and just outside of what rules and containers name;
/// addresses at, inside and just outside of blocks; ends are pods, nodes and addresses. All can be sent as
/// real packets: no multicast, loopback or link-local address is among them.
pub fn flows(snapshot: &Snapshot, rng: &mut Rng, count: usize) -> Vec<Flow> {
    let edges = Edges::of(snapshot);
    let mut flows = Vec::new();
    // A cluster of one single-stack pod has few flows; then they repeat. Most draws are good.
    while flows.len() < count {
        let flow = Flow { source: edges.end(rng), destination: edges.end(rng), traffic: edges.traffic(rng) };
        if can_be_asked(snapshot, &flow) {
            flows.push(flow);
        }
    }
    flows
}

/// What there is to send to and from.
struct Edges {
    pods: Vec<PodName>,
    nodes: Vec<NodeName>,
    addresses: Vec<IpAddr>,
    ports: Vec<(Transport, Port)>,
}

/// Who an end is, for the purpose of whether a flow makes sense.
#[derive(PartialEq)]
enum Who {
    Pod,
    Node(NodeName),
    Outside,
}

impl Edges {
    fn of(snapshot: &Snapshot) -> Edges {
        let live: Vec<(&PodName, &Pod)> =
            snapshot.pods.iter().filter(|(_, pod)| !pod.finished).map(|(name, pod)| (name, &**pod)).collect();
        let mut addresses = BTreeSet::from(OUTSIDE);
        addresses.extend(snapshot.pods.values().flat_map(|pod| pod.addresses.iter().copied()));
        addresses.extend(snapshot.nodes.values().flat_map(|node| node.addresses.iter().copied()));
        let mut ports: BTreeSet<(Transport, Port)> =
            live.iter().flat_map(|(_, pod)| pod.ports.iter().map(|port| (port.transport, port.port))).collect();
        for rule in rules(snapshot) {
            if let Ports::Listed(listed) = &rule.ports {
                for port in listed {
                    add_port_edges(&mut ports, port);
                }
            }
            for peer in rule.peers.iter().flatten() {
                if let Peer::Block { cidr, except } = peer {
                    for net in std::iter::once(cidr).chain(except) {
                        addresses.extend(address_edges(*net));
                    }
                }
            }
        }
        for policy in snapshot.host_policies.values() {
            for port in &policy.ports {
                add_port_edges(&mut ports, &PortMatch::Range(port.transport, port.range));
            }
            for peer in &policy.from {
                if let HostPeer::Block { cidr, except } = peer {
                    addresses.extend(std::iter::once(cidr).chain(except).flat_map(|net| address_edges(*net)));
                }
            }
        }
        for list in snapshot.ban_lists.values() {
            let named = list.all_entries().map(|entry| &entry.cidr).chain(&list.except);
            addresses.extend(named.flat_map(|net| address_edges(*net)));
        }
        Edges {
            pods: live.iter().map(|(name, _)| (*name).clone()).collect(),
            nodes: snapshot.nodes.keys().cloned().collect(),
            addresses: addresses.into_iter().filter(|address| can_be_sent(*address)).collect(),
            ports: ports.into_iter().collect(),
        }
    }

    fn end(&self, rng: &mut Rng) -> End {
        match rng.below(10) {
            0..6 if !self.pods.is_empty() => End::Pod(rng.pick(&self.pods)),
            6 => End::Node(rng.pick(&self.nodes)),
            _ => End::Address(rng.pick(&self.addresses)),
        }
    }

    fn traffic(&self, rng: &mut Rng) -> Traffic {
        match rng.below(10) {
            0 => Traffic::Icmp,
            1..8 if !self.ports.is_empty() => {
                let (transport, port) = rng.pick(&self.ports);
                Traffic::Port(transport, port)
            }
            _ => Traffic::Port(transport(rng), known_port(rng)),
        }
    }
}

/// Both ends share a family, are not the same node, and one of them is in the cluster.
fn can_be_asked(snapshot: &Snapshot, flow: &Flow) -> bool {
    let (source, destination) = (who(snapshot, &flow.source), who(snapshot, &flow.destination));
    let shared = Family::ALL
        .into_iter()
        .any(|family| has_family(snapshot, &flow.source, family) && has_family(snapshot, &flow.destination, family));
    shared && (source == Who::Pod || source != destination)
}

fn rules(snapshot: &Snapshot) -> impl Iterator<Item = &Rule> {
    snapshot
        .policies
        .values()
        .flat_map(|policy| Direction::ALL.map(|direction| policy.rules[direction].as_ref()))
        .flatten()
        .flatten()
}

fn add_port_edges(edges: &mut BTreeSet<(Transport, Port)>, port: &PortMatch) {
    if let PortMatch::Range(transport, range) = port {
        let (first, last) = (range.first().get(), range.last().get());
        let numbers = [Some(first), first.checked_sub(1), Some(last), last.checked_add(1), Some(first.midpoint(last))];
        edges.extend(numbers.into_iter().flatten().filter_map(Port::new).map(|port| (*transport, port)));
    }
}

/// The first and the last address of the block, one inside, and the two just outside.
pub(super) fn address_edges(net: IpNet) -> Vec<IpAddr> {
    let step = |address: IpAddr, up: bool| match address {
        IpAddr::V4(address) => {
            let bits = address.to_bits();
            Ipv4Addr::from_bits(if up { bits.wrapping_add(1) } else { bits.wrapping_sub(1) }).into()
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            IpAddr::from(Ipv6Addr::from_bits(if up { bits.wrapping_add(1) } else { bits.wrapping_sub(1) }))
        }
    };
    let (first, last) = (net.network(), net.broadcast());
    vec![first, last, step(first, true), step(first, false), step(last, true)]
}

/// Whether a host may have the address and another may send to it over a router.
pub(super) fn can_be_sent(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            first != 0 && first < 224 && !address.is_loopback() && !address.is_link_local()
        }
        IpAddr::V6(address) => {
            let global = address.segments()[0] & 0xfe00 == 0xfc00 || address.segments()[0] & 0xe000 == 0x2000;
            global || address.segments()[0] == 0x64
        }
    }
}

fn who(snapshot: &Snapshot, end: &End) -> Who {
    let node = |name: &Option<NodeName>| name.clone().map_or(Who::Outside, Who::Node);
    match end {
        End::Pod(name) => match snapshot.pods.get(name) {
            Some(pod) if pod.host_network => node(&pod.node),
            _ => Who::Pod,
        },
        End::Workload(_) => Who::Pod,
        End::Host(_) => Who::Outside,
        End::Node(name) => Who::Node(name.clone()),
        End::Address(address) => {
            let has = |pod: &Pod| !pod.finished && !pod.host_network && pod.addresses.contains(address);
            if snapshot.pods.values().any(|pod| has(pod)) {
                return Who::Pod;
            }
            let owner = snapshot.nodes.iter().find(|(_, node)| node.addresses.contains(address));
            owner.map_or(Who::Outside, |(name, _)| Who::Node(name.clone()))
        }
    }
}

fn has_family(snapshot: &Snapshot, end: &End, family: Family) -> bool {
    let any = |addresses: &[IpAddr]| addresses.iter().any(|address| Family::of(*address) == family);
    match end {
        End::Pod(name) => snapshot.pods.get(name).is_some_and(|pod| any(&pod.addresses)),
        End::Node(name) => snapshot.nodes.get(name).is_some_and(|node| any(&node.addresses)),
        End::Host(name) => snapshot.servers.get(name).is_some_and(|server| any(&server.addresses)),
        End::Address(address) => Family::of(*address) == family,
        End::Workload(_) => false,
    }
}
