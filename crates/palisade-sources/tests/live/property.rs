//! Whatever happens in whatever order, the end is that of a fresh start.

use palisade_core::ObjectName;
use palisade_sources::Limits;
use palisade_sources::live::{Kind, Update};
use proptest::prelude::*;

use crate::cluster::Cluster;
use crate::objects::{object, text};

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// An object comes or changes; the watch tells this many times.
    Put(Kind, ObjectName, Vec<u8>, usize),
    Remove(Kind, ObjectName),
    /// Objects change or go while the watch is broken; then all are listed, after a list that broke.
    Missed(Kind, Vec<(ObjectName, Option<Vec<u8>>)>, usize),
    /// Something whose name cannot be told.
    Nameless(Kind, usize),
}

const NAMELESS: [&str; 8] = [
    "{}",
    "5",
    "null",
    "{\"metadata\": {\"generateName\": \"p-\"}, \"spec\": {\"podSelector\": {}}}",
    "{\"metadata\": {\"name\": 5, \"namespace\": \"a\"}}",
    "{\"metadata\": {\"name\": \"\", \"namespace\": \"a\"}}",
    "{\"metadata\": [\"p0\"]}",
    "{\"metadata\": {\"name\": \"p0\", \"namespace\": \"a\"}, \"metadata\": {\"name\": \"p1\", \"namespace\": \"b\"}}",
];

fn name(kind: Kind) -> impl Strategy<Value = ObjectName> {
    (0..2_usize, 0..6_usize).prop_map(move |(namespace, number)| match kind {
        Kind::Namespace => ObjectName::new("", ["a", "b", "c"][number % 3]),
        Kind::Node => ObjectName::new("", ["n1", "n2", "n3"][number % 3]),
        Kind::HostPolicy => ObjectName::new("", ["h1", "h2"][number % 2]),
        Kind::BanList => ObjectName::new("", ["b1", "b2"][number % 2]),
        Kind::Pod | Kind::NetworkPolicy => ObjectName::new(["a", "b"][namespace], format!("p{number}")),
    })
}

fn look() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 12..20), prop::collection::vec(any::<u8>(), 0..12)]
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop::sample::select(vec![
        Kind::Pod,
        Kind::NetworkPolicy,
        Kind::Pod,
        Kind::NetworkPolicy,
        Kind::Node,
        Kind::Namespace,
        Kind::HostPolicy,
        Kind::BanList,
    ]);
    kind.prop_flat_map(|kind| {
        let missed = prop::collection::vec((name(kind), prop::option::of(look())), 0..4);
        prop_oneof![
            6 => (name(kind), look(), 1..3_usize).prop_map(move |(name, look, times)| Step::Put(kind, name, look, times)),
            3 => name(kind).prop_map(move |name| Step::Remove(kind, name)),
            1 => (missed, 0..4_usize).prop_map(move |(missed, held)| Step::Missed(kind, missed, held)),
            1 => (0..NAMELESS.len()).prop_map(move |number| Step::Nameless(kind, number)),
        ]
    })
}

fn run(steps: Vec<Step>) {
    let limits = Limits { policies_per_namespace: 3, peers_per_policy: 4, elements_per_namespace: 14 };
    let mut cluster = Cluster::new(limits);
    for step in steps {
        match step {
            Step::Put(kind, name, look, times) => {
                for time in 0..times {
                    let text = text(kind, &name.namespace, &name.name, &look);
                    let update = cluster.put(kind, name.clone(), text);
                    assert!(time == 0 || update == Update::default(), "told again: {update:?}");
                }
            }
            Step::Remove(kind, name) => drop(cluster.remove(kind, &name)),
            Step::Missed(kind, missed, held) => {
                for (name, look) in missed {
                    match look.map(|look| text(kind, &name.namespace, &name.name, &look)) {
                        Some(text) => cluster.objects.insert((kind, name), text),
                        None => cluster.objects.remove(&(kind, name)),
                    };
                }
                cluster.list(kind, held, false);
                cluster.list(kind, 0, true);
            }
            Step::Nameless(kind, number) => {
                let update = cluster.deliver(kind, &object(NAMELESS[number]));
                assert_eq!(update.changes, []);
                assert!(!cluster.errors().is_empty());
            }
        }
        cluster.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_order_of_events_leads_to_the_parsed_snapshot(steps in prop::collection::vec(step(), 1..60)) {
        run(steps);
    }
}
