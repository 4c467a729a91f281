//! Sets of addresses: compact, cheap to copy, and cheap to change a little.

mod ranges;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use ranges::{Builder, Ranges};

/// Addresses of one family, from the first to the last, both included. Ends of two families, or in the wrong order, hold nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    /// The first.
    pub first: IpAddr,
    /// The last.
    pub last: IpAddr,
}

/// Addresses, as the fewest ranges that hold them: they neither overlap nor touch. What holds the same addresses is equal, however it came
/// about.
///
/// A million ranges take 8 MB of IPv4 and 32 MB of IPv6. A copy shares them; a range more or less costs some hundred of them, and a
/// comparison of two copies what they do not share.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// The ends of a range as numbers.
enum Ends {
    V4((u32, u32)),
    V6((u128, u128)),
    Nothing,
}

impl AddressSet {
    /// No address.
    pub fn new() -> AddressSet {
        AddressSet::default()
    }

    /// Whether it holds no address.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// How many ranges it has.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether it holds an address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address.into()),
            IpAddr::V6(address) => self.v6.contains(address.into()),
        }
    }

    /// Adds the addresses of a range.
    pub fn insert(&mut self, range: AddressRange) {
        match range.ends() {
            Ends::V4(ends) => self.v4.insert(ends),
            Ends::V6(ends) => self.v6.insert(ends),
            Ends::Nothing => {}
        }
    }

    /// Takes the addresses of a range out.
    pub fn remove(&mut self, range: AddressRange) {
        match range.ends() {
            Ends::V4(ends) => self.v4.remove(ends),
            Ends::V6(ends) => self.v6.remove(ends),
            Ends::Nothing => {}
        }
    }

    /// Its ranges by address, those of IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = AddressRange> {
        self.v4.iter().map(range4).chain(self.v6.iter().map(range6))
    }

    /// What it holds of a range.
    pub fn within(&self, range: AddressRange) -> impl Iterator<Item = AddressRange> {
        let (v4, v6) = match range.ends() {
            Ends::V4(ends) => (Some(self.v4.within(ends)), None),
            Ends::V6(ends) => (None, Some(self.v6.within(ends))),
            Ends::Nothing => (None, None),
        };
        v4.into_iter().flatten().map(range4).chain(v6.into_iter().flatten().map(range6))
    }

    /// What makes it another set: its ranges that the other does not have, and the other's that it does not have.
    pub fn changes_to(&self, other: &AddressSet) -> (AddressSet, AddressSet) {
        let (gone4, come4) = self.v4.changes_to(&other.v4);
        let (gone6, come6) = self.v6.changes_to(&other.v6);
        (AddressSet { v4: gone4, v6: gone6 }, AddressSet { v4: come4, v6: come6 })
    }
}

impl FromIterator<AddressRange> for AddressSet {
    /// All of these addresses. The ranges may overlap, and come in any order.
    fn from_iter<T: IntoIterator<Item = AddressRange>>(ranges: T) -> Self {
        let (mut v4, mut v6) = (Builder::default(), Builder::default());
        for range in ranges {
            match range.ends() {
                Ends::V4(ends) => v4.push(ends),
                Ends::V6(ends) => v6.push(ends),
                Ends::Nothing => {}
            }
        }
        AddressSet { v4: v4.finish(), v6: v6.finish() }
    }
}

impl<'a> FromIterator<&'a IpNet> for AddressSet {
    /// All addresses of these networks, which may overlap, and come in any order.
    fn from_iter<T: IntoIterator<Item = &'a IpNet>>(networks: T) -> Self {
        let (mut v4, mut v6) = (Builder::default(), Builder::default());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push((network.network().into(), network.broadcast().into())),
                IpNet::V6(network) => v6.push((network.network().into(), network.broadcast().into())),
            }
        }
        AddressSet { v4: v4.finish(), v6: v6.finish() }
    }
}

impl<const N: usize> From<[AddressRange; N]> for AddressSet {
    fn from(ranges: [AddressRange; N]) -> Self {
        ranges.into_iter().collect()
    }
}

impl From<IpAddr> for AddressRange {
    fn from(address: IpAddr) -> Self {
        AddressRange { first: address, last: address }
    }
}

impl From<&IpNet> for AddressRange {
    fn from(network: &IpNet) -> Self {
        AddressRange { first: network.network(), last: network.broadcast() }
    }
}

impl AddressRange {
    /// The fewest blocks that hold the same addresses, in order.
    pub fn blocks(self) -> Vec<IpNet> {
        match self.ends() {
            Ends::V4((first, last)) => Ipv4Subnets::new(first.into(), last.into(), 0).map(IpNet::V4).collect(),
            Ends::V6((first, last)) => Ipv6Subnets::new(first.into(), last.into(), 0).map(IpNet::V6).collect(),
            Ends::Nothing => Vec::new(),
        }
    }

    fn ends(self) -> Ends {
        match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => Ends::V4((first.into(), last.into())),
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => Ends::V6((first.into(), last.into())),
            _ => Ends::Nothing,
        }
    }
}

impl fmt::Debug for AddressSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

fn range4((first, last): (u32, u32)) -> AddressRange {
    AddressRange { first: Ipv4Addr::from(first).into(), last: Ipv4Addr::from(last).into() }
}

fn range6((first, last): (u128, u128)) -> AddressRange {
    AddressRange { first: Ipv6Addr::from(first).into(), last: Ipv6Addr::from(last).into() }
}
