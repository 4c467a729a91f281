//! The incremental twin of [`lower`](super::lower): steps between tables to a transaction, at the cost of the steps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_core::tables::{SubjectPort, Subjects};
use palisade_core::{
    Admit, Direction, Family, GroupId, Layer, PeerGroup, PerDirection, Rest, RestId, Tables, TablesChange, Transport,
};

use super::fixed::{self, Audited};
use super::groups::{
    blocks_set, group_chain, group_chains, group_sets, peers_set, ranged_transports, ranges_map, rest_chain,
    rest_chains, rest_maps,
};
use super::view::{Orientation, Pod, View, address_key, port_key};
use super::{Generation, Settings};
use crate::ruleset::Side;
use crate::transaction::{Builder, Transaction};

/// What has to be remembered of the tables in the kernel to lower steps that lead away from them: everything
/// but the members of groups, so that its size goes with the node's own pods.
#[derive(Clone, Debug)]
pub struct Held {
    settings: Settings,
    generation: Generation,
    subjects: PerDirection<Subjects>,
    shadow: PerDirection<Subjects>,
    groups: BTreeMap<GroupId, Blocks>,
    rests: BTreeMap<RestId, Vec<Transport>>,
    pod_ranges: Vec<IpNet>,
    known: BTreeSet<IpAddr>,
}

/// Which sets of blocks a group has.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    ipv4: bool,
    ipv6: bool,
}

impl Held {
    /// What a kernel holds to which [`lower`](super::lower) of these tables was applied.
    pub fn of(tables: &Tables, settings: &Settings, generation: Generation) -> Held {
        Held {
            settings: *settings,
            generation,
            subjects: tables.subjects.clone(),
            shadow: tables.shadow.clone(),
            groups: tables.groups.iter().map(|(id, group)| (id.clone(), blocks(group))).collect(),
            rests: tables.rests.iter().map(|(id, rest)| (id.clone(), ranged_transports(rest))).collect(),
            pod_ranges: tables.pod_ranges.clone(),
            known: tables.known.clone(),
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
        let audited = Audited::of(&self.shadow);
        for change in changes {
            self.take(change, &mut touched);
        }
        let mut builder = Builder::default();
        self.lower_subjects(&touched, &mut builder);
        self.lower_groups(&touched, &mut builder);
        self.lower_rests(&touched, &mut builder);
        self.lower_generation(generation, (audited, Audited::of(&self.shadow)), &mut builder);
        builder.finish()
    }

    fn lower_generation(
        &mut self,
        generation: Option<Generation>,
        (before, now): (Audited, Audited),
        builder: &mut Builder,
    ) {
        self.generation = generation.unwrap_or(self.generation);
        let (is_new, is_flip) = (generation.is_some(), before != now);
        let mut chains = Vec::new();
        if is_new || is_flip {
            chains.push(fixed::forward(self.settings, self.generation, now));
        }
        if is_new {
            chains.extend(fixed::passed(self.settings, self.generation));
        }
        if is_flip || (is_new && now == Audited::Somebody) {
            chains.extend(fixed::denied_chains(self.settings, self.generation, now));
        }
        for (name, chain) in chains {
            builder.rewrite_chain(name, chain.rules);
        }
    }

    fn take(&mut self, change: &TablesChange, touched: &mut Touched) {
        match change {
            TablesChange::Port(direction, key, admit) => {
                let before = self.subjects[*direction].set_port(*key, admit.clone());
                touched.ports.entry((Layer::InForce, *direction, *key)).or_insert(before);
            }
            TablesChange::ShadowPort(direction, key, admit) => {
                let before = self.shadow[*direction].set_port(*key, admit.clone());
                touched.ports.entry((Layer::Shadow, *direction, *key)).or_insert(before);
            }
            TablesChange::Isolated(direction, address, rest) => {
                self.touch_pod((Layer::InForce, *direction, *address), touched);
                self.subjects[*direction].set_rest(*address, rest.clone());
            }
            TablesChange::ShadowIsolated(direction, address, rest) => {
                self.touch_pod((Layer::Shadow, *direction, *address), touched);
                self.shadow[*direction].set_rest(*address, rest.clone());
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
            TablesChange::Known(address, is_known) => {
                for direction in Direction::ALL {
                    self.touch_pod((Layer::InForce, direction, *address), touched);
                }
                if *is_known {
                    self.known.insert(*address);
                } else {
                    self.known.remove(address);
                }
            }
            TablesChange::PodRanges(ranges) => {
                let before = std::mem::replace(&mut self.pod_ranges, ranges.clone());
                touched.pod_ranges.get_or_insert(before);
            }
            // They have a table of their own.
            TablesChange::Host(_) | TablesChange::Ban(_) => {}
        }
    }

    fn lower_subjects(&self, touched: &Touched, builder: &mut Builder) {
        for ((layer, direction, key), before) in &touched.ports {
            let now = self.subjects(*layer, *direction).ports.get(key);
            if before.as_ref() == now {
                continue;
            }
            for view in View::of(*layer, *direction).filter(|view| view.family == Family::of(key.address)) {
                let map = view.ports_map();
                if let Some(before) = before {
                    builder.delete_element(&map, port_key(key), Some(view.admit(before)));
                }
                if let Some(now) = now {
                    builder.add_element(&map, port_key(key), Some(view.admit(now)));
                }
            }
        }
        for ((layer, direction, address), before) in &touched.pods {
            let now = self.pod(*layer, *direction, *address);
            if *before == now {
                continue;
            }
            for view in View::of(*layer, *direction).filter(|view| view.family == Family::of(*address)) {
                let map = view.pods_map();
                if let Some((key, verdict)) = before.as_ref().and_then(|pod| view.pod_element(*address, pod)) {
                    builder.delete_element(&map, key, verdict);
                }
                if let Some((key, verdict)) = now.as_ref().and_then(|pod| view.pod_element(*address, pod)) {
                    builder.add_element(&map, key, verdict);
                }
            }
        }
        if touched.pod_ranges.as_ref().is_some_and(|before| *before != self.pod_ranges) {
            for (name, chain) in fixed::look_ups(&self.pod_ranges) {
                builder.rewrite_chain(name, chain.rules);
            }
        }
    }

    fn touch_pod(&self, at: (Layer, Direction, IpAddr), touched: &mut Touched) {
        touched.pods.entry(at).or_insert_with(|| self.pod(at.0, at.1, at.2));
    }

    fn pod(&self, layer: Layer, direction: Direction, address: IpAddr) -> Option<Pod> {
        match layer {
            Layer::InForce => Pod::at(address, &self.subjects[direction], &self.known),
            Layer::Shadow => Pod::isolated(address, &self.shadow[direction]),
        }
    }

    fn subjects(&self, layer: Layer, direction: Direction) -> &Subjects {
        match layer {
            Layer::InForce => &self.subjects[direction],
            Layer::Shadow => &self.shadow[direction],
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
    ports: BTreeMap<(Layer, Direction, SubjectPort), Option<Admit>>,
    pods: BTreeMap<(Layer, Direction, IpAddr), Option<Pod>>,
    pod_ranges: Option<Vec<IpNet>>,
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
