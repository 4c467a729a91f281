//! Why a flow differs: what decides one that stands for the difference, before and now.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_core::{Dialect, End, Family, Flow, Snapshot, Traffic, Transport};
use palisade_reach::{Difference, Party, TrafficSet};
use palisade_sim::{Owner, explain_as, owners};

/// Where the two sides of a difference come from.
#[derive(Clone, Copy)]
pub struct Sides<'a> {
    /// As it was, and how that is read.
    pub old: (&'a Snapshot, Dialect),
    /// As it is now.
    pub new: (&'a Snapshot, Dialect),
}

impl Sides<'_> {
    /// The reasons of a flow of the difference that are not the same on both sides, a line each:
    /// `tcp 5433 before: ingress of db/pg: isolated by db/pg; denied, …`.
    pub fn why(&self, difference: &Difference<'_>) -> Vec<String> {
        let Some((family, traffic)) = example(difference) else { return Vec::new() };
        let reasons = |(snapshot, dialect): (&Snapshot, Dialect)| {
            // np-guard's has no verdicts on single flows.
            if dialect == Dialect::NpGuard {
                return Vec::new();
            }
            let (source, destination) = (end(difference.from, snapshot), end(difference.to, snapshot));
            let Some((source, destination)) = source.zip(destination) else { return Vec::new() };
            match explain_as(snapshot, &Flow { source, destination, traffic }, &[family], dialect) {
                Ok(explanation) => explanation.reasons(),
                Err(unknown) => vec![unknown.message],
            }
        };
        let (before, now) = (reasons(self.old), reasons(self.new));
        let only = |when: &str, these: &[String], others: &[String]| {
            let only = these.iter().filter(|line| !others.contains(line));
            only.map(|line| format!("{traffic} {when}: {line}")).collect::<Vec<_>>()
        };
        [only("before", &before, &now), only("now", &now, &before)].concat()
    }
}

/// Traffic that passed or passes, and not both.
fn example(difference: &Difference<'_>) -> Option<(Family, Traffic)> {
    Family::ALL.into_iter().zip(&difference.traffic).find_map(|(family, step)| {
        let (before, now) = step.as_ref()?;
        let mut traffic = edges(before).chain(edges(now)).collect::<BTreeSet<_>>().into_iter();
        let found = traffic.find(|traffic| before.contains(*traffic) != now.contains(*traffic))?;
        Some((family, found))
    })
}

/// The first port of every range, and that behind its last, where two sets may part.
fn edges(set: &TrafficSet) -> impl Iterator<Item = Traffic> {
    let of_transport = move |transport: Transport| {
        let ranges = set.ports(transport).ranges().iter();
        let ports = ranges.flat_map(|range| [Some(range.first()), range.last().checked_add(1)]);
        ports.flatten().map(move |port| Traffic::Port(transport, port))
    };
    Transport::ALL.into_iter().flat_map(of_transport).chain([Traffic::Icmp])
}

/// An end that stands for all of a party: a pod, of this side if it has one; or an address that nobody has.
fn end(party: Party<'_>, snapshot: &Snapshot) -> Option<End> {
    match party {
        Party::Addresses(range) => {
            let is_free = |address: &IpAddr| owners(snapshot, *address).iter().all(|end| end.owner == Owner::Outside);
            [range.first, range.last].into_iter().find(is_free).map(End::Address)
        }
        Party::Pods(class) => {
            let here = class.pods.iter().copied().find(|pod| snapshot.pods.contains_key(*pod));
            let of_workload = || class.workload.and_then(|workload| snapshot.workloads.get(workload)?.first());
            here.or_else(of_workload).or(class.pods.first().copied()).map(|pod| End::Pod(pod.clone()))
        }
    }
}
