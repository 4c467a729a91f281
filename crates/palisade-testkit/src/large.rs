//! A big cluster for benchmarks: many namespaces that look alike, as real ones do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use palisade_core::{
    ContainerPort, Direction, Family, Labels, Namespace, NamespaceName, NetworkPolicy, Node, NodeName, Peer,
    PerDirection, Pod, PodName, PolicyName, Port, PortMatch, PortRange, Ports, Rule, Selector, Snapshot, Transport,
};

use crate::rng::Rng;

/// What a big cluster consists of.
#[derive(Clone, Copy, Debug)]
pub struct Large<'a> {
    /// How many pods, in namespaces of fifty: five workloads `w0`-`w4` of ten pods each.
    pub pods: usize,
    /// How many policies, the same number in every namespace (one more in the first ones).
    pub policies: usize,
    /// How many of the pods run on node `n1`, at most 4,000; the others are spread, 110 to a node.
    pub local_pods: usize,
    /// Which families every pod has.
    pub families: &'a [Family],
    /// What the rules look like.
    pub variant: Variant,
    /// Which pods are local.
    pub seed: u64,
}

/// What the rules look like; they cost the data plane differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Pods as peers, single ports, names of ports.
    ExactPorts,
    /// The same, with ranges of ports and ipBlocks besides.
    RangesAndBlocks,
}

const NAMESPACE_PODS: usize = 50;
const WORKLOADS: usize = 5;
const NODE_PODS: usize = 110;
const TEAMS: usize = 20;

/// A big cluster. The first policy of a namespace denies everything both ways; each further one opens some of
/// it: workload to workload, a team's namespaces to a workload, a named port, blocks and ranges. In namespace
/// `ns-0` pods `w0-…` reach pods `w1-…` on TCP 8080 as soon as there are three policies in it.
pub fn large(wanted: Large<'_>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let namespaces = wanted.pods.div_ceil(NAMESPACE_PODS).max(1);
    for index in 0..namespaces {
        let name: NamespaceName = format!("ns-{index}").into();
        let labels = [("kubernetes.io/metadata.name", &*name), ("team", &format!("t{}", index % TEAMS))];
        let namespace =
            Namespace { labels: labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect() };
        snapshot.namespaces.insert(name.clone(), Arc::new(namespace));
        let policies = wanted.policies / namespaces + usize::from(index < wanted.policies % namespaces);
        for number in 0..policies {
            let policy = policy(&name, index, number, wanted.variant);
            snapshot.policies.insert(policy.name.clone(), Arc::new(policy));
        }
    }
    let local = places(&wanted);
    let mut filled = vec![0; 2 + wanted.pods.div_ceil(NODE_PODS)];
    let mut remote = 0usize;
    for (index, local) in local.into_iter().enumerate() {
        let node = if local {
            1
        } else {
            remote += 1;
            1 + remote.div_ceil(NODE_PODS).max(1)
        };
        filled[node] += 1;
        let (name, pod) = pod(index, node, filled[node], wanted.families);
        snapshot.pods.insert(name, Arc::new(pod));
    }
    for (index, pods) in filled.into_iter().enumerate().skip(1) {
        if index == 1 || pods > 0 {
            snapshot.nodes.insert(node_name(index), Arc::new(node(index, wanted.families)));
        }
    }
    snapshot
}

/// For each pod whether it is local: as many as wanted, wherever.
fn places(wanted: &Large<'_>) -> Vec<bool> {
    let mut rng = Rng::new(wanted.seed);
    let mut local = vec![false; wanted.pods];
    let mut left = wanted.local_pods.min(wanted.pods);
    for (index, local) in local.iter_mut().enumerate() {
        if rng.below(wanted.pods - index) < left {
            *local = true;
            left -= 1;
        }
    }
    local
}

fn node_name(index: usize) -> NodeName {
    format!("n{index}").into()
}

/// The range of pods of a node: a /20 of 10.0.0.0/8, a /64 of `fd44::/48`.
fn pod_cidr(node: usize, family: Family) -> IpNet {
    match family {
        Family::V4 => {
            let base = 0x0a00_0000 | (u32::try_from(node).unwrap_or(0) << 12);
            Ipv4Net::new_assert(Ipv4Addr::from_bits(base), 20).into()
        }
        Family::V6 => {
            let subnet = u16::try_from(node).unwrap_or(0);
            Ipv6Net::new_assert(Ipv6Addr::new(0xfd44, 0, 0, subnet, 0, 0, 0, 0), 64).into()
        }
    }
}

fn node(index: usize, families: &[Family]) -> Node {
    let number = u16::try_from(index).unwrap_or(0);
    let [high, low] = number.to_be_bytes();
    Node {
        labels: Labels::from([("kubernetes.io/hostname".into(), node_name(index))]),
        addresses: families
            .iter()
            .map(|family| match family {
                Family::V4 => IpAddr::from(Ipv4Addr::new(172, 16, high, low)),
                Family::V6 => IpAddr::from(Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, number)),
            })
            .collect(),
        pod_cidrs: families.iter().map(|family| pod_cidr(index, *family)).collect(),
        ..Node::default()
    }
}

fn pod(index: usize, node: usize, host: usize, families: &[Family]) -> (PodName, Pod) {
    let (namespace, within) = (index / NAMESPACE_PODS, index % NAMESPACE_PODS);
    let (workload, copy) = (within % WORKLOADS, within / WORKLOADS);
    let name = PodName::new(format!("ns-{namespace}"), format!("w{workload}-{copy}"));
    let address = |family: &Family| match pod_cidr(node, *family).network() {
        IpAddr::V4(base) => IpAddr::from(Ipv4Addr::from_bits(base.to_bits() | u32::try_from(host).unwrap_or(0))),
        IpAddr::V6(base) => Ipv6Addr::from_bits(base.to_bits() | host as u128).into(),
    };
    let pod = Pod {
        labels: Arc::new(Labels::from([
            ("app".into(), format!("w{workload}").into()),
            ("tier".into(), if workload < 2 { "front".into() } else { "back".into() }),
        ])),
        node: Some(node_name(node)),
        addresses: families.iter().map(address).collect(),
        // The number behind `http` differs from workload to workload.
        ports: vec![
            container_port("http", 8080 + u16::try_from(workload % 2).unwrap_or(0)),
            container_port("metrics", 9090),
        ],
        ..Pod::default()
    };
    (name, pod)
}

fn container_port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.into()),
        transport: Transport::Tcp,
        port: number(port),
        host_port: None,
        host_address: None,
    }
}

fn number(port: u16) -> Port {
    Port::new(port).unwrap_or(Port::MIN)
}

/// The policy with this number in its namespace.
fn policy(namespace: &NamespaceName, index: usize, number_of_policy: usize, variant: Variant) -> NetworkPolicy {
    // Later policies say the same of other workloads and of other ports.
    let turn = number_of_policy.saturating_sub(1);
    let kinds = if variant == Variant::ExactPorts { 4 } else { 6 };
    let (kind, round) = (turn % kinds, turn / kinds);
    let app = |number: usize| Selector::labels([("app", format!("w{}", (number + round) % WORKLOADS).as_str())]);
    let port = number(8080 + u16::try_from(round).unwrap_or(0));
    let pods = |pods: Selector| Peer::Pods { namespaces: None, pods };
    let rule = |peer: Peer, ports: Vec<PortMatch>| vec![Rule { peers: Some(vec![peer]), ports: Ports::Listed(ports) }];
    let exact = PortMatch::Range(Transport::Tcp, PortRange::single(port));
    let (subjects, ingress, egress) = match (number_of_policy, kind) {
        (0, _) => (Selector::everything(), Some(Vec::new()), Some(Vec::new())),
        (_, 0) => (app(1), Some(rule(pods(app(0)), vec![exact.clone()])), None),
        (_, 1) => (app(0), None, Some(rule(pods(app(1)), vec![exact.clone()]))),
        (_, 2) => {
            let team = format!("t{}", (index + 1 + round) % TEAMS);
            let peer = Peer::Pods { namespaces: Some(Selector::labels([("team", team.as_str())])), pods: app(0) };
            (app(2), Some(rule(peer, vec![exact.clone()])), None)
        }
        (_, 3) => {
            let named = vec![PortMatch::Named(Transport::Tcp, "http".into())];
            (app(3), Some(rule(pods(Selector::everything()), named)), None)
        }
        (_, 4) => {
            let ports = PortRange::new(number(30000), number(32767)).into_iter();
            let ports = ports.map(|range| PortMatch::Range(Transport::Tcp, range)).collect();
            (app(4), Some(rule(pods(app(3)), ports)), None)
        }
        _ => (
            app(4),
            Some(rule(block(index, Direction::Ingress), vec![exact.clone()])),
            Some(rule(block(index, Direction::Egress), vec![exact.clone()])),
        ),
    };
    let name = PolicyName::new(namespace.clone(), format!("policy-{number_of_policy}"));
    NetworkPolicy { name, subjects, rules: PerDirection { ingress, egress }, unreadable: None, audit: false }
}

/// A block outside the cluster with a hole, one of a hundred of each direction.
fn block(index: usize, direction: Direction) -> Peer {
    let second = 18 + u8::from(direction == Direction::Egress);
    let third = u8::try_from(index % 100).unwrap_or(0);
    let net = |length| IpNet::from(Ipv4Net::new_assert(Ipv4Addr::new(198, second, third, 0), length));
    Peer::Block { cidr: net(24), except: vec![net(28)] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_wanted_numbers_come_out() {
        for (pods, policies, local_pods) in [(10, 1, 5), (1000, 130, 100), (10_000, 1000, 100)] {
            for variant in [Variant::ExactPorts, Variant::RangesAndBlocks] {
                let wanted = Large { pods, policies, local_pods, families: &Family::ALL, variant, seed: 1 };
                let snapshot = large(wanted);
                assert_eq!(snapshot, large(wanted));
                assert_eq!((snapshot.pods.len(), snapshot.policies.len()), (pods, policies));
                let local = snapshot.pods.values().filter(|pod| pod.node.as_deref() == Some("n1")).count();
                assert_eq!(local, local_pods);
                let mut addresses = BTreeSet::new();
                for pod in snapshot.pods.values() {
                    let node = &snapshot.nodes[pod.node.as_ref().unwrap()];
                    for address in &pod.addresses {
                        assert!(addresses.insert(*address));
                        assert!(node.pod_cidrs.iter().any(|cidr| cidr.contains(address)));
                    }
                }
            }
        }
    }
}
