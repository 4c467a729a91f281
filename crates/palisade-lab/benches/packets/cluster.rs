//! The clusters whose tables are measured, and the flows that they admit.
//!
//! All is like [`large`] makes it, with four differences: rules speak of UDP; the pods of the node are workloads `w0`
//! and `w1`, copy by copy over the namespaces, since `w0` reaches `w1` of its own namespace; in every twelfth namespace
//! rules admit all pods of the cluster; and the peers and ports of rules are what [`Admission`] says.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_compile::compile;
use palisade_core::{
    Family, NetworkPolicy, NodeName, Peer, PerDirection, PodName, PolicyName, Port, PortMatch, PortRange, Ports, Rule,
    Selector, Snapshot, Tables, Transport,
};
use palisade_testkit::large::{Large, Variant, large};

/// How many pods and policies there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) pods: usize,
    pub(crate) policies: usize,
}

/// What in a rule admits the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// A single port, and pods as peers.
    ExactPort,
    /// A range of ports, and pods as peers.
    PortRange,
    /// A single port, and an ipBlock as peer; the pods that the rule admits besides are others.
    Block,
}

/// A cluster, and flows between pods of its node [`node`].
pub(crate) struct Cluster {
    pub(crate) snapshot: Snapshot,
    pub(crate) tables: Tables,
    pub(crate) flows: Vec<Flow>,
}

/// A UDP flow that is admitted at both ends, but for its source port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) port: u16,
}

impl Admission {
    pub(crate) const ALL: [Admission; 3] = [Admission::ExactPort, Admission::PortRange, Admission::Block];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Admission::ExactPort => "exact port",
            Admission::PortRange => "port range",
            Admission::Block => "ipBlock",
        }
    }

    /// The lookups of an admitted new flow, both directions together. Each direction takes the exact port and the
    /// group; or the exact port that misses, the subject, the range and the group; or the exact port, the group's pods
    /// that miss, and its blocks.
    pub(crate) fn lookups(self) -> usize {
        2 * match self {
            Admission::ExactPort => 2,
            Admission::PortRange => 4,
            Admission::Block => 3,
        }
    }

    /// The target for a new flow, as a multiple of connection tracking and one accept.
    pub(crate) fn target(self) -> f64 {
        match self {
            Admission::ExactPort => 1.3,
            Admission::PortRange | Admission::Block => 1.6,
        }
    }

    /// A port that is admitted where [`large`] admits this one.
    fn port(self, port: u16) -> u16 {
        match self {
            Admission::ExactPort | Admission::Block => port,
            Admission::PortRange => range(port).0 + RANGE / 2,
        }
    }
}

/// The node whose tables are measured.
pub(crate) fn node() -> NodeName {
    "n1".into()
}

const LOCAL_PODS: usize = 100;
const COPIES: usize = 10;
/// The port at which `w0` reaches `w1`.
const PORT: u16 = 8080;
/// How many ports a range has.
const RANGE: u16 = 100;
/// Every how manyth namespace admits all pods of the cluster.
const OPEN_NAMESPACE: usize = 12;

/// The cluster of this size, and the flows of one family that are measured.
pub(crate) fn cluster(scale: Scale, admission: Admission, family: Family) -> Cluster {
    let policies = if scale.policies == 1 { 0 } else { scale.policies };
    let mut snapshot = large(Large {
        pods: scale.pods,
        policies,
        local_pods: 0,
        families: &Family::ALL,
        variant: Variant::ExactPorts,
        seed: 1,
    });
    if scale.policies == 1 {
        let policy = only_policy();
        snapshot.policies.insert(policy.name.clone(), Arc::new(policy));
    }
    for policy in snapshot.policies.values_mut().map(Arc::make_mut) {
        let namespace = policy.name.namespace.strip_prefix("ns-").and_then(|index| index.parse::<usize>().ok());
        let open = namespace.is_some_and(|index| index % OPEN_NAMESPACE == OPEN_NAMESPACE / 2);
        for rule in [&mut policy.rules.ingress, &mut policy.rules.egress].into_iter().flatten().flatten() {
            adapt(rule, admission, open);
        }
    }
    for port in snapshot.pods.values_mut().flat_map(|pod| &mut Arc::make_mut(pod).ports) {
        port.transport = Transport::Udp;
    }
    let flows = place(&mut snapshot, scale)
        .into_iter()
        .filter_map(|(source, destination)| {
            let address = |name| snapshot.pods[name].address(family);
            let (source, destination) = (address(&source)?, address(&destination)?);
            Some(Flow { source, destination, port: admission.port(PORT) })
        })
        .collect();
    let tables = compile(&snapshot, &node());
    Cluster { snapshot, tables, flows }
}

/// Moves the pods to the node; returns the pairs of them of which the first reaches the second.
fn place(snapshot: &mut Snapshot, scale: Scale) -> Vec<(PodName, PodName)> {
    let name = |namespace, workload, copy| PodName::new(format!("ns-{namespace}"), format!("{workload}-{copy}"));
    let mut pairs = Vec::new();
    for copy in 0..COPIES {
        for namespace in 0..snapshot.namespaces.len() {
            let pair = (name(namespace, "w0", copy), name(namespace, "w1", copy));
            let exists = snapshot.pods.contains_key(&pair.0) && snapshot.pods.contains_key(&pair.1);
            if exists && 2 * pairs.len() < LOCAL_PODS.min(scale.pods) {
                pairs.push(pair);
            }
        }
    }
    for name in pairs.iter().flat_map(|(source, destination)| [source, destination]) {
        if let Some(pod) = snapshot.pods.get_mut(name) {
            Arc::make_mut(pod).node = Some(node());
        }
    }
    pairs
}

/// The smallest policy that isolates both ends and admits something.
fn only_policy() -> NetworkPolicy {
    let rule = |app: &str| {
        let peers = vec![Peer::Pods { namespaces: None, pods: Selector::labels([("app", app)]) }];
        let ports = Port::new(PORT).map(|port| PortMatch::Range(Transport::Tcp, PortRange::single(port)));
        Some(vec![Rule { peers: Some(peers), ports: Ports::Listed(ports.into_iter().collect()) }])
    };
    NetworkPolicy {
        name: PolicyName::new("ns-0", "only"),
        subjects: Selector::everything(),
        rules: PerDirection { ingress: rule("w0"), egress: rule("w1") },
        unreadable: None,
        audit: false,
    }
}

fn adapt(rule: &mut Rule, admission: Admission, open: bool) {
    for peer in rule.peers.iter_mut().flatten() {
        if let Peer::Pods { namespaces, pods } = peer {
            if open {
                (*namespaces, *pods) = (Some(Selector::everything()), Selector::everything());
            }
            if admission == Admission::Block {
                *pods = Selector::labels([("app", "w4")]);
            }
        }
    }
    if let (Admission::Block, Some(peers)) = (admission, &mut rule.peers) {
        peers.extend(blocks());
    }
    if let Ports::Listed(ports) = &mut rule.ports {
        for port in ports {
            *port = match port {
                PortMatch::Range(_, exact) if admission == Admission::PortRange => {
                    let (first, last) = range(exact.first().get());
                    let range =
                        Port::new(first).zip(Port::new(last)).and_then(|(first, last)| PortRange::new(first, last));
                    PortMatch::Range(Transport::Udp, range.unwrap_or(*exact))
                }
                PortMatch::Range(_, range) => PortMatch::Range(Transport::Udp, *range),
                PortMatch::Named(_, name) => PortMatch::Named(Transport::Udp, Arc::clone(name)),
                PortMatch::Every(_) => PortMatch::Every(Transport::Udp),
            }
        }
    }
}

/// The range of ports in the place of an exact one, different for each.
fn range(port: u16) -> (u16, u16) {
    let first = 10_000 + (port % RANGE) * RANGE;
    (first, first + RANGE - 1)
}

/// One ipBlock of each family around all pods, with a hole where none is.
fn blocks() -> impl Iterator<Item = Peer> {
    [("10.0.0.0/8", "10.255.0.0/16"), ("fd44::/32", "fd44:0:ffff::/48")].into_iter().filter_map(|(cidr, except)| {
        let net = |text: &str| text.parse::<IpNet>().ok();
        Some(Peer::Block { cidr: net(cidr)?, except: vec![net(except)?] })
    })
}
