//! From grants to the entries of one address in the tables.

use std::collections::{BTreeMap, BTreeSet};

use palisade_core::{Port, PortRange, Transport};

use crate::grants::Grant;
use crate::peers::Peers;

/// What the tables say of one subject in one direction. Every value is complete (see `palisade_core::tables`), and
/// none repeats what the next step would say anyway.
#[derive(Debug, PartialEq, Eq)]
pub struct Entries {
    /// Exact ports.
    pub ports: BTreeMap<(Transport, Port), Peers>,
    /// Disjoint ranges, sorted.
    pub ranges: Vec<(Transport, PortRange, Peers)>,
    /// All other traffic.
    pub otherwise: Peers,
}

impl Entries {
    /// Joins the grants of the pods that claim the address: a packet passes if it passes for each of them.
    /// `None` is a pod that nothing isolates.
    pub fn new(pods: &[Option<Vec<Grant>>]) -> Entries {
        let otherwise = peers_at(pods, None);
        let ranges = ranges(pods, &otherwise);
        let mut ports = BTreeMap::new();
        for (transport, range) in listed(pods).filter(|(_, range)| range.first() == range.last()) {
            let port = range.first();
            let peers = peers_at(pods, Some((transport, port)));
            let covering = ranges.iter().find(|(other, range, _)| *other == transport && range.contains(port));
            if peers != *covering.map_or(&otherwise, |(_, _, peers)| peers) {
                ports.insert((transport, port), peers);
            }
        }
        Entries { ports, ranges, otherwise }
    }

    /// Nothing is admitted at all.
    pub fn closed() -> Entries {
        Entries { ports: BTreeMap::new(), ranges: Vec::new(), otherwise: Peers::any_of(BTreeSet::new()) }
    }

    /// Whether nothing is restricted, so that no entry is needed.
    pub fn is_open(&self) -> bool {
        self.otherwise.is_everyone()
    }
}

/// The elementary ranges between the ends of all written ranges, neighbours with the same peers joined.
fn ranges(pods: &[Option<Vec<Grant>>], otherwise: &Peers) -> Vec<(Transport, PortRange, Peers)> {
    let mut result: Vec<(Transport, PortRange, Peers)> = Vec::new();
    for transport in Transport::ALL {
        let mut starts: BTreeSet<u32> = BTreeSet::new();
        for (_, range) in listed(pods).filter(|(other, range)| *other == transport && range.first() < range.last()) {
            starts.insert(u32::from(range.first().get()));
            starts.insert(u32::from(range.last().get()) + 1);
        }
        let starts: Vec<u32> = starts.into_iter().collect();
        for pair in starts.windows(2) {
            let Some(range) = port_range(pair[0], pair[1] - 1) else { continue };
            let peers = ranges_at(pods, (transport, range.first()));
            match result.last_mut() {
                Some((last_transport, last_range, last_peers))
                    if *last_transport == transport
                        && *last_peers == peers
                        && u32::from(last_range.last().get()) + 1 == pair[0] =>
                {
                    *last_range = PortRange::new(last_range.first(), range.last()).unwrap_or(range);
                }
                _ => result.push((transport, range, peers)),
            }
        }
    }
    result.retain(|(_, _, peers)| peers != otherwise);
    result
}

fn port_range(first: u32, last: u32) -> Option<PortRange> {
    let port = |number: u32| u16::try_from(number).ok().and_then(Port::new);
    PortRange::new(port(first)?, port(last)?)
}

fn listed(pods: &[Option<Vec<Grant>>]) -> impl Iterator<Item = (Transport, PortRange)> {
    pods.iter().flatten().flatten().filter_map(|grant| grant.ports)
}

/// Who is admitted at a port, or at all other traffic.
fn peers_at(pods: &[Option<Vec<Grant>>], point: Option<(Transport, Port)>) -> Peers {
    admitted(pods, |grant| match (grant.ports, point) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some((transport, range)), Some((at, port))) => transport == at && range.contains(port),
    })
}

/// The same, but leaving out what exact ports grant: for a range that begins at `point`.
fn ranges_at(pods: &[Option<Vec<Grant>>], point: (Transport, Port)) -> Peers {
    admitted(pods, |grant| match grant.ports {
        None => true,
        Some((transport, range)) => transport == point.0 && range.first() < range.last() && range.contains(point.1),
    })
}

fn admitted(pods: &[Option<Vec<Grant>>], covers: impl Fn(&Grant) -> bool) -> Peers {
    let mut all = Peers::everyone();
    for grants in pods.iter().flatten() {
        let covering = grants.iter().filter(|grant| covers(grant));
        let atoms: Option<BTreeSet<_>> = covering
            .map(|grant| grant.peers.clone())
            .collect::<Option<Vec<_>>>()
            .map(|sets| sets.into_iter().flatten().collect());
        if let Some(atoms) = atoms {
            all = all.and(Peers::any_of(atoms));
        }
    }
    all
}
