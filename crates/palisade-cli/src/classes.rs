//! Ends that nothing tells apart, so that a table has one line for all of them.
//!
//! The pods of a workload become one where every other end sees them alike. Outside addresses that may do the same
//! become one, named after the blocks that policies draw around them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_core::{Direction, End, Peer, Snapshot, WorkloadName};
use palisade_lab::Reach;

/// What each end may send to each other end.
pub type Reaches<'a> = BTreeMap<(&'a End, &'a End), Reach>;

/// The heading of the addresses that belong to no pod and no node. No namespace can be called so.
const OUTSIDE: &str = "outside the cluster";
/// The heading of nodes.
const NODES: &str = "nodes of the cluster";

/// The heading of servers that have lists of nodes.
const SERVERS: &str = "servers outside";

/// Ends that nothing tells apart.
#[derive(Debug)]
pub struct Class<'a> {
    /// The namespace, or what stands in for one.
    pub group: String,
    /// The name within the group.
    pub name: String,
    /// At least one.
    pub ends: Vec<&'a End>,
}

impl Class<'_> {
    /// The name as it is to stand by itself: `shop/front`, `data/postgres x2`, `203.0.113.0/24`.
    pub fn label(&self) -> String {
        match self.ends[0] {
            End::Pod(_) | End::Workload(_) => format!("{}/{}", self.group, self.name),
            End::Node(_) => format!("node/{}", self.name),
            End::Host(_) => format!("host/{}", self.name),
            End::Address(_) => self.name.clone(),
        }
    }

    /// Whether it holds pods.
    pub fn is_pod(&self) -> bool {
        matches!(self.ends[0], End::Pod(_) | End::Workload(_))
    }

    /// Whether it holds a node, or an address of one.
    pub fn is_node(&self) -> bool {
        self.group == NODES
    }

    /// Whether it is a server outside the cluster that has a list of nodes.
    pub fn is_server(&self) -> bool {
        self.group == SERVERS
    }

    /// Whether it holds addresses outside the cluster that are no server's.
    pub fn is_outside(&self) -> bool {
        self.group == OUTSIDE
    }
}

/// What one class may send to another, or the members of one to each other. `None` where nothing was tried, and for a
/// single end with itself, which no policy can forbid.
pub fn reach_between<'r, 'a>(
    reaches: &'r Reaches<'a>,
    source: &Class<'a>,
    destination: &Class<'a>,
) -> Option<&'r Reach> {
    let (from, to) = (source.ends[0], destination.ends[0]);
    if from == to { reaches.get(&(from, *destination.ends.get(1)?)) } else { reaches.get(&(from, to)) }
}

/// The classes of all ends: by namespace, then what is outside.
pub fn classes<'a>(snapshot: &Snapshot, reaches: &Reaches<'a>) -> Vec<Class<'a>> {
    let all: BTreeSet<&End> = reaches.keys().flat_map(|(source, destination)| [*source, *destination]).collect();
    let (outside, inside): (Vec<&End>, Vec<&End>) = all.into_iter().partition(|end| is_outside(snapshot, end));
    let mut classes = pod_classes(snapshot, reaches, &inside, &outside);
    classes.extend(outside_classes(snapshot, reaches, &inside, &outside));
    classes
}

fn is_outside(snapshot: &Snapshot, end: &End) -> bool {
    let End::Address(address) = end else { return false };
    !snapshot.nodes.values().any(|node| node.addresses.contains(address))
}

fn pod_classes<'a>(
    snapshot: &Snapshot,
    reaches: &Reaches<'a>,
    inside: &[&'a End],
    outside: &[&'a End],
) -> Vec<Class<'a>> {
    let mut by_workload: BTreeMap<&WorkloadName, Vec<&'a End>> = BTreeMap::new();
    let alone = |end: &'a End| Class { group: group_of(end), name: name_of(end), ends: vec![end] };
    let mut classes = Vec::new();
    for end in inside {
        let workload = match end {
            End::Pod(name) => snapshot.pods.get(name).and_then(|pod| pod.workload.as_ref()),
            _ => None,
        };
        match workload {
            Some(workload) => by_workload.entry(workload).or_default().push(end),
            None => classes.push(alone(end)),
        }
    }
    for (workload, ends) in by_workload {
        if ends.len() > 1 && alike(reaches, &ends, inside, outside) {
            let name = format!("{} x{}", workload.name, ends.len());
            classes.push(Class { group: workload.namespace.to_string(), name, ends });
        } else {
            classes.extend(ends.into_iter().map(alone));
        }
    }
    classes.sort_by(|one, other| (&one.group, &one.name).cmp(&(&other.group, &other.name)));
    classes
}

fn group_of(end: &End) -> String {
    match end {
        End::Pod(name) => name.namespace.to_string(),
        End::Workload(name) => name.namespace.to_string(),
        End::Node(_) | End::Address(_) => NODES.to_string(),
        End::Host(_) => SERVERS.to_string(),
    }
}

fn name_of(end: &End) -> String {
    match end {
        End::Pod(name) => name.name.to_string(),
        End::Workload(name) => format!("{}/{}", name.kind, name.name),
        End::Node(name) | End::Host(name) => name.to_string(),
        End::Address(address) => address.to_string(),
    }
}

/// Whether all others see these ends alike, and these all see each other alike.
fn alike<'a>(reaches: &Reaches<'a>, ends: &[&'a End], inside: &[&'a End], outside: &[&'a End]) -> bool {
    let others = inside.iter().chain(outside).filter(|other| !ends.contains(other));
    let same_outwards = others.into_iter().all(|other| {
        ends.iter().all(|end| {
            reaches.get(&(*end, *other)) == reaches.get(&(ends[0], *other))
                && reaches.get(&(*other, *end)) == reaches.get(&(*other, ends[0]))
        })
    });
    let pairs = ends.iter().flat_map(|one| ends.iter().map(move |other| (*one, *other)));
    let mut among = pairs.filter(|(one, other)| one != other).map(|pair| reaches.get(&pair));
    let first = among.next();
    same_outwards && among.all(|reach| Some(reach) == first)
}

fn outside_classes<'a>(
    snapshot: &Snapshot,
    reaches: &Reaches<'a>,
    inside: &[&'a End],
    outside: &[&'a End],
) -> Vec<Class<'a>> {
    let mut merged: Vec<Vec<&'a End>> = Vec::new();
    for end in outside {
        let same = |class: &&mut Vec<&End>| {
            inside.iter().all(|pod| {
                reaches.get(&(class[0], *pod)) == reaches.get(&(*end, *pod))
                    && reaches.get(&(*pod, class[0])) == reaches.get(&(*pod, *end))
            })
        };
        match merged.iter_mut().find(same) {
            Some(class) => class.push(end),
            None => merged.push(vec![end]),
        }
    }
    let blocks = blocks(snapshot);
    let alone = merged.len() == 1;
    let mut classes: Vec<Class<'a>> = merged
        .into_iter()
        .map(|ends| {
            let name = if alone { "any address".to_string() } else { blocks_around(&ends, outside, &blocks) };
            Class { group: OUTSIDE.to_string(), name, ends }
        })
        .collect();
    // What is left over comes last.
    classes.sort_by_key(|class| class.name.starts_with(OTHERS));
    classes
}

/// The name of the addresses that are in no block of their own.
const OTHERS: &str = "other";

/// Every block that a policy or the list of a server names, but for those that hold a whole family.
fn blocks(snapshot: &Snapshot) -> BTreeSet<IpNet> {
    let rules = |direction| snapshot.policies.values().filter_map(move |policy| policy.rules[direction].as_ref());
    let peers = Direction::ALL.into_iter().flat_map(rules).flatten().flat_map(|rule| rule.peers.iter().flatten());
    let mut blocks = BTreeSet::new();
    for peer in peers {
        if let Peer::Block { cidr, except } = peer {
            blocks.extend([cidr].into_iter().chain(except).map(IpNet::trunc));
        }
    }
    blocks.extend(snapshot.servers.values().flat_map(|server| &server.static_cidrs));
    blocks.retain(|block| block.prefix_len() > 0);
    blocks
}

/// The smallest blocks around these addresses: `203.0.113.0/24`, `part of 203.0.113.0/24`, `other addresses`.
fn blocks_around(ends: &[&End], all: &[&End], blocks: &BTreeSet<IpNet>) -> String {
    let mut around = BTreeSet::new();
    for address in ends.iter().filter_map(|end| address_of(end)) {
        around.insert(smallest(address, blocks));
    }
    if around.contains(&None) {
        let has = |test: fn(&IpAddr) -> bool| ends.iter().filter_map(|end| address_of(end)).any(|one| test(&one));
        let families = match (has(IpAddr::is_ipv4), has(IpAddr::is_ipv6)) {
            (true, false) => "IPv4 ",
            (false, true) => "IPv6 ",
            _ => "",
        };
        return format!("{OTHERS} {families}addresses");
    }
    let name = |block: IpNet| {
        let is_part = all.iter().any(|end| {
            let inside = address_of(end).is_some_and(|address| block.contains(&address));
            inside && !ends.contains(end)
        });
        if is_part { format!("part of {block}") } else { block.to_string() }
    };
    around.into_iter().flatten().map(name).collect::<Vec<_>>().join(", ")
}

fn address_of(end: &End) -> Option<IpAddr> {
    match end {
        End::Address(address) => Some(*address),
        _ => None,
    }
}

fn smallest(address: IpAddr, blocks: &BTreeSet<IpNet>) -> Option<IpNet> {
    blocks.iter().copied().filter(|block| block.contains(&address)).max_by_key(IpNet::prefix_len)
}
