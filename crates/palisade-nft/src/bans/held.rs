//! From changes of bans to transactions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use palisade_core::{AddressRange, AddressSet, BanChange, BanId, BanTables, Family, Layer, TablesChange};

use super::parts::{Parts, Place};
use super::{range_key, set_of, skeleton, targeted_pods};
use crate::diff::{diff, diff_in_place};
use crate::lower::{Settings, address_key};
use crate::ruleset::{Key, Name, Ruleset, Table, Verdict};
use crate::transaction::{Builder, Transaction};

/// About how many ranges change in one transaction, so that each is short.
const RANGES_AT_ONCE: usize = 5_000;

/// About how many ranges come at once where there were none.
const RANGES_LOADED_AT_ONCE: usize = if cfg!(test) { 2 } else { 50_000 };

/// The ban tables that a kernel holds.
#[derive(Clone, Debug, Default)]
pub struct BanHeld {
    tables: BanTables,
    parts: Parts,
    settings: Settings,
}

/// A range that goes or comes.
#[derive(Clone, Copy)]
struct Step {
    layer: Layer,
    range: AddressRange,
    comes: bool,
}

impl BanHeld {
    /// What a kernel holds to which [`lower_bans`](super::lower_bans) of these tables was applied.
    pub fn of(tables: &BanTables, settings: &Settings) -> BanHeld {
        BanHeld { tables: tables.clone(), parts: Parts::of(tables), settings: *settings }
    }

    /// How a kernel that holds nothing comes to these tables without a ruleset of all of them, which would take many times the memory of the
    /// tables: those to begin with, and steps from there.
    pub fn stages(tables: &BanTables) -> (BanTables, Vec<TablesChange>) {
        let start = BanTables { targeted: tables.targeted.clone(), ..BanTables::default() };
        let steps = [Layer::InForce, Layer::Shadow].into_iter().flat_map(|layer| {
            let stages = portions(tables.everywhere(layer)).into_iter();
            stages.map(move |come| TablesChange::Ban(BanChange::Everywhere(layer, AddressSet::new(), come)))
        });
        (start, steps.collect())
    }

    /// The transactions that take those of these steps that are of ban tables, in this order; an address that is banned before and after
    /// is banned all the while. A range costs an element, and lists with a target, when they change, a comparison of those lists.
    ///
    /// `self` is the state after them from here on; if the kernel refuses one, start again from [`BanHeld::of`].
    pub fn lower_changes(&mut self, changes: &[TablesChange]) -> Vec<Transaction> {
        let changes = changes.iter().filter_map(|change| match change {
            TablesChange::Ban(change) => Some(change),
            _ => None,
        });
        let mut transactions = Vec::new();
        for run in runs(changes) {
            match run.as_slice() {
                [BanChange::Everywhere(layer, gone, come)] => {
                    self.lower_ranges(*layer, gone, come, &mut transactions);
                }
                [BanChange::Target(id, address, joins)] => {
                    let ban = self.tables.targeted.get(id);
                    if ban.is_some_and(|ban| ban.pods.contains(address) != *joins) {
                        let set = targeted_pods(id, Family::of(*address));
                        transactions.push(member(&set, *address, *joins));
                    }
                }
                lists => {
                    transactions.push(self.lower_lists(lists));
                    continue;
                }
            }
            for change in run {
                self.tables.apply(change);
            }
        }
        transactions.retain(|transaction| !transaction.is_empty());
        transactions
    }

    /// Lists with a target that change; others are not looked at.
    fn lower_lists(&mut self, changes: &[&BanChange]) -> Transaction {
        let changed: BTreeSet<&BanId> = changes
            .iter()
            .filter_map(|change| match change {
                BanChange::Targeted(id, _) => Some(id),
                _ => None,
            })
            .collect();
        let lists = |id: &BanId| changed.contains(id);
        let before = skeleton(&self.parts, &self.tables, lists, self.settings);
        for change in changes {
            self.tables.apply(change);
        }
        towards(&before, &skeleton(&self.parts, &self.tables, lists, self.settings), |_| {})
    }

    fn lower_ranges(
        &mut self,
        layer: Layer,
        gone: &AddressSet,
        come: &AddressSet,
        transactions: &mut Vec<Transaction>,
    ) {
        let before = self.parts.clone();
        for range in come.iter() {
            self.parts.add(layer, Place::of(&range));
        }
        let both = self.parts.clone();
        for range in gone.iter() {
            self.parts.remove(layer, Place::of(&range));
        }
        let mut few = Builder::of(Table::Bans);
        let mut count = 0;
        let mut moving = Vec::new();
        let steps = steps(layer, gone, come);
        for cluster in clusters(&steps) {
            let place = cluster[0].place();
            let stays = before.has(layer, place) && self.parts.has(layer, place);
            if !stays || cluster.iter().any(|step| step.place() != place) {
                moving.extend(cluster);
                continue;
            }
            count += cluster.len();
            for step in cluster {
                take(&mut few, *step);
            }
            if count >= RANGES_AT_ONCE {
                transactions.push(std::mem::replace(&mut few, Builder::of(Table::Bans)).finish());
                count = 0;
            }
        }
        transactions.push(few.finish());
        if !moving.is_empty() {
            transactions.extend(self.lower_moving(layer, &moving, [&before, &both]));
        }
    }

    /// What comes into another set than that which it leaves, or into a new one: the kernel does not find in a set that is filled and put
    /// to use in one commit, or from which something moves to another, what it should for a moment. So it comes first and goes after.
    fn lower_moving(&self, layer: Layer, moving: &[Step], [before, both]: [&Parts; 2]) -> [Transaction; 2] {
        let shape = |parts| skeleton(parts, &self.tables, |_| false, self.settings);
        let (have, mut middle, want) = (shape(before), shape(both), shape(&self.parts));
        let is_new = |step: &&Step| step.comes && !before.has(layer, step.place());
        let mut new: BTreeMap<Place, Vec<(Key, Option<Verdict>)>> = BTreeMap::new();
        for step in moving.iter().filter(is_new) {
            new.entry(step.place()).or_default().push((range_key(&step.range), None));
        }
        for (place, elements) in new {
            if let Some(set) = middle.sets.get_mut(&set_of(layer, place)) {
                set.elements = elements.into_iter().collect();
            }
        }
        // A range of a set that overlaps one which comes into the same set cannot wait.
        let yields =
            |step: &Step| moving.iter().any(|other| other.comes && other.is_beside(*step) && other.overlaps(*step));
        let (at_once, later): (Vec<Step>, Vec<Step>) =
            moving.iter().filter(|step| !step.comes).partition(|step| yields(step));
        let into_old = moving.iter().filter(|step| step.comes && !is_new(step)).copied().chain(at_once);
        let come = towards(&have, &middle, |builder| into_old.for_each(|step| take(builder, step)));
        // What a set holds that goes, goes with it.
        middle.sets.values_mut().for_each(|set| set.elements.retain(|_, verdict| verdict.is_some()));
        let leaving = later.into_iter().filter(|step| self.parts.has(layer, step.place()));
        let go = towards(&middle, &want, |builder| leaving.for_each(|step| take(builder, step)));
        [come, go]
    }
}

impl Step {
    fn place(self) -> Place {
        Place::of(&self.range)
    }

    /// Whether both are in one set.
    fn is_beside(self, other: Step) -> bool {
        self.place() == other.place()
    }

    fn overlaps(self, other: Step) -> bool {
        self.range.first <= other.range.last && other.range.first <= self.range.last
    }
}

/// Parts of a set, none of which shares a set of the kernel with the next unless a range is wide.
fn portions(set: &AddressSet) -> Vec<AddressSet> {
    let mut portions = Vec::new();
    let mut portion: Vec<AddressRange> = Vec::new();
    for range in set.iter() {
        let is_full = portion.len() >= RANGES_LOADED_AT_ONCE
            && portion.last().is_some_and(|last| Place::of(last) != Place::of(&range));
        if is_full {
            portions.push(std::mem::take(&mut portion).into_iter().collect());
        }
        portion.push(range);
    }
    portions.push(portion.into_iter().collect());
    portions.retain(|portion: &AddressSet| !portion.is_empty());
    portions
}

/// Steps that are taken together: lists with a target that follow one another.
fn runs<'a>(changes: impl Iterator<Item = &'a BanChange>) -> Vec<Vec<&'a BanChange>> {
    let is_list = |change: &BanChange| matches!(change, BanChange::Targeted(..));
    let mut runs: Vec<Vec<&BanChange>> = Vec::new();
    for change in changes {
        match runs.last_mut() {
            Some(run) if is_list(change) && run.iter().all(|other| is_list(other)) => run.push(change),
            _ => runs.push(vec![change]),
        }
    }
    runs
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

fn take(builder: &mut Builder, Step { layer, range, comes }: Step) {
    let set = set_of(layer, Place::of(&range));
    if comes {
        builder.add_element(&set, range_key(&range), None);
    } else {
        builder.delete_element(&set, range_key(&range), None);
    }
}

/// The steps by address.
fn steps(layer: Layer, gone: &AddressSet, come: &AddressSet) -> Vec<Step> {
    let gone = gone.iter().map(|range| Step { layer, range, comes: false });
    let come = come.iter().map(|range| Step { layer, range, comes: true });
    let mut steps: Vec<Step> = gone.chain(come).collect();
    steps.sort_unstable_by_key(|step| (step.range, step.comes));
    steps
}

/// Steps by address, those that overlap together: what is banned before and after must not be free between them.
fn clusters(mut steps: &[Step]) -> impl Iterator<Item = &[Step]> {
    std::iter::from_fn(move || {
        let mut end = steps.first()?.range.last;
        let mut len = 1;
        while let Some(step) = steps.get(len).filter(|step| step.range.first <= end) {
            end = end.max(step.range.last);
            len += 1;
        }
        let (cluster, rest) = steps.split_at(len);
        steps = rest;
        Some(cluster)
    })
}
