//! NP012: a port by its name, towards addresses alone.

use std::net::IpAddr;

use palisade_core::{ContainerPort, Direction, Peer, PortMatch, Ports, Transport};

use crate::check::Finding;
use crate::passing::holds;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    // For ingress the name is one of the pods that the policy selects.
    for rule in subject.rules().into_iter().filter(|rule| rule.direction == Direction::Egress) {
        let (Some(peers), Ports::Listed(ports)) = (&rule.rule.peers, &rule.rule.ports) else { continue };
        if !peers.iter().all(|peer| matches!(peer, Peer::Block { .. })) {
            continue;
        }
        for (index, port) in ports.iter().enumerate() {
            let PortMatch::Named(transport, name) = port else { continue };
            if holds_pod_with(subject, peers, (*transport, name)) {
                continue;
            }
            found.push(Finding {
                at: rule.at.clone().field("ports").item(index),
                message: format!("no address outside of the cluster has a port named '{name}'"),
                reason: "names are those of the ports of pods: to what is no pod the rule allows nothing here"
                    .to_string(),
                hint: "write the number".to_string(),
            });
        }
    }
    found
}

/// Whether a block holds a pod that declares a port of this name.
fn holds_pod_with(subject: &Subject<'_>, peers: &[Peer], (transport, name): (Transport, &str)) -> bool {
    let is_named = |port: &ContainerPort| port.transport == transport && port.name.as_deref() == Some(name);
    let is_held = |address: &IpAddr| peers.iter().any(|peer| holds(peer, *address));
    let mut pods = subject.cluster.snapshot().pods.values().filter(|pod| !pod.assumed.addresses);
    pods.any(|pod| pod.ports.iter().any(is_named) && pod.addresses.iter().any(is_held))
}
