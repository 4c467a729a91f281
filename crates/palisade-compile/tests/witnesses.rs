//! The oracle judges the compiler: on random clusters and flows, and while clusters change.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_compile::{Compiler, compile};
use palisade_core::{Change, Family, NodeName, Pod, PodName, Snapshot, Tables};
use palisade_sim::{Packet, decide, resolve, walk};
use palisade_testkit::manifest::to_yaml;
use palisade_testkit::mutate::mutate;
use palisade_testkit::random::{self, Case};
use palisade_testkit::rng::Rng;
use palisade_testkit::shrink::shrink;

#[test]
fn oracle_and_tables_agree_on_random_flows() {
    let mut judged = 0;
    for seed in 0..400 {
        judged += check(seed, random::case(seed, 60));
    }
    assert!(judged >= 10_000, "only {judged} packets were judged");
}

#[test]
fn an_address_that_changes_hands_takes_nothing_along() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut snapshot = random::cluster(&mut rng);
        let own = |(_, pod): &(&PodName, &Arc<Pod>)| !pod.finished && !pod.host_network;
        let Some((name, pod)) = snapshot.pods.iter().find(own) else { continue };
        let (name, pod) = (name.clone(), Pod::clone(pod));
        let labels = random::cluster(&mut rng).pods.values().next().map(|pod| pod.labels.clone()).unwrap_or_default();
        snapshot.pods.insert(name.clone(), Arc::new(Pod { finished: true, ..pod.clone() }));
        snapshot.pods.insert(PodName::new(name.namespace, "heir"), Arc::new(Pod { labels, ..pod }));
        let flows = random::flows(&snapshot, &mut rng, 40);
        check(seed, Case { snapshot, flows });
    }
}

#[test]
fn a_change_leads_to_the_same_tables_as_a_fresh_start() {
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let mut snapshot = random::cluster(&mut rng);
        let mut compiler = started(&snapshot);
        for step in 0..20 {
            let next = mutate(&snapshot, &mut rng);
            let changes = snapshot.changes_to(&next);
            let mut stepped = compiler.tables().clone();
            for change in compiler.update(&changes) {
                let before = stepped.clone();
                stepped.apply(&change);
                assert_ne!(before, stepped, "seed {seed}, step {step}: {change:?} changes nothing");
            }
            let fresh = compile(&next, &"n1".into());
            assert_eq!(*compiler.tables(), fresh, "seed {seed}, step {step}: {changes:#?}");
            assert_eq!(stepped, fresh, "seed {seed}, step {step}: the steps lead elsewhere");
            snapshot = next;
        }
    }
}

#[test]
fn the_order_of_objects_does_not_matter() {
    for seed in 0..100 {
        let snapshot = random::case(seed, 0).snapshot;
        let mut changes: Vec<Change> = Snapshot::default().changes_to(&snapshot);
        changes.reverse();
        let mut compiler = Compiler::new("n1".into());
        for change in changes {
            compiler.update(&[change]);
        }
        assert_eq!(*compiler.tables(), compile(&snapshot, &"n1".into()), "seed {seed}");
    }
}

#[test]
fn an_untouched_cluster_takes_no_step() {
    for seed in 0..100 {
        let snapshot = random::case(seed, 0).snapshot;
        let steps = started(&snapshot).update(&Snapshot::default().changes_to(&snapshot));
        assert_eq!(steps, [], "seed {seed}");
    }
}

fn started(snapshot: &Snapshot) -> Compiler {
    let mut compiler = Compiler::new("n1".into());
    compiler.update(&Snapshot::default().changes_to(snapshot));
    compiler
}

/// Both witnesses judge every packet of the case; returns how many they were.
fn check(seed: u64, case: Case) -> usize {
    let tables = tables_of_every_node(&case.snapshot);
    let packets = packets(&case);
    if packets.iter().any(|packet| disagree(&case.snapshot, &tables, packet)) {
        report(seed, case);
    }
    packets.len()
}

fn packets(case: &Case) -> Vec<Packet> {
    let resolved = case.flows.iter().filter_map(|flow| resolve(&case.snapshot, flow, &Family::ALL).ok());
    resolved.flatten().collect()
}

fn tables_of_every_node(snapshot: &Snapshot) -> BTreeMap<NodeName, Tables> {
    snapshot.nodes.keys().map(|node| (node.clone(), compile(snapshot, node))).collect()
}

fn disagree(snapshot: &Snapshot, tables: &BTreeMap<NodeName, Tables>, packet: &Packet) -> bool {
    decide(snapshot, packet).verdict != walk(tables, packet).verdict
}

fn report(seed: u64, case: Case) -> ! {
    let small = shrink(case, |case| {
        let tables = tables_of_every_node(&case.snapshot);
        packets(case).iter().any(|packet| disagree(&case.snapshot, &tables, packet))
    });
    let tables = tables_of_every_node(&small.snapshot);
    for packet in packets(&small).iter().filter(|packet| disagree(&small.snapshot, &tables, packet)) {
        let (decision, trace) = (decide(&small.snapshot, packet), walk(&tables, packet));
        println!("{packet}\noracle: {}", decision.verdict);
        decision.directions.iter().for_each(|direction| println!("  {direction}"));
        println!("tables: {}", trace.verdict);
        trace.steps.iter().for_each(|step| println!("  {step}"));
    }
    panic!("oracle and tables disagree with seed {seed}:\n{}", to_yaml(&small.snapshot));
}
