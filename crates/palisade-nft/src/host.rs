//! Who may reach ports of nodes: a table of its own, beside that of the policies of pods.
//!
//! ```text
//! prerouting (hook)      before any address is translated, so that sockets of the host, NodePorts and hostPorts are one
//!    |-- from loopback, a reply: passes
//!    |-- sent              the port is guarded on some node: sent_guarded
//!    |-- audit_sent        the same with audited policies, of packets that open a connection; counts, logs, and returns
//! input, forward (hooks) once more where the destination was translated, since a Service may lead to a port of a node
//!    |-- sent, audit_sent; a reply: reply
//! output (hook)          replies of the host to connections that were translated
//!    |-- reply
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
//! A table without guards is no table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use palisade_core::{
    Direction, Family, GroupId, Guard, GuardId, GuardedPorts, HostChange, HostTables, Layer, Otherwise, PeerGroup,
    PortRange, TablesChange, Transport,
};

use crate::lower::{
    Orientation, Settings, address_key, address_type, group_peer_rules, group_sets, limits, log, peers_set, prefix,
    range_key, ranges_definition, rejection,
};
use crate::ruleset::{
    Chain, Comment, CtState, Elements, Field, Hook, Lookup, Loopback, Name, Rule, Ruleset, Set, SetDefinition, Side,
    Statement, Table, Verdict,
};
use crate::transaction::{Builder, Transaction};

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
    for (layer, way) in views(tables) {
        ruleset.chains.extend(look_ups(tables, layer, way));
        ruleset.sets.extend(node_maps(tables, layer, way));
        for (id, guard) in used_guards(tables, layer) {
            ruleset.sets.extend(port_maps(id, guard, layer, way));
            ruleset.chains.extend([guard_chain(id, guard, layer, way)]);
            ruleset.chains.extend(group_chains(tables, guard, layer, way));
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

/// The pairs of layer and way that packets are asked about. The shadow is asked about packets that open a connection alone.
fn views(tables: &HostTables) -> Vec<(Layer, Orientation)> {
    let mut views = vec![(Layer::InForce, Orientation::Sent), (Layer::InForce, Orientation::Reply)];
    if !tables.shadow.is_empty() {
        views.push((Layer::Shadow, Orientation::Sent));
    }
    views
}

fn hooks(tables: &HostTables) -> Vec<(Name, Chain)> {
    let is_audited = !tables.shadow.is_empty();
    let audit = |first: Vec<Statement>| {
        let opening = [Statement::StateIs(CtState::New), jump("audit_sent")];
        is_audited.then(|| [first, opening.into()].concat())
    };
    let hook = |name: &str, comment, hook, rules: Vec<Rule>| {
        (name.into(), Chain { comment: Some(Comment::new(comment)), hook: Some(hook), rules })
    };
    let mut prerouting =
        vec![vec![Statement::Over(Loopback::In), accept()], vec![Statement::IsReply, accept()], vec![jump("sent")]];
    prerouting.extend(audit(Vec::new()));
    let mut translated =
        vec![vec![Statement::IsReply, goto("translated_reply")], vec![Statement::IsTranslated, jump("sent")]];
    translated.extend(audit(vec![Statement::IsTranslated]));
    let postrouting = vec![
        vec![Statement::Over(Loopback::Out), accept()],
        vec![Statement::IsReply, jump("reply")],
        // Conntrack takes the sender of the first packet that it sees for the opener.
        vec![Statement::StateIs(CtState::New), Statement::NotOpeningTcp, jump("reply")],
        vec![Statement::StateIs(CtState::New), Statement::NotOpeningSctp, jump("reply")],
    ];
    let reply = "replies to translated connections are held against the guard of where they come from";
    let translated_reply = Chain {
        comment: Some(Comment::new(reply)),
        hook: None,
        rules: vec![vec![Statement::IsTranslated, jump("reply")]],
    };
    vec![
        hook("prerouting", "packets to ports of nodes, before addresses are translated", Hook::Guard, prerouting),
        hook("input", "the same once more, where a Service led here", Hook::GuardInput, translated.clone()),
        hook("forward", "the same once more, where a Service leads to another node", Hook::GuardForward, translated),
        hook("output", "replies to translated connections", Hook::GuardOutput, translated_reply.rules.clone()),
        hook("postrouting", "replies as clients see them", Hook::GuardReply, postrouting),
        ("translated_reply".into(), translated_reply),
    ]
}

/// Where packets come first: is the port guarded anywhere, and whose address is it?
fn look_ups(tables: &HostTables, layer: Layer, way: Orientation) -> [(Name, Chain); 2] {
    let (chain, guarded) = (look_up(layer, way), format!("{}_guarded", look_up(layer, way)));
    let ports = transports(tables).into_iter().map(|transport| {
        let field = Field::TransportPort(transport, way.port());
        vec![Statement::In(vec![field], Lookup::Named(guarded_set(transport))), goto(&guarded)]
    });
    let comment = match way {
        Orientation::Sent => "packets from clients: of guarded ports alone it matters whose address they go to",
        Orientation::Reply => "packets to clients: of guarded ports alone it matters whose address they come from",
    };
    let first = Chain { comment: Some(Comment::new(comment)), hook: None, rules: ports.collect() };
    let mut rules: Vec<Rule> = Family::ALL
        .map(|family| {
            let field = Field::Address(family, node_side(way));
            vec![Statement::VerdictMap(vec![field], Lookup::Named(nodes_map(family, layer, way)))]
        })
        .into();
    if let Some(own) = &tables.layer(layer).own {
        rules.push(vec![Statement::IsLocal(node_side(way)), goto(&guard_name(own, layer, way))]);
    }
    let comment = Some(Comment::new("the guard of the node's address"));
    [(chain.into(), first), (guarded.into(), Chain { comment, hook: None, rules })]
}

fn node_maps(tables: &HostTables, layer: Layer, way: Orientation) -> [(Name, Set); 2] {
    Family::ALL.map(|family| {
        let nodes = tables.layer(layer).nodes.iter().filter(|(address, _)| Family::of(**address) == family);
        let verdict = |guard| Some(Verdict::Goto(guard_name(guard, layer, way).into()));
        let elements = nodes.map(|(address, guard)| (address_key(*address), verdict(guard))).collect();
        let definition = SetDefinition {
            comment: Some(Comment::new("address of a node : who may reach which ports of it")),
            key: vec![address_type(family)],
            verdicts: true,
            interval: false,
            dynamic: None,
        };
        (nodes_map(family, layer, way), Set { definition, elements })
    })
}

/// Every port that a guard mentions, for each transport that has some.
fn guarded_ports(tables: &HostTables) -> Vec<(Name, Set)> {
    let set = |transport: Transport| {
        let all = tables.definitions.values().flat_map(|guard| &guard.ports);
        let ranges = all.filter(|ports| ports.transport == transport).map(|ports| ports.range);
        let elements = united(ranges.collect()).into_iter().map(|range| (range_key(range), None)).collect();
        let definition = ranges_definition("ports that are guarded on some node", false);
        (guarded_set(transport), Set { definition, elements })
    };
    transports(tables).into_iter().map(set).collect()
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

fn port_maps(id: &GuardId, guard: &Guard, layer: Layer, way: Orientation) -> Vec<(Name, Set)> {
    let mut by_transport: BTreeMap<Transport, Elements> = BTreeMap::new();
    for ports in &guard.ports {
        let end = end_of(ports, layer, way);
        let chain = ports.admitted.as_ref().map_or_else(|| end_name(end).into(), |group| group_name(group, end, way));
        by_transport.entry(ports.transport).or_default().insert(range_key(ports.range), Some(Verdict::Goto(chain)));
    }
    let set = |(transport, elements)| {
        let definition = ranges_definition(&guard.description, true);
        (ports_map(id, transport, layer, way), Set { definition, elements })
    };
    by_transport.into_iter().map(set).collect()
}

fn guard_chain(id: &GuardId, guard: &Guard, layer: Layer, way: Orientation) -> (Name, Chain) {
    let used: BTreeSet<Transport> = guard.ports.iter().map(|ports| ports.transport).collect();
    let rules = used.into_iter().map(|transport| {
        let field = Field::TransportPort(transport, way.port());
        vec![Statement::VerdictMap(vec![field], Lookup::Named(ports_map(id, transport, layer, way)))]
    });
    let comment = Some(Comment::new(&guard.description));
    (guard_name(id, layer, way).into(), Chain { comment, hook: None, rules: rules.collect() })
}

/// The chains of the groups that a guard names; several guards may name one.
fn group_chains(tables: &HostTables, guard: &Guard, layer: Layer, way: Orientation) -> Vec<(Name, Chain)> {
    let chain = |ports: &GuardedPorts| {
        let id = ports.admitted.as_ref()?;
        let group: &PeerGroup = tables.groups.get(id)?;
        let end = end_of(ports, layer, way);
        let mut rules = group_peer_rules(id, group, node_side(way).other());
        rules.push(vec![goto(end_name(end))]);
        let comment = Some(Comment::new(&group.description));
        Some((group_name(id, end, way), Chain { comment, hook: None, rules }))
    };
    guard.ports.iter().filter_map(chain).collect()
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

fn transports(tables: &HostTables) -> BTreeSet<Transport> {
    tables.definitions.values().flat_map(|guard| &guard.ports).map(|ports| ports.transport).collect()
}

/// In a reply nobody is told: a TCP reset would go to the server, and after routing none can be sent.
fn end_of(ports: &GuardedPorts, layer: Layer, way: Orientation) -> End {
    match (layer, way, ports.otherwise) {
        (Layer::Shadow, ..) => End::WouldDeny,
        (Layer::InForce, Orientation::Sent, Otherwise::Reject) => End::Rejected,
        (Layer::InForce, ..) => End::Dropped,
    }
}

fn end_name(end: End) -> &'static str {
    match end {
        End::Dropped => "dropped",
        End::Rejected => "rejected",
        End::WouldDeny => "would_deny",
    }
}

fn look_up(layer: Layer, way: Orientation) -> &'static str {
    match (layer, way) {
        (Layer::Shadow, _) => "audit_sent",
        (Layer::InForce, Orientation::Sent) => "sent",
        (Layer::InForce, Orientation::Reply) => "reply",
    }
}

fn guard_name(id: &GuardId, layer: Layer, way: Orientation) -> String {
    format!("{}guard_{id}{}", prefix(layer), way.suffix())
}

fn ports_map(id: &GuardId, transport: Transport, layer: Layer, way: Orientation) -> Name {
    format!("{}ports_{id}_{transport}{}", prefix(layer), way.suffix()).into()
}

fn nodes_map(family: Family, layer: Layer, way: Orientation) -> Name {
    format!("{}nodes{}{}", prefix(layer), family.digit(), way.suffix()).into()
}

fn group_name(id: &GroupId, end: End, way: Orientation) -> Name {
    let to_or_from = match way {
        Orientation::Sent => "from",
        Orientation::Reply => "to",
    };
    format!("{to_or_from}_{id}_{}", end_name(end)).into()
}

fn guarded_set(transport: Transport) -> Name {
    format!("guarded_{transport}").into()
}

fn logged_set(family: Family) -> Name {
    format!("logged{}", family.digit()).into()
}

/// The side of the packet at which the node is.
fn node_side(way: Orientation) -> Side {
    way.subject(Direction::Ingress)
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
