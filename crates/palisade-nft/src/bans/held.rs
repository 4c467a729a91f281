//! From changes of bans to transactions.

use std::net::IpAddr;

use palisade_core::{AddressRange, BanChange, BanTables, Family, Layer, TablesChange};

use super::parts::{Parts, Place};
use super::{range_key, set_of, skeleton, targeted_pods};
use crate::diff::{diff, diff_in_place};
use crate::lower::{Settings, address_key};
use crate::ruleset::{Name, Ruleset, Table};
use crate::transaction::{Builder, Transaction};

/// About how many ranges change in one transaction, so that each is short.
const RANGES_AT_ONCE: usize = 5_000;

/// The ban tables that a kernel holds.
#[derive(Clone, Debug, Default)]
pub struct BanHeld {
    tables: BanTables,
    parts: Parts,
    settings: Settings,
}

/// A range that goes or comes.
#[derive(Clone, Copy)]
struct Step<'a> {
    layer: Layer,
    range: &'a AddressRange,
    comes: bool,
}

impl BanHeld {
    /// What a kernel holds to which [`lower_bans`](super::lower_bans) of these tables was applied.
    pub fn of(tables: &BanTables, settings: &Settings) -> BanHeld {
        BanHeld { tables: tables.clone(), parts: Parts::of(tables), settings: *settings }
    }

    /// The transactions that take those of these steps that are of ban tables; an address that is banned before and after is banned
    /// between any two of them. A range costs an element, and a list with a target, when it changes, a comparison of those lists.
    ///
    /// `self` is the state after them from here on; if the kernel refuses one, start again from [`BanHeld::of`].
    pub fn lower_changes(&mut self, changes: &[TablesChange]) -> Vec<Transaction> {
        let mut transactions = Vec::new();
        for change in changes {
            let TablesChange::Ban(change) = change else { continue };
            match change {
                BanChange::Everywhere(layer, gone, come) => {
                    self.lower_ranges(*layer, gone, come, &mut transactions);
                }
                BanChange::Target(id, address, joins) => {
                    let ban = self.tables.targeted.get(id);
                    if ban.is_some_and(|ban| ban.pods.contains(address) != *joins) {
                        let set = targeted_pods(id, Family::of(*address));
                        transactions.push(member(&set, *address, *joins));
                    }
                }
                BanChange::Targeted(..) => {
                    let before = skeleton(&self.parts, &self.tables, self.settings);
                    self.tables.apply(change);
                    let after = skeleton(&self.parts, &self.tables, self.settings);
                    transactions.push(towards(&before, &after, |_| {}));
                    continue;
                }
            }
            self.tables.apply(change);
        }
        transactions.retain(|transaction| !transaction.is_empty());
        transactions
    }

    fn lower_ranges(
        &mut self,
        layer: Layer,
        gone: &[AddressRange],
        come: &[AddressRange],
        transactions: &mut Vec<Transaction>,
    ) {
        let before = self.parts.clone();
        for range in gone {
            self.parts.remove(layer, Place::of(range));
        }
        for range in come {
            self.parts.add(layer, Place::of(range));
        }
        let stays = |step: &Step<'_>| {
            let place = Place::of(step.range);
            before.has(layer, place) && self.parts.has(layer, place)
        };
        let mut few = Builder::of(Table::Bans);
        let mut count = 0;
        let mut with_sets = Vec::new();
        for cluster in clusters(layer, gone, come) {
            if !cluster.iter().all(stays) {
                with_sets.extend(cluster);
                continue;
            }
            count += cluster.len();
            for step in &cluster {
                take(&mut few, *step);
            }
            if count >= RANGES_AT_ONCE {
                transactions.push(std::mem::replace(&mut few, Builder::of(Table::Bans)).finish());
                count = 0;
            }
        }
        transactions.push(few.finish());
        if with_sets.is_empty() {
            return;
        }
        let have = skeleton(&before, &self.tables, self.settings);
        let mut want = skeleton(&self.parts, &self.tables, self.settings);
        let is_new = |step: &Step<'_>| !before.has(layer, Place::of(step.range));
        for step in with_sets.iter().filter(|step| step.comes && is_new(step)) {
            if let Some(set) = want.sets.get_mut(&set_of(layer, Place::of(step.range))) {
                set.elements.insert(range_key(step.range), None);
            }
        }
        // What a set holds that goes, goes with it.
        let in_old_sets = with_sets.iter().filter(|step| stays(step));
        transactions.push(towards(&have, &want, |builder| in_old_sets.for_each(|step| take(builder, *step))));
    }
}

/// From one skeleton to another, with steps that are in neither.
fn towards(have: &Ruleset, want: &Ruleset, steps: impl FnOnce(&mut Builder)) -> Transaction {
    if have.is_nothing() || want.is_nothing() {
        return diff(have, want);
    }
    let mut builder = Builder::of(Table::Bans);
    steps(&mut builder);
    diff_in_place(&mut builder, have, want);
    builder.finish()
}

fn member(set: &Name, address: IpAddr, joins: bool) -> Transaction {
    let mut builder = Builder::of(Table::Bans);
    if joins {
        builder.add_element(set, address_key(address), None);
    } else {
        builder.delete_element(set, address_key(address), None);
    }
    builder.finish()
}

fn take(builder: &mut Builder, Step { layer, range, comes }: Step<'_>) {
    let set = set_of(layer, Place::of(range));
    if comes {
        builder.add_element(&set, range_key(range), None);
    } else {
        builder.delete_element(&set, range_key(range), None);
    }
}

/// The steps by address, those that overlap together: what is banned before and after must not be free between them.
fn clusters<'a>(layer: Layer, gone: &'a [AddressRange], come: &'a [AddressRange]) -> Vec<Vec<Step<'a>>> {
    let steps = |ranges: &'a [AddressRange], comes| ranges.iter().map(move |range| Step { layer, range, comes });
    let mut steps: Vec<Step<'a>> = steps(gone, false).chain(steps(come, true)).collect();
    steps.sort_unstable_by_key(|step| (step.range, step.comes));
    let mut clusters: Vec<Vec<Step<'a>>> = Vec::new();
    let mut end: Option<IpAddr> = None;
    for step in steps {
        match clusters.last_mut() {
            Some(cluster) if end.is_some_and(|end| step.range.first <= end) => cluster.push(step),
            _ => clusters.push(vec![step]),
        }
        end = end.max(Some(step.range.last));
    }
    clusters
}
