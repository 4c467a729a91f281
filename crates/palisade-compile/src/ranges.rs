//! Sets of addresses as sorted, disjoint, non-adjacent ranges of numbers; IPv4 fits into the same numbers.

use std::net::IpAddr;

use ipnet::IpNet;

/// The first and the last address of a range.
pub type Range = (u128, u128);

/// The addresses of a network.
pub fn of_network(network: &IpNet) -> Range {
    (number(network.network()), number(network.broadcast()))
}

/// An address as a number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => address.into(),
    }
}

/// Everything that is in one of the ranges.
pub fn union(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut result: Vec<Range> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match result.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => result.push((first, last)),
        }
    }
    result
}

/// What of one range is in none of the holes, which are a [`union`].
pub fn without(range: Range, holes: &[Range]) -> Vec<Range> {
    let mut result = Vec::new();
    let mut next = Some(range.0);
    for &(first, last) in holes.iter().filter(|(first, last)| *last >= range.0 && *first <= range.1) {
        let Some(start) = next else { break };
        if first > start {
            result.push((start, first - 1));
        }
        next = last.checked_add(1).filter(|start| *start <= range.1);
    }
    result.extend(next.map(|start| (start, range.1)));
    result
}

/// What is in both of two [`union`]s.
pub fn intersection(one: &[Range], other: &[Range]) -> Vec<Range> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut result = Vec::new();
    while let (Some(&&(first, last)), Some(&&(other_first, other_last))) = (one.peek(), other.peek()) {
        let overlap = (first.max(other_first), last.min(other_last));
        if overlap.0 <= overlap.1 {
            result.push(overlap);
        }
        if last <= other_last {
            one.next();
        } else {
            other.next();
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: u128 = u128::MAX;

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(union(vec![(5, 9), (1, 2), (3, 3), (11, TOP), (12, 12)]), [(1, 3), (5, 9), (11, TOP)]);
        assert_eq!(union(vec![(0, TOP), (7, 7), (TOP, TOP)]), [(0, TOP)]);
    }

    #[test]
    fn holes_are_taken_out() {
        let check = |range, holes: &[Range], expected: &[Range]| assert_eq!(without(range, holes), expected);
        check((0, 9), &[], &[(0, 9)]);
        check((0, 9), &[(0, 0), (3, 4), (9, 9)], &[(1, 2), (5, 8)]);
        check((4, 9), &[(0, 3), (10, 12)], &[(4, 9)]);
        check((4, 9), &[(0, TOP)], &[]);
        check((0, TOP), &[(TOP, TOP)], &[(0, TOP - 1)]);
        check((5, TOP), &[(0, 6), (8, TOP)], &[(7, 7)]);
    }

    #[test]
    fn an_intersection_is_in_both() {
        assert_eq!(intersection(&[(0, 4), (6, 9)], &[(2, 7), (9, TOP)]), [(2, 4), (6, 7), (9, 9)]);
        assert_eq!(intersection(&[(0, TOP)], &[(3, 3)]), [(3, 3)]);
        assert_eq!(intersection(&[(0, 1)], &[(2, 3)]), []);
    }
}
