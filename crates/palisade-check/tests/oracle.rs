//! The oracle judges the checks: what they call dead can be taken out, and no verdict changes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use palisade_check::{Selection, check};
use palisade_core::{Diagnostic, Direction, Family, NetworkPolicy, Ports, Snapshot};
use palisade_sim::{Answer, explain};
use palisade_sources::{Options, SourceText, parse_written};
use palisade_testkit::manifest::to_yaml;
use palisade_testkit::random::{Case, case};

/// The checks that say that something has no effect on any flow of the input.
const DEAD: [&str; 9] = ["NP005", "NP029", "NP040", "NP041", "NP042", "NP044", "NP045", "NP046", "NP047"];

const CASES: u64 = 500;
const FLOWS: usize = 40;

#[test]
fn what_is_called_dead_changes_no_verdict() {
    let mut tried: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..CASES {
        let case = case(seed, FLOWS);
        let text = to_yaml(&case.snapshot);
        let sources = [SourceText { file: "random.yaml".into(), text }];
        let (parsed, written) = parse_written(&sources, &Options::default());
        for finding in check(&parsed, written, &Selection::default()) {
            let Some(id) = finding.id.filter(|id| DEAD.contains(id)) else { continue };
            *tried.entry(id).or_default() += 1;
            let without = without(&parsed.snapshot, &finding);
            assert_eq!(
                verdicts(&without, &case),
                verdicts(&parsed.snapshot, &case),
                "seed {seed}: {finding}\n{}",
                sources[0].text
            );
        }
    }
    let ids: BTreeSet<&str> = tried.keys().copied().collect();
    // The names of random labels are too short to be taken for one another, and blocks are rarely excepted whole.
    let expected = BTreeSet::from(["NP029", "NP040", "NP041", "NP044", "NP045", "NP046", "NP047"]);
    assert!(ids.is_superset(&expected), "{tried:?}");
}

/// All that is called redundant or vacuous goes at once, and still no verdict changes: of two that say the same one stays.
#[test]
fn policies_that_are_called_dead_go_together() {
    let mut gone = 0;
    for seed in 0..CASES {
        let case = case(seed, FLOWS);
        let sources = [SourceText { file: "random.yaml".into(), text: to_yaml(&case.snapshot) }];
        let (parsed, written) = parse_written(&sources, &Options::default());
        let found = check(&parsed, written, &Selection::default());
        let dead = found.iter().filter(|finding| matches!(finding.id, Some("NP046" | "NP047")));
        let without = dead.fold(parsed.snapshot.clone(), |snapshot, finding| without(&snapshot, finding));
        gone += parsed.snapshot.policies.len() - without.policies.len();
        assert_eq!(
            verdicts(&without, &case),
            verdicts(&parsed.snapshot, &case),
            "seed {seed}: {found:#?}\n{}",
            sources[0].text
        );
    }
    assert!(gone > 20, "{gone} policies are no test");
}

fn verdicts(snapshot: &Snapshot, case: &Case) -> Vec<Answer> {
    case.flows.iter().map(|flow| explain(snapshot, flow, &Family::ALL).unwrap().answer()).collect()
}

/// The snapshot without what a finding is about.
fn without(snapshot: &Snapshot, finding: &Diagnostic) -> Snapshot {
    let mut snapshot = snapshot.clone();
    let object = finding.object.as_deref().unwrap();
    let name = snapshot.policies.keys().find(|name| format!("NetworkPolicy {name}") == object).unwrap().clone();
    let path = finding.message.split(": ").next().unwrap();
    if path == "spec.podSelector" || ["NP046", "NP047"].contains(&finding.id.unwrap()) {
        snapshot.policies.remove(&name);
    } else {
        take_out(Arc::make_mut(snapshot.policies.get_mut(&name).unwrap()), path);
    }
    snapshot
}

/// Takes out the item that a path leads to or into: a rule, a peer or a port.
fn take_out(policy: &mut NetworkPolicy, path: &str) {
    let direction = if path.starts_with("spec.ingress") { Direction::Ingress } else { Direction::Egress };
    let indexes: Vec<usize> =
        path.split(['[', ']']).skip(1).step_by(2).take(2).map(|index| index.parse().unwrap()).collect();
    let rules = policy.rules[direction].as_mut().unwrap();
    let rule = &mut rules[indexes[0]];
    match (&mut rule.ports, &mut rule.peers, &indexes[1..]) {
        (_, _, []) => {
            rules.remove(indexes[0]);
        }
        (Ports::Listed(ports), _, [index]) if path.contains(".ports[") => {
            ports.remove(*index);
        }
        (_, Some(peers), [index]) => {
            peers.remove(*index);
        }
        _ => panic!("{path}"),
    }
}
