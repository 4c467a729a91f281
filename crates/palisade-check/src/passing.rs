//! Whether a rule may let something pass. Where the input does not tell, it may.

use std::net::IpAddr;

use palisade_core::{ContainerPort, Peer, Port, PortMatch, PortRange, Ports, Rule, ServicePort, TargetPort, Transport};
use palisade_sim::selects;

use crate::cluster::Cluster;
use crate::matching::may_select;
use crate::pod_class::PodClass;

/// A range of ports of one protocol.
pub type Range = (Transport, PortRange);

/// Whether a rule of a policy of this namespace may be about these pods as peers. Whether a block holds them is not known.
pub fn may_be_pods(rule: &Rule, namespace: &str, pods: &PodClass<'_>, cluster: &Cluster<'_>) -> bool {
    let Some(peers) = &rule.peers else { return true };
    peers.iter().any(|peer| match peer {
        Peer::Block { .. } => true,
        Peer::Pods { namespaces: None, pods: selector } => {
            namespace == pods.namespace && selects(selector, pods.labels)
        }
        Peer::Pods { namespaces: Some(namespaces), pods: selector } => {
            selects(selector, pods.labels) && may_select(namespaces, pods.namespace, cluster)
        }
    })
}

/// Whether a block of a peer holds an address.
pub fn holds(peer: &Peer, address: IpAddr) -> bool {
    matches!(peer, Peer::Block { cidr, except }
        if cidr.contains(&address) && !except.iter().any(|block| block.contains(&address)))
}

/// Whether some traffic is of both, at a pod that declares these ports.
pub fn overlap(one: &Ports, other: &Ports, declared: &[ContainerPort]) -> bool {
    match (one, other) {
        (Ports::All, Ports::All) => true,
        (Ports::All, Ports::Listed(listed)) | (Ports::Listed(listed), Ports::All) => {
            listed.iter().any(|port| !ranges(port, declared).is_empty())
        }
        (Ports::Listed(one), Ports::Listed(other)) => {
            let other: Vec<Range> = other.iter().flat_map(|port| ranges(port, declared)).collect();
            let meets = |(transport, range): &Range| {
                other
                    .iter()
                    .any(|(of, with)| of == transport && with.first() <= range.last() && range.first() <= with.last())
            };
            one.iter().flat_map(|port| ranges(port, declared)).any(|range| meets(&range))
        }
    }
}

/// Whether a port is allowed, of a pod that declares these.
pub fn allows(ports: &Ports, transport: Transport, port: Port, declared: &[ContainerPort]) -> bool {
    let Ports::Listed(ports) = ports else { return true };
    let mut ranges = ports.iter().flat_map(|port| ranges(port, declared));
    ranges.any(|(of, range)| of == transport && range.contains(port))
}

/// What a port comes to at a pod that declares these.
pub fn ranges(port: &PortMatch, declared: &[ContainerPort]) -> Vec<Range> {
    match port {
        PortMatch::Every(transport) => vec![(*transport, PortRange::EVERY)],
        PortMatch::Range(transport, range) => vec![(*transport, *range)],
        PortMatch::Named(transport, name) => {
            let named = declared.iter().filter(|port| port.transport == *transport && port.name.as_ref() == Some(name));
            named.map(|port| (*transport, PortRange::single(port.port))).collect()
        }
    }
}

/// Where a port of a Service leads at a pod that declares these.
pub fn targets(port: &ServicePort, declared: &[ContainerPort]) -> Vec<Port> {
    match &port.target {
        TargetPort::Number(number) => vec![*number],
        TargetPort::Named(name) => {
            let named = PortMatch::Named(port.transport, name.clone());
            ranges(&named, declared).into_iter().map(|(_, range)| range.first()).collect()
        }
    }
}
