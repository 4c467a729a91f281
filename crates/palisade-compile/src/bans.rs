//! From ban lists to the ranges that are banned.
//!
//! Whether an address is banned depends on it alone: on the lists that name it, and on whether it is spared. So a change has the addresses
//! that it is about looked at anew, and no others; or all of them, where those are so many that this is cheaper.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::ban::NEVER_BANNED;
use palisade_core::{
    AddressRange, AddressSet, BanChange, BanId, BanList, BanListName, BanTables, BanTarget, Layer, TargetedBan,
};

use crate::atom::{Atom, AtomMembers, Who};
use crate::cluster::{Cluster, Touched};
use crate::digest::Canonical;

const ALL_ADDRESSES: [AddressRange; 2] = [
    AddressRange { first: IpAddr::V4(Ipv4Addr::UNSPECIFIED), last: IpAddr::V4(Ipv4Addr::BROADCAST) },
    AddressRange { first: IpAddr::V6(Ipv6Addr::UNSPECIFIED), last: IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)) },
];

/// What lists name, whether or not it is banned in the end, and whom they are for.
#[derive(Debug, Default)]
pub struct Bans {
    lists: BTreeMap<BanListName, Named>,
    /// Networks that no list bans; an address in them changes nothing when it comes or goes. Not known while there is no list.
    networks: AddressSet,
}

/// What of a list does not depend on the cluster.
#[derive(Debug)]
struct Named {
    /// Those of its entries without its exceptions.
    addresses: AddressSet,
    layer: Layer,
    target: Option<(BanId, Atom)>,
}

/// What an update is about.
struct Update<'a> {
    cluster: &'a Cluster,
    touched: &'a Touched,
    held: &'a BanTables,
    /// The addresses to look at; `None` is all of them.
    scope: Option<AddressSet>,
}

impl Bans {
    /// The steps after these lists, nodes and addresses have changed.
    pub fn update(
        &mut self,
        cluster: &Cluster,
        protected: &[IpNet],
        touched: &Touched,
        held: &BanTables,
    ) -> Vec<BanChange> {
        let mut affected: Vec<AddressSet> = Vec::new();
        for (name, list) in &touched.ban_lists {
            let (old, new) = (self.lists.remove(name), list.as_deref().map(Named::of));
            affected.extend(differing(old.as_ref(), new.as_ref()));
            self.lists.extend(new.map(|new| (Arc::clone(name), new)));
        }
        if self.lists.is_empty() && held.is_empty() {
            self.networks = AddressSet::new();
            return Vec::new();
        }
        if touched.nodes || self.networks.is_empty() {
            let of_nodes = cluster.nodes().flat_map(|node| &node.pod_cidrs);
            let new = NEVER_BANNED.iter().chain(protected).chain(of_nodes).collect();
            let old = std::mem::replace(&mut self.networks, new);
            affected.extend(<[_; 2]>::from(old.changes_to(&self.networks)));
        }
        let addresses = touched.addresses.iter().filter(|address| !self.networks.contains(**address));
        affected.push(addresses.map(|address| AddressRange::from(*address)).collect());
        let update = Update { cluster, touched, held, scope: self.scope(&affected, cluster) };
        let (targeted, gone) = self.update_targeted(&update);
        // A list that gets a target, or loses it, bans throughout.
        targeted.into_iter().chain(self.update_everywhere(&update)).chain(gone).collect()
    }

    /// The addresses to look at. Each range of them has every list asked.
    fn scope(&self, affected: &[AddressSet], cluster: &Cluster) -> Option<AddressSet> {
        let ranges: usize = affected.iter().map(AddressSet::len).sum();
        let all: usize = self.lists.values().map(|list| list.addresses.len()).sum();
        let is_part = ranges.saturating_mul(self.lists.len().max(1)) <= all + cluster.addresses_len();
        is_part.then(|| affected.iter().flat_map(AddressSet::iter).collect())
    }

    /// What of the lists without a target comes and goes.
    fn update_everywhere(&self, update: &Update<'_>) -> Vec<BanChange> {
        let mut changes = Vec::new();
        for layer in [Layer::InForce, Layer::Shadow] {
            let lists = self.lists.values().filter(|list| list.target.is_none() && list.layer == layer);
            let lists: Vec<&AddressSet> = lists.map(|list| &list.addresses).collect();
            let held = update.held.everywhere(layer);
            let wanted = self.banned(&lists, held, update, update.scope.as_ref());
            let (gone, come) = held.changes_to(&wanted);
            if !(gone.is_empty() && come.is_empty()) {
                changes.push(BanChange::Everywhere(layer, gone, come));
            }
        }
        changes
    }

    /// The lists with a target that come or change, with the addresses that come to their targets or leave them; and the lists that go.
    fn update_targeted(&self, update: &Update<'_>) -> (Vec<BanChange>, Vec<BanChange>) {
        let held = &update.held.targeted;
        let mut members = AtomMembers::default();
        let mut changes = Vec::new();
        let targeted = self.lists.iter().filter_map(|(name, list)| Some((name, list, list.target.as_ref()?)));
        for (name, list, (id, atom)) in targeted.clone() {
            if let Some(ban) = held.get(id).filter(|_| !update.touched.ban_lists.contains_key(name)) {
                changes.extend(self.update_target((id, atom), list, ban, update));
                continue;
            }
            let ban = TargetedBan {
                description: Arc::clone(name),
                layer: list.layer,
                banned: self.banned(&[&list.addresses], &AddressSet::new(), update, None),
                pods: (*members.of(&Arc::new(atom.clone()), update.cluster)).clone(),
            };
            if held.get(id) != Some(&ban) {
                changes.push(BanChange::Targeted(id.clone(), Some(ban)));
            }
        }
        let is_wanted = |id: &BanId| targeted.clone().any(|(_, _, (wanted, _))| wanted == id);
        let gone = held.keys().filter(|id| !is_wanted(id));
        (changes, gone.map(|id| BanChange::Targeted(id.clone(), None)).collect())
    }

    /// A list that is the same, while others of the cluster have changed.
    fn update_target(
        &self,
        (id, atom): (&BanId, &Atom),
        list: &Named,
        ban: &TargetedBan,
        update: &Update<'_>,
    ) -> Vec<BanChange> {
        let news = update.touched.addresses.iter().filter_map(|address| {
            let joins = atom.includes_owner(update.cluster, *address);
            (joins != ban.pods.contains(address)).then(|| BanChange::Target(id.clone(), *address, joins))
        });
        let mut changes: Vec<BanChange> = Vec::new();
        let banned = self.banned(&[&list.addresses], &ban.banned, update, update.scope.as_ref());
        if banned != ban.banned {
            changes.push(BanChange::Targeted(id.clone(), Some(TargetedBan { banned, ..ban.clone() })));
        }
        changes.extend(news);
        changes
    }

    /// What of these lists is banned, where `held` is what was before.
    fn banned(
        &self,
        lists: &[&AddressSet],
        held: &AddressSet,
        update: &Update<'_>,
        scope: Option<&AddressSet>,
    ) -> AddressSet {
        let Some(scope) = scope else {
            let mut all = match lists {
                [list] => (*list).clone(),
                _ => lists.iter().flat_map(|list| list.iter()).collect(),
            };
            for range in ALL_ADDRESSES {
                self.spare(range, &mut all, update.cluster);
            }
            return all;
        };
        let mut banned = held.clone();
        for range in scope.iter() {
            banned.remove(range);
            lists.iter().flat_map(|list| list.within(range)).for_each(|range| banned.insert(range));
            self.spare(range, &mut banned, update.cluster);
        }
        banned
    }

    /// Takes out what no list bans: the networks, and addresses of nodes and pods.
    fn spare(&self, range: AddressRange, banned: &mut AddressSet, cluster: &Cluster) {
        self.networks.within(range).for_each(|network| banned.remove(network));
        cluster.addresses_in(range).for_each(|address| banned.remove(address.into()));
    }
}

impl Named {
    fn of(list: &BanList) -> Named {
        let mut addresses: AddressSet = list.all_entries().map(|entry| &entry.cidr).collect();
        list.except.iter().for_each(|network| addresses.remove(network.into()));
        let layer = if list.audit { Layer::Shadow } else { Layer::InForce };
        Named { addresses, layer, target: list.target.as_ref().map(|target| (id_of(list), atom(target))) }
    }
}

/// The addresses of which a list that was another, or was not, or is no more, may say something else.
fn differing(old: Option<&Named>, new: Option<&Named>) -> Vec<AddressSet> {
    match (old, new) {
        (Some(old), Some(new)) if old.layer == new.layer && old.target.is_some() == new.target.is_some() => {
            <[_; 2]>::from(old.addresses.changes_to(&new.addresses)).into()
        }
        _ => old.into_iter().chain(new).map(|list| list.addresses.clone()).collect(),
    }
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
