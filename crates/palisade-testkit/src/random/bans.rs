//! Random ban lists.

use ipnet::IpNet;
use palisade_core::{BanEntry, BanList, BanTarget, Selector, Snapshot};

use super::KEYS;
use super::policies::{block, selector};
use crate::rng::Rng;

const NAMES: [&str; 4] = ["a", "b", "abuse", "spamhaus-drop"];

/// A ban list for this cluster; it may have the name of another.
pub(crate) fn ban_list(snapshot: &Snapshot, rng: &mut Rng) -> BanList {
    let target = rng.percent(50).then(|| BanTarget {
        // Two selectors seldom select a pod together.
        namespaces: if rng.percent(60) { Selector::everything() } else { selector(rng, &KEYS) },
        pods: selector(rng, &KEYS),
    });
    let count = if rng.percent(10) { 0 } else { rng.between(1, 4) };
    let blocks: Vec<(IpNet, Vec<IpNet>)> = (0..count).map(|_| block(snapshot, rng)).collect();
    // What blocks leave out, a list leaves out of all its entries.
    let except = blocks.iter().flat_map(|(_, except)| except).filter(|_| rng.percent(70)).copied().collect();
    let entry = |(cidr, _): (IpNet, _)| BanEntry { cidr, expires: None, reason: None, from_source: false };
    BanList {
        name: rng.pick(&NAMES).into(),
        target,
        entries: blocks.into_iter().map(entry).collect(),
        except,
        audit: rng.percent(15),
        ..BanList::default()
    }
}
