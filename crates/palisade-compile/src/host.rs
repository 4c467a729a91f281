//! From host policies to the guards of nodes.
//!
//! Policies and nodes change seldom, so that a change of one has all guards made anew; what came of it is told in the smallest
//! steps all the same. Pods that come and go touch the members of groups alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::host_policy::FAILSAFE_PORTS;
use palisade_core::{
    GroupId, Guard, GuardId, GuardedPorts, HostChange, HostGroup, HostPeer, HostPolicy, HostScope, HostTables, Labels,
    Layer, Node, NodeName, Otherwise, Port, PortRange, Selector, Transport,
};

use crate::atom::{Atom, AtomMembers, Who};
use crate::cluster::Cluster;
use crate::digest::Canonical;
use crate::matching::selects;
use crate::peers::Peers;

/// Whether a policy guards the ports of a node with these labels.
pub fn guards(policy: &HostPolicy, node: &Labels) -> bool {
    selects(&policy.nodes, node)
}

/// The guards in force on a node, and who is meant by their groups.
#[derive(Debug, Default)]
pub struct Host {
    groups: BTreeMap<GroupId, Peers>,
}

/// What is to hold, before it has names.
#[derive(Default)]
struct Wanted {
    tables: HostTables,
    groups: BTreeMap<GroupId, Peers>,
}

impl Host {
    /// The steps after host policies or nodes have changed.
    pub fn update_guards(
        &mut self,
        cluster: &Cluster,
        node: &NodeName,
        failsafe_sources: &[IpNet],
        held: &HostTables,
    ) -> Vec<HostChange> {
        let wanted = Wanted::of(cluster, node, failsafe_sources);
        let mut members = AtomMembers::default();
        let mut changes = Vec::new();
        for (id, peers) in &wanted.groups {
            if !self.groups.contains_key(id) {
                let group = peers.group(cluster, &mut members);
                changes.push(HostChange::GroupAdded(id.clone(), group));
            }
        }
        let (tables, definitions) = (&wanted.tables, &wanted.tables.definitions);
        let new = definitions.iter().filter(|(id, _)| !held.definitions.contains_key(*id));
        changes.extend(new.map(|(id, guard)| HostChange::GuardAdded(id.clone(), guard.clone())));
        for layer in [Layer::InForce, Layer::Shadow] {
            let (before, now) = (held.layer(layer), tables.layer(layer));
            for address in before.nodes.keys().filter(|address| !now.nodes.contains_key(*address)) {
                changes.push(HostChange::Node(layer, *address, None));
            }
            for (address, guard) in
                now.nodes.iter().filter(|(address, guard)| before.nodes.get(*address) != Some(*guard))
            {
                changes.push(HostChange::Node(layer, *address, Some(guard.clone())));
            }
            if before.own != now.own {
                changes.push(HostChange::Own(layer, now.own.clone()));
            }
        }
        let old = held.definitions.keys().filter(|id| !definitions.contains_key(*id));
        changes.extend(old.map(|id| HostChange::GuardRemoved(id.clone())));
        let gone = self.groups.keys().filter(|id| !wanted.groups.contains_key(*id));
        changes.extend(gone.map(|id| HostChange::GroupRemoved(id.clone())));
        self.groups = wanted.groups;
        changes
    }

    /// The steps after these addresses of pods or nodes came or went.
    pub fn update_members(
        &self,
        cluster: &Cluster,
        addresses: &BTreeSet<IpAddr>,
        held: &HostTables,
    ) -> Vec<HostChange> {
        let mut changes = Vec::new();
        for (id, peers) in &self.groups {
            let Some(group) = held.groups.get(id) else { continue };
            let news = peers.news(group, cluster, addresses);
            changes.extend(news.map(|(address, joins)| HostChange::Member(id.clone(), address, joins)));
        }
        changes
    }
}

impl Wanted {
    fn of(cluster: &Cluster, own: &NodeName, failsafe_sources: &[IpNet]) -> Wanted {
        let mut wanted = Wanted::default();
        let policies: Vec<&HostPolicy> = cluster.host_policies().collect();
        if policies.is_empty() {
            return wanted;
        }
        // Nodes are many, and alike: those that the same policies guard share a guard.
        let mut known: BTreeMap<Vec<usize>, [Option<GuardId>; 2]> = BTreeMap::new();
        let mut guards_of = |wanted: &mut Wanted, nodes: &[&Node]| {
            let guards_one = |policy: &HostPolicy| nodes.iter().any(|node| guards(policy, &node.labels));
            let chosen = policies.iter().enumerate().filter(|(_, policy)| guards_one(policy));
            let chosen: Vec<usize> = chosen.map(|(index, _)| index).collect();
            known
                .entry(chosen)
                .or_insert_with_key(|chosen| {
                    let chosen: Vec<&HostPolicy> = chosen.iter().map(|index| policies[*index]).collect();
                    [in_force(&chosen, failsafe_sources), shadow(&chosen, failsafe_sources)]
                        .map(|stretches| wanted.guard(stretches))
                })
                .clone()
        };
        for (address, nodes) in cluster.node_addresses() {
            let [guard, shadow] = guards_of(&mut wanted, &nodes);
            wanted.tables.guards.nodes.extend(guard.map(|guard| (address, guard)));
            wanted.tables.shadow.nodes.extend(shadow.map(|guard| (address, guard)));
        }
        if let Some(node) = cluster.node(own) {
            let [guard, shadow] = guards_of(&mut wanted, &[&**node]);
            wanted.tables.guards.own = guard;
            wanted.tables.shadow.own = shadow;
        }
        wanted
    }

    /// Gives stretches of ports a name; `None` if there are none.
    fn guard(&mut self, stretches: Vec<Stretch>) -> Option<GuardId> {
        let mut ports: Vec<GuardedPorts> = Vec::new();
        let mut descriptions = Vec::new();
        for Stretch { transport, range, scope, meaning: Meaning { peers, otherwise, .. } } in stretches {
            let admitted = self.group(&peers);
            let who = if admitted.is_some() { peers.description() } else { "nobody".to_string() };
            let sockets = if scope == HostScope::HostSockets { "sockets of " } else { "" };
            descriptions.push(format!("{sockets}{transport} {range} from {who}"));
            ports.push(GuardedPorts { transport, range, scope, admitted, otherwise });
        }
        if ports.is_empty() {
            return None;
        }
        let id = guard_id(&ports);
        let guard = Guard { description: descriptions.join(", ").into(), ports };
        self.tables.definitions.insert(id.clone(), guard);
        Some(id)
    }

    /// The name of the group of these peers; `None` is nobody.
    fn group(&mut self, peers: &Peers) -> Option<GroupId> {
        if peers.is_nobody() {
            return None;
        }
        let id = peers.id();
        // Two meanings with one digest: whoever comes second admits nobody.
        let is_taken = self.groups.get(&id).is_some_and(|known| known != peers);
        if is_taken {
            return None;
        }
        self.groups.insert(id.clone(), peers.clone());
        Some(id)
    }
}

/// Some ports, and what is to hold for them.
struct Stretch {
    transport: Transport,
    range: PortRange,
    scope: HostScope,
    meaning: Meaning,
}

/// What is to hold for some ports.
#[derive(PartialEq, Eq)]
struct Meaning {
    peers: Peers,
    otherwise: Otherwise,
    /// Whether an audited policy is among those that guard them.
    audited: bool,
}

fn in_force(policies: &[&HostPolicy], failsafe_sources: &[IpNet]) -> Vec<Stretch> {
    let enforced: Vec<&HostPolicy> = policies.iter().copied().filter(|policy| !policy.audit).collect();
    stretches(&enforced, failsafe_sources)
}

/// Each scope by itself: no group is of two.
fn stretches(policies: &[&HostPolicy], failsafe_sources: &[IpNet]) -> Vec<Stretch> {
    let of_scope = |scope| {
        let policies: Vec<&HostPolicy> = policies.iter().copied().filter(|policy| policy.scope == scope).collect();
        stretches_of(scope, &policies, failsafe_sources)
    };
    HostScope::ALL.into_iter().flat_map(of_scope).collect()
}

/// With all policies in force, but only of ports that an audited one guards.
fn shadow(policies: &[&HostPolicy], failsafe_sources: &[IpNet]) -> Vec<Stretch> {
    let mut stretches = stretches(policies, failsafe_sources);
    stretches.retain(|stretch| stretch.meaning.audited);
    stretches
}

/// Cuts the ports where a policy, or what is failsafe, begins or ends; leaves out what nobody guards.
fn stretches_of(scope: HostScope, policies: &[&HostPolicy], failsafe_sources: &[IpNet]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for transport in Transport::ALL {
        let named = policies.iter().flat_map(|policy| &policy.ports).chain(&FAILSAFE_PORTS);
        let of_transport = named.filter(|port| port.transport == transport).map(|port| port.range);
        let starts: BTreeSet<u32> = of_transport
            .flat_map(|range| [u32::from(range.first().get()), u32::from(range.last().get()) + 1])
            .collect();
        let ends = starts.iter().skip(1).map(|next| next - 1);
        for range in starts.iter().zip(ends).filter_map(|(first, last)| range(*first, last)) {
            let guarding: Vec<&&HostPolicy> = policies
                .iter()
                .filter(|policy| policy.ports.iter().any(|port| port.contains(transport, range.first())))
                .collect();
            if !guarding.is_empty() {
                let meaning = meaning(transport, range, &guarding, failsafe_sources);
                push(&mut stretches, Stretch { transport, range, scope, meaning });
            }
        }
    }
    stretches
}

fn range(first: u32, last: u32) -> Option<PortRange> {
    let port = |number: u32| u16::try_from(number).ok().and_then(Port::new);
    PortRange::new(port(first)?, port(last)?)
}

fn meaning(transport: Transport, range: PortRange, guarding: &[&&HostPolicy], failsafe_sources: &[IpNet]) -> Meaning {
    let mut always: BTreeSet<Who> =
        failsafe_sources.iter().map(|source| Who::Block(source.trunc(), Vec::new())).collect();
    if FAILSAFE_PORTS.iter().any(|ports| ports.contains(transport, range.first())) {
        always.insert(Who::Nodes(Selector::everything()));
    }
    // Within a group any policy admits; each group that guards the ports has to.
    let mut groups: BTreeMap<HostGroup, BTreeSet<Arc<Atom>>> = BTreeMap::new();
    for policy in guarding {
        let admitted = policy.from.iter().map(who).chain(always.iter().cloned());
        let atoms = admitted.map(|who| Arc::new(Atom { who, declares: None }));
        groups.entry(policy.group()).or_default().extend(atoms);
    }
    let peers = groups.into_values().map(Peers::any_of).fold(Peers::everyone(), Peers::and);
    let rejects = guarding.iter().any(|policy| policy.otherwise == Otherwise::Reject);
    let otherwise = if rejects { Otherwise::Reject } else { Otherwise::Drop };
    let audited = guarding.iter().any(|policy| policy.audit);
    Meaning { peers, otherwise, audited }
}

/// Adds a stretch, to the one before it if they differ in nothing and touch.
fn push(stretches: &mut Vec<Stretch>, stretch: Stretch) {
    if let Some(last) = stretches.last_mut()
        && (last.transport, &last.meaning) == (stretch.transport, &stretch.meaning)
        && last.range.last().checked_add(1) == Some(stretch.range.first())
        && let Some(joined) = PortRange::new(last.range.first(), stretch.range.last())
    {
        last.range = joined;
        return;
    }
    stretches.push(stretch);
}

fn who(peer: &HostPeer) -> Who {
    match peer {
        HostPeer::Nodes(selector) => Who::Nodes(selector.clone()),
        HostPeer::Pods { namespaces, pods } => Who::PodsWhere(namespaces.clone(), pods.clone()),
        HostPeer::Block { cidr, except } => Who::Block(*cidr, except.clone()),
    }
}

fn guard_id(ports: &[GuardedPorts]) -> GuardId {
    let mut canonical = Canonical::default();
    canonical.text("guard");
    canonical.list(ports.len());
    for GuardedPorts { transport, range, scope, admitted, otherwise } in ports {
        canonical.text(&format!("{transport} {range} {scope:?} {otherwise:?}"));
        canonical.text(admitted.as_ref().map_or("nobody", |id| &id.0));
    }
    GuardId(canonical.digest())
}
