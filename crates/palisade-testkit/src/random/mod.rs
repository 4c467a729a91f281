//! Small random clusters with policies that use all of NetworkPolicy, and flows near the edges of what they say.
//!
//! Alphabets are small on purpose: with three labels selectors hit, with twenty ports ranges meet.

mod bans;
mod flows;
mod hosts;
mod policies;
mod servers;
mod services;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use palisade_core::{ContainerPort, Family, Flow, Labels, Namespace, Node, NodeName, Pod, PodName, Port, Snapshot};

use crate::rng::Rng;

pub(crate) use bans::ban_list;
pub use flows::flows;
pub(crate) use hosts::{config_file, host_policy};
pub(crate) use policies::policy;
pub use servers::to_servers;
pub use services::through_services;

/// A cluster and flows to ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The cluster.
    pub snapshot: Snapshot,
    /// The flows. Each end exists, both ends share a family, and at least one is a pod or a node.
    pub flows: Vec<Flow>,
}

/// A random cluster with this many flows. The same seed gives the same case.
pub fn case(seed: u64, flow_count: usize) -> Case {
    let mut rng = Rng::new(seed);
    let snapshot = cluster(&mut rng);
    let flows = flows(&snapshot, &mut rng, flow_count);
    Case { snapshot, flows }
}

/// A cluster of 2-12 pods on 1-3 nodes in 1-4 namespaces under 0-10 policies; every second one guards ports of its nodes, and bans
/// addresses, too.
pub fn cluster(rng: &mut Rng) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let families: &[Family] = match rng.below(10) {
        0 => &[Family::V4],
        1 => &[Family::V6],
        _ => &Family::ALL,
    };
    for index in 1..=rng.between(1, 3) {
        let name = format!("n{index}");
        snapshot.nodes.insert(name.as_str().into(), Arc::new(node(rng, index, families)));
    }
    for name in &NAMESPACES[..rng.between(1, NAMESPACES.len())] {
        snapshot.namespaces.insert((*name).into(), Arc::new(Namespace { labels: namespace_labels(rng, name) }));
    }
    for _ in 0..rng.between(2, 12) {
        let name = pod_name(&snapshot, rng);
        let pod = pod(&snapshot, rng);
        snapshot.pods.insert(name, Arc::new(pod));
    }
    for _ in 0..rng.between(0, 10) {
        let policy = policy(&snapshot, rng);
        snapshot.policies.insert(policy.name.clone(), Arc::new(policy));
    }
    for _ in 0..rng.pick(&[0, 0, 1, 4]) {
        let policy = host_policy(&snapshot, rng);
        snapshot.host_policies.insert(policy.name.clone(), Arc::new(policy));
    }
    for _ in 0..rng.pick(&[0, 0, 1, 2]) {
        let list = ban_list(&snapshot, rng);
        snapshot.ban_lists.insert(list.name.clone(), Arc::new(list));
    }
    snapshot
}

/// Names that would collide if parts were joined without a separator that names cannot hold.
pub(crate) const NAMESPACES: [&str; 4] = ["a", "a-b", "b", "b-a"];
const POD_NAMES: [&str; 6] = ["a", "b", "b-a", "a-b", "w-0", "w-1"];

/// Ports that containers, rules and flows share, so that they meet; the first and last of all among them.
pub(crate) const PORTS: [u16; 12] = [80, 443, 53, 8080, 8081, 8090, 79, 81, 1, 65535, 5432, 30000];
pub(crate) const PORT_NAMES: [&str; 4] = ["http", "dns", "metrics", "x"];
const KEYS: [&str; 3] = ["app", "tier", "env"];
/// The empty value is a value.
const VALUES: [&str; 4] = ["a", "b", "c", ""];
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Node `n{index}`, with a second address in a family now and then.
pub(crate) fn node(rng: &mut Rng, index: usize, families: &[Family]) -> Node {
    let mut node = Node { labels: labels(rng), ..Node::default() };
    let subnet = u8::try_from(index).unwrap_or(u8::MAX);
    for family in families {
        let addresses = match family {
            Family::V4 => [Ipv4Addr::new(10, 99, 0, subnet).into(), Ipv4Addr::new(10, 98, subnet, 9).into()],
            Family::V6 => [address6(0xfd99, 0, u16::from(subnet)), address6(0xfd98, u16::from(subnet), 9)],
        };
        node.addresses.push(addresses[0]);
        if rng.percent(30) {
            node.addresses.push(addresses[1]);
        }
        node.pod_cidrs.push(match family {
            Family::V4 => Ipv4Net::new_assert(Ipv4Addr::new(10, 244, subnet, 0), 24).into(),
            Family::V6 => Ipv6Net::new_assert(Ipv6Addr::new(0xfd44, 0, 0, u16::from(subnet), 0, 0, 0, 0), 64).into(),
        });
    }
    node
}

fn address6(prefix: u16, subnet: u16, host: u16) -> IpAddr {
    Ipv6Addr::new(prefix, subnet, 0, 0, 0, 0, 0, host).into()
}

pub(crate) fn labels(rng: &mut Rng) -> Labels {
    let mut labels = Labels::new();
    for key in KEYS {
        if rng.percent(60) {
            let value: &str = if rng.percent(5) { "" } else { rng.pick(&VALUES[..3]) };
            labels.insert(key.into(), value.into());
        }
    }
    labels
}

pub(crate) fn namespace_labels(rng: &mut Rng, name: &str) -> Labels {
    let mut labels = labels(rng);
    labels.insert(NAME_LABEL.into(), name.into());
    labels
}

/// A name that no pod has yet.
pub(crate) fn pod_name(snapshot: &Snapshot, rng: &mut Rng) -> PodName {
    let namespaces: Vec<_> = snapshot.namespaces.keys().collect();
    let namespace = rng.pick(&namespaces).clone();
    let fresh = |name: &str| {
        let name = PodName::new(namespace.clone(), name);
        (!snapshot.pods.contains_key(&name)).then_some(name)
    };
    // Few namespaces hold few short names; then count on.
    fresh(rng.pick(&POD_NAMES))
        .or_else(|| (0..=snapshot.pods.len()).find_map(|index| fresh(&format!("p-{index}"))))
        .unwrap_or_else(|| PodName::new(namespace.clone(), "p"))
}

/// A pod for this cluster, with addresses that no other pod has, but that a finished one may have had.
pub(crate) fn pod(snapshot: &Snapshot, rng: &mut Rng) -> Pod {
    let nodes: Vec<_> = snapshot.nodes.iter().collect();
    let (node_name, node) = rng.pick(&nodes);
    let host_network = rng.percent(8);
    let finished = rng.percent(8);
    let addresses = if host_network { node.addresses.clone() } else { fresh_addresses(snapshot, rng, node_name, node) };
    Pod {
        labels: labels(rng).into(),
        node: Some(node_name.clone()),
        addresses,
        host_network,
        finished,
        ports: container_ports(rng),
        ..Pod::default()
    }
}

/// One address for each family of the pod, out of its node's range.
pub(crate) fn fresh_addresses(snapshot: &Snapshot, rng: &mut Rng, name: &NodeName, node: &Node) -> Vec<IpAddr> {
    let (live, finished): (Vec<_>, Vec<_>) =
        snapshot.pods.values().filter(|pod| !pod.host_network).partition(|pod| !pod.finished);
    let taken: BTreeSet<IpAddr> = live.iter().flat_map(|pod| pod.addresses.iter().copied()).collect();
    let reusable = finished
        .iter()
        .find(|pod| pod.node.as_ref() == Some(name) && pod.addresses.iter().all(|address| !taken.contains(address)));
    if let Some(pod) = reusable
        && rng.percent(60)
    {
        return pod.addresses.clone();
    }
    let held: BTreeSet<IpAddr> =
        taken.into_iter().chain(finished.iter().flat_map(|pod| pod.addresses.clone())).collect();
    // Half of these numbers at least are free.
    let most = 40 + 2 * held.len();
    let host = (0..1000)
        .map(|_| rng.between(1, most))
        .find(|host| node.pod_cidrs.iter().all(|cidr| !held.contains(&host_of(*cidr, *host))));
    let mut addresses: Vec<IpAddr> = node.pod_cidrs.iter().map(|cidr| host_of(*cidr, host.unwrap_or(1))).collect();
    if addresses.len() == 2 {
        match rng.below(12) {
            0 => drop(addresses.remove(0)),
            1 => drop(addresses.remove(1)),
            2 => addresses.reverse(),
            _ => {}
        }
    }
    addresses
}

fn host_of(cidr: IpNet, host: usize) -> IpAddr {
    match cidr {
        IpNet::V4(cidr) => Ipv4Addr::from_bits(cidr.network().to_bits() | u32::try_from(host).unwrap_or(0)).into(),
        IpNet::V6(cidr) => Ipv6Addr::from_bits(cidr.network().to_bits() | host as u128).into(),
    }
}

/// Up to three ports; a name may stand for another number in the next pod, for two transports, or twice.
pub(crate) fn container_ports(rng: &mut Rng) -> Vec<ContainerPort> {
    (0..rng.below(4))
        .map(|_| ContainerPort {
            name: rng.percent(70).then(|| rng.pick(&PORT_NAMES[..3]).into()),
            transport: transport(rng),
            port: known_port(rng),
            host_port: None,
            host_address: None,
        })
        .collect()
}

pub(crate) fn transport(rng: &mut Rng) -> palisade_core::Transport {
    use palisade_core::Transport::{Sctp, Tcp, Udp};
    match rng.below(10) {
        0 => Sctp,
        1..4 => Udp,
        _ => Tcp,
    }
}

pub(crate) fn known_port(rng: &mut Rng) -> Port {
    Port::new(rng.pick(&PORTS)).unwrap_or(Port::MIN)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_case() {
        for seed in 0..50 {
            assert_eq!(case(seed, 20), case(seed, 20));
        }
        assert_ne!(case(1, 20), case(2, 20));
    }

    #[test]
    fn clusters_are_consistent() {
        for seed in 0..500 {
            let Case { snapshot, flows } = case(seed, 20);
            assert_eq!(flows.len(), 20, "seed {seed}");
            assert_consistent(&snapshot, seed);
        }
    }

    pub(crate) fn assert_consistent(snapshot: &Snapshot, seed: u64) {
        let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
        for (name, node) in &snapshot.nodes {
            assert!(node.addresses.iter().all(|address| addresses.insert(*address)), "seed {seed}: {name}");
        }
        for (name, pod) in &snapshot.pods {
            let node = pod.node.as_ref().and_then(|node| snapshot.nodes.get(node)).unwrap();
            assert!(snapshot.namespaces.contains_key(&name.namespace), "seed {seed}: {name}");
            assert!(!pod.addresses.is_empty(), "seed {seed}: {name}");
            if pod.host_network {
                assert_eq!(pod.addresses, node.addresses, "seed {seed}: {name}");
            } else if !pod.finished {
                assert!(pod.addresses.iter().all(|address| addresses.insert(*address)), "seed {seed}: {name}");
            }
        }
        for policy in snapshot.policies.values() {
            assert!(snapshot.namespaces.contains_key(&policy.name.namespace), "seed {seed}: {}", policy.name);
            assert!(policy.rules.ingress.is_some() || policy.rules.egress.is_some(), "seed {seed}: {}", policy.name);
        }
    }

    /// What the generator promises to use now and then, it uses.
    #[test]
    fn everything_comes_up() {
        let cases: Vec<Case> = (0..300).map(|seed| case(seed, 20)).collect();
        let text = format!("{cases:?}");
        for part in [
            "host_network: true",
            "finished: true",
            "NotIn(",
            "DoesNotExist",
            "Exists",
            "Every(Sctp)",
            "Named(Udp",
            "namespaces: Some(",
            "cidr: 0.0.0.0/0",
            "cidr: ::/0",
            "/32",
            "/128",
            "ports: All",
            "peers: None",
            "ingress: None",
            "egress: None",
            "unreadable: Some(",
            "Nodes(Selector",
            "otherwise: Reject",
        ] {
            assert!(text.contains(part), "no case has {part}");
        }
        let reused = cases.iter().any(|case| {
            let pods: Vec<_> = case.snapshot.pods.values().filter(|pod| !pod.host_network).collect();
            pods.iter()
                .any(|old| old.finished && pods.iter().any(|new| !new.finished && new.addresses == old.addresses))
        });
        assert!(reused, "no live pod has the address of a finished one");
    }
}
