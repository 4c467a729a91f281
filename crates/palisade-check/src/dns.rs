//! The DNS servers of the cluster, as far as the input shows them.

use std::net::{IpAddr, Ipv4Addr};

use palisade_core::{
    Labels, NetworkPolicy, ObjectName, Peer, Pod, PodName, Port, Rule, ServicePort, Snapshot, Transport, WorkloadKind,
    WorkloadName,
};
use palisade_sim::selects;

use crate::cluster::Cluster;
use crate::matching::may_select;
use crate::passing::{allows, holds, targets};
use crate::pod_class::PodClass;

/// Where they are, and the name of their Service there.
const NAMESPACE: &str = "kube-system";
const SERVICE: &str = "kube-dns";
/// The label that their pods have, whatever they are called.
const LABEL: (&str, &str) = ("k8s-app", "kube-dns");
/// The label of the caches on nodes, and the address of each on its own.
const CACHE_LABEL: (&str, &str) = ("k8s-app", "node-local-dns");
const CACHE: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10));
const DNS: u16 = 53;

/// The pods of `kube-dns` that have addresses of their own, and the ports at which they serve.
pub struct Dns<'a>(Vec<(&'a Pod, Vec<(Transport, Port)>)>);

impl<'a> Dns<'a> {
    /// The servers of the input. `None` if it shows none, or a cache on nodes that pods ask instead.
    pub fn read(snapshot: &'a Snapshot) -> Option<Dns<'a>> {
        let first = PodName::new(NAMESPACE, "");
        let pods = snapshot.pods.range(first..).take_while(|(name, _)| *name.namespace == *NAMESPACE);
        let pods: Vec<&Pod> = pods.map(|(_, pod)| &**pod).collect();
        if pods.iter().any(|pod| has(&pod.labels, CACHE_LABEL)) {
            return None;
        }
        let ports = snapshot.services.get(&ObjectName::new(NAMESPACE, SERVICE)).map(|service| &*service.ports);
        let namespace = NAMESPACE.into();
        let service = WorkloadName { namespace, kind: WorkloadKind::Service, name: SERVICE.into() };
        let behind = snapshot.workloads.get(&service).map(|pods| &**pods).unwrap_or_default();
        let behind = behind.iter().filter_map(|name| snapshot.pods.get(name)).map(|pod| &**pod);
        let labelled = pods.into_iter().filter(|pod| has(&pod.labels, LABEL));
        let has_address = |pod: &&Pod| !pod.host_network && !pod.finished;
        let servers = behind.chain(labelled).filter(has_address).map(|pod| (pod, serves(pod, ports)));
        let servers: Vec<_> = servers.filter(|(_, ports)| !ports.is_empty()).collect();
        (!servers.is_empty()).then_some(Dns(servers))
    }

    /// A port at which one of them serves.
    pub fn port(&self) -> Option<Port> {
        self.0.first()?.1.first().map(|(_, port)| *port)
    }

    /// Whether an egress rule of a policy may let its pods ask one of them, or a cache on their node.
    pub fn may_be_asked(&self, policy: &NetworkPolicy, rule: &Rule, cluster: &Cluster<'_>) -> bool {
        let is_dns = |transport| Port::new(DNS).is_some_and(|port| allows(&rule.ports, transport, port, &[]));
        let is_cache = rule.peers.iter().flatten().any(|peer| holds(peer, CACHE));
        (is_cache && (is_dns(Transport::Udp) || is_dns(Transport::Tcp)))
            || self.0.iter().any(|(server, ports)| {
                let is_peer = match &rule.peers {
                    None => true,
                    Some(peers) => peers.iter().any(|peer| is_server(peer, &policy.name.namespace, server, cluster)),
                };
                is_peer && ports.iter().any(|(transport, port)| allows(&rule.ports, *transport, *port, &server.ports))
            })
    }
}

/// Whether pods are such servers.
pub fn are_servers(pods: &PodClass<'_>) -> bool {
    let is_behind = pods.services.iter().any(|(service, _)| *service.name == *SERVICE);
    pods.namespace == NAMESPACE && (is_behind || has(pods.labels, LABEL))
}

fn has(labels: &Labels, (key, value): (&str, &str)) -> bool {
    labels.get(key).is_some_and(|found| **found == *value)
}

/// Where a server listens: what the Service leads to from port 53, or else that port.
fn serves(pod: &Pod, ports: Option<&[ServicePort]>) -> Vec<(Transport, Port)> {
    let Some(ports) = ports else {
        return [Transport::Udp, Transport::Tcp].into_iter().filter_map(|of| Some((of, Port::new(DNS)?))).collect();
    };
    let dns = ports.iter().filter(|port| port.port.get() == DNS);
    dns.flat_map(|port| targets(port, &pod.ports).into_iter().map(|target| (port.transport, target))).collect()
}

/// Whether a peer may be a server. Addresses that the input leaves out may be in any block.
fn is_server(peer: &Peer, namespace: &str, server: &Pod, cluster: &Cluster<'_>) -> bool {
    match peer {
        Peer::Block { .. } => server.assumed.addresses || server.addresses.iter().any(|address| holds(peer, *address)),
        Peer::Pods { namespaces, pods } => {
            let may_be_there = match namespaces {
                None => namespace == NAMESPACE,
                Some(selector) => may_select(selector, NAMESPACE, cluster),
            };
            may_be_there && selects(pods, &server.labels)
        }
    }
}
