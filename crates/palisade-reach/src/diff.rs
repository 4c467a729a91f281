//! What one snapshot, or one dialect, lets pass and another does not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use palisade_core::{AddressRange, Dialect, Direction, Family, PodName, WorkloadName};

use crate::class::{Class, index};
use crate::edge::{Party, in_family};
use crate::reach::{Families, Reach};
use crate::space::{address, highest, number_of};
use crate::traffic_set::TrafficSet;

/// What passed, and what passes now.
pub type Step = (Arc<TrafficSet>, Arc<TrafficSet>);

/// Two ends between which something else passes than before.
#[derive(Clone, Debug)]
pub struct Difference<'r> {
    /// Who sends.
    pub from: Party<'r>,
    /// To whom.
    pub to: Party<'r>,
    /// What passed and what passes, in each family that both ends have or had. It differs in one of them.
    pub traffic: Families<Step>,
}

/// Two [`Reach`]es side by side.
///
/// A workload that is one class in both is compared as such, however its pods are called; other pods by their names. That there are more
/// pods of a class, or fewer, is no difference. Who is in one of the two alone reaches nobody in the other.
/// Of two dialects only what both judge is compared.
#[derive(Debug)]
pub struct Diff<'r, 'a> {
    old: &'r Reach<'a>,
    new: &'r Reach<'a>,
    units: Vec<Unit<'a>>,
}

/// Pods that no rule tells apart, neither here nor there.
#[derive(Debug)]
struct Unit<'a> {
    class: Class<'a>,
    /// Whether it is a single pod, on both sides.
    is_alone: bool,
    old: Option<usize>,
    new: Option<usize>,
}

impl<'r, 'a> Diff<'r, 'a> {
    /// Two readings of one cluster, or of two.
    pub fn new(old: &'r Reach<'a>, new: &'r Reach<'a>) -> Diff<'r, 'a> {
        let mut units = Vec::new();
        for ((before, now), pods) in pairs(old, new) {
            let class = |reach: &'r Reach<'a>, number: Option<usize>| number.map(|number| &reach.classes()[number]);
            let (one, other) = (class(old, before), class(new, now));
            let Some(either) = other.or(one) else { continue };
            let is_whole = [one, other].into_iter().flatten().all(|class| class.workload.is_some());
            let class = if is_whole { either.whole() } else { either.part(pods) };
            // That a whole workload has a second pod by now is no difference, but what the two may do is one.
            let whole = [one, other].into_iter().flatten().filter(|_| is_whole).map(|class| class.pods.len());
            let is_alone = whole.chain([class.pods.len()]).all(|count| count == 1);
            units.push(Unit { class, is_alone, old: before, new: now });
        }
        units.sort_by(|one, other| one.class.pods.cmp(&other.class.pods));
        Diff { old, new, units }
    }

    /// Every difference: of each end those with other ends, and with addresses outside to which it sends; then those with addresses
    /// from which something comes to it.
    pub fn differences(&self) -> impl Iterator<Item = Difference<'_>> {
        let sent = self.units.iter().flat_map(move |from| {
            let pods = self.units.iter().filter_map(move |to| self.between(from, to));
            pods.chain(self.outside(from, Direction::Egress))
        });
        sent.chain(self.units.iter().flat_map(|to| self.outside(to, Direction::Ingress)))
    }

    fn between<'d>(&self, from: &'d Unit<'a>, to: &'d Unit<'a>) -> Option<Difference<'d>> {
        if !self.is_judged(from, to) || (from.is_alone && std::ptr::eq(from, to)) {
            return None;
        }
        let judged = |reach: &Reach<'_>, from: Option<usize>, to: Option<usize>| match (from, to) {
            (Some(from), Some(to)) => reach.between_pods(from, to),
            _ => [None, None],
        };
        let before = judged(self.old, from.old, to.old);
        let now = judged(self.new, from.new, to.new);
        let mut traffic = [None, None];
        for number in self.families().iter().map(|family| index(*family)) {
            let (before, now) = (&before[number], &now[number]);
            let is_shared = before.is_some() || now.is_some();
            traffic[number] = is_shared.then(|| (before.clone().unwrap_or_default(), now.clone().unwrap_or_default()));
        }
        let differs = traffic.iter().flatten().any(|(before, now)| before != now);
        differs.then_some(Difference { from: Party::Pods(&from.class), to: Party::Pods(&to.class), traffic })
    }

    /// Whether both dialects judge the same flows.
    fn judge_alike(&self) -> bool {
        let [old, new] = [self.old, self.new].map(|reach| reach.dialect() == Dialect::NpGuard);
        old == new
    }

    /// The families that both dialects judge.
    fn families(&self) -> &'static [Family] {
        if self.judge_alike() { &Family::ALL } else { &[Family::V4] }
    }

    /// Whether both dialects judge flows between these: one of them does not within a workload.
    fn is_judged(&self, from: &Unit<'_>, to: &Unit<'_>) -> bool {
        let is_one = |one: Option<usize>, other| one.is_some() && one == other;
        self.judge_alike() || !(is_one(from.old, to.old) || is_one(from.new, to.new))
    }

    fn outside<'d>(&'d self, unit: &'d Unit<'a>, direction: Direction) -> impl Iterator<Item = Difference<'d>> {
        let inside = Party::Pods(&unit.class);
        let steps = self.families().iter().map(move |family| {
            let family = *family;
            let judged = |reach: &Reach<'_>, class: Option<usize>| {
                class.map(|class| reach.outside(class, direction, family)).unwrap_or_default()
            };
            (family, steps(family, &judged(self.old, unit.old), &judged(self.new, unit.new)))
        });
        steps.flat_map(move |(family, steps)| {
            steps.into_iter().map(move |(range, step)| {
                let outside = Party::Addresses(range);
                let (from, to) = match direction {
                    Direction::Egress => (inside, outside),
                    Direction::Ingress => (outside, inside),
                };
                Difference { from, to, traffic: in_family(family, step) }
            })
        })
    }
}

type Pairs<'a> = BTreeMap<(Option<usize>, Option<usize>), Vec<&'a PodName>>;

/// The classes of the two that have pods in common, with those; and the classes that are in one of them alone.
fn pairs<'a>(old: &Reach<'a>, new: &Reach<'a>) -> Pairs<'a> {
    let now: HashMap<&WorkloadName, usize> = workloads(new).collect();
    let mut pairs: Pairs<'a> = workloads(old)
        .filter_map(|(workload, before)| {
            let now = *now.get(workload)?;
            Some(((Some(before), Some(now)), new.classes()[now].pods.clone()))
        })
        .collect();
    let settled: (BTreeSet<_>, BTreeSet<_>) = pairs.keys().copied().unzip();
    let mut by_name: BTreeMap<&PodName, (Option<usize>, Option<usize>)> = BTreeMap::new();
    for (number, class) in old.classes().iter().enumerate().filter(|(number, _)| !settled.0.contains(&Some(*number))) {
        class.pods.iter().for_each(|pod| by_name.entry(*pod).or_default().0 = Some(number));
    }
    for (number, class) in new.classes().iter().enumerate().filter(|(number, _)| !settled.1.contains(&Some(*number))) {
        class.pods.iter().for_each(|pod| by_name.entry(*pod).or_default().1 = Some(number));
    }
    let in_both = by_name.values().filter(|(before, now)| before.is_some() && now.is_some());
    let in_both: (BTreeSet<_>, BTreeSet<_>) = in_both.copied().unzip();
    for (pod, pair) in by_name {
        let comes_or_goes =
            pair.0.is_none() && in_both.1.contains(&pair.1) || pair.1.is_none() && in_both.0.contains(&pair.0);
        if !comes_or_goes {
            pairs.entry(pair).or_default().push(pod);
        }
    }
    pairs
}

/// The workloads that are one class each.
fn workloads<'a>(reach: &Reach<'a>) -> impl Iterator<Item = (&'a WorkloadName, usize)> {
    reach.classes().iter().enumerate().filter_map(|(number, class)| Some((class.workload?, number)))
}

/// Where two lists of ranges differ: the fewest ranges of which one thing passed and another passes.
fn steps(
    family: Family,
    old: &[(AddressRange, Arc<TrafficSet>)],
    new: &[(AddressRange, Arc<TrafficSet>)],
) -> Vec<(AddressRange, Step)> {
    let ends = |(range, _): &(AddressRange, _)| [Some(number_of(range.first)), number_of(range.last).checked_add(1)];
    let cuts: BTreeSet<u128> = old.iter().chain(new).flat_map(ends).flatten().collect();
    let lasts = cuts.iter().skip(1).map(|next| next - 1).chain([highest(family)]);
    let at = |list: &[(AddressRange, Arc<TrafficSet>)], first: u128| {
        let after = list.partition_point(|(range, _)| number_of(range.first) <= first);
        let before = after.checked_sub(1).map(|index| &list[index]);
        let found = before.filter(|(range, _)| first <= number_of(range.last));
        found.map(|(_, traffic)| Arc::clone(traffic)).unwrap_or_default()
    };
    let mut steps: Vec<(AddressRange, Step)> = Vec::new();
    let mut is_next = false;
    for (first, last) in cuts.iter().zip(lasts) {
        let step = (at(old, *first), at(new, *first));
        let differs = step.0 != step.1;
        let last = address(family, last);
        match steps.last_mut() {
            Some((range, before)) if differs && is_next && *before == step => range.last = last,
            _ if differs => steps.push((AddressRange { first: address(family, *first), last }, step)),
            _ => {}
        }
        is_next = differs;
    }
    steps
}
