//! What a change touches, and the changes of the tables that follow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::tables::{SubjectPort, TablesChange};
use palisade_core::{
    Admit, Change, Direction, GroupId, Layer, NamespaceName, NodeName, Pod, PodName, Port, PortRange, Rest, RestId,
    Tables, Transport,
};

use crate::atom::AtomMembers;
use crate::bans::Bans;
use crate::cluster::{Cluster, Touched, is_on};
use crate::digest::Canonical;
use crate::grants::{self, grants, is_audited};
use crate::host::Host;
use crate::named::{NamedPort, NamedPorts};
use crate::peers::Peers;
use crate::room::{self, Need};
use crate::settings::{Settings, UnknownPods};
use crate::subject::Entries;

/// Compiles for one node, and keeps what it needs to make a small change cheap.
///
/// A pod costs what its addresses mean to the groups in force on this node; a policy costs its local subjects.
#[derive(Debug)]
pub struct Compiler {
    node: NodeName,
    settings: Settings,
    cluster: Cluster,
    named: NamedPorts,
    /// The meaning of every group in the tables, and how many entries name it.
    groups: BTreeMap<GroupId, (Peers, usize)>,
    /// How many entries name each rest.
    rests: BTreeMap<RestId, usize>,
    host: Host,
    bans: Bans,
    tables: Tables,
    /// The elements that the tables come to.
    elements: usize,
    /// The namespaces for whose policies there is no room: their isolated pods are closed.
    closed: BTreeSet<NamespaceName>,
}

/// The state of one update.
#[derive(Default)]
struct Update {
    changes: Vec<TablesChange>,
    members: AtomMembers,
    /// Groups and rests that an entry ceased to name; at the end those without any other are removed.
    released_groups: BTreeSet<GroupId>,
    released_rests: BTreeSet<RestId>,
    /// How many elements there may be.
    room: Option<usize>,
    /// There were more for a moment. From then on nothing is added, until it is clear who finds room.
    is_past: bool,
}

/// The entries of an address, by layer and direction; `None` where it has none.
type Wanted = Vec<((Layer, Direction), Option<Entries>)>;

impl Compiler {
    /// A compiler for a node of an empty cluster, on which unknown pods pass.
    pub fn new(node: NodeName) -> Compiler {
        Compiler::with(node, Settings::default())
    }

    /// A compiler for a node of an empty cluster.
    pub fn with(node: NodeName, settings: Settings) -> Compiler {
        let tables = Tables { pod_ranges: settings.pod_ranges(None), ..Tables::default() };
        Compiler {
            node,
            settings,
            cluster: Cluster::default(),
            named: NamedPorts::default(),
            groups: BTreeMap::new(),
            rests: BTreeMap::new(),
            host: Host::default(),
            bans: Bans::default(),
            tables,
            elements: 0,
            closed: BTreeSet::new(),
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

    /// The elements that [`Compiler::tables`] come to.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The namespaces for whose policies there is no room on this node: their isolated pods are closed, which reach
    /// nobody and are reached by nobody.
    pub fn closed(&self) -> &BTreeSet<NamespaceName> {
        &self.closed
    }

    /// Takes in changes of the cluster and returns the steps by which [`Compiler::tables`] moved, in an order in
    /// which nothing is named before it exists.
    pub fn update(&mut self, changes: &[Change]) -> Vec<TablesChange> {
        let mut touched = self.cluster.update(changes, &self.node);
        self.named.update(&self.cluster, &touched.peers, &mut touched.subjects);
        let mut update = Update { room: self.settings.elements_max, ..Update::default() };
        self.update_pod_ranges(changes, &mut update);
        self.update_members(&touched.addresses, &mut update);
        for address in &touched.subjects {
            self.update_subject(*address, &mut update);
        }
        if update.is_past {
            self.give_room(&touched, &mut update);
        }
        self.remove_unnamed(&mut update);
        self.update_host(&touched.addresses, touched.guards, &mut update);
        let steps = self.bans.update(&self.cluster, &self.settings.protected, &touched, &self.tables.bans);
        for change in steps {
            self.step(&mut update, TablesChange::Ban(change));
        }
        update.changes
    }

    fn update_host(&mut self, addresses: &BTreeSet<IpAddr>, guards: bool, update: &mut Update) {
        let members = self.host.update_members(&self.cluster, addresses, &self.tables.host);
        for change in members {
            self.step(update, TablesChange::Host(change));
        }
        if guards {
            let changes =
                self.host.update_guards(&self.cluster, &self.node, &self.settings.failsafe_sources, &self.tables.host);
            for change in changes {
                self.step(update, TablesChange::Host(change));
            }
        }
    }

    /// Looks whether there is room by now for the namespaces that are closed. It takes a fresh look at all pods of the
    /// node, and so is not done with every update.
    pub fn review(&mut self) -> Vec<TablesChange> {
        let mut update = Update::default();
        if !self.closed.is_empty() {
            self.give_room(&Touched::default(), &mut update);
            self.remove_unnamed(&mut update);
        }
        update.changes
    }

    /// Finds out which namespaces are to be closed, and brings up to date what is touched, and those for which that is
    /// news. First they give up what they have, so that there is room for the others.
    fn give_room(&mut self, touched: &Touched, update: &mut Update) {
        let Some(room) = self.settings.elements_max else { return };
        (update.room, update.is_past) = (None, false);
        let before = std::mem::take(&mut self.closed);
        self.closed = room::without_room(&self.needs(room), room);
        let (yields, others): (Vec<IpAddr>, Vec<IpAddr>) =
            self.cluster.local_addresses().into_iter().partition(|address| self.is_in(*address, &self.closed));
        for address in yields {
            self.update_subject(address, update);
        }
        self.remove_unnamed(update);
        self.update_members(&touched.addresses, update);
        let opened: BTreeSet<NamespaceName> = before.difference(&self.closed).cloned().collect();
        let opened = others.into_iter().filter(|address| self.is_in(*address, &opened));
        let again: BTreeSet<IpAddr> = opened.chain(touched.subjects.iter().copied()).collect();
        for address in again {
            self.update_subject(address, update);
        }
    }

    /// Whether a pod of one of the namespaces has the address.
    fn is_in(&self, address: IpAddr, namespaces: &BTreeSet<NamespaceName>) -> bool {
        !namespaces.is_empty()
            && self.local_pods_at(address).iter().any(|(name, _)| namespaces.contains(&name.namespace))
    }

    /// What each namespace needs on this node; of one that needs more than the room that there is, so much that this is
    /// certain.
    fn needs(&mut self, room: usize) -> BTreeMap<NamespaceName, Need> {
        let mut needs: BTreeMap<NamespaceName, Need> = BTreeMap::new();
        let mut members = AtomMembers::default();
        for address in self.cluster.local_addresses() {
            let pods = self.local_pods_at(address);
            let namespaces: BTreeSet<NamespaceName> = pods.iter().map(|(name, _)| name.namespace.clone()).collect();
            let finds_room = |namespace: &&NamespaceName| needs.get(*namespace).is_none_or(|need| need.total() <= room);
            let open: Vec<NamespaceName> = namespaces.iter().filter(finds_room).cloned().collect();
            if open.is_empty() {
                continue;
            }
            let wanted = self.wanted(address, &pods);
            for namespace in open {
                let need = needs.entry(namespace).or_default();
                for ((_, direction), entries) in &wanted {
                    let Some(entries) = entries else { continue };
                    let ports = entries.ports.values().filter(|peers| admit_of(peers).is_some()).count();
                    need.add_ports(address, ports);
                    self.add_shared_need(*direction, entries, room, &mut members, need);
                }
            }
        }
        needs
    }

    /// Adds the groups and rests of one address, until it is certain that there is no room for them.
    fn add_shared_need(
        &self,
        direction: Direction,
        entries: &Entries,
        room: usize,
        members: &mut AtomMembers,
        need: &mut Need,
    ) {
        let ranges = entries.ranges.iter().map(|(.., peers)| peers);
        for peers in entries.ports.values().chain(ranges).chain([&entries.otherwise]) {
            if need.total() > room {
                return;
            }
            if let Some(Admit::Group(GroupId(id))) = admit_of(peers)
                && need.lacks(&id)
            {
                let (addresses, blocks) = (peers.listed(&self.cluster, members).len(), peers.blocks());
                need.add_shared(id, room::of_group(addresses, [blocks.v4.len(), blocks.v6.len()]));
            }
        }
        let admitted =
            |(transport, range, peers): &(_, _, Arc<Peers>)| admit_of(peers).map(|admit| (*transport, *range, admit));
        let ranges: Vec<_> = entries.ranges.iter().filter_map(admitted).collect();
        let RestId(id) = rest_id(direction, &ranges, admit_of(&entries.otherwise).as_ref());
        need.add_shared(id, room::of_rest(ranges.iter().map(|(transport, ..)| *transport)));
    }

    fn step(&mut self, update: &mut Update, change: TablesChange) {
        let (more, less) = room::difference(&self.tables, &change);
        self.elements = self.elements.saturating_add(more).saturating_sub(less);
        update.is_past |= update.room.is_some_and(|room| self.elements > room);
        self.tables.apply(&change);
        update.changes.push(change);
    }

    /// Follows the Node object of this node.
    fn update_pod_ranges(&mut self, changes: &[Change], update: &mut Update) {
        for change in changes {
            if let Change::Node(name, node) = change
                && *name == self.node
            {
                let ranges = self.settings.pod_ranges(node.as_deref());
                if ranges != self.tables.pod_ranges {
                    self.step(update, TablesChange::PodRanges(ranges));
                }
            }
        }
    }

    /// Brings the groups that are in force up to date with addresses that came or went.
    fn update_members(&mut self, addresses: &BTreeSet<IpAddr>, update: &mut Update) {
        let mut steps = Vec::new();
        let left = update.room.map_or(usize::MAX, |room| room.saturating_sub(self.elements));
        for (id, (peers, _)) in &self.groups {
            if steps.len() > left {
                update.is_past = true;
                return;
            }
            let Some(group) = self.tables.groups.get(id) else { continue };
            let news = peers.news(group, &self.cluster, addresses);
            steps.extend(news.map(|(address, joins)| TablesChange::Member(id.clone(), address, joins)));
        }
        for step in steps {
            self.step(update, step);
        }
    }

    fn update_subject(&mut self, address: IpAddr, update: &mut Update) {
        if update.is_past {
            return;
        }
        let pods = self.local_pods_at(address);
        for (at, entries) in self.wanted(address, &pods) {
            self.set_entries(address, at, entries.as_ref(), update);
        }
        let is_known = self.settings.unknown_pods == UnknownPods::Drop && !pods.is_empty();
        if is_known != self.tables.known.contains(&address) {
            self.step(update, TablesChange::Known(address, is_known));
        }
    }

    fn local_pods_at(&self, address: IpAddr) -> Vec<(PodName, Arc<Pod>)> {
        let local = self.cluster.pods_at(address).filter(|(_, pod)| is_on(pod, &self.node));
        local.map(|(name, pod)| (name.clone(), Arc::clone(pod))).collect()
    }

    /// The entries of an address that these pods have, and takes note of what they depend on.
    fn wanted(&mut self, address: IpAddr, pods: &[(PodName, Arc<Pod>)]) -> Wanted {
        let mut wanted = Vec::new();
        let mut depends_on: BTreeSet<NamedPort> = BTreeSet::new();
        for direction in Direction::ALL {
            let mut entries = |layer| {
                let granted = pods.iter().map(|(name, pod)| {
                    let (pod, at): ((&PodName, &Pod), _) = ((name, pod), (layer, direction));
                    if self.closed.contains(&name.namespace) {
                        grants::none(&self.cluster, pod, at)
                    } else {
                        grants(&self.cluster, &mut self.named, &mut depends_on, pod, at)
                    }
                });
                Entries::new(&granted.collect::<Vec<_>>())
            };
            let in_force = entries(Layer::InForce);
            let is_audited = pods.iter().any(|(name, pod)| is_audited(&self.cluster, (name, pod), direction));
            let shadow = is_audited.then(|| entries(Layer::Shadow));
            wanted.push(((Layer::InForce, direction), Some(in_force).filter(|entries| !entries.is_open())));
            // One that stays open is in the shadow too, for what holds would otherwise count as what would hold.
            wanted.push(((Layer::Shadow, direction), shadow));
        }
        self.named.set_dependencies(address, depends_on);
        wanted
    }

    /// Gives the address these entries, or none.
    fn set_entries(
        &mut self,
        address: IpAddr,
        (layer, direction): (Layer, Direction),
        entries: Option<&Entries>,
        update: &mut Update,
    ) {
        let wanted_rest = entries.map(|entries| self.rest(direction, entries, update));
        let wanted_ports: BTreeMap<SubjectPort, Admit> = entries
            .into_iter()
            .flat_map(|entries| &entries.ports)
            .filter_map(|((transport, port), peers)| {
                let key = SubjectPort { address, transport: *transport, port: *port };
                self.admit(peers, update).map(|admit| (key, admit))
            })
            .collect();
        let subjects = match layer {
            Layer::InForce => &self.tables.subjects[direction],
            Layer::Shadow => &self.tables.shadow[direction],
        };
        let first = SubjectPort { address, transport: Transport::Tcp, port: Port::MIN };
        let last = SubjectPort { address, transport: Transport::Sctp, port: Port::MAX };
        let held_ports: BTreeMap<SubjectPort, Admit> =
            subjects.ports.range(first..=last).map(|(key, admit)| (*key, admit.clone())).collect();
        let held_rest = subjects.isolated.get(&address).cloned();

        for (key, admit) in &wanted_ports {
            if held_ports.get(key) != Some(admit) {
                self.count(admit, 1, update);
                self.step(update, port_change((layer, direction), *key, Some(admit.clone())));
            }
        }
        for (key, admit) in &held_ports {
            match wanted_ports.get(key) {
                Some(wanted) if wanted == admit => {}
                Some(_) => self.count(admit, -1, update),
                None => {
                    self.count(admit, -1, update);
                    self.step(update, port_change((layer, direction), *key, None));
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
            self.step(
                update,
                match layer {
                    Layer::InForce => TablesChange::Isolated(direction, address, wanted_rest),
                    Layer::Shadow => TablesChange::ShadowIsolated(direction, address, wanted_rest),
                },
            );
        }
    }

    /// How the tables name these peers; adds their group if it is new. `None` is nobody.
    fn admit(&mut self, peers: &Peers, update: &mut Update) -> Option<Admit> {
        let id = match admit_of(peers) {
            Some(Admit::Group(id)) => id,
            everyone_or_nobody => return everyone_or_nobody,
        };
        // Two meanings with one digest: whoever comes second admits nobody.
        if self.groups.get(&id).is_some_and(|(known, _)| known != peers) {
            return None;
        }
        if !self.groups.contains_key(&id) {
            if update.is_past {
                return None;
            }
            let group = peers.group(&self.cluster, &mut update.members);
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
        // A rest that lacks some of its groups would be another under the same name.
        if update.is_past && !entries.is_closed() {
            return self.rest(direction, &Entries::closed(), update);
        }
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

/// How the tables name these peers. `None` is nobody.
fn admit_of(peers: &Peers) -> Option<Admit> {
    if peers.is_everyone() {
        return Some(Admit::Everyone);
    }
    (!peers.is_nobody()).then(|| Admit::Group(peers.id()))
}

fn port_change((layer, direction): (Layer, Direction), key: SubjectPort, admit: Option<Admit>) -> TablesChange {
    match layer {
        Layer::InForce => TablesChange::Port(direction, key, admit),
        Layer::Shadow => TablesChange::ShadowPort(direction, key, admit),
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
