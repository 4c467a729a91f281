//! The oracle for `BanList` (palisade.dev/v1alpha1): whether an end of a packet is banned.
//!
//! The meaning is that of `docs/semantics.md`: nobody speaks with a banned address, whichever side begins; a list with a target
//! concerns packets between its addresses and those pods alone.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::ban::NEVER_BANNED;
use palisade_core::{BanEntry, BanList, BanListName, BanTarget, NodeName, Pod, PodName, Snapshot};

use crate::decide::{Asked, pods_at};
use crate::matching::selects;
use crate::packet::Packet;
use crate::reason::Banned;
use crate::rule::namespace_problem;

/// The bans that a packet meets, by list: that of its source, then that of its destination.
pub(crate) fn bans(snapshot: &Snapshot, packet: &Packet, asked: Asked) -> Vec<Banned> {
    // What never comes to the cluster meets none of its nodes.
    if packet.source.owner.is_outside() && packet.destination.owner.is_outside() {
        return Vec::new();
    }
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
    list.all_entries().find(holds).filter(|_| spared(snapshot, list, address).is_none())
}

/// Why a list does not ban an address that it names.
fn spared(snapshot: &Snapshot, list: &BanList, address: IpAddr) -> Option<Spared> {
    let except = list.except.iter().find(|except| except.contains(&address));
    except.map(|except| Spared::Except(*except)).or_else(|| protection(snapshot, address))
}

/// What a list that names an address makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The list.
    pub list: BanListName,
    /// Whether it is audited.
    pub audit: bool,
    /// The pods that it is for; `None` is everybody.
    pub target: Option<BanTarget>,
    /// Every entry that holds the address; at least one.
    pub entries: Vec<BanEntry>,
    /// Why the address is not banned all the same.
    pub spared: Option<Spared>,
}

/// Why an address is not banned by a list that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spared {
    /// The list excepts it.
    Except(IpNet),
    /// IP needs it.
    Always(IpNet),
    /// It is an address of this node.
    Node(NodeName),
    /// It is in a pod range of this node.
    PodRange(NodeName, IpNet),
    /// It is an address of this pod.
    Pod(PodName),
}

/// What the lists that name an address make of it, by name.
pub fn standings(snapshot: &Snapshot, address: IpAddr) -> Vec<Standing> {
    let mut standings = Vec::new();
    for list in snapshot.ban_lists.values() {
        let entries: Vec<BanEntry> =
            list.all_entries().filter(|entry| entry.cidr.contains(&address)).cloned().collect();
        if !entries.is_empty() {
            standings.push(Standing {
                list: list.name.clone(),
                audit: list.audit,
                target: list.target.clone(),
                entries,
                spared: spared(snapshot, list, address),
            });
        }
    }
    standings
}

impl Standing {
    /// Whether the list bans the address, for whomever it is.
    pub fn bans(&self) -> bool {
        self.spared.is_none() && !self.audit
    }
}

impl fmt::Display for Spared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spared::Except(except) => write!(f, "in its exceptCIDRs {except}"),
            Spared::Always(network) => write!(f, "no list bans {network}"),
            Spared::Node(node) => write!(f, "an address of node {node}"),
            Spared::PodRange(node, range) => write!(f, "in the pod range {range} of node {node}"),
            Spared::Pod(pod) => write!(f, "an address of pod {pod}"),
        }
    }
}

/// Why no list can ban the address, if none can: IP needs it, or the cluster has it.
fn protection(snapshot: &Snapshot, address: IpAddr) -> Option<Spared> {
    if let Some(network) = NEVER_BANNED.iter().find(|network| network.contains(&address)) {
        return Some(Spared::Always(*network));
    }
    for (name, node) in &snapshot.nodes {
        if node.addresses.contains(&address) {
            return Some(Spared::Node(name.clone()));
        }
        if let Some(range) = node.pod_cidrs.iter().find(|range| range.contains(&address)) {
            return Some(Spared::PodRange(name.clone(), *range));
        }
    }
    // That of a hostNetwork pod is one of its node, whether or not the Node says so.
    let has_it = |(_, pod): &(&PodName, &Arc<Pod>)| !pod.finished && pod.addresses.contains(&address);
    snapshot.pods.iter().find(has_it).map(|(name, _)| Spared::Pod(name.clone()))
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
