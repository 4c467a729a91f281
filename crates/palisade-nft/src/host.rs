//! Who may reach ports of nodes: a table of its own, beside that of the policies of pods.
//!
//! ```text
//! prerouting (hook)      before any address is translated, so that sockets of the host, NodePorts and hostPorts are one
//!    |-- from loopback, a reply: passes
//!    |-- sent              the port is guarded on some node: sent_guarded
//!    |-- audit_sent        the same with audited policies, of packets that open a connection; counts, logs, and returns
//! input, forward (hooks) once more where the destination was translated, since a Service may lead to a port of a node
//!    |-- from loopback: passes
//!    |-- sent, audit_sent; a reply: reply
//!    |-- sent_sockets     whatever arrives, or leaves for another node, against what guards sockets alone
//! output (hook)          replies of the host to connections that were translated
//!    |-- reply
//!    |-- reply_sockets    replies of its sockets
//! postrouting (hook)     replies as the client sees them, so that a live connection of a client who is denied now ends at both ends
//!    |-- to loopback: passes
//!    |-- reply             of connections, and of what enters mid-stream
//!
//! sent_guarded           address of a node -> guard_ID; else, if it is an address of this host, guard_OWN
//! guard_ID               port -> from_GROUP_END, or END where nobody is admitted; what it does not mention returns
//! from_GROUP_END         is the source in the group? return : END
//!
//! END: dropped, rejected, would_deny
//! ```
//!
//! No packet is let pass for what its connection was before: each is held against the guard of its port, and what is not guarded costs one
//! lookup of the port. So a change holds at once, for live connections too, and no connection is marked.
//!
//! The nodes of the cluster are known by address, since a pod may be hidden behind the address of its node when another node sees it: the
//! node of the pod judges for all of them. This host is also known by what its routing table calls local.
//!
//! What guards sockets alone has chains and sets of its own, the names of which end in `_sockets`; without such guards there are none,
//! and without others none of the rest.
//!
//! A table without guards is no table.

mod hooks;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use palisade_core::{
    Direction, Family, GroupId, Guard, GuardId, GuardedPorts, HostChange, HostScope, HostTables, Layer, Otherwise,
    PeerGroup, PortRange, TablesChange, Transport,
};

use crate::lower::{
    Orientation, Settings, address_key, address_type, group_peer_rules, group_sets, limits, log, peers_set, range_key,
    ranges_definition, rejection,
};
use crate::ruleset::{
    Chain, Comment, Elements, Field, Lookup, Name, Rule, Ruleset, Set, SetDefinition, Side, Statement, Table, Verdict,
};
use crate::transaction::{Builder, Transaction};
use hooks::hooks;
use names::{end_name, group_name, guard_name, guarded_set, logged_set, look_up, nodes_map, ports_map};

/// The counter of packets that a guard denied.
pub(crate) const DENIED: &str = "denied";
/// The counter of packets that audited policies would have denied.
pub(crate) const WOULD_DENY: &str = "would_deny";

/// What a guard did with a packet, as the prefix of its log message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// It was denied; it went to the port, or came from it.
    Denied,
    /// It opened a connection and passed; with audited policies in force it would be denied.
    WouldDeny,
}

impl Guarded {
    /// The prefix of log messages.
    pub fn prefix(self) -> &'static str {
        match self {
            Guarded::Denied => "host",
            Guarded::WouldDeny => "would deny host",
        }
    }

    /// What this prefix means.
    pub fn of_prefix(prefix: &str) -> Option<Guarded> {
        [Guarded::Denied, Guarded::WouldDeny].into_iter().find(|guarded| guarded.prefix() == prefix)
    }
}

/// What becomes of a packet that a guard does not admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Dropped,
    Rejected,
    WouldDeny,
}

/// The ruleset that guards the ports of nodes.
pub fn lower_host(tables: &HostTables, settings: &Settings) -> Ruleset {
    let mut ruleset = Ruleset::nothing(Table::Host);
    if tables.is_empty() {
        return ruleset;
    }
    let comment = "HostPolicy of this node, written by palisade; changes by others are undone";
    ruleset.comment = Some(Comment::new(comment));
    ruleset.counters.insert(DENIED.into(), Some(Comment::new("packets to ports of nodes that were denied")));
    ruleset.counters.insert(WOULD_DENY.into(), Some(Comment::new("packets that audited policies would have denied")));
    ruleset.chains.extend(hooks(tables));
    ruleset.chains.extend(ends(*settings));
    ruleset.sets.extend(limits_sets(*settings));
    ruleset.sets.extend(guarded_ports(tables));
    for view in views(tables) {
        ruleset.chains.extend(look_ups(tables, view));
        ruleset.sets.extend(node_maps(tables, view));
        for (id, guard) in used_guards(tables, view.layer) {
            ruleset.sets.extend(port_maps(id, guard, view));
            ruleset.chains.extend([guard_chain(id, guard, view)]);
            ruleset.chains.extend(group_chains(tables, guard, view));
        }
    }
    for (id, group) in &tables.groups {
        ruleset.sets.extend(group_sets(id, group));
    }
    ruleset
}

/// The host tables that a kernel holds.
#[derive(Clone, Debug, Default)]
pub struct HostHeld {
    tables: HostTables,
    settings: Settings,
}

impl HostHeld {
    /// What a kernel holds to which [`lower_host`] of these tables was applied.
    pub fn of(tables: &HostTables, settings: &Settings) -> HostHeld {
        HostHeld { tables: tables.clone(), settings: *settings }
    }

    /// The transaction that takes those of these steps that are of host tables. A member of a group that comes or goes costs an
    /// element; everything else, which is rare, a comparison of the whole.
    ///
    /// `self` is the state after them from here on; if the kernel refuses the transaction, start again from [`HostHeld::of`].
    pub fn lower_changes(&mut self, changes: &[TablesChange]) -> Transaction {
        let changes: Vec<&HostChange> = changes
            .iter()
            .filter_map(|change| match change {
                TablesChange::Host(change) => Some(change),
                _ => None,
            })
            .collect();
        if changes.iter().all(|change| matches!(change, HostChange::Member(..))) {
            return self.lower_members(&changes);
        }
        let before = lower_host(&self.tables, &self.settings);
        self.apply(&changes);
        crate::diff::diff(&before, &lower_host(&self.tables, &self.settings))
    }

    fn lower_members(&mut self, changes: &[&HostChange]) -> Transaction {
        let mut builder = Builder::of(Table::Host);
        let mut last: BTreeMap<(&GroupId, IpAddr), bool> = BTreeMap::new();
        for change in changes {
            if let HostChange::Member(id, address, joins) = change {
                last.insert((id, *address), *joins);
            }
        }
        for ((id, address), joins) in last {
            let held = self.tables.groups.get(id).map(|group| group.addresses.contains(&address));
            let set = peers_set(id, Family::of(address));
            match (held, joins) {
                (Some(false), true) => builder.add_element(&set, address_key(address), None),
                (Some(true), false) => builder.delete_element(&set, address_key(address), None),
                _ => {}
            }
        }
        self.apply(changes);
        builder.finish()
    }

    fn apply(&mut self, changes: &[&HostChange]) {
        for change in changes {
            self.tables.apply(change);
        }
    }
}

/// What packets are held against, at one place.
#[derive(Clone, Copy)]
struct View {
    layer: Layer,
    way: Orientation,
    scope: HostScope,
}

/// Everything that packets are held against. The shadow is asked about packets that open a connection alone.
fn views(tables: &HostTables) -> Vec<View> {
    let mut ways = vec![(Layer::InForce, Orientation::Sent), (Layer::InForce, Orientation::Reply)];
    if !tables.shadow.is_empty() {
        ways.push((Layer::Shadow, Orientation::Sent));
    }
    let of_scope = |scope| ways.iter().map(move |(layer, way)| View { layer: *layer, way: *way, scope });
    scopes(tables).into_iter().flat_map(of_scope).collect()
}

/// The scopes that guards have.
fn scopes(tables: &HostTables) -> Vec<HostScope> {
    HostScope::ALL.into_iter().filter(|scope| of_scope(tables, *scope).next().is_some()).collect()
}

/// The ports of all guards in a scope.
fn of_scope(tables: &HostTables, scope: HostScope) -> impl Iterator<Item = &GuardedPorts> {
    tables.definitions.values().flat_map(|guard| &guard.ports).filter(move |ports| ports.scope == scope)
}

/// Where packets come first: is the port guarded anywhere, and whose address is it?
fn look_ups(tables: &HostTables, view: View) -> [(Name, Chain); 2] {
    let (chain, guarded) = (look_up(view), format!("{}_guarded", look_up(view)));
    let ports = transports(tables, view.scope).into_iter().map(|transport| {
        let field = Field::TransportPort(transport, view.way.port());
        vec![Statement::In(vec![field], Lookup::Named(guarded_set(transport, view.scope))), goto(&guarded)]
    });
    let comment = match view.way {
        Orientation::Sent => "packets from clients: of guarded ports alone it matters whose address they go to",
        Orientation::Reply => "packets to clients: of guarded ports alone it matters whose address they come from",
    };
    let first = Chain { comment: Some(Comment::new(comment)), hook: None, rules: ports.collect() };
    let mut rules: Vec<Rule> = Family::ALL
        .map(|family| {
            let field = Field::Address(family, node_side(view.way));
            vec![Statement::VerdictMap(vec![field], Lookup::Named(nodes_map(family, view)))]
        })
        .into();
    if let Some(own) = &tables.layer(view.layer).own {
        rules.push(vec![Statement::IsLocal(node_side(view.way)), goto(&guard_name(own, view))]);
    }
    let comment = Some(Comment::new("the guard of the node's address"));
    [(chain.into(), first), (guarded.into(), Chain { comment, hook: None, rules })]
}

fn node_maps(tables: &HostTables, view: View) -> [(Name, Set); 2] {
    Family::ALL.map(|family| {
        let nodes = tables.layer(view.layer).nodes.iter().filter(|(address, _)| Family::of(**address) == family);
        let verdict = |guard| Some(Verdict::Goto(guard_name(guard, view).into()));
        let elements = nodes.map(|(address, guard)| (address_key(*address), verdict(guard))).collect();
        let definition = SetDefinition {
            comment: Some(Comment::new("address of a node : who may reach which ports of it")),
            key: vec![address_type(family)],
            verdicts: true,
            interval: false,
            dynamic: None,
        };
        (nodes_map(family, view), Set { definition, elements })
    })
}

/// Every port that a guard mentions, for each scope and transport that has some.
fn guarded_ports(tables: &HostTables) -> Vec<(Name, Set)> {
    let set = |transport: Transport, scope: HostScope| {
        let ranges = of_scope(tables, scope).filter(|ports| ports.transport == transport).map(|ports| ports.range);
        let elements = united(ranges.collect()).into_iter().map(|range| (range_key(range), None)).collect();
        let definition = ranges_definition("ports that are guarded on some node", false);
        (guarded_set(transport, scope), Set { definition, elements })
    };
    let sets = |scope| transports(tables, scope).into_iter().map(move |transport| set(transport, scope));
    HostScope::ALL.into_iter().flat_map(sets).collect()
}

/// The ports of all the ranges, as disjoint ranges that do not touch.
fn united(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut united: Vec<PortRange> = Vec::new();
    for range in ranges {
        match united.last_mut() {
            Some(last) if last.last().checked_add(1).is_none_or(|next| range.first() <= next) => {
                *last = PortRange::new(last.first(), last.last().max(range.last())).unwrap_or(*last);
            }
            _ => united.push(range),
        }
    }
    united
}

fn port_maps(id: &GuardId, guard: &Guard, view: View) -> Vec<(Name, Set)> {
    let mut by_transport: BTreeMap<Transport, Elements> = BTreeMap::new();
    for ports in guard.ports.iter().filter(|ports| ports.scope == view.scope) {
        let end = end_of(ports, view);
        let group = |group| group_name(group, end, view.way);
        let chain = ports.admitted.as_ref().map_or_else(|| end_name(end).into(), group);
        by_transport.entry(ports.transport).or_default().insert(range_key(ports.range), Some(Verdict::Goto(chain)));
    }
    let set = |(transport, elements)| {
        let definition = ranges_definition(&guard.description, true);
        (ports_map(id, transport, view), Set { definition, elements })
    };
    by_transport.into_iter().map(set).collect()
}

fn guard_chain(id: &GuardId, guard: &Guard, view: View) -> (Name, Chain) {
    let ports = guard.ports.iter().filter(|ports| ports.scope == view.scope);
    let used: BTreeSet<Transport> = ports.map(|ports| ports.transport).collect();
    let rules = used.into_iter().map(|transport| {
        let field = Field::TransportPort(transport, view.way.port());
        vec![Statement::VerdictMap(vec![field], Lookup::Named(ports_map(id, transport, view)))]
    });
    let comment = Some(Comment::new(&guard.description));
    (guard_name(id, view).into(), Chain { comment, hook: None, rules: rules.collect() })
}

/// The chains of the groups that a guard names; several guards may name one.
fn group_chains(tables: &HostTables, guard: &Guard, view: View) -> Vec<(Name, Chain)> {
    let chain = |ports: &GuardedPorts| {
        let id = ports.admitted.as_ref()?;
        let group: &PeerGroup = tables.groups.get(id)?;
        let end = end_of(ports, view);
        let mut rules = group_peer_rules(id, group, node_side(view.way).other());
        rules.push(vec![goto(end_name(end))]);
        let comment = Some(Comment::new(&group.description));
        Some((group_name(id, end, view.way), Chain { comment, hook: None, rules }))
    };
    guard.ports.iter().filter(|ports| ports.scope == view.scope).filter_map(chain).collect()
}

fn ends(settings: Settings) -> Vec<(Name, Chain)> {
    let logs = |guarded: Guarded| -> Vec<Rule> {
        let Some(group) = settings.log_group else { return Vec::new() };
        Family::ALL.map(|family| log(guarded.prefix(), group, (family, Side::Source), logged_set(family))).into()
    };
    let chain = |end, counter: &str, guarded, last: Vec<Rule>| {
        let count = vec![Statement::Count(counter.into())];
        let rules = [vec![count], logs(guarded), last].concat();
        let comment = match end {
            End::Dropped => "the client is not admitted to the port",
            End::Rejected => "the client is not admitted to the port, and is told so",
            End::WouldDeny => "with audited policies the client would not be admitted to the port",
        };
        (end_name(end).into(), Chain { comment: Some(Comment::new(comment)), hook: None, rules })
    };
    let verdict = |verdict| vec![Statement::Verdict(verdict)];
    let told = [&rejection()[..], &[verdict(Verdict::Drop)]].concat();
    vec![
        chain(End::Dropped, DENIED, Guarded::Denied, vec![verdict(Verdict::Drop)]),
        chain(End::Rejected, DENIED, Guarded::Denied, told),
        chain(End::WouldDeny, WOULD_DENY, Guarded::WouldDeny, vec![verdict(Verdict::Return)]),
    ]
}

fn limits_sets(settings: Settings) -> Vec<(Name, Set)> {
    let set = |family| (logged_set(family), limits(family, "whose denied packets were logged just now"));
    settings.log_group.map(|_| Family::ALL.map(set).into()).unwrap_or_default()
}

/// The guards that a layer names.
fn used_guards(tables: &HostTables, layer: Layer) -> impl Iterator<Item = (&GuardId, &Guard)> {
    let guards = tables.layer(layer);
    let named: BTreeSet<&GuardId> = guards.nodes.values().chain(&guards.own).collect();
    named.into_iter().filter_map(|id| tables.definitions.get_key_value(id))
}

fn transports(tables: &HostTables, scope: HostScope) -> BTreeSet<Transport> {
    of_scope(tables, scope).map(|ports| ports.transport).collect()
}

/// The side of the packet at which the node is.
fn node_side(way: Orientation) -> Side {
    way.subject(Direction::Ingress)
}

/// In a reply nobody is told: a TCP reset would go to the server, and after routing none can be sent.
fn end_of(ports: &GuardedPorts, view: View) -> End {
    match (view.layer, view.way, ports.otherwise) {
        (Layer::Shadow, ..) => End::WouldDeny,
        (Layer::InForce, Orientation::Sent, Otherwise::Reject) => End::Rejected,
        (Layer::InForce, ..) => End::Dropped,
    }
}

fn accept() -> Statement {
    Statement::Verdict(Verdict::Accept)
}

fn jump(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Jump(chain.into()))
}

fn goto(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Goto(chain.into()))
}

#[cfg(test)]
mod tests;
