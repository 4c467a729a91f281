//! What the state file holds of ban lists.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::{AddressRange, AddressSet, BanId, BanTables, Family, Layer, TargetedBan};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BansFile {
    banned: RangesFile,
    would_ban: RangesFile,
    targeted: BTreeMap<Arc<str>, TargetedFile>,
}

/// The first and the last address of each range. It is written from the set, for a list of pairs takes four times its memory.
#[derive(Default)]
struct RangesFile(AddressSet);

#[derive(Serialize, Deserialize)]
struct TargetedFile {
    description: Arc<str>,
    audit: bool,
    banned: RangesFile,
    pods: BTreeSet<IpAddr>,
}

impl BansFile {
    pub fn of(tables: &BanTables) -> BansFile {
        BansFile {
            banned: RangesFile(tables.banned.clone()),
            would_ban: RangesFile(tables.would_ban.clone()),
            targeted: tables.targeted.iter().map(|(id, ban)| (Arc::clone(&id.0), TargetedFile::of(ban))).collect(),
        }
    }

    pub fn read(self) -> BanTables {
        let targeted = self.targeted.into_iter().map(|(id, ban)| (BanId(id), ban.read()));
        BanTables { banned: self.banned.0, would_ban: self.would_ban.0, targeted: targeted.collect() }
    }
}

impl TargetedFile {
    fn of(ban: &TargetedBan) -> TargetedFile {
        TargetedFile {
            description: Arc::clone(&ban.description),
            audit: ban.layer == Layer::Shadow,
            banned: RangesFile(ban.banned.clone()),
            pods: ban.pods.clone(),
        }
    }

    fn read(self) -> TargetedBan {
        TargetedBan {
            description: self.description,
            layer: if self.audit { Layer::Shadow } else { Layer::InForce },
            banned: self.banned.0,
            pods: self.pods,
        }
    }
}

impl Serialize for RangesFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|range| (range.first, range.last)))
    }
}

impl<'de> Deserialize<'de> for RangesFile {
    /// A file that was edited must not become ranges that the kernel refuses.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ranges = Vec::<(IpAddr, IpAddr)>::deserialize(deserializer)?;
        let is_range = |(first, last): &(IpAddr, IpAddr)| Family::of(*first) == Family::of(*last) && first <= last;
        if !ranges.is_sorted_by(|one, next| one.1 < next.0) || !ranges.iter().all(is_range) {
            return Err(D::Error::custom("its ranges of addresses are not in order"));
        }
        Ok(RangesFile(ranges.into_iter().map(|(first, last)| AddressRange { first, last }).collect()))
    }
}
