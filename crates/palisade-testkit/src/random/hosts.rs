//! Random host policies.

use palisade_core::host_policy::FAILSAFE_PORTS;
use palisade_core::{HostPeer, HostPolicy, HostPort, Otherwise, PortRange, Snapshot};

use super::policies::{block, range, selector};
use super::{KEYS, known_port, transport};
use crate::rng::Rng;

const NAMES: [&str; 4] = ["a", "b", "metrics", "storage-api"];

/// A host policy for this cluster; it may have the name of another.
pub(crate) fn host_policy(snapshot: &Snapshot, rng: &mut Rng) -> HostPolicy {
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
        from,
        audit: rng.percent(15),
        otherwise: if rng.percent(30) { Otherwise::Reject } else { Otherwise::Drop },
        unreadable,
    }
}

/// Ports that flows and rules of pods use, too, and now and then one without which a node is lost.
fn host_port(rng: &mut Rng) -> HostPort {
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
