//! A server outside of clusters: from its list, and the nodes that there are, to its one host policy.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_core::{
    AddressType, AdmittedNodes, Change, HostPolicy, HostPolicyName, NamespaceName, Node, NodeName, SelectedPods,
    Server, ServerName, Snapshot, Tables,
};

use crate::compiler::Compiler;
use crate::matching::selects;

/// What no node has, whoever says so: unspecified, loopback, multicast and broadcast addresses.
const NEVER: [IpNet; 7] = [
    v4([0, 0, 0, 0], 8),
    v4([127, 0, 0, 0], 8),
    v4([224, 0, 0, 0], 4),
    v4([255, 255, 255, 255], 32),
    v6(0, 0, 128),
    v6(0, 1, 128),
    v6(0xff00, 0, 8),
];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(first: u16, last: u16, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last), length))
}

/// What is admitted of an address of a node, or of a block of them; or why it is not. `within` that is empty is anywhere.
///
/// # Errors
///
/// Why it is not admitted: lower case, no final dot.
pub fn admissible(net: IpNet, within: &[IpNet]) -> Result<IpNet, &'static str> {
    let net = net.trunc();
    if matches!(net.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
        return Err("an IPv4 block within IPv6 is ambiguous");
    }
    if NEVER.iter().any(|never| never.contains(&net) || net.contains(never)) {
        return Err("no node has an unspecified, loopback, multicast or broadcast address");
    }
    if !within.is_empty() && !within.iter().any(|within| within.contains(&net)) {
        return Err("it is outside of spec.safety.within");
    }
    Ok(net)
}

/// A compiler for a server outside of clusters, which is the one node that it knows: what its own routing table calls local is guarded
/// by the host policies that it is told.
pub fn server_compiler() -> Compiler {
    let own: NodeName = "server".into();
    let mut compiler = Compiler::new(own.clone());
    compiler.update(&[Change::Node(own, Some(Arc::new(Node::default())))]);
    compiler
}

/// The policy that the list of a server comes to, with the nodes of a snapshot for those of its clusters.
pub fn server_policy(snapshot: &Snapshot, name: &ServerName, server: &Server) -> HostPolicy {
    let mut admitted: BTreeSet<IpNet> = BTreeSet::new();
    for cluster in &server.clusters {
        let running = cluster.pods.as_ref().map(|selected| running(snapshot, selected));
        let is_selected = |(name, node): &(&NodeName, &Arc<Node>)| {
            selects(&cluster.nodes, &node.labels) && running.as_ref().is_none_or(|running| running.contains(name))
        };
        for (_, node) in snapshot.nodes.iter().filter(is_selected) {
            admitted.extend(addresses(node, cluster).filter_map(|net| admissible(net, &server.within).ok()));
        }
    }
    admitted.extend(&server.static_cidrs);
    HostPolicy::of_blocks(HostPolicyName::Object(Arc::clone(name)), server.ports.clone(), admitted)
}

/// The tables of a server.
pub fn compile_server(snapshot: &Snapshot, name: &ServerName, server: &Server) -> Tables {
    let mut compiler = server_compiler();
    let policy = server_policy(snapshot, name, server);
    compiler.update(&[Change::HostPolicy(policy.name.clone(), Some(Arc::new(policy)))]);
    compiler.into_tables()
}

/// The nodes that run a selected pod of a selected namespace.
fn running<'a>(snapshot: &'a Snapshot, selected: &SelectedPods) -> BTreeSet<&'a NodeName> {
    let is_of_namespace = |namespace: &NamespaceName| match &selected.namespaces {
        None => true,
        Some(wanted) => snapshot.namespaces.get(namespace).is_some_and(|found| selects(wanted, &found.labels)),
    };
    let pods = snapshot.pods.iter().filter(|(name, pod)| {
        !pod.finished && selects(&selected.pods, &pod.labels) && is_of_namespace(&name.namespace)
    });
    pods.filter_map(|(_, pod)| pod.node.as_ref()).collect()
}

/// The addresses of a node that are of the types asked for.
fn addresses(node: &Node, cluster: &AdmittedNodes) -> impl Iterator<Item = IpNet> {
    let is_asked = |kind: &AddressType| cluster.address_types.contains(kind);
    let of_status = node.addresses.iter().filter(move |address| node.types_of(**address).iter().any(is_asked));
    let ranges = node.pod_cidrs.iter().filter(move |_| is_asked(&AddressType::PodCIDR));
    of_status.map(|address| IpNet::from(*address)).chain(ranges.copied())
}
