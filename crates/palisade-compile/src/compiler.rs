//! What a change touches, and the changes of the tables that follow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::tables::{SubjectPort, TablesChange};
use palisade_core::{
    Admit, Change, Direction, GroupId, NodeName, PeerGroup, Port, PortRange, Rest, RestId, Tables, Transport,
};

use crate::atom::AtomMembers;
use crate::cluster::{Cluster, is_on};
use crate::digest::Canonical;
use crate::grants::grants;
use crate::named::NamedPorts;
use crate::peers::Peers;
use crate::subject::Entries;

/// Compiles for one node, and keeps what it needs to make a small change cheap.
///
/// A pod costs what its addresses mean to the groups in force on this node; a policy costs its local subjects.
#[derive(Debug)]
pub struct Compiler {
    node: NodeName,
    cluster: Cluster,
    named: NamedPorts,
    /// The meaning of every group in the tables, and how many entries name it.
    groups: BTreeMap<GroupId, (Peers, usize)>,
    /// How many entries name each rest.
    rests: BTreeMap<RestId, usize>,
    tables: Tables,
}

/// The state of one update.
#[derive(Default)]
struct Update {
    changes: Vec<TablesChange>,
    members: AtomMembers,
    /// Groups and rests that an entry ceased to name; at the end those without any other are removed.
    released_groups: BTreeSet<GroupId>,
    released_rests: BTreeSet<RestId>,
}

impl Compiler {
    /// A compiler for a node of an empty cluster.
    pub fn new(node: NodeName) -> Compiler {
        Compiler {
            node,
            cluster: Cluster::default(),
            named: NamedPorts::default(),
            groups: BTreeMap::new(),
            rests: BTreeMap::new(),
            tables: Tables::default(),
        }
    }

    /// The tables that are wanted now.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The tables, when no further change is to come.
    pub fn into_tables(self) -> Tables {
        self.tables
    }

    /// Takes in changes of the cluster and returns the steps by which [`Compiler::tables`] moved, in an order in
    /// which nothing is named before it exists.
    pub fn update(&mut self, changes: &[Change]) -> Vec<TablesChange> {
        let mut touched = self.cluster.update(changes, &self.node);
        self.named.update(&self.cluster, &touched.peers, &mut touched.subjects);
        let mut update = Update::default();
        self.update_members(&touched.addresses, &mut update);
        for address in touched.subjects {
            self.update_subject(address, &mut update);
        }
        self.remove_unnamed(&mut update);
        update.changes
    }

    fn step(&mut self, update: &mut Update, change: TablesChange) {
        self.tables.apply(&change);
        update.changes.push(change);
    }

    /// Brings the groups that are in force up to date with addresses that came or went.
    fn update_members(&mut self, addresses: &BTreeSet<IpAddr>, update: &mut Update) {
        let mut steps = Vec::new();
        for (id, (peers, _)) in &self.groups {
            let Some(group) = self.tables.groups.get(id) else { continue };
            for address in addresses {
                let is_listed = peers.lists(&self.cluster, *address);
                if is_listed != group.addresses.contains(address) {
                    steps.push(TablesChange::Member(id.clone(), *address, is_listed));
                }
            }
        }
        for step in steps {
            self.step(update, step);
        }
    }

    fn update_subject(&mut self, address: IpAddr, update: &mut Update) {
        let pods: Vec<_> = self
            .cluster
            .pods_at(address)
            .filter(|(_, pod)| is_on(pod, &self.node))
            .map(|(name, pod)| (name.clone(), Arc::clone(pod)))
            .collect();
        let mut depends_on = BTreeSet::new();
        for direction in Direction::ALL {
            let granted: Vec<_> = pods
                .iter()
                .map(|(name, pod)| grants(&self.cluster, &mut self.named, &mut depends_on, (name, pod), direction))
                .collect();
            self.set_entries(address, direction, &Entries::new(&granted), update);
        }
        self.named.set_dependencies(address, depends_on);
    }

    fn set_entries(&mut self, address: IpAddr, direction: Direction, entries: &Entries, update: &mut Update) {
        let wanted_rest = (!entries.is_open()).then(|| self.rest(direction, entries, update));
        let wanted_ports: BTreeMap<SubjectPort, Admit> = entries
            .ports
            .iter()
            .filter_map(|((transport, port), peers)| {
                let key = SubjectPort { address, transport: *transport, port: *port };
                self.admit(peers, update).map(|admit| (key, admit))
            })
            .collect();
        let subjects = &self.tables.subjects[direction];
        let first = SubjectPort { address, transport: Transport::Tcp, port: Port::MIN };
        let last = SubjectPort { address, transport: Transport::Sctp, port: Port::MAX };
        let held_ports: BTreeMap<SubjectPort, Admit> =
            subjects.ports.range(first..=last).map(|(key, admit)| (*key, admit.clone())).collect();
        let held_rest = subjects.isolated.get(&address).cloned();

        for (key, admit) in &wanted_ports {
            if held_ports.get(key) != Some(admit) {
                self.count(admit, 1, update);
                self.step(update, TablesChange::Port(direction, *key, Some(admit.clone())));
            }
        }
        for (key, admit) in &held_ports {
            match wanted_ports.get(key) {
                Some(wanted) if wanted == admit => {}
                Some(_) => self.count(admit, -1, update),
                None => {
                    self.count(admit, -1, update);
                    self.step(update, TablesChange::Port(direction, *key, None));
                }
            }
        }
        if wanted_rest != held_rest {
            if let Some(rest) = &wanted_rest {
                *self.rests.entry(rest.clone()).or_default() += 1;
            }
            if let Some(rest) = held_rest {
                *self.rests.entry(rest.clone()).or_default() -= 1;
                update.released_rests.insert(rest);
            }
            self.step(update, TablesChange::Isolated(direction, address, wanted_rest));
        }
    }

    /// How the tables name these peers; adds their group if it is new. `None` is nobody.
    fn admit(&mut self, peers: &Peers, update: &mut Update) -> Option<Admit> {
        if peers.is_everyone() {
            return Some(Admit::Everyone);
        }
        if peers.is_nobody() {
            return None;
        }
        let id = peers.id();
        // Two meanings with one digest: whoever comes second admits nobody.
        if self.groups.get(&id).is_some_and(|(known, _)| known != peers) {
            return None;
        }
        if !self.groups.contains_key(&id) {
            let blocks = peers.blocks();
            let group = PeerGroup {
                description: peers.description().into(),
                addresses: peers.listed(&self.cluster, &mut update.members),
                blocks4: blocks.v4.into(),
                blocks6: blocks.v6.into(),
            };
            self.groups.insert(id.clone(), (peers.clone(), 0));
            update.released_groups.insert(id.clone());
            self.step(update, TablesChange::GroupAdded(id.clone(), group));
        }
        Some(Admit::Group(id))
    }

    /// The name of the rest for these entries; adds it if it is new.
    fn rest(&mut self, direction: Direction, entries: &Entries, update: &mut Update) -> RestId {
        let mut ranges = Vec::new();
        for (transport, range, peers) in &entries.ranges {
            if let Some(admit) = self.admit(peers, update) {
                ranges.push((*transport, *range, admit));
            }
        }
        let otherwise = self.admit(&entries.otherwise, update);
        let id = rest_id(direction, &ranges, otherwise.as_ref());
        if let Some(known) = self.tables.rests.get(&id) {
            let same = (known.direction, &known.ranges, &known.otherwise) == (direction, &ranges, &otherwise);
            return if same { id } else { self.rest(direction, &Entries::closed(), update) };
        }
        for admit in ranges.iter().map(|(_, _, admit)| admit).chain(&otherwise) {
            self.count(admit, 1, update);
        }
        self.rests.insert(id.clone(), 0);
        update.released_rests.insert(id.clone());
        let description = describe_rest(direction, entries).into();
        let rest = Rest { direction, description, ranges, otherwise };
        self.step(update, TablesChange::RestAdded(id.clone(), rest));
        id
    }

    fn count(&mut self, admit: &Admit, difference: isize, update: &mut Update) {
        if let Admit::Group(id) = admit
            && let Some((_, users)) = self.groups.get_mut(id)
        {
            *users = users.saturating_add_signed(difference);
            if difference < 0 {
                update.released_groups.insert(id.clone());
            }
        }
    }

    /// Removes what no entry names: rests first, for they name groups.
    fn remove_unnamed(&mut self, update: &mut Update) {
        for id in std::mem::take(&mut update.released_rests) {
            if self.rests.get(&id) != Some(&0) {
                continue;
            }
            self.rests.remove(&id);
            if let Some(rest) = self.tables.rests.get(&id).cloned() {
                for admit in rest.ranges.iter().map(|(_, _, admit)| admit).chain(&rest.otherwise) {
                    self.count(admit, -1, update);
                }
            }
            self.step(update, TablesChange::RestRemoved(id));
        }
        for id in std::mem::take(&mut update.released_groups) {
            if self.groups.get(&id).is_some_and(|(_, users)| *users == 0) {
                self.groups.remove(&id);
                self.step(update, TablesChange::GroupRemoved(id));
            }
        }
    }
}

fn rest_id(direction: Direction, ranges: &[(Transport, PortRange, Admit)], otherwise: Option<&Admit>) -> RestId {
    let mut canonical = Canonical::default();
    canonical.text(direction.name());
    let mut admit = |text: &str, admit: &Admit| {
        canonical.text(text);
        match admit {
            Admit::Everyone => canonical.text("everyone"),
            Admit::Group(id) => canonical.text(&id.0),
        }
    };
    for (transport, range, who) in ranges {
        admit(&format!("{transport} {range}"), who);
    }
    if let Some(who) = otherwise {
        admit("otherwise", who);
    }
    RestId(canonical.digest())
}

fn describe_rest(direction: Direction, entries: &Entries) -> String {
    let who = |peers: &Peers| if peers.is_everyone() { "everyone".to_string() } else { peers.description() };
    let preposition = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let mut parts: Vec<String> = entries
        .ranges
        .iter()
        .map(|(transport, range, peers)| format!("{transport} {range} {preposition} {}", who(peers)))
        .collect();
    parts.push(if entries.otherwise.is_nobody() {
        "all else denied".to_string()
    } else {
        format!("all else {preposition} {}", who(&entries.otherwise))
    });
    format!("{direction}: {}", parts.join(", "))
}
