//! Which flows show what the lists of servers outside of the cluster do: every node, pod and external address with every server, over
//! the ports that its list draws a line at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use palisade_core::{End, Family, Flow, Node, Port, PortRange, Server, Snapshot, Traffic, Transport};

use super::{edges, pods, with_unnamed};

/// The flows to servers, in the order of their names.
pub(super) fn flows(snapshot: &Snapshot, families: &[Family], externals: &BTreeSet<IpAddr>) -> Vec<Flow> {
    let mut flows = Vec::new();
    for (name, server) in &snapshot.servers {
        let shared: Vec<Family> = families.iter().copied().filter(|family| has(&server.addresses, *family)).collect();
        let traffic = traffic(server);
        for source in sources(snapshot, &shared, externals) {
            let flow = |traffic: &Traffic| Flow {
                source: source.clone(),
                destination: End::Host(name.clone()),
                traffic: *traffic,
            };
            flows.extend(traffic.iter().map(flow));
        }
    }
    flows
}

fn has(addresses: &[IpAddr], family: Family) -> bool {
    addresses.iter().any(|address| Family::of(*address) == family)
}

/// Everybody who has an address in one of these families.
fn sources(snapshot: &Snapshot, families: &[Family], externals: &BTreeSet<IpAddr>) -> Vec<End> {
    let mut sources: Vec<End> = pods(snapshot, families).into_keys().cloned().map(End::Pod).collect();
    for (name, node) in &snapshot.nodes {
        if families.iter().any(|family| has(&node.addresses, *family)) {
            sources.push(End::Node(name.clone()));
        }
        sources.extend(other_addresses(node, families).map(End::Address));
    }
    let externals = externals.iter().filter(|address| families.contains(&Family::of(**address)));
    sources.extend(externals.copied().map(End::Address));
    sources
}

/// The addresses of a node for which its name does not stand.
fn other_addresses(node: &Node, families: &[Family]) -> impl Iterator<Item = IpAddr> {
    let of = |family: Family| node.addresses.iter().copied().filter(move |address| Family::of(*address) == family);
    families.iter().flat_map(move |family| of(*family).skip(1))
}

/// The ports of the list at their edges, for each transport one that is left alone, and an echo request.
fn traffic(server: &Server) -> Vec<Traffic> {
    let mut ports: BTreeMap<Transport, BTreeSet<Port>> = BTreeMap::new();
    let mut ranges: BTreeMap<Transport, Vec<PortRange>> = BTreeMap::new();
    for port in &server.ports {
        ports.entry(port.transport).or_default().extend(edges(port.range));
        ranges.entry(port.transport).or_default().push(port.range);
    }
    with_unnamed(ports, ranges)
}
