//! NP066: pods that ask for a token of the API server, and cannot reach it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_core::{Direction, Pod, PodName, Rule, Transport};
use palisade_sources::{FieldPath, ObjectRef};

use crate::check::Finding;
use crate::cluster::{Cluster, owner};
use crate::passing::{allows, holds};

pub fn find(cluster: &Cluster<'_>) -> Vec<(ObjectRef, Finding)> {
    let facts = cluster.facts();
    // Of an API server that is a pod the labels count, too.
    if facts.token_users.is_empty() || facts.api_servers.is_empty() || is_pod(cluster) {
        return Vec::new();
    }
    let mut known = BTreeSet::new();
    let mut found = Vec::new();
    for (name, pod) in &cluster.snapshot().pods {
        let owner = owner(name, pod);
        if facts.token_users.contains(&owner) && is_cut_off(cluster, name, pod) && known.insert(owner.clone()) {
            found.push((owner, finding(cluster)));
        }
    }
    found
}

fn is_pod(cluster: &Cluster<'_>) -> bool {
    let servers: BTreeSet<IpAddr> = cluster.facts().api_servers.iter().map(|(address, _)| *address).collect();
    let mut pods = cluster.snapshot().pods.values().filter(|pod| !pod.host_network && !pod.finished);
    pods.any(|pod| pod.addresses.iter().any(|address| servers.contains(address)))
}

/// Whether a pod is isolated for egress, and nothing lets it out to any API server.
fn is_cut_off(cluster: &Cluster<'_>, name: &PodName, pod: &Pod) -> bool {
    let policies = cluster.policies_of(&name.namespace, &pod.labels);
    let in_force = || policies.iter().filter(|policy| !policy.audit);
    let is_isolated = in_force().any(|policy| policy.rules[Direction::Egress].is_some());
    let mut rules = in_force().flat_map(|policy| policy.rules[Direction::Egress].iter().flatten());
    !pod.host_network
        && !pod.finished
        && is_isolated
        && policies.iter().all(|policy| policy.unreadable.is_none())
        && !is_beside(cluster, pod)
        && !rules.any(|rule| lets_out(cluster, rule))
}

/// Whether the pod runs on the node of an API server, which it always reaches.
fn is_beside(cluster: &Cluster<'_>, pod: &Pod) -> bool {
    let node = pod.node.as_ref().and_then(|node| cluster.snapshot().nodes.get(node));
    let mut servers = cluster.facts().api_servers.iter();
    node.is_some_and(|node| servers.any(|(address, _)| node.addresses.contains(address)))
}

fn lets_out(cluster: &Cluster<'_>, rule: &Rule) -> bool {
    cluster.facts().api_servers.iter().any(|(address, port)| {
        let peers = rule.peers.as_ref();
        allows(&rule.ports, Transport::Tcp, *port, &[])
            && peers.is_none_or(|peers| peers.iter().any(|peer| holds(peer, *address)))
    })
}

fn finding(cluster: &Cluster<'_>) -> Finding {
    let server = cluster.facts().api_servers.first();
    let (address, port) = server.map_or(("…".to_string(), String::new()), |(address, port)| {
        (format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }), port.to_string())
    });
    Finding {
        at: FieldPath::root(),
        message: "its pods ask for a token of the API server, and no policy lets them reach it".to_string(),
        reason: "policies see the address of the API server, and not that of the Service kubernetes".to_string(),
        hint: format!("allow egress to ipBlock {address}, TCP {port}, or set automountServiceAccountToken to false"),
    }
}
