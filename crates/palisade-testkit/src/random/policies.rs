//! Random policies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use palisade_core::{
    Direction, NetworkPolicy, Operator, Peer, PerDirection, PolicyName, Port, PortMatch, PortRange, Ports, Requirement,
    Rule, Selector, Snapshot,
};

use super::{KEYS, NAME_LABEL, PORT_NAMES, VALUES, known_port, transport};
use crate::rng::Rng;

const POLICY_NAMES: [&str; 6] = ["p", "q", "b-p", "a.b", "a-b", "default-deny"];

/// A policy for this cluster; it may have the name of another.
pub(crate) fn policy(snapshot: &Snapshot, rng: &mut Rng) -> NetworkPolicy {
    let namespaces: Vec<_> = snapshot.namespaces.keys().collect();
    let namespace = rng.pick(&namespaces).clone();
    let name = if rng.percent(50) { format!("p{}", rng.below(20)) } else { rng.pick(&POLICY_NAMES).to_string() };
    let unreadable = rng.percent(4).then(|| "unknown field `unreadable`".to_string());
    let both = rng.percent(30);
    let only = if rng.percent(60) { Direction::Ingress } else { Direction::Egress };
    let mut rules = PerDirection::default();
    for direction in Direction::ALL {
        if both || only == direction {
            let count = if unreadable.is_some() { 0 } else { rng.below(4) };
            rules[direction] = Some((0..count).map(|_| rule(snapshot, rng)).collect());
        }
    }
    NetworkPolicy {
        name: PolicyName::new(namespace, name),
        subjects: selector(rng, &KEYS),
        rules,
        unreadable,
        audit: rng.percent(15),
    }
}

fn rule(snapshot: &Snapshot, rng: &mut Rng) -> Rule {
    let peers =
        if rng.percent(20) { None } else { Some((0..rng.between(1, 3)).map(|_| peer(snapshot, rng)).collect()) };
    let ports =
        if rng.percent(30) { Ports::All } else { Ports::Listed((0..rng.between(1, 3)).map(|_| port(rng)).collect()) };
    Rule { peers, ports }
}

fn peer(snapshot: &Snapshot, rng: &mut Rng) -> Peer {
    if rng.percent(45) {
        let (cidr, except) = block(snapshot, rng);
        return Peer::Block { cidr, except };
    }
    let namespaces = match rng.below(10) {
        0..4 => None,
        4 => {
            let names: Vec<_> = snapshot.namespaces.keys().collect();
            Some(Selector::labels([(NAME_LABEL, &**rng.pick(&names))]))
        }
        _ => Some(selector(rng, &KEYS)),
    };
    Peer::Pods { namespaces, pods: selector(rng, &KEYS) }
}

/// Mostly short selectors, so that they select something.
pub(crate) fn selector(rng: &mut Rng, keys: &[&str]) -> Selector {
    let count = rng.pick(&[0, 0, 1, 1, 1, 1, 2, 3]);
    let requirements = (0..count)
        .map(|_| {
            let mut values = || -> Vec<Arc<str>> { (0..rng.between(1, 2)).map(|_| rng.pick(&VALUES).into()).collect() };
            let (in_, not_in) = (values(), values());
            Requirement {
                key: (rng.pick(keys)).into(),
                operator: match rng.below(8) {
                    0..4 => Operator::In(in_),
                    4..6 => Operator::NotIn(not_in),
                    6 => Operator::Exists,
                    _ => Operator::DoesNotExist,
                },
            }
        })
        .collect();
    Selector::new(requirements)
}

fn port(rng: &mut Rng) -> PortMatch {
    let transport = transport(rng);
    match rng.below(10) {
        0 => PortMatch::Every(transport),
        1..5 => PortMatch::Range(transport, PortRange::single(known_port(rng))),
        5..7 => PortMatch::Named(transport, rng.pick(&PORT_NAMES).into()),
        _ => PortMatch::Range(transport, range(rng)),
    }
}

/// A range around or beside a known port: it begins or ends on it, or just misses it.
pub(super) fn range(rng: &mut Rng) -> PortRange {
    let near = |rng: &mut Rng, port: Port| {
        let near = usize::from(port.get()) + rng.below(3);
        Port::new(u16::try_from(near - 1).unwrap_or(u16::MAX)).unwrap_or(Port::MIN)
    };
    let ends = (known_port(rng), known_port(rng));
    let (one, other) = (near(rng, ends.0), near(rng, ends.1));
    PortRange::new(one.min(other), one.max(other)).unwrap_or(PortRange::single(one))
}

/// A block around something: a pod, a node, an outside address, or everything.
pub(super) fn block(snapshot: &Snapshot, rng: &mut Rng) -> (IpNet, Vec<IpNet>) {
    let address = address(snapshot, rng);
    let length = match address {
        IpAddr::V4(_) => rng.pick(&[0, 8, 15, 16, 23, 24, 25, 28, 30, 31, 32, 32]),
        IpAddr::V6(_) => rng.pick(&[0, 7, 16, 32, 48, 63, 64, 112, 122, 127, 128, 128]),
    };
    let cidr = net(address, length);
    let mut except = Vec::new();
    if cidr.prefix_len() < cidr.max_prefix_len() && rng.percent(60) {
        for _ in 0..rng.between(1, 3) {
            except.push(inner(snapshot, rng, cidr));
        }
    }
    (cidr, except)
}

/// A strict subset of the block (what `except` must be), around something of interest or at one of its edges.
fn inner(snapshot: &Snapshot, rng: &mut Rng, cidr: IpNet) -> IpNet {
    let wanted = address(snapshot, rng);
    let base = match rng.below(4) {
        0 => cidr.network(),
        1 => cidr.broadcast(),
        _ if cidr.contains(&wanted) => wanted,
        _ => cidr.network(),
    };
    let (outer, most) = (usize::from(cidr.prefix_len()), usize::from(cidr.max_prefix_len()));
    let length = match rng.below(3) {
        0 => outer + 1,
        1 => most,
        _ => rng.between(outer + 1, most),
    };
    net(base, u8::try_from(length).unwrap_or(cidr.max_prefix_len()))
}

fn net(address: IpAddr, length: u8) -> IpNet {
    IpNet::new(address, length).map_or(IpNet::from(address), |net| net.trunc())
}

/// An address that a block may well be about.
pub(super) fn address(snapshot: &Snapshot, rng: &mut Rng) -> IpAddr {
    let known: Vec<IpAddr> = match rng.below(3) {
        0 => snapshot.pods.values().flat_map(|pod| pod.addresses.iter().copied()).collect(),
        1 if rng.percent(30) => snapshot.nodes.values().flat_map(|node| node.addresses.iter().copied()).collect(),
        _ => OUTSIDE.to_vec(),
    };
    if known.is_empty() { OUTSIDE[0] } else { rng.pick(&known) }
}

/// Addresses of no one in the cluster: documentation ranges, the edges of a pod range, NAT64, a private one.
pub(super) const OUTSIDE: [IpAddr; 10] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)),
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 8)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)),
    IpAddr::V4(Ipv4Addr::new(10, 244, 200, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 8)),
    IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0xcb00, 0x7107)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x12, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd44, 0, 0, 200, 0, 0, 0, 1)),
];
