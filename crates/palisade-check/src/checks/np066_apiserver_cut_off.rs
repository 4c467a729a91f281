//! NP066: pods that ask for a token of the API server, and cannot reach it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_core::{Direction, Family, Pod, PodName, Port, Rule, Transport};
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
        if !facts.token_users.contains(&owner) {
            continue;
        }
        let denied = denied(cluster, name, pod);
        if !denied.is_empty() && known.insert(owner.clone()) {
            found.push((owner, finding(&denied)));
        }
    }
    found
}

fn is_pod(cluster: &Cluster<'_>) -> bool {
    let servers: BTreeSet<IpAddr> = cluster.facts().api_servers.iter().map(|(address, _)| *address).collect();
    let mut pods = cluster.snapshot().pods.values().filter(|pod| !pod.host_network && !pod.finished);
    pods.any(|pod| pod.addresses.iter().any(|address| servers.contains(address)))
}

/// The API servers to which nothing lets a pod out that is isolated for egress, of the families that it has.
fn denied(cluster: &Cluster<'_>, name: &PodName, pod: &Pod) -> Vec<(IpAddr, Port)> {
    let policies = cluster.policies_of(&name.namespace, &pod.labels);
    let in_force = || policies.iter().filter(|policy| !policy.audit);
    let is_isolated = in_force().any(|policy| policy.rules[Direction::Egress].is_some());
    let is_readable = policies.iter().all(|policy| policy.unreadable.is_none());
    if pod.host_network || pod.finished || !is_isolated || !is_readable || is_beside(cluster, pod) {
        return Vec::new();
    }
    let is_let_out = |server: &(IpAddr, Port)| {
        let mut rules = in_force().flat_map(|policy| policy.rules[Direction::Egress].iter().flatten());
        rules.any(|rule| lets_out(rule, *server))
    };
    let has_family = |(address, _): &&(IpAddr, Port)| pod.address(Family::of(*address)).is_some();
    cluster.facts().api_servers.iter().filter(has_family).filter(|server| !is_let_out(server)).copied().collect()
}

/// Whether the pod runs on the node of an API server, which it always reaches.
fn is_beside(cluster: &Cluster<'_>, pod: &Pod) -> bool {
    let node = pod.node.as_ref().and_then(|node| cluster.snapshot().nodes.get(node));
    let mut servers = cluster.facts().api_servers.iter();
    node.is_some_and(|node| servers.any(|(address, _)| node.addresses.contains(address)))
}

fn lets_out(rule: &Rule, (address, port): (IpAddr, Port)) -> bool {
    let peers = rule.peers.as_ref();
    allows(&rule.ports, Transport::Tcp, port, &[])
        && peers.is_none_or(|peers| peers.iter().any(|peer| holds(peer, address)))
}

fn finding(denied: &[(IpAddr, Port)]) -> Finding {
    let block = |(address, port): &(IpAddr, Port)| {
        format!("ipBlock {address}/{}, TCP {port}", if address.is_ipv4() { 32 } else { 128 })
    };
    let blocks: Vec<String> = denied.iter().map(block).collect();
    let addresses: Vec<String> = denied.iter().map(|(address, _)| address.to_string()).collect();
    Finding {
        at: FieldPath::root(),
        message: format!(
            "its pods ask for a token of the API server, and no policy lets them reach it at {}",
            addresses.join(", ")
        ),
        reason: "policies see the address of the API server, and not that of the Service kubernetes".to_string(),
        hint: format!("allow egress to {}, or set automountServiceAccountToken to false", blocks.join(" and ")),
    }
}
