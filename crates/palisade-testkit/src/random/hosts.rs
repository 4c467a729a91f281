//! Random host policies, as objects and as config files of kube-restrict-ip.

use palisade_core::host_policy::FAILSAFE_PORTS;
use palisade_core::{
    HostPeer, HostPolicy, HostPolicyName, HostPort, HostScope, Otherwise, PortRange, Selector, Snapshot, Transport,
};

use super::policies::{block, range, selector};
use super::{KEYS, known_port, transport};
use crate::rng::Rng;

const NAMES: [&str; 4] = ["a", "b", "metrics", "storage-api"];
/// One is the name of an object, too.
const CHAINS: [&str; 2] = ["KUBE-RESTRICT-IP", "metrics"];

/// A host policy for this cluster; it may have the name of another.
pub(crate) fn host_policy(snapshot: &Snapshot, rng: &mut Rng) -> HostPolicy {
    if rng.percent(30) { config_file(snapshot, rng) } else { object(snapshot, rng) }
}

/// What a config file of kube-restrict-ip can say.
pub(crate) fn config_file(snapshot: &Snapshot, rng: &mut Rng) -> HostPolicy {
    let port = |rng: &mut Rng| HostPort { transport: Transport::Tcp, range: PortRange::single(known_port(rng)) };
    let network = |rng: &mut Rng| HostPeer::Block { cidr: block(snapshot, rng).0, except: Vec::new() };
    HostPolicy {
        name: HostPolicyName::File(rng.pick(&CHAINS).into()),
        nodes: Selector::everything(),
        ports: (0..rng.between(1, 3)).map(|_| port(rng)).collect(),
        from: (0..rng.between(1, 4)).map(|_| network(rng)).collect(),
        audit: false,
        scope: scope(rng),
        otherwise: Otherwise::Reject,
        unreadable: None,
    }
}

fn object(snapshot: &Snapshot, rng: &mut Rng) -> HostPolicy {
    let unreadable = rng.percent(5).then(|| "unknown field `unreadable`".to_string());
    let mut ports: Vec<HostPort> = (0..rng.between(1, 3)).map(|_| host_port(rng)).collect();
    let from = if unreadable.is_some() { Vec::new() } else { (0..rng.below(4)).map(|_| peer(snapshot, rng)).collect() };
    if unreadable.is_some() {
        ports.retain(|port| !holds_failsafe(*port));
    }
    HostPolicy {
        name: rng.pick(&NAMES).into(),
        nodes: selector(rng, &KEYS),
        ports,
        scope: scope(rng),
        from,
        audit: rng.percent(15),
        otherwise: if rng.percent(30) { Otherwise::Reject } else { Otherwise::Drop },
        unreadable,
    }
}

fn scope(rng: &mut Rng) -> HostScope {
    rng.pick(&HostScope::ALL)
}

/// Ports that flows and rules of pods use, too, and now and then one without which a node is lost.
pub(super) fn host_port(rng: &mut Rng) -> HostPort {
    match rng.below(10) {
        0 => rng.pick(&FAILSAFE_PORTS),
        1..7 => HostPort { transport: transport(rng), range: PortRange::single(known_port(rng)) },
        _ => HostPort { transport: transport(rng), range: range(rng) },
    }
}

fn holds_failsafe(port: HostPort) -> bool {
    FAILSAFE_PORTS.iter().any(|failsafe| {
        let (one, other) = (port.range, failsafe.range);
        port.transport == failsafe.transport && one.first() <= other.last() && other.first() <= one.last()
    })
}

fn peer(snapshot: &Snapshot, rng: &mut Rng) -> HostPeer {
    match rng.below(3) {
        0 => HostPeer::Nodes(selector(rng, &KEYS)),
        1 => HostPeer::Pods { namespaces: selector(rng, &KEYS), pods: selector(rng, &KEYS) },
        _ => {
            let (cidr, except) = block(snapshot, rng);
            HostPeer::Block { cidr, except }
        }
    }
}
