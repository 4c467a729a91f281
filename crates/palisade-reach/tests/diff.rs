//! A difference is what the exact sets of two clusters say pod by pod, address by address, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::{AddressRange, Dialect, Direction, Family, PodName, Snapshot, WorkloadKind, WorkloadName};
use palisade_reach::{Diff, Party, Reach, Step, TrafficSet};
use palisade_sources::{Options, SourceText, parse};
use palisade_testkit::mutate::mutate;
use palisade_testkit::random;
use palisade_testkit::rng::Rng;

#[test]
fn differences_are_those_between_the_sets() {
    let (mut pairs, mut ranges, mut same) = (0, 0, 0);
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let first = random::cluster(&mut rng);
        let changed = (0..rng.between(1, 4)).fold(first.clone(), |snapshot, _| mutate(&snapshot, &mut rng));
        let (old, new) = (with_workloads(first), with_workloads(changed));
        let (before, now) = (Reach::new(&old, Dialect::Palisade), Reach::new(&new, Dialect::Palisade));
        let diff = Diff::new(&before, &now);
        let found = Found::of(&diff);
        for (from, to) in pairs_of(&before, &now) {
            for (number, family) in Family::ALL.into_iter().enumerate() {
                let step = (between(&before, from, to, number), between(&now, from, to, number));
                let told = found.pods.get(&(from, to, family));
                if step.0 == step.1 {
                    assert!(told.is_none_or(|(old, new)| old == new), "seed {seed}: {from} -> {to}: {told:?}");
                    same += 1;
                } else {
                    let told = told.unwrap_or_else(|| panic!("seed {seed}: {from} -> {to} {step:?} is not told"));
                    assert_eq!((&*told.0, &*told.1), (&step.0, &step.1), "seed {seed}: {from} -> {to}");
                    pairs += 1;
                }
            }
        }
        ranges += check_outside(seed, &before, &now, &found);
    }
    assert!(pairs >= 500 && ranges >= 500 && same >= 5_000, "{pairs} pairs, {ranges} ranges, {same} the same");
}

#[test]
fn nothing_differs_from_itself() {
    for seed in 0..50 {
        let snapshot = with_workloads(random::cluster(&mut Rng::new(seed)));
        let reach = Reach::new(&snapshot, Dialect::Palisade);
        assert_eq!(Diff::new(&reach, &reach).differences().count(), 0, "seed {seed}");
    }
}

/// A workload that a rule tells apart on one side alone is compared pod by pod, whichever side it is.
#[test]
fn parts_of_a_workload_are_named() {
    let queue = "apiVersion: apps/v1
kind: StatefulSet
metadata: {namespace: data, name: queue}
spec: {replicas: 2, template: {metadata: {labels: {app: queue}}, spec: {containers: [{name: queue}]}}}
";
    let leader = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: data, name: leader}
spec:
  podSelector: {matchLabels: {statefulset.kubernetes.io/pod-name: queue-0}}
  ingress: [{from: [{podSelector: {}}], ports: [{port: 7000}]}]
";
    let snapshot = |text: String| {
        parse(&[SourceText { file: "-".into(), text }], &Options { families: vec![Family::V4], ..Options::default() })
            .snapshot
    };
    let (open, closed) = (snapshot(queue.to_string()), snapshot(format!("{queue}{leader}")));
    let (open, closed) = (Reach::new(&open, Dialect::Palisade), Reach::new(&closed, Dialect::Palisade));
    let told = |diff: &Diff<'_, '_>| -> Vec<String> {
        let lines = diff.differences().map(|found| {
            let (before, now) = found.traffic[0].clone().unwrap();
            format!("{} -> {}: {before}, then {now}", found.from, found.to)
        });
        lines.collect()
    };
    assert_eq!(
        told(&Diff::new(&closed, &open)),
        [
            "data/queue-1 -> data/queue-0: tcp 7000, then all",
            "0.0.0.0-255.255.255.255 -> data/queue-0: nothing, then all"
        ]
    );
    assert_eq!(
        told(&Diff::new(&open, &closed)),
        [
            "data/queue-1 -> data/queue-0: all, then tcp 7000",
            "0.0.0.0-255.255.255.255 -> data/queue-0: all, then nothing"
        ]
    );
}

/// Pods called `w-…` are of the workload `w` of their namespace.
fn with_workloads(mut snapshot: Snapshot) -> Snapshot {
    for (name, pod) in snapshot.pods.iter_mut().filter(|(name, _)| name.name.starts_with("w-")) {
        let namespace = name.namespace.clone();
        Arc::make_mut(pod).workload =
            Some(WorkloadName { namespace, kind: WorkloadKind::Deployment, name: "w".into() });
    }
    snapshot
}

type RangeStep = (AddressRange, Step);

/// The differences, one by one.
#[derive(Default)]
struct Found<'d> {
    pods: BTreeMap<(&'d PodName, &'d PodName, Family), Step>,
    outside: BTreeMap<(&'d PodName, Direction, Family), Vec<RangeStep>>,
}

impl<'d> Found<'d> {
    fn of(diff: &'d Diff<'_, '_>) -> Found<'d> {
        let mut found = Found::default();
        for difference in diff.differences() {
            for (family, step) in Family::ALL.into_iter().zip(difference.traffic.clone()) {
                let Some(step) = step else { continue };
                match (difference.from, difference.to) {
                    (Party::Pods(from), Party::Pods(to)) => {
                        for (from, to) in from.pods.iter().flat_map(|from| to.pods.iter().map(move |to| (*from, *to))) {
                            found.pods.insert((from, to, family), step.clone());
                        }
                    }
                    (Party::Pods(class), Party::Addresses(range)) => {
                        found.add_outside(&class.pods, Direction::Egress, family, &(range, step));
                    }
                    (Party::Addresses(range), Party::Pods(class)) => {
                        found.add_outside(&class.pods, Direction::Ingress, family, &(range, step));
                    }
                    (Party::Addresses(_), Party::Addresses(_)) => panic!("{difference:?}"),
                }
            }
        }
        found
    }

    fn add_outside(&mut self, pods: &[&'d PodName], direction: Direction, family: Family, told: &RangeStep) {
        for pod in pods {
            self.outside.entry((pod, direction, family)).or_default().push(told.clone());
        }
    }
}

fn class(reach: &Reach<'_>, pod: &PodName) -> Option<usize> {
    reach.classes().iter().position(|class| class.pods.contains(&pod))
}

/// Any two pods that are in both.
fn pairs_of<'a>(old: &Reach<'a>, new: &Reach<'a>) -> Vec<(&'a PodName, &'a PodName)> {
    let pods = old.classes().iter().flat_map(|class| class.pods.iter().copied());
    let pods: Vec<&PodName> = pods.filter(|pod| class(new, pod).is_some()).collect();
    let pairs = pods.iter().flat_map(|from| pods.iter().map(move |to| (*from, *to)));
    pairs.filter(|(from, to)| from != to).collect()
}

fn between(reach: &Reach<'_>, from: &PodName, to: &PodName, family: usize) -> TrafficSet {
    let classes = (class(reach, from).unwrap(), class(reach, to).unwrap());
    reach.between(classes.0, classes.1)[family].as_deref().cloned().unwrap_or_default()
}

/// Holds the ends of all ranges, with their neighbours, against both; tells how many differ.
fn check_outside(seed: u64, old: &Reach<'_>, new: &Reach<'_>, found: &Found<'_>) -> usize {
    let mut differ = 0;
    let none = Vec::new();
    for pod in old.classes().iter().flat_map(|class| class.pods.iter().copied()) {
        let Some((before, now)) = class(old, pod).zip(class(new, pod)) else { continue };
        for (direction, family) in Direction::ALL.into_iter().flat_map(|one| Family::ALL.map(|family| (one, family))) {
            let (before, now) = (old.outside(before, direction, family), new.outside(now, direction, family));
            let told = found.outside.get(&(pod, direction, family)).unwrap_or(&none);
            assert!(told.is_sorted_by(|(one, _), (next, _)| one.last < next.first), "seed {seed}: {told:?}");
            let ranges = before.iter().chain(&now).map(|(range, _)| range);
            let near: BTreeSet<IpAddr> = ranges.flat_map(|range| near(*range)).collect();
            for address in near {
                let step = (at(&before, address), at(&now, address));
                let told = told.iter().find(|(range, _)| holds(range, address)).map(|(_, step)| step);
                let told = told.map(|(before, now)| (TrafficSet::clone(before), TrafficSet::clone(now)));
                assert_eq!(told, (step.0 != step.1).then_some(step), "seed {seed}: {pod} {direction} {address}");
                differ += usize::from(told.is_some());
            }
        }
    }
    differ
}

fn holds(range: &AddressRange, address: IpAddr) -> bool {
    range.first <= address && address <= range.last
}

fn at(ranges: &[(AddressRange, Arc<TrafficSet>)], address: IpAddr) -> TrafficSet {
    let found = ranges.iter().find(|(range, _)| holds(range, address));
    found.map(|(_, traffic)| TrafficSet::clone(traffic)).unwrap_or_default()
}

fn near(range: AddressRange) -> impl Iterator<Item = IpAddr> {
    let beside = |address: IpAddr, by: i8| match address {
        IpAddr::V4(address) => u32::from(address).checked_add_signed(by.into()).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(address) => u128::from(address).checked_add_signed(by.into()).map(|n| IpAddr::V6(n.into())),
    };
    [beside(range.first, -1), Some(range.first), Some(range.last), beside(range.last, 1)].into_iter().flatten()
}
