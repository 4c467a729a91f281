//! The addresses of a family, as far as the blocks of policies tell them apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use palisade_core::{AddressRange, AddressSet, Family};

/// An `ipBlock`: its `cidr` and its `except`.
pub type Block<'a> = (&'a IpNet, &'a [IpNet]);

/// All addresses of a family in *zones*: the addresses of one are in the same blocks.
#[derive(Debug)]
pub struct Space<'a> {
    family: Family,
    /// The first address of each stretch, in order from the lowest of all, and the zone that it belongs to.
    stretches: Vec<(u128, usize)>,
    zones: usize,
    zones_of: HashMap<Block<'a>, Vec<usize>>,
}

impl<'a> Space<'a> {
    /// What these blocks tell apart. They may repeat themselves; those of the other family have no say.
    pub fn new(family: Family, blocks: impl Iterator<Item = Block<'a>>) -> Space<'a> {
        let blocks: BTreeSet<Block<'a>> = blocks.filter(|(cidr, _)| Family::of(cidr.addr()) == family).collect();
        let mut steps: BTreeMap<u128, Vec<usize>> = BTreeMap::from([(0, Vec::new())]);
        for (number, block) in blocks.iter().enumerate() {
            for range in addresses(*block).iter() {
                steps.entry(number_of(range.first)).or_default().push(number);
                if number_of(range.last) < highest(family) {
                    steps.entry(number_of(range.last) + 1).or_default().push(number);
                }
            }
        }
        let mut within: BTreeSet<usize> = BTreeSet::new();
        let mut zones: HashMap<BTreeSet<usize>, usize> = HashMap::new();
        let mut stretches = Vec::with_capacity(steps.len());
        for (first, numbers) in steps {
            for number in numbers {
                // The ranges of a block neither overlap nor touch: each step leads into it or out of it.
                if !within.remove(&number) {
                    within.insert(number);
                }
            }
            let next = zones.len();
            let zone = *zones.entry(within.clone()).or_insert(next);
            stretches.push((first, zone));
        }
        let mut zones_of: Vec<Vec<usize>> = vec![Vec::new(); blocks.len()];
        for (numbers, zone) in &zones {
            for number in numbers {
                zones_of[*number].push(*zone);
            }
        }
        Space { family, stretches, zones: zones.len(), zones_of: blocks.into_iter().zip(zones_of).collect() }
    }

    /// How many zones there are; they are numbered from 0.
    pub fn zones(&self) -> usize {
        self.zones
    }

    /// The zones that a block holds; none of a block of the other family.
    pub fn zones_of(&self, block: Block<'a>) -> &[usize] {
        self.zones_of.get(&block).map_or(&[], Vec::as_slice)
    }

    /// The zone of an address of this family.
    pub fn zone_at(&self, address: IpAddr) -> usize {
        let after = self.stretches.partition_point(|(first, _)| *first <= number_of(address));
        self.stretches[after.saturating_sub(1)].1
    }

    /// Every address once, by address: ranges, each with its zone.
    pub fn ranges(&self) -> impl Iterator<Item = (AddressRange, usize)> {
        let ends = self.stretches.iter().skip(1).map(|(first, _)| first - 1).chain([highest(self.family)]);
        self.stretches.iter().zip(ends).map(|((first, zone), last)| {
            let range = AddressRange { first: address(self.family, *first), last: address(self.family, last) };
            (range, *zone)
        })
    }
}

/// What an `ipBlock` holds: "the addresses in `cidr`" that are in no `except`.
fn addresses((cidr, except): Block<'_>) -> AddressSet {
    let mut addresses: AddressSet = [AddressRange::from(cidr)].into();
    for hole in except {
        addresses.remove(AddressRange::from(hole));
    }
    addresses
}

/// An address as a number, from 0 within its family.
pub fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address of a family with a number.
pub fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}

/// The number of the last address of a family.
pub fn highest(family: Family) -> u128 {
    match family {
        Family::V4 => u32::MAX.into(),
        Family::V6 => u128::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ranges(space: &Space<'_>) -> Vec<(String, usize)> {
        space.ranges().map(|(range, zone)| (format!("{}-{}", range.first, range.last), zone)).collect()
    }

    #[test]
    fn addresses_of_the_same_blocks_are_one_zone() {
        let (ten, hole, high) = (net("10.0.0.0/8"), [net("10.1.0.0/16")], net("255.0.0.0/8"));
        let blocks: [Block<'_>; 3] = [(&ten, &hole), (&high, &[]), (&ten, &hole)];
        let space = Space::new(Family::V4, blocks.into_iter());
        let found = ranges(&space);
        let texts: Vec<&str> = found.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "0.0.0.0-9.255.255.255",
                "10.0.0.0-10.0.255.255",
                "10.1.0.0-10.1.255.255",
                "10.2.0.0-10.255.255.255",
                "11.0.0.0-254.255.255.255",
                "255.0.0.0-255.255.255.255"
            ]
        );
        let zones: Vec<usize> = found.iter().map(|(_, zone)| *zone).collect();
        assert_eq!(zones, [0, 1, 0, 1, 0, 2]);
        assert_eq!(space.zones_of((&ten, &hole)), [1]);
        assert_eq!(space.zone_at("10.1.2.3".parse().unwrap()), 0);
        assert_eq!(space.zone_at("10.0.2.3".parse().unwrap()), 1);
        assert_eq!(space.zone_at("255.255.255.255".parse().unwrap()), 2);
    }

    #[test]
    fn a_block_of_everything_and_none_at_all_are_one_zone() {
        let every = net("::/0");
        let block: Block<'_> = (&every, &[]);
        assert_eq!(ranges(&Space::new(Family::V6, std::iter::once(block))).len(), 1);
        let empty = Space::new(Family::V4, std::iter::once(block));
        assert_eq!(ranges(&empty), [("0.0.0.0-255.255.255.255".to_string(), 0)]);
        assert_eq!(empty.zones_of(block), &[] as &[usize]);
    }
}
