//! What `palisade_testkit::manifest` prints, `palisade-sources` reads as it was.

use std::sync::Arc;

use palisade_core::{HostPolicy, NetworkPolicy, Snapshot};
use palisade_sources::{Options, SourceText, restrict_ip};
use palisade_testkit::manifest::{to_configs, to_yaml};
use palisade_testkit::mutate::mutate;
use palisade_testkit::random::{Case, case};
use palisade_testkit::rng::Rng;
use palisade_testkit::shrink::cases;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fn check(snapshot: &Snapshot, what: &str) {
    let text = to_yaml(snapshot);
    let mut parsed = palisade_sources::parse(
        &[SourceText { file: "random.yaml".into(), text: text.as_str().into() }],
        &Options::default(),
    );
    let file = |text: String| SourceText { file: "config.yaml".into(), text };
    restrict_ip::add(&mut parsed, &to_configs(snapshot).into_iter().map(file).collect::<Vec<_>>());
    // That networks leave out nodes or pods is as random as they are.
    parsed.diagnostics.retain(|diagnostic| !diagnostic.message.contains("not among them"));
    let read = with_one_reason(&parsed.snapshot);
    let written = with_one_reason(snapshot);
    let changes = written.changes_to(&read);
    assert!(changes.is_empty(), "{what}: {changes:#?}\n{text}");
    let of_hosts = snapshot.host_policies.values().filter(|policy| policy.unreadable.is_some());
    let unreadable: usize = of_hosts.map(|policy| if policy.ports.is_empty() { 2 } else { 1 }).sum::<usize>()
        + snapshot.policies.values().filter(|policy| policy.unreadable.is_some()).count();
    assert_eq!(parsed.diagnostics.len(), unreadable, "{what}: {:#?}\n{text}", parsed.diagnostics);
}

/// Why a policy cannot be read is worded by the reader.
fn with_one_reason(snapshot: &Snapshot) -> Snapshot {
    let mut snapshot = snapshot.clone();
    for policy in snapshot.policies.values_mut().filter(|policy| policy.unreadable.is_some()) {
        *policy = Arc::new(NetworkPolicy { unreadable: Some(String::new()), ..(**policy).clone() });
    }
    for policy in snapshot.host_policies.values_mut().filter(|policy| policy.unreadable.is_some()) {
        *policy = Arc::new(HostPolicy { unreadable: Some(String::new()), ..(**policy).clone() });
    }
    snapshot
}

#[test]
fn printed_clusters_read_back() {
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let read_back = |case: Case| {
        check(&case.snapshot, "random cluster");
        Ok(())
    };
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(&cases(0), read_back) {
        panic!("{error}");
    }
}

#[test]
fn printed_changes_read_back() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let mut snapshot = case(seed, 0).snapshot;
        for step in 0..10 {
            snapshot = mutate(&snapshot, &mut rng);
            check(&snapshot, &format!("seed {seed}, step {step}"));
        }
    }
}
