//! One step in the life of a random cluster, for tests that compare a delta with a fresh start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use palisade_core::{BanList, Family, HostPolicy, Namespace, NetworkPolicy, Node, Pod, PodName, Snapshot};

use crate::random::{
    NAMESPACES, ban_list, config_file, container_ports, fresh_addresses, host_policy, labels, namespace_labels, node,
    pod, pod_name, policy,
};
use crate::rng::Rng;

/// The cluster after one to three things happened to it at once: a pod added, removed, recreated, relabelled,
/// moved to another address, finished, or given other ports; two pods' addresses swapped; a policy added,
/// removed, changed, or audited or enforced from then on; the same of a host policy and of a ban list; a namespace added, relabelled or emptied and removed; a node added, readdressed or removed
/// with its pods.
pub fn mutate(snapshot: &Snapshot, rng: &mut Rng) -> Snapshot {
    let mut snapshot = snapshot.clone();
    for _ in 0..rng.between(1, 3) {
        match rng.below(21) {
            // A long run neither grows without end nor dies out.
            0..4 if snapshot.pods.len() < 16 => {
                let (name, pod) = (pod_name(&snapshot, rng), pod(&snapshot, rng));
                snapshot.pods.insert(name, Arc::new(pod));
            }
            0..9 => change_pod(&mut snapshot, rng),
            9 => swap_addresses(&mut snapshot, rng),
            10..13 if snapshot.policies.len() < 14 => {
                let policy = policy(&snapshot, rng);
                snapshot.policies.insert(policy.name.clone(), Arc::new(policy));
            }
            10..16 => change_policy(&mut snapshot, rng),
            16 => change_host_policy(&mut snapshot, rng),
            17 => change_ban_list(&mut snapshot, rng),
            18..20 => change_namespace(&mut snapshot, rng),
            _ => change_node(&mut snapshot, rng),
        }
    }
    snapshot
}

fn change_pod(snapshot: &mut Snapshot, rng: &mut Rng) {
    let names: Vec<PodName> = snapshot.pods.keys().cloned().collect();
    if names.is_empty() {
        return;
    }
    let name = rng.pick(&names);
    let Some(old) = snapshot.pods.remove(&name) else { return };
    let old: Pod = (*old).clone();
    let new = match rng.below(6) {
        0 => return,
        1 => pod(snapshot, rng),
        2 => Pod { labels: labels(rng).into(), ..old },
        3 => Pod { finished: true, ..old },
        4 => Pod { ports: container_ports(rng), ..old },
        _ => match old.node.as_ref().and_then(|node| snapshot.nodes.get_key_value(node)) {
            Some((node, place)) if !old.host_network => {
                Pod { addresses: fresh_addresses(snapshot, rng, node, place), finished: false, ..old }
            }
            _ => old,
        },
    };
    snapshot.pods.insert(name, Arc::new(new));
}

/// What one pod had, another has now: for a moment of a careless update both or neither would have it.
fn swap_addresses(snapshot: &mut Snapshot, rng: &mut Rng) {
    let live = |(name, pod): (&PodName, &Arc<Pod>)| (!pod.host_network && !pod.finished).then(|| name.clone());
    let names: Vec<PodName> = snapshot.pods.iter().filter_map(live).collect();
    if names.len() < 2 {
        return;
    }
    let (one, other) = (rng.pick(&names), rng.pick(&names));
    let (Some(first), Some(second)) = (snapshot.pods.get(&one).cloned(), snapshot.pods.get(&other).cloned()) else {
        return;
    };
    // An address belongs to a node's range, so the pods swap places too.
    let placed = |pod: &Pod, place: &Pod| {
        Arc::new(Pod { addresses: place.addresses.clone(), node: place.node.clone(), ..pod.clone() })
    };
    snapshot.pods.insert(one, placed(&first, &second));
    snapshot.pods.insert(other, placed(&second, &first));
}

fn change_policy(snapshot: &mut Snapshot, rng: &mut Rng) {
    let names: Vec<_> = snapshot.policies.keys().cloned().collect();
    if names.is_empty() {
        return;
    }
    let name = rng.pick(&names);
    if rng.percent(40) {
        snapshot.policies.remove(&name);
        return;
    }
    let fresh = policy(snapshot, rng);
    let Some(old) = snapshot.policies.get(&name) else { return };
    let changed = match rng.below(10) {
        0..3 => NetworkPolicy { subjects: fresh.subjects, ..(**old).clone() },
        3 => NetworkPolicy { audit: !old.audit, ..(**old).clone() },
        _ => NetworkPolicy { name: name.clone(), ..fresh },
    };
    snapshot.policies.insert(name, Arc::new(changed));
}

fn change_host_policy(snapshot: &mut Snapshot, rng: &mut Rng) {
    let names: Vec<_> = snapshot.host_policies.keys().cloned().collect();
    let fresh = host_policy(snapshot, rng);
    if names.is_empty() || rng.percent(40) {
        snapshot.host_policies.insert(fresh.name.clone(), Arc::new(fresh));
        return;
    }
    let name = rng.pick(&names);
    let Some(old) = snapshot.host_policies.remove(&name) else { return };
    let changed = match rng.below(4) {
        0 => return,
        _ if name.object().is_none() => HostPolicy { name: name.clone(), ..config_file(snapshot, rng) },
        1 => HostPolicy { nodes: fresh.nodes, ..(*old).clone() },
        2 => HostPolicy { audit: !old.audit, ..(*old).clone() },
        _ => HostPolicy { name: name.clone(), ..fresh },
    };
    snapshot.host_policies.insert(name, Arc::new(changed));
}

fn change_ban_list(snapshot: &mut Snapshot, rng: &mut Rng) {
    let names: Vec<_> = snapshot.ban_lists.keys().cloned().collect();
    let fresh = ban_list(snapshot, rng);
    if names.is_empty() || rng.percent(40) {
        snapshot.ban_lists.insert(fresh.name.clone(), Arc::new(fresh));
        return;
    }
    let name = rng.pick(&names);
    let Some(old) = snapshot.ban_lists.remove(&name) else { return };
    let changed = match rng.below(5) {
        0 => return,
        1 => BanList { target: fresh.target, ..(*old).clone() },
        2 => BanList { audit: !old.audit, ..(*old).clone() },
        3 => BanList { entries: old.entries.iter().skip(1).chain(&fresh.entries).cloned().collect(), ..(*old).clone() },
        _ => BanList { name: name.clone(), ..fresh },
    };
    snapshot.ban_lists.insert(name, Arc::new(changed));
}

fn change_namespace(snapshot: &mut Snapshot, rng: &mut Rng) {
    let names: Vec<_> = snapshot.namespaces.keys().cloned().collect();
    let name = if rng.percent(15) { rng.pick(&NAMESPACES).into() } else { rng.pick(&names) };
    if names.len() > 1 && rng.percent(15) {
        snapshot.pods.retain(|pod, _| pod.namespace != name);
        snapshot.policies.retain(|policy, _| policy.namespace != name);
        snapshot.namespaces.remove(&name);
    } else {
        let labels = namespace_labels(rng, &name);
        snapshot.namespaces.insert(name, Arc::new(Namespace { labels }));
    }
}

fn change_node(snapshot: &mut Snapshot, rng: &mut Rng) {
    let names: Vec<_> = snapshot.nodes.keys().cloned().collect();
    let name = rng.pick(&names);
    match rng.below(3) {
        0 if names.len() > 1 => {
            snapshot.nodes.remove(&name);
            snapshot.pods.retain(|_, pod| pod.node.as_ref() != Some(&name));
        }
        1 if names.len() < 4 => {
            let index = (1..=4).find(|index| !snapshot.nodes.contains_key(format!("n{index}").as_str())).unwrap_or(1);
            let families: Vec<Family> = snapshot.nodes.get(&name).map(|node| families(node)).unwrap_or_default();
            let name = format!("n{index}");
            snapshot.nodes.insert(name.as_str().into(), Arc::new(node(rng, index, &families)));
        }
        _ => {
            let Some(old) = snapshot.nodes.get(&name) else { return };
            let mut addresses = old.addresses[..old.pod_cidrs.len()].to_vec();
            addresses.extend(families(old).into_iter().map(|family| spare_address(family, rng)));
            for pod in snapshot.pods.values_mut().filter(|pod| pod.host_network && pod.node.as_ref() == Some(&name)) {
                *pod = Arc::new(Pod { addresses: addresses.clone(), ..(**pod).clone() });
            }
            let changed = Node { addresses, ..(**old).clone() };
            snapshot.nodes.insert(name, Arc::new(changed));
        }
    }
}

fn families(node: &Node) -> Vec<Family> {
    node.pod_cidrs.iter().map(|cidr| Family::of(cidr.addr())).collect()
}

/// An address that no node began with; two nodes hardly ever draw the same one.
fn spare_address(family: Family, rng: &mut Rng) -> IpAddr {
    let host = u16::try_from(rng.number() & 0xffff).unwrap_or(0);
    let [high, low] = host.to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(10, 97, high, low).into(),
        Family::V6 => Ipv6Addr::new(0xfd97, 0, 0, 0, 0, 0, 0, host).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::case;

    #[test]
    fn a_changed_cluster_is_consistent() {
        let mut changed = 0;
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut snapshot = case(seed, 0).snapshot;
            for _ in 0..20 {
                let next = mutate(&snapshot, &mut rng);
                changed += usize::from(!snapshot.changes_to(&next).is_empty());
                snapshot = next;
                crate::random::tests::assert_consistent(&snapshot, seed);
            }
        }
        assert!(changed > 3000, "only {changed} of 4000 steps changed anything");
    }
}
