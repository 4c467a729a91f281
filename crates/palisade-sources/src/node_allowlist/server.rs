//! A list among manifests: the server that has it in force, as a part of the snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_core::{AdmittedNodes, Diagnostic, Family, Level, Server, ServerName, Snapshot};

use super::{ClusterSource, KIND, Mode, NodeAllowlist};
use crate::addresses::Range;
use crate::objects::Placed;
use crate::report::Report;

/// Where the addresses of servers come from: the first of each family.
const NETWORKS: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 95, 0, 0), 24)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd95, 0, 0, 0, 0, 0, 0, 0), 64)),
];

/// The servers of the input, each under an address of its own in each of these families.
pub fn place(
    lists: BTreeMap<ServerName, Placed<NodeAllowlist>>,
    snapshot: &Snapshot,
    families: &[Family],
    report: &mut Report<'_>,
) -> BTreeMap<ServerName, Arc<Server>> {
    if lists.is_empty() {
        return BTreeMap::new();
    }
    let of_nodes = snapshot.nodes.values().flat_map(|node| &node.addresses);
    let of_pods = snapshot.pods.values().flat_map(|pod| &pod.addresses);
    let of_services = snapshot.services.values().flat_map(|service| service.addresses.iter().chain(&service.external));
    let taken: BTreeSet<IpAddr> = of_nodes.chain(of_pods).chain(of_services).copied().collect();
    let networks = NETWORKS.into_iter().filter(|network| families.contains(&Family::of(network.addr())));
    let mut free: Vec<_> =
        networks.map(|network| Range::new(network, 1).filter(|address| !taken.contains(address))).collect();
    let mut servers = BTreeMap::new();
    for (name, list) in lists {
        tell_what_is_left_out(&list, report);
        if list.object.mode != Mode::OwnChain {
            continue;
        }
        let addresses = free.iter_mut().filter_map(Iterator::next).collect();
        servers.insert(name, Arc::new(server(list.object, addresses)));
    }
    servers
}

/// What of a list is other here than where it is in force.
fn tell_what_is_left_out(Placed { origin, object: list }: &Placed<NodeAllowlist>, report: &mut Report<'_>) {
    let mut tell = |level, message| {
        let object = Some(format!("{KIND} {}", list.name));
        report.add(*origin, Diagnostic { object, ..Diagnostic::new(level, message) });
    };
    if list.mode != Mode::OwnChain {
        let message = "spec.mode: it makes no server here: nobody knows what rules of others do with the addresses";
        return tell(Level::Warning, message.to_string());
    }
    let names: Vec<&str> = list.clusters.iter().map(|cluster| &*cluster.name).collect();
    if names.len() > 1 {
        let message = format!("the nodes of the input stand for those of each of its clusters: {}", names.join(", "));
        tell(Level::Note, message);
    }
    for index in (0..list.clusters.len()).filter(|index| list.clusters[*index].egress_annotation.is_some()) {
        let field = format!("spec.clusters[{index}].egressAnnotation");
        tell(Level::Warning, format!("{field}: not read here: the addresses that it names are not admitted"));
    }
}

/// What the list says. How API servers are reached, and what of their answers is believed when, is no matter of one moment.
fn server(list: NodeAllowlist, addresses: Vec<IpAddr>) -> Server {
    let NodeAllowlist { name: _, clusters, static_cidrs, allow, mode: _, exports: _, safety } = list;
    let admitted = |cluster| {
        let ClusterSource { name, kubeconfig: _, context: _, nodes, pods, address_types, egress_annotation: _ } =
            cluster;
        AdmittedNodes { name, nodes, pods, address_types }
    };
    Server {
        addresses,
        clusters: clusters.into_iter().map(admitted).collect(),
        static_cidrs,
        within: safety.within,
        ports: allow,
    }
}
