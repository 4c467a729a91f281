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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palisade_core::HostPort;

    use super::*;
    use crate::plan::plan;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Who is tried with a server that has these addresses, and the traffic.
    fn check(server: &[&str], families: &[Family], sources: &str, traffic: &str) {
        let mut snapshot = Snapshot::default();
        let node = Node { addresses: addresses(&["10.0.0.1", "10.0.0.2", "fd00::1"]), ..Node::default() };
        snapshot.nodes.insert("n1".into(), Arc::new(node));
        let port = |number: u16| Port::new(number).unwrap();
        let range = PortRange::new(port(80), port(82)).unwrap();
        let server = Server {
            addresses: addresses(server),
            static_cidrs: vec!["203.0.113.4/31".parse().unwrap()],
            ports: vec![HostPort { transport: Transport::Tcp, range }],
            ..Server::default()
        };
        snapshot.servers.insert("pg".into(), Arc::new(server));
        let flows = plan(&snapshot, families);
        let found = |text: &dyn Fn(&Flow) -> String| {
            let mut found: Vec<String> = flows.iter().map(text).collect();
            found.dedup();
            found
        };
        assert_eq!(found(&|flow| flow.source.to_string()).join(" "), sources);
        let first: Vec<String> = flows.iter().map(|flow| flow.traffic.to_string()).collect();
        let count = first.iter().position(|traffic| traffic == "icmp").map_or(0, |last| last + 1);
        assert_eq!(first[..count].join(", "), traffic);
        assert!(flows.iter().all(|flow| flow.destination.to_string() == "host/pg"));
    }

    #[test]
    fn nodes_and_the_edges_of_blocks_are_tried() {
        let traffic = "tcp 79, tcp 80, tcp 81, tcp 82, tcp 83, tcp 4242, udp 4242, sctp 4242, icmp";
        let v4 = "node/n1 10.0.0.2 192.0.2.1 203.0.113.3 203.0.113.4 203.0.113.5 203.0.113.6";
        check(&["10.95.0.1", "fd95::1"], &Family::ALL, &format!("{v4} 2001:db8::1"), traffic);
        check(&["10.95.0.1", "fd95::1"], &[Family::V4], v4, traffic);
        check(&["fd95::1"], &Family::ALL, "node/n1 2001:db8::1", traffic);
        check(&["fd95::1"], &[Family::V4], "", "");
    }
}
