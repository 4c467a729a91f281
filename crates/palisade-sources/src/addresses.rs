//! Dealing out addresses of a range, and slices of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The addresses of a block from some number on, in order. The last of an IPv4 block is its broadcast address and is
/// left out.
pub struct Range {
    first: u128,
    next: u128,
    last: u128,
    v4: bool,
}

impl Range {
    /// The addresses from `offset` on.
    pub fn new(net: IpNet, offset: u128) -> Range {
        let (first, size_bits, v4) = match net.network() {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32 - u32::from(net.prefix_len()), true),
            IpAddr::V6(address) => (address.to_bits(), 128 - u32::from(net.prefix_len()), false),
        };
        let largest = 1_u128.checked_shl(size_bits).map_or(u128::MAX, |size| size - 1);
        Range { first, next: offset, last: if v4 { largest.saturating_sub(1) } else { largest }, v4 }
    }
}

impl Iterator for Range {
    type Item = IpAddr;

    fn next(&mut self) -> Option<IpAddr> {
        if self.next > self.last {
            return None;
        }
        let bits = self.first + self.next;
        self.next += 1;
        Some(if self.v4 {
            Ipv4Addr::from_bits(u32::try_from(bits).ok()?).into()
        } else {
            Ipv6Addr::from_bits(bits).into()
        })
    }
}

/// Slices of a block, one a node: /24 and /64 as clusters have them, or larger ones where `largest` pods need them;
/// smaller ones where so many nodes would not fit.
pub fn slices(net: IpNet, nodes: usize, largest: usize) -> impl Iterator<Item = IpNet> {
    let (usual, bits) = if matches!(net, IpNet::V4(_)) { (24_u32, 32) } else { (64, 128) };
    let prefix = u32::from(net.prefix_len());
    // Beside the pods a slice holds its own address, the gateway's and the broadcast address.
    let wanted = usual.min(bits - power_of_two_above(largest.saturating_add(3)).min(bits));
    let fitting = prefix + power_of_two_above(nodes);
    let length = if fitting <= wanted.max(prefix) { wanted.max(prefix) } else { fitting.min(bits) };
    let length = u8::try_from(length).unwrap_or(u8::MAX);
    net.subnets(length).into_iter().flatten()
}

/// The smallest exponent of two that reaches a number.
fn power_of_two_above(number: usize) -> u32 {
    number.checked_next_power_of_two().map_or(usize::BITS, usize::trailing_zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_before_the_broadcast_address() {
        let check = |net: &str, offset: u128, expected: &[&str]| {
            let found: Vec<String> =
                Range::new(net.parse().unwrap(), offset).take(3).map(|ip| ip.to_string()).collect();
            assert_eq!(found, expected, "{net}");
        };
        check("10.244.0.0/24", 2, &["10.244.0.2", "10.244.0.3", "10.244.0.4"]);
        check("10.0.0.0/30", 1, &["10.0.0.1", "10.0.0.2"]);
        check("10.0.0.0/32", 2, &[]);
        check("0.0.0.0/0", 2, &["0.0.0.2", "0.0.0.3", "0.0.0.4"]);
        check("fd44::/64", 2, &["fd44::2", "fd44::3", "fd44::4"]);
        check("::/0", 2, &["::2", "::3", "::4"]);
        check("fd44::1/128", 2, &[]);
    }

    #[test]
    fn slices_are_the_usual_ones_where_they_do() {
        let check = |net: &str, nodes: usize, largest: usize, expected: &[&str]| {
            let found: Vec<String> =
                slices(net.parse().unwrap(), nodes, largest).take(2).map(|net| net.to_string()).collect();
            assert_eq!(found, expected, "{net} for {nodes} nodes");
        };
        check("10.244.0.0/16", 2, 10, &["10.244.0.0/24", "10.244.1.0/24"]);
        check("10.244.0.0/16", 2, 5000, &["10.244.0.0/19", "10.244.32.0/19"]);
        check("10.244.0.0/16", 1000, 2, &["10.244.0.0/26", "10.244.0.64/26"]);
        check("10.244.0.0/24", 1, 2, &["10.244.0.0/24"]);
        check("10.244.0.0/24", 2, 2, &["10.244.0.0/25", "10.244.0.128/25"]);
        check("10.244.0.0/16", 300, 500, &["10.244.0.0/25", "10.244.0.128/25"]);
        check("fd44::/48", 2, 5000, &["fd44::/64", "fd44:0:0:1::/64"]);
        check("fd44::/120", 2, 5, &["fd44::/121", "fd44::80/121"]);
        check("10.0.0.1/32", 5, 5, &["10.0.0.1/32"]);
    }
}
