//! From ban lists to the ranges that are banned.
//!
//! Lists and nodes change seldom, so that a change of one has all ranges made anew; what came of it is told range by range. A pod that
//! comes or goes has them made anew only if a list names its address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::ban::NEVER_BANNED;
use palisade_core::{
    AddressRange, AddressSet, BanChange, BanId, BanList, BanTables, BanTarget, Family, Layer, TargetedBan,
};

use crate::atom::{Atom, AtomMembers, Who};
use crate::cluster::Cluster;
use crate::digest::Canonical;
use crate::ranges::{Range, of_network, to_address, union, without_all};

/// What lists name, whether or not it is banned in the end, and whom they are for.
#[derive(Debug, Default)]
pub struct Bans {
    named: PerFamily,
    /// Networks that no list bans; an address in them changes nothing when it comes or goes.
    networks: PerFamily,
    targets: BTreeMap<BanId, Arc<Atom>>,
}

/// Sets of addresses, one for each family in the order of [`Family::ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PerFamily([Vec<Range>; 2]);

impl Bans {
    /// The steps after lists or nodes have changed (`lists`), or these addresses of pods or nodes came or went.
    pub fn update(
        &mut self,
        cluster: &Cluster,
        protected: &[IpNet],
        (lists, addresses): (bool, &BTreeSet<IpAddr>),
        held: &BanTables,
    ) -> Vec<BanChange> {
        let counts = |address: &IpAddr| self.named.contains(*address) && !self.networks.contains(*address);
        if lists || addresses.iter().any(counts) {
            return self.update_all(cluster, protected, held);
        }
        let mut changes = Vec::new();
        for (id, atom) in &self.targets {
            let Some(ban) = held.targeted.get(id) else { continue };
            for address in addresses {
                let joins = atom.includes_owner(cluster, *address);
                if joins != ban.pods.contains(address) {
                    changes.push(BanChange::Target(id.clone(), *address, joins));
                }
            }
        }
        changes
    }

    fn update_all(&mut self, cluster: &Cluster, protected: &[IpNet], held: &BanTables) -> Vec<BanChange> {
        let lists: Vec<&BanList> = cluster.ban_lists().collect();
        self.named = PerFamily::of(lists.iter().flat_map(|list| &list.entries).map(|entry| &entry.cidr));
        let of_nodes = cluster.nodes().flat_map(|node| &node.pod_cidrs);
        self.networks = PerFamily::of(NEVER_BANNED.iter().chain(protected).chain(of_nodes));
        let spared = if lists.is_empty() { PerFamily::default() } else { self.spared(cluster) };
        let (come, gone) = self.update_targeted(&lists, &spared, cluster, held);
        // A list that gets a target, or loses it, bans throughout.
        come.into_iter().chain(everywhere(&lists, &spared, held)).chain(gone).collect()
    }

    /// The lists with a target that come or change, and those that go.
    fn update_targeted(
        &mut self,
        lists: &[&BanList],
        spared: &PerFamily,
        cluster: &Cluster,
        held: &BanTables,
    ) -> (Vec<BanChange>, Vec<BanChange>) {
        let mut members = AtomMembers::default();
        let mut wanted = BTreeMap::new();
        self.targets.clear();
        for (list, target) in lists.iter().filter_map(|list| Some((list, list.target.as_ref()?))) {
            let (id, atom) = (id_of(list), Arc::new(atom(target)));
            let ban = TargetedBan {
                description: Arc::clone(&list.name),
                layer: if list.audit { Layer::Shadow } else { Layer::InForce },
                banned: address_set(&banned(list, spared)),
                pods: (*members.of(&atom, cluster)).clone(),
            };
            self.targets.insert(id.clone(), atom);
            wanted.insert(id, ban);
        }
        let gone = held.targeted.keys().filter(|id| !wanted.contains_key(*id));
        let gone = gone.map(|id| BanChange::Targeted(id.clone(), None)).collect();
        let new = wanted.into_iter().filter(|(id, ban)| held.targeted.get(id) != Some(ban));
        (new.map(|(id, ban)| BanChange::Targeted(id, Some(ban))).collect(), gone)
    }

    /// What no list bans: the networks, and addresses beside them that a list names.
    fn spared(&self, cluster: &Cluster) -> PerFamily {
        let addresses = cluster.node_addresses().map(|(address, _)| address).chain(cluster.pod_addresses());
        let named: Vec<IpNet> = addresses.filter(|address| self.named.contains(*address)).map(IpNet::from).collect();
        let PerFamily([v4, v6]) = PerFamily::of(named.iter());
        let [networks4, networks6] = &self.networks.0;
        PerFamily([union([&networks4[..], &v4].concat()), union([&networks6[..], &v6].concat())])
    }
}

impl PerFamily {
    fn of<'a>(networks: impl Iterator<Item = &'a IpNet>) -> PerFamily {
        let mut ranges = [Vec::new(), Vec::new()];
        for network in networks {
            ranges[index(Family::of(network.addr()))].push(of_network(network));
        }
        PerFamily(ranges.map(union))
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (number, _) = of_network(&address.into());
        let ranges = &self.0[index(Family::of(address))];
        let next = ranges.partition_point(|(first, _)| *first <= number);
        next.checked_sub(1).and_then(|last| ranges.get(last)).is_some_and(|(_, last)| number <= *last)
    }
}

fn index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// What of the lists without a target comes and goes.
fn everywhere(lists: &[&BanList], spared: &PerFamily, held: &BanTables) -> Vec<BanChange> {
    let mut changes = Vec::new();
    for (layer, audit) in [(Layer::InForce, false), (Layer::Shadow, true)] {
        let everywhere = lists.iter().filter(|list| list.target.is_none() && list.audit == audit);
        let wanted = united(everywhere.map(|list| banned(list, spared)));
        let held = held.everywhere(layer);
        let gone: Vec<AddressRange> = held.difference(&wanted).copied().collect();
        let come: Vec<AddressRange> = wanted.difference(held).copied().collect();
        if !(gone.is_empty() && come.is_empty()) {
            changes.push(BanChange::Everywhere(layer, gone, come));
        }
    }
    changes
}

/// What a list bans.
fn banned(list: &BanList, spared: &PerFamily) -> PerFamily {
    let named = PerFamily::of(list.entries.iter().map(|entry| &entry.cidr));
    let except = PerFamily::of(list.except.iter());
    let [v4, v6] =
        [0, 1].map(|family| without_all(&without_all(&named.0[family], &except.0[family]), &spared.0[family]));
    PerFamily([v4, v6])
}

fn united(sets: impl Iterator<Item = PerFamily>) -> AddressSet {
    let mut ranges = [Vec::new(), Vec::new()];
    for PerFamily(set) in sets {
        for (all, more) in ranges.iter_mut().zip(set) {
            all.extend(more);
        }
    }
    address_set(&PerFamily(ranges.map(union)))
}

fn address_set(PerFamily(ranges): &PerFamily) -> AddressSet {
    let of_family = |family| {
        let ranges = ranges[index(family)].iter();
        ranges.map(move |(first, last)| AddressRange {
            first: to_address(family, *first),
            last: to_address(family, *last),
        })
    };
    Family::ALL.into_iter().flat_map(of_family).collect()
}

fn atom(target: &BanTarget) -> Atom {
    Atom { who: Who::PodsWhere(target.namespaces.clone(), target.pods.clone()), declares: None }
}

fn id_of(list: &BanList) -> BanId {
    let mut canonical = Canonical::default();
    canonical.text("ban list");
    canonical.text(&list.name);
    BanId(canonical.digest())
}
