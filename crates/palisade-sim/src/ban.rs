//! The oracle for `BanList` (palisade.dev/v1alpha1): whether an end of a packet is banned.
//!
//! The meaning is that of `docs/semantics.md`: nobody speaks with a banned address, whichever side begins; a list with a target
//! concerns packets between its addresses and those pods alone.

use std::net::IpAddr;

use palisade_core::ban::NEVER_BANNED;
use palisade_core::{BanEntry, BanList, PodName, Snapshot};

use crate::decide::{Asked, has_own_addresses, pods_at};
use crate::matching::selects;
use crate::packet::Packet;
use crate::reason::Banned;
use crate::rule::namespace_problem;

/// The bans that a packet meets, by list: that of its source, then that of its destination.
pub(crate) fn bans(snapshot: &Snapshot, packet: &Packet, asked: Asked) -> Vec<Banned> {
    let (source, destination) = (packet.source.address, packet.destination.address);
    let mut bans = Vec::new();
    for list in snapshot.ban_lists.values() {
        if asked == Asked::InForce && list.audit {
            continue;
        }
        for (address, other) in [(source, destination), (destination, source)] {
            let Some(entry) = entry_for(snapshot, list, address) else { continue };
            let pod = target_at(snapshot, list, other);
            if list.target.is_none() || pod.is_some() {
                bans.push(Banned { list: list.name.clone(), entry: entry.clone(), address, pod, audit: list.audit });
            }
        }
    }
    bans
}

/// The first entry of a list that bans an address.
fn entry_for<'a>(snapshot: &Snapshot, list: &'a BanList, address: IpAddr) -> Option<&'a BanEntry> {
    let holds = |entry: &&BanEntry| entry.cidr.contains(&address);
    let excepted = list.except.iter().any(|except| except.contains(&address));
    list.entries.iter().find(holds).filter(|_| !excepted && !is_protected(snapshot, address))
}

/// Whether no list can ban the address: IP needs it, or the cluster has it.
fn is_protected(snapshot: &Snapshot, address: IpAddr) -> bool {
    let is_of_node = snapshot
        .nodes
        .values()
        .any(|node| node.addresses.contains(&address) || node.pod_cidrs.iter().any(|range| range.contains(&address)));
    let is_of_pod = || snapshot.pods.values().any(|pod| has_own_addresses(pod) && pod.addresses.contains(&address));
    NEVER_BANNED.iter().any(|network| network.contains(&address)) || is_of_node || is_of_pod()
}

/// A pod at this address that is in the target of the list.
fn target_at(snapshot: &Snapshot, list: &BanList, address: IpAddr) -> Option<PodName> {
    let target = list.target.as_ref()?;
    for (name, pod) in pods_at(snapshot, address) {
        let in_namespace = namespace_problem(snapshot, name, &target.namespaces).is_none();
        if in_namespace && selects(&target.pods, &pod.labels) {
            return Some(name.clone());
        }
    }
    None
}
