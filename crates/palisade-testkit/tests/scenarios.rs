//! The scenario files of the repository are well-formed, and their input is what they say it is.

use palisade_core::{Direction, End, Family};
use palisade_testkit::scenario::{self, Scenario};

#[test]
fn every_file_can_be_played() {
    let scenarios = scenario::all().unwrap();
    assert!(scenarios.len() >= 18, "only {} scenarios found", scenarios.len());
    let mut wrong = Vec::new();
    for scenario in &scenarios {
        match scenario.moments() {
            Ok(moments) => wrong.extend(moments.iter().flat_map(|moment| {
                let unknown = |probe: &&scenario::Probe| {
                    !exists(moment, &probe.flow.source) || !exists(moment, &probe.flow.destination)
                };
                let unknown = moment.probes().iter().filter(unknown);
                unknown
                    .map(|probe| format!("{}:{}: an end does not exist", scenario.file, probe.line))
                    .collect::<Vec<_>>()
            })),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn exists(moment: &scenario::Moment<'_>, end: &End) -> bool {
    let snapshot = &moment.snapshot;
    match end {
        End::Pod(name) => snapshot.pods.get(name).is_some_and(|pod| !pod.finished),
        End::Workload(name) => snapshot.workloads.contains_key(name),
        End::Node(name) => snapshot.nodes.contains_key(name),
        End::Address(_) => true,
    }
}

/// Each of the cases that the files prove has probes of both verdicts in both families, and pods on two nodes.
#[test]
fn every_file_shows_both_sides_in_both_families() {
    for scenario in scenario::all().unwrap() {
        let verdicts = |family: Family| {
            let moments = scenario.moments().unwrap();
            let mut names: Vec<&str> = moments
                .iter()
                .flat_map(|moment| moment.probes())
                .filter(|probe| !matches!(probe.flow.source, End::Address(address) if Family::of(address) != family))
                .map(|probe| probe.verdicts.of(family).name())
                .collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        for family in Family::ALL {
            assert_eq!(verdicts(family), ["allow", "deny"], "{} in {family}", scenario.file);
        }
        assert!(uses_two_nodes(&scenario), "{}: all pods are on one node", scenario.file);
    }
}

fn uses_two_nodes(scenario: &Scenario) -> bool {
    let moments = scenario.moments().unwrap();
    moments.iter().any(|moment| {
        let nodes: std::collections::BTreeSet<_> = moment.snapshot.pods.values().map(|pod| pod.node.clone()).collect();
        nodes.len() > 1
    })
}

/// The files use what they claim to prove: isolation both ways, and peers of every kind.
#[test]
fn policies_of_the_files_isolate_both_ways() {
    for direction in Direction::ALL {
        let isolates = |scenario: &Scenario| {
            let moments = scenario.moments().unwrap();
            moments
                .iter()
                .any(|moment| moment.snapshot.policies.values().any(|policy| policy.rules[direction].is_some()))
        };
        let count = scenario::all().unwrap().iter().filter(|scenario| isolates(scenario)).count();
        assert!(count >= 8, "only {count} scenarios have policies for {direction}");
    }
}
