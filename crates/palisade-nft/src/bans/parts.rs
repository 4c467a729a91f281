//! Which set a range is in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_core::{AddressRange, BanTables, Family, Layer};

/// All addresses with one first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    V4(u8),
    V6(u8),
}

/// Where a range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the set of the part that holds it whole.
    Part(Part),
    /// In the wide set of its family.
    Wide(Family),
}

/// The places that hold ranges, and how many each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts(BTreeMap<(Layer, Place), usize>);

impl Part {
    fn of(address: IpAddr) -> Part {
        match address {
            IpAddr::V4(address) => Part::V4(address.octets()[0]),
            IpAddr::V6(address) => Part::V6(address.octets()[0]),
        }
    }

    pub fn family(self) -> Family {
        match self {
            Part::V4(_) => Family::V4,
            Part::V6(_) => Family::V6,
        }
    }

    /// Its addresses.
    pub fn network(self) -> IpNet {
        match self {
            Part::V4(byte) => IpNet::V4(Ipv4Net::new_assert([byte, 0, 0, 0].into(), 8)),
            Part::V6(byte) => IpNet::V6(Ipv6Net::new_assert((u128::from(byte) << 120).into(), 8)),
        }
    }
}

impl Place {
    pub fn of(range: &AddressRange) -> Place {
        let (first, last) = (Part::of(range.first), Part::of(range.last));
        if first == last { Place::Part(first) } else { Place::Wide(first.family()) }
    }

    pub fn family(self) -> Family {
        match self {
            Place::Part(part) => part.family(),
            Place::Wide(family) => family,
        }
    }
}

impl Parts {
    pub fn of(tables: &BanTables) -> Parts {
        let mut parts = Parts::default();
        for layer in [Layer::InForce, Layer::Shadow] {
            for range in tables.everywhere(layer).iter() {
                parts.add(layer, Place::of(&range));
            }
        }
        parts
    }

    pub fn add(&mut self, layer: Layer, place: Place) {
        *self.0.entry((layer, place)).or_default() += 1;
    }

    pub fn remove(&mut self, layer: Layer, place: Place) {
        if let Some(count) = self.0.get_mut(&(layer, place)) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&(layer, place));
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, layer: Layer, place: Place) -> bool {
        self.0.contains_key(&(layer, place))
    }

    pub fn places(&self) -> impl Iterator<Item = (Layer, Place)> {
        self.0.keys().copied()
    }

    /// The parts of a family that hold ranges.
    pub fn of_family(&self, layer: Layer, family: Family) -> impl Iterator<Item = Part> {
        self.places().filter_map(move |(other, place)| match place {
            Place::Part(part) if other == layer && part.family() == family => Some(part),
            _ => None,
        })
    }

    /// Whether a part of the family holds a range.
    pub fn is_parted(&self, layer: Layer, family: Family) -> bool {
        self.of_family(layer, family).next().is_some()
    }

    /// The families of which a part holds a range.
    pub fn parted(&self) -> BTreeSet<(Layer, Family)> {
        let parted = self.places().filter(|(_, place)| matches!(place, Place::Part(_)));
        parted.map(|(layer, place)| (layer, place.family())).collect()
    }
}

impl fmt::Display for Part {
    /// As it is written in addresses: `203`, `20` of `2001:db8::`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::V4(byte) => write!(f, "{byte}"),
            Part::V6(byte) => write!(f, "{byte:02x}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Part(part) => write!(f, "{part}"),
            Place::Wide(_) => f.write_str("wide"),
        }
    }
}
