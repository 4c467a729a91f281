//! What the state file holds of ban lists.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::{AddressRange, AddressSet, BanId, BanTables, Family, Layer, TargetedBan};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BansFile {
    banned: Vec<RangeFile>,
    would_ban: Vec<RangeFile>,
    targeted: BTreeMap<Arc<str>, TargetedFile>,
}

/// The first and the last address.
#[derive(Serialize, Deserialize)]
struct RangeFile(IpAddr, IpAddr);

#[derive(Serialize, Deserialize)]
struct TargetedFile {
    description: Arc<str>,
    audit: bool,
    banned: Vec<RangeFile>,
    pods: BTreeSet<IpAddr>,
}

impl BansFile {
    pub fn of(tables: &BanTables) -> BansFile {
        BansFile {
            banned: ranges_file(&tables.banned),
            would_ban: ranges_file(&tables.would_ban),
            targeted: tables.targeted.iter().map(|(id, ban)| (Arc::clone(&id.0), TargetedFile::of(ban))).collect(),
        }
    }

    pub fn read(self) -> Result<BanTables, String> {
        let targeted = self.targeted.into_iter().map(|(id, ban)| Ok((BanId(id), ban.read()?)));
        Ok(BanTables {
            banned: read_ranges(self.banned)?,
            would_ban: read_ranges(self.would_ban)?,
            targeted: targeted.collect::<Result<_, String>>()?,
        })
    }
}

impl TargetedFile {
    fn of(ban: &TargetedBan) -> TargetedFile {
        TargetedFile {
            description: Arc::clone(&ban.description),
            audit: ban.layer == Layer::Shadow,
            banned: ranges_file(&ban.banned),
            pods: ban.pods.clone(),
        }
    }

    fn read(self) -> Result<TargetedBan, String> {
        Ok(TargetedBan {
            description: self.description,
            layer: if self.audit { Layer::Shadow } else { Layer::InForce },
            banned: read_ranges(self.banned)?,
            pods: self.pods,
        })
    }
}

fn ranges_file(set: &AddressSet) -> Vec<RangeFile> {
    set.iter().map(|range| RangeFile(range.first, range.last)).collect()
}

/// A file that was edited must not become ranges that the kernel refuses.
fn read_ranges(ranges: Vec<RangeFile>) -> Result<AddressSet, String> {
    let ranges: Vec<AddressRange> =
        ranges.into_iter().map(|RangeFile(first, last)| AddressRange { first, last }).collect();
    let is_range =
        |range: &AddressRange| Family::of(range.first) == Family::of(range.last) && range.first <= range.last;
    let is_sorted = ranges.is_sorted_by(|one, next| one.last < next.first);
    if !is_sorted || !ranges.iter().all(is_range) {
        return Err("its ranges of addresses are not in order".to_string());
    }
    Ok(ranges.into_iter().collect())
}
