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
    let of_nodes = snapshot.nodes.values().flat_map(|node| &node.addresses);
    let of_pods = snapshot.pods.values().flat_map(|pod| &pod.addresses);
    let of_services = snapshot.services.values().flat_map(|service| service.addresses.iter().chain(&service.external));
    let taken: BTreeSet<IpAddr> = of_nodes.chain(of_pods).chain(of_services).copied().collect();
    let networks = NETWORKS.into_iter().filter(|network| families.contains(&Family::of(network.addr())));
    let mut free: Vec<_> =
        networks.map(|network| Range::new(network, 1).filter(|address| !taken.contains(address))).collect();
    let mut servers = BTreeMap::new();
    for (name, list) in lists {
        for message in unread(&list.object) {
            let object = Some(format!("{KIND} {name}"));
            report.add(list.origin, Diagnostic { object, ..Diagnostic::new(Level::Note, message) });
        }
        if list.object.mode != Mode::OwnChain {
            continue;
        }
        let addresses = free.iter_mut().filter_map(Iterator::next).collect();
        servers.insert(name, Arc::new(server(list.object, addresses)));
    }
    servers
}

/// What the list means, and the input cannot show.
fn unread(list: &NodeAllowlist) -> Vec<String> {
    if list.mode != Mode::OwnChain {
        return vec![
            "which ports are guarded stands in rules that are not read here: no server is made of the list".to_string(),
        ];
    }
    let mut unread = Vec::new();
    let names: Vec<&str> = list.clusters.iter().map(|cluster| &*cluster.name).collect();
    if names.len() > 1 {
        unread.push(format!("the nodes of the input stand for those of each of its clusters: {}", names.join(", ")));
    }
    for cluster in list.clusters.iter().filter(|cluster| cluster.egress_annotation.is_some()) {
        unread.push(format!("cluster {}: what egressAnnotation names is not read here", cluster.name));
    }
    unread
}

/// What the list says. How API servers are reached, and what of their answers is believed when, is no matter of one moment.
fn server(list: NodeAllowlist, addresses: Vec<IpAddr>) -> Server {
    let NodeAllowlist { name: _, clusters, static_cidrs, allow, mode: _, exports: _, safety } = list;
    let admitted = |cluster: ClusterSource| {
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
