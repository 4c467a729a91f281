//! Edges: who may send what to whom, one end at a time.

use std::fmt;
use std::sync::Arc;

use palisade_core::{AddressRange, Direction, Family, PodName};

use crate::class::{Class, index};
use crate::reach::{Families, Reach};
use crate::traffic_set::TrafficSet;

/// One end of an edge.
#[derive(Clone, Copy, Debug)]
pub enum Party<'r> {
    /// Pods that no rule tells apart.
    Pods(&'r Class<'r>),
    /// Addresses, as far as nobody in the cluster has them.
    Addresses(AddressRange),
}

impl fmt::Display for Party<'_> {
    /// The name of the class, or as in `10.0.0.0-10.255.255.255`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Pods(class) => write!(f, "{class}"),
            Party::Addresses(range) if range.first == range.last => write!(f, "{}", range.first),
            Party::Addresses(range) => write!(f, "{}-{}", range.first, range.last),
        }
    }
}

impl Party<'_> {
    /// The names of its pods.
    pub fn pods(&self) -> &[&PodName] {
        match self {
            Party::Pods(class) => &class.pods,
            Party::Addresses(_) => &[],
        }
    }
}

/// What one end may send to another, which is something.
#[derive(Clone, Debug)]
pub struct Edge<'r> {
    /// Who sends.
    pub from: Party<'r>,
    /// To whom.
    pub to: Party<'r>,
    /// What, in each family that both have; nothing, too, if it is not nothing in both.
    pub traffic: Families<Arc<TrafficSet>>,
}

impl Reach<'_> {
    /// Every edge: of each class those to other classes, and to addresses outside; then those from there to each class.
    pub fn edges(&self) -> impl Iterator<Item = Edge<'_>> {
        let numbers = 0..self.classes().len();
        let sent = numbers.clone().flat_map(move |from| {
            let pods = (0..self.classes().len()).filter_map(move |to| self.edge(from, to));
            pods.chain(self.edges_outside(from, Direction::Egress))
        });
        sent.chain(numbers.flat_map(|to| self.edges_outside(to, Direction::Ingress)))
    }

    fn edge(&self, from: usize, to: usize) -> Option<Edge<'_>> {
        let traffic = self.between(from, to);
        let is_edge = traffic.iter().flatten().any(|traffic| !traffic.is_empty());
        let party = |class: usize| Party::Pods(&self.classes()[class]);
        is_edge.then(|| Edge { from: party(from), to: party(to), traffic })
    }

    fn edges_outside(&self, class: usize, direction: Direction) -> impl Iterator<Item = Edge<'_>> {
        let inside = Party::Pods(&self.classes()[class]);
        Family::ALL.into_iter().flat_map(move |family| {
            self.outside(class, direction, family).into_iter().map(move |(range, allowed)| {
                let outside = Party::Addresses(range);
                let (from, to) = match direction {
                    Direction::Egress => (inside, outside),
                    Direction::Ingress => (outside, inside),
                };
                Edge { from, to, traffic: in_family(family, allowed) }
            })
        })
    }
}

/// A value of one family alone.
pub(crate) fn in_family<T>(family: Family, value: T) -> Families<T> {
    let mut families = [None, None];
    families[index(family)] = Some(value);
    families
}

/// The values with the family of each; one without a family if every family that there is has it.
pub fn united<T: PartialEq>(families: &Families<T>) -> Vec<(Option<Family>, &T)> {
    let each = Family::ALL.into_iter().zip(families).filter_map(|(family, value)| Some((family, value.as_ref()?)));
    let each: Vec<(Family, &T)> = each.collect();
    match each.as_slice() {
        [(_, only)] => vec![(None, *only)],
        [(_, one), (_, other)] if one == other => vec![(None, *one)],
        _ => each.into_iter().map(|(family, value)| (Some(family), value)).collect(),
    }
}
