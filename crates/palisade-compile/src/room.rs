//! How much room the tables take in the kernel, and whose pods are closed where it does not suffice.
//!
//! The limit is the node's. Who takes most has to yield: the namespaces are given room from the smallest on, and from the
//! first on that finds none their isolated pods are closed. So nobody loses a verdict to a neighbour who takes more, and which are
//! closed follows from the cluster alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::{NamespaceName, PeerGroup, Rest, Tables, TablesChange, Transport};

/// An element of a map counts twice, as there is one map for each orientation of a packet; a range of addresses, too,
/// since both its ends are elements.
const TWICE: usize = 2;
/// What a set counts beside its elements. The kernel looks sets up in a list, so that a few thousand of them cost as much
/// as this many elements each.
const SET: usize = 250;

/// What a group takes with so many addresses, and ranges of addresses of each family.
pub fn of_group(addresses: usize, blocks: [usize; 2]) -> usize {
    let sets = 2 + blocks.iter().filter(|blocks| **blocks > 0).count();
    SET * sets + addresses + TWICE * blocks.iter().sum::<usize>()
}

/// What a rest takes that has these ranges, each known by its transport.
pub fn of_rest(ranges: impl Iterator<Item = Transport>) -> usize {
    let ranges: Vec<Transport> = ranges.collect();
    let transports: BTreeSet<Transport> = ranges.iter().copied().collect();
    TWICE * (SET * transports.len() + ranges.len())
}

/// What exact ports of a subject take.
pub fn of_ports(ports: usize) -> usize {
    TWICE * ports
}

/// What the tables take more, and what less, after a step from here.
pub fn difference(tables: &Tables, change: &TablesChange) -> (usize, usize) {
    let of_group = |group: &PeerGroup| of_group(group.addresses.len(), [group.blocks4.len(), group.blocks6.len()]);
    let of_rest = |rest: &Rest| of_rest(rest.ranges.iter().map(|(transport, ..)| *transport));
    let port = |held: bool, wanted: bool| (of_ports(wanted.into()), of_ports(held.into()));
    match change {
        TablesChange::Port(direction, key, admit) => {
            port(tables.subjects[*direction].ports.contains_key(key), admit.is_some())
        }
        TablesChange::ShadowPort(direction, key, admit) => {
            port(tables.shadow[*direction].ports.contains_key(key), admit.is_some())
        }
        TablesChange::GroupAdded(_, group) => (of_group(group), 0),
        TablesChange::GroupRemoved(id) => (0, tables.groups.get(id).map_or(0, of_group)),
        TablesChange::Member(_, _, joins) => ((*joins).into(), (!joins).into()),
        TablesChange::RestAdded(_, rest) => (of_rest(rest), 0),
        TablesChange::RestRemoved(id) => (0, tables.rests.get(id).map_or(0, of_rest)),
        TablesChange::Isolated(..)
        | TablesChange::ShadowIsolated(..)
        | TablesChange::Known(..)
        | TablesChange::PodRanges(_)
        // No namespace has a say in them.
        | TablesChange::Host(_)
        | TablesChange::Ban(_) => (0, 0),
    }
}

/// What the pods of a namespace need.
#[derive(Debug, Default)]
pub struct Need {
    /// The exact ports of each address. Pods of two namespaces may have one.
    ports: BTreeMap<IpAddr, usize>,
    /// Groups and rests, by their names: pods share them.
    shared: BTreeMap<Arc<str>, usize>,
    total: usize,
}

impl Need {
    /// Room for exact ports of an address.
    pub fn add_ports(&mut self, address: IpAddr, ports: usize) {
        *self.ports.entry(address).or_default() += of_ports(ports);
        self.total += of_ports(ports);
    }

    /// Whether a group or rest is new here.
    pub fn lacks(&self, id: &str) -> bool {
        !self.shared.contains_key(id)
    }

    /// Room for a group or rest, once.
    pub fn add_shared(&mut self, id: Arc<str>, room: usize) {
        if self.shared.insert(id, room).is_none() {
            self.total += room;
        }
    }

    /// The room for all of it.
    pub fn total(&self) -> usize {
        self.total
    }
}

/// The namespaces that find no room. One that needs more than there is need not be complete.
pub fn without_room(needs: &BTreeMap<NamespaceName, Need>, room: usize) -> BTreeSet<NamespaceName> {
    if together(needs.values()) <= room {
        return BTreeSet::new();
    }
    let mut by_size: Vec<(usize, &NamespaceName)> = needs.iter().map(|(name, need)| (need.total, name)).collect();
    by_size.sort();
    let mut left = room;
    let finds_room = |(need, _): &(usize, &NamespaceName)| {
        let after = left.checked_sub(*need);
        left = after.unwrap_or(0);
        after.is_some()
    };
    by_size.into_iter().skip_while(finds_room).map(|(_, name)| name.clone()).collect()
}

/// What the namespaces need if all are given room, in which they share what has one name.
fn together<'a>(needs: impl Iterator<Item = &'a Need> + Clone) -> usize {
    let shared: BTreeMap<&Arc<str>, &usize> = needs.clone().flat_map(|need| &need.shared).collect();
    let ports: BTreeMap<&IpAddr, &usize> = needs.flat_map(|need| &need.ports).collect();
    shared.into_values().chain(ports.into_values()).fold(0, |total, room| total.saturating_add(*room))
}
