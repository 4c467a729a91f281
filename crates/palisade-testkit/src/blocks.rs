//! Very many blocks of addresses, as feeds have them.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use crate::rng::Rng;

/// The largest block is a /20, and so many addresses.
const LARGEST: u8 = 20;
const SLOT_ADDRESSES: u32 = 1 << (32 - LARGEST);
/// In so many of a hundred slots there are two smaller blocks, for there are fewer than a million slots.
const SHARED_SLOTS_PERCENT: usize = 10;

/// Disjoint blocks of IPv4 by address, of /20 to /32: at most about a million, for more there are not. None holds addresses that are never
/// banned.
pub fn disjoint_blocks(count: usize) -> Vec<IpNet> {
    let mut rng = Rng::new(1);
    let mut blocks = Vec::with_capacity(count);
    for slot in 0..=u32::MAX / SLOT_ADDRESSES {
        let start = Ipv4Addr::from(slot * SLOT_ADDRESSES);
        let is_special = start.is_loopback() || start.is_link_local() || start.octets()[0] == 0;
        if is_special || start.octets()[0] >= 224 {
            continue;
        }
        if rng.percent(SHARED_SLOTS_PERCENT) {
            let middle = Ipv4Addr::from(u32::from(start) + SLOT_ADDRESSES / 2);
            blocks.extend([start, middle].map(|start| block(start, LARGEST + 1, &mut rng)));
        } else {
            blocks.push(block(start, LARGEST, &mut rng));
        }
    }
    // Evenly from all addresses.
    let all = blocks.len();
    (0..count.min(all)).map(|number| blocks[number * all / count.min(all)]).collect()
}

/// A block somewhere within the one that begins there and has this prefix.
fn block(start: Ipv4Addr, prefix: u8, rng: &mut Rng) -> IpNet {
    let within = rng.below(1 << (32 - prefix));
    let length = rng.between(usize::from(prefix), 32);
    let address = u32::from(start) + u32::try_from(within).unwrap_or(0);
    IpNet::V4(Ipv4Net::new_assert(address.into(), u8::try_from(length).unwrap_or(32)).trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_blocks_are_disjoint() {
        for count in [1_000, 1_000_000] {
            let blocks = disjoint_blocks(count);
            assert_eq!(blocks.len(), count);
            assert!(blocks.is_sorted_by(|one, next| one.broadcast() < next.network()));
            assert!(blocks.iter().all(|block| (20..=32).contains(&block.prefix_len())));
        }
    }
}
