//! Sets of ports.

use palisade_core::{Port, PortRange};

/// Ports, as the fewest ranges that hold them, in order. What holds the same ports is equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet(Vec<PortRange>);

impl PortSet {
    /// Every port there is.
    pub fn every() -> PortSet {
        PortSet(vec![PortRange::EVERY])
    }

    /// Whether it holds no port.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it holds every port.
    pub fn is_every(&self) -> bool {
        self.0 == [PortRange::EVERY]
    }

    /// Whether it holds a port.
    pub fn contains(&self, port: Port) -> bool {
        self.0.iter().any(|range| range.contains(port))
    }

    /// Its ranges, in order; they neither overlap nor touch.
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }

    /// What is in one of the two.
    #[must_use]
    pub fn union(&self, other: &PortSet) -> PortSet {
        self.0.iter().chain(&other.0).copied().collect()
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &PortSet) -> PortSet {
        let overlap = |one: PortRange, other: PortRange| {
            PortRange::new(one.first().max(other.first()), one.last().min(other.last()))
        };
        self.0.iter().flat_map(|one| other.0.iter().filter_map(|other| overlap(*one, *other))).collect()
    }
}

impl FromIterator<PortRange> for PortSet {
    /// All of these ports. The ranges may overlap, and come in any order.
    fn from_iter<T: IntoIterator<Item = PortRange>>(ranges: T) -> Self {
        let mut sorted: Vec<PortRange> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut union: Vec<PortRange> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match union.last_mut() {
                Some(last) if range.first() <= last.last().saturating_add(1) => {
                    *last = PortRange::new(last.first(), last.last().max(range.last())).unwrap_or(*last);
                }
                _ => union.push(range),
            }
        }
        PortSet(union)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u16, u16)]) -> PortSet {
        let port = |number| Port::new(number).unwrap();
        ranges.iter().map(|(first, last)| PortRange::new(port(*first), port(*last)).unwrap()).collect()
    }

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(set(&[(5, 9), (1, 2), (3, 3)]).ranges().len(), 2);
        assert_eq!(set(&[(30_000, 65_535), (1, 29_999), (7, 7)]), PortSet::every());
        assert_eq!(set(&[(1, 9), (3, 4)]), set(&[(1, 9)]));
    }

    #[test]
    fn union_and_intersection_hold_what_they_say() {
        let (one, other) = (set(&[(1, 4), (6, 9)]), set(&[(2, 7), (9, 20)]));
        assert_eq!(one.union(&other), set(&[(1, 20)]));
        assert_eq!(one.intersection(&other), set(&[(2, 4), (6, 7), (9, 9)]));
        assert!(one.intersection(&set(&[(5, 5), (10, 65_535)])).is_empty());
        assert_eq!(PortSet::every().intersection(&one), one);
    }
}
