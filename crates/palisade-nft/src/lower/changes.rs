//! The incremental twin of [`lower`](super::lower): steps between tables to a transaction, at the cost of the steps.

use std::collections::BTreeMap;
use std::net::IpAddr;

use palisade_core::tables::{SubjectPort, Subjects};
use palisade_core::{
    Admit, Direction, Family, GroupId, PeerGroup, PerDirection, Rest, RestId, Tables, TablesChange, Transport,
};

use super::{
    Generation, Orientation, View, address_key, blocks_set, fixed, group_chain, group_chains, group_sets, peers_set,
    port_key, ranged_transports, ranges_map, rest_chain, rest_chains, rest_maps,
};
use crate::ruleset::Side;
use crate::transaction::{Builder, Transaction};

/// What has to be remembered of the tables in the kernel to lower steps that lead away from them: everything
/// but the members of groups, so that its size goes with the node's own pods.
#[derive(Clone, Debug)]
pub struct Held {
    subjects: PerDirection<Subjects>,
    groups: BTreeMap<GroupId, Blocks>,
    rests: BTreeMap<RestId, Vec<Transport>>,
}

/// Which sets of blocks a group has.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    ipv4: bool,
    ipv6: bool,
}

impl Held {
    /// What a kernel holds to which [`lower`](super::lower) of these tables was applied.
    pub fn of(tables: &Tables) -> Held {
        Held {
            subjects: tables.subjects.clone(),
            groups: tables.groups.iter().map(|(id, group)| (id.clone(), blocks(group))).collect(),
            rests: tables.rests.iter().map(|(id, rest)| (id.clone(), ranged_transports(rest))).collect(),
        }
    }

    /// The transaction that takes these steps, and with `generation` has every connection judged again.
    ///
    /// The content it leads to is that of `lower` of the tables after the steps. `self` is the state after
    /// them from here on; if the kernel refuses the transaction, start again from [`Held::of`].
    ///
    /// Steps may repeat what is so already, with one exception: an address must not leave a group that it is
    /// not in, since the kernel refuses to delete what is absent. Groups and rests are named by what they
    /// mean: one that is removed and added again in one list has kept its blocks, or ranges.
    pub fn lower_changes(&mut self, changes: &[TablesChange], generation: Option<Generation>) -> Transaction {
        let mut touched = Touched::default();
        for change in changes {
            self.take(change, &mut touched);
        }
        let mut builder = Builder::default();
        self.lower_subjects(&touched, &mut builder);
        self.lower_groups(&touched, &mut builder);
        self.lower_rests(&touched, &mut builder);
        if let Some(generation) = generation {
            for (name, chain) in fixed::generation_chains(generation) {
                builder.rewrite_chain(name, chain.rules);
            }
        }
        builder.finish()
    }

    fn take(&mut self, change: &TablesChange, touched: &mut Touched) {
        match change {
            TablesChange::Port(direction, key, admit) => {
                let ports = &mut self.subjects[*direction].ports;
                let before = match admit {
                    Some(admit) => ports.insert(*key, admit.clone()),
                    None => ports.remove(key),
                };
                touched.ports.entry((*direction, *key)).or_insert(before);
            }
            TablesChange::Isolated(direction, address, rest) => {
                let isolated = &mut self.subjects[*direction].isolated;
                let before = match rest {
                    Some(rest) => isolated.insert(*address, rest.clone()),
                    None => isolated.remove(address),
                };
                touched.isolated.entry((*direction, *address)).or_insert(before);
            }
            TablesChange::GroupAdded(id, group) => {
                let before = self.groups.insert(id.clone(), blocks(group));
                touched.groups.entry(id.clone()).or_insert(before);
                touched.filled.insert(id.clone(), group.clone());
            }
            TablesChange::GroupRemoved(id) => {
                let before = self.groups.remove(id);
                touched.groups.entry(id.clone()).or_insert(before);
                touched.filled.remove(id);
            }
            TablesChange::Member(id, address, joins) => touched.member(id, *address, *joins),
            TablesChange::RestAdded(id, rest) => {
                let before = self.rests.insert(id.clone(), ranged_transports(rest));
                touched.rests.entry(id.clone()).or_insert(before);
                touched.new_rests.insert(id.clone(), rest.clone());
            }
            TablesChange::RestRemoved(id) => {
                let before = self.rests.remove(id);
                touched.rests.entry(id.clone()).or_insert(before);
            }
        }
    }

    fn lower_subjects(&self, touched: &Touched, builder: &mut Builder) {
        for ((direction, key), before) in &touched.ports {
            let now = self.subjects[*direction].ports.get(key);
            if before.as_ref() == now {
                continue;
            }
            for view in View::of(*direction).filter(|view| view.family == Family::of(key.address)) {
                let map = view.ports_map();
                if let Some(before) = before {
                    builder.delete_element(&map, port_key(key), Some(view.admit(before)));
                }
                if let Some(now) = now {
                    builder.add_element(&map, port_key(key), Some(view.admit(now)));
                }
            }
        }
        for ((direction, address), before) in &touched.isolated {
            let now = self.subjects[*direction].isolated.get(address);
            if before.as_ref() == now {
                continue;
            }
            for view in View::of(*direction).filter(|view| view.family == Family::of(*address)) {
                let map = view.pods_map();
                if let Some((key, verdict)) = before.as_ref().and_then(|rest| view.pod_element(*address, rest)) {
                    builder.delete_element(&map, key, verdict);
                }
                if let Some((key, verdict)) = now.and_then(|rest| view.pod_element(*address, rest)) {
                    builder.add_element(&map, key, verdict);
                }
            }
        }
    }

    fn lower_groups(&self, touched: &Touched, builder: &mut Builder) {
        for (id, before) in &touched.groups {
            match (before, touched.filled.get(id)) {
                (None, Some(group)) => {
                    for (name, set) in group_sets(id, group) {
                        builder.add_set(name, set);
                    }
                    for (name, chain) in group_chains(id, group) {
                        builder.add_chain(name, chain);
                    }
                }
                // Who was in it before is not known here, and need not be.
                (Some(_), Some(group)) => {
                    for family in Family::ALL {
                        builder.flush_set(peers_set(id, family));
                    }
                    for address in &group.addresses {
                        builder.add_element(&peers_set(id, Family::of(*address)), address_key(*address), None);
                    }
                }
                (Some(blocks), None) => remove_group(id, *blocks, builder),
                (None, None) => {}
            }
        }
        for ((id, address), (first, last)) in &touched.members {
            if touched.groups.contains_key(id) || !self.groups.contains_key(id) {
                continue;
            }
            let set = peers_set(id, Family::of(*address));
            match (first, last) {
                (_, true) => builder.add_element(&set, address_key(*address), None),
                (false, false) => builder.delete_element(&set, address_key(*address), None),
                (true, false) => builder.delete_element_if_there(&set, address_key(*address)),
            }
        }
    }

    fn lower_rests(&self, touched: &Touched, builder: &mut Builder) {
        for (id, before) in &touched.rests {
            let now = self.rests.get(id).and_then(|_| touched.new_rests.get(id));
            match (before, now) {
                (None, Some(rest)) => {
                    for (name, set) in rest_maps(id, rest) {
                        builder.add_set(name, set);
                    }
                    for (name, chain) in rest_chains(id, rest) {
                        builder.add_chain(name, chain);
                    }
                }
                (Some(transports), None) => {
                    for orientation in Orientation::ALL {
                        builder.remove_chain(rest_chain(id, orientation));
                        for transport in transports {
                            builder.remove_set(ranges_map(id, *transport, orientation));
                        }
                    }
                }
                (None, None) | (Some(_), Some(_)) => {}
            }
        }
    }
}

fn remove_group(id: &GroupId, blocks: Blocks, builder: &mut Builder) {
    for side in [Side::Destination, Side::Source] {
        builder.remove_chain(group_chain(id, side));
    }
    for (family, has_blocks) in [(Family::V4, blocks.ipv4), (Family::V6, blocks.ipv6)] {
        builder.remove_set(peers_set(id, family));
        if has_blocks {
            builder.remove_set(blocks_set(id, family));
        }
    }
}

fn blocks(group: &PeerGroup) -> Blocks {
    Blocks { ipv4: !group.blocks4.is_empty(), ipv6: !group.blocks6.is_empty() }
}

/// What a list of steps touched, with what was there before the first of them.
#[derive(Debug, Default)]
struct Touched {
    ports: BTreeMap<(Direction, SubjectPort), Option<Admit>>,
    isolated: BTreeMap<(Direction, IpAddr), Option<RestId>>,
    groups: BTreeMap<GroupId, Option<Blocks>>,
    /// The groups added, with their members as of the last step.
    filled: BTreeMap<GroupId, PeerGroup>,
    /// The first and the last step of a member of a group that was there before: joined or left.
    members: BTreeMap<(GroupId, IpAddr), (bool, bool)>,
    rests: BTreeMap<RestId, Option<Vec<Transport>>>,
    new_rests: BTreeMap<RestId, Rest>,
}

impl Touched {
    fn member(&mut self, id: &GroupId, address: IpAddr, joins: bool) {
        if let Some(group) = self.filled.get_mut(id) {
            if joins {
                group.addresses.insert(address);
            } else {
                group.addresses.remove(&address);
            }
        } else {
            self.members.entry((id.clone(), address)).or_insert((joins, joins)).1 = joins;
        }
    }
}
