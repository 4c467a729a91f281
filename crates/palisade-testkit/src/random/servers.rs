//! Servers outside of a random cluster that have lists of its nodes, and flows to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_core::{AddressType, AdmittedNodes, End, Flow, Node, SelectedPods, Server, ServerName, Snapshot, Traffic};

use super::flows::{address_edges, can_be_sent};
use super::hosts::host_port;
use super::policies::{block, selector};
use super::{Case, KEYS, known_port, transport};
use crate::rng::Rng;

/// Puts servers outside of the cluster of a case, whose nodes get addresses of several types; its flows go to them from then on, and now
/// and then come from them.
pub fn to_servers(case: &mut Case, rng: &mut Rng, flow_count: usize) {
    for node in case.snapshot.nodes.values_mut() {
        tell_types(Arc::make_mut(node), rng);
    }
    for index in 1..=rng.between(1, 2) {
        let server = server(&case.snapshot, rng, index);
        case.snapshot.servers.insert(format!("list-{index}").into(), Arc::new(server));
    }
    let inside: Vec<End> = case.flows.iter().map(|flow| flow.source.clone()).collect();
    let sources: Vec<End> = sources(&case.snapshot).chain(inside.iter().cloned()).collect();
    let servers: Vec<(&ServerName, &Arc<Server>)> = case.snapshot.servers.iter().collect();
    let mut flow = || {
        let (name, server) = rng.pick(&servers);
        let traffic = traffic(server, rng);
        let end = if rng.percent(20) { End::Address(rng.pick(&server.addresses)) } else { End::Host(name.clone()) };
        match rng.below(10) {
            0 if !inside.is_empty() => Flow { source: end, destination: rng.pick(&inside), traffic },
            _ => Flow { source: rng.pick(&sources), destination: end, traffic },
        }
    };
    case.flows = (0..flow_count).map(|_| flow()).collect();
}

/// Most addresses are `InternalIP`; some are of another type, of both, or of none. Now and then a node claims all there are for its pods.
fn tell_types(node: &mut Node, rng: &mut Rng) {
    for address in &node.addresses {
        let types = match rng.below(10) {
            0 | 1 => vec![AddressType::ExternalIP],
            2 => AddressType::DEFAULT.into(),
            3 => Vec::new(),
            _ => continue,
        };
        node.other_types.insert(*address, types);
    }
    if rng.percent(5) {
        node.pod_cidrs.extend([IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())]);
    }
}

fn server(snapshot: &Snapshot, rng: &mut Rng, index: usize) -> Server {
    let last = u8::try_from(index).unwrap_or(u8::MAX);
    let blocks = |rng: &mut Rng, count| -> Vec<IpNet> { (0..count).map(|_| block(snapshot, rng).0).collect() };
    let (of_static, of_within) = (rng.below(3), rng.pick(&[0, 0, 2, 4]));
    Server {
        addresses: vec![
            Ipv4Addr::new(10, 95, 0, last).into(),
            Ipv6Addr::new(0xfd95, 0, 0, 0, 0, 0, 0, last.into()).into(),
        ],
        clusters: (0..rng.between(1, 2)).map(|number| admitted(rng, number)).collect(),
        static_cidrs: blocks(rng, of_static),
        within: blocks(rng, of_within),
        ports: (0..rng.between(1, 3)).map(|_| host_port(rng)).collect(),
    }
}

fn admitted(rng: &mut Rng, number: usize) -> AdmittedNodes {
    let types: Vec<AddressType> = AddressType::WRITTEN.into_iter().filter(|_| rng.percent(60)).collect();
    AdmittedNodes {
        name: format!("c{number}").into(),
        nodes: selector(rng, &KEYS),
        pods: rng.percent(30).then(|| selected_pods(rng)),
        address_types: if types.is_empty() { AddressType::DEFAULT.into() } else { types },
    }
}

fn selected_pods(rng: &mut Rng) -> SelectedPods {
    let namespaces = rng.percent(50).then(|| selector(rng, &KEYS));
    SelectedPods { pods: selector(rng, &KEYS), namespaces }
}

/// Nodes by name and by every address, pod ranges and blocks at their edges, and the servers themselves.
fn sources(snapshot: &Snapshot) -> impl Iterator<Item = End> {
    let nodes = snapshot.nodes.keys().cloned().map(End::Node);
    let servers = snapshot.servers.keys().cloned().map(End::Host);
    let of_nodes = snapshot.nodes.values().flat_map(|node| node.addresses.iter().copied());
    let ranges = snapshot.nodes.values().flat_map(|node| &node.pod_cidrs);
    let blocks = snapshot.servers.values().flat_map(|server| server.static_cidrs.iter().chain(&server.within));
    let edges = ranges.chain(blocks).flat_map(|block| address_edges(*block));
    let addresses = of_nodes.chain(edges).filter(|address: &IpAddr| can_be_sent(*address));
    nodes.chain(servers).chain(addresses.map(End::Address))
}

/// A port of the list at its edges, or any.
fn traffic(server: &Server, rng: &mut Rng) -> Traffic {
    let port = rng.pick(&server.ports);
    let (first, last) = (port.range.first(), port.range.last());
    let around = [Some(first), Some(last), last.checked_add(1)];
    match (rng.below(10), rng.pick(&around)) {
        (0, _) => Traffic::Icmp,
        (1..9, Some(number)) => Traffic::Port(port.transport, number),
        _ => Traffic::Port(transport(rng), known_port(rng)),
    }
}
