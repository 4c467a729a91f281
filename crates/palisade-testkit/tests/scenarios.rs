//! The scenario files of the repository are well-formed, and their input is what they say it is.

use std::collections::BTreeSet;

use palisade_core::{End, Family};
use palisade_testkit::scenario::{self, Moment, Probe};

#[test]
fn every_file_can_be_played() {
    let scenarios = scenario::all().unwrap();
    assert!(scenarios.len() >= 18, "only {} scenarios found", scenarios.len());
    let mut wrong = Vec::new();
    for scenario in &scenarios {
        match scenario.moments() {
            Ok(moments) => {
                for (moment, probe) in probes(&moments) {
                    for end in [&probe.flow.source, &probe.flow.destination] {
                        if !exists(moment, end) {
                            wrong.push(format!("{}:{}: there is no {end}", scenario.file, probe.line));
                        }
                    }
                }
            }
            Err(error) => wrong.push(error.to_string()),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Verdicts of both kinds in both families, and pods on two nodes: what a file must at least show.
#[test]
fn every_file_shows_both_sides_in_both_families() {
    for scenario in scenario::all().unwrap() {
        let moments = scenario.moments().unwrap();
        for family in Family::ALL {
            let verdicts: BTreeSet<&str> = probes(&moments)
                .filter(|(_, probe)| {
                    [&probe.flow.source, &probe.flow.destination].iter().all(|end| may_have(end, family))
                })
                .map(|(_, probe)| probe.verdicts.of(family).name())
                .collect();
            assert_eq!(verdicts.len(), 2, "{} has in {family} only {verdicts:?}", scenario.file);
        }
        let nodes = |moment: &Moment<'_>| {
            moment.snapshot.pods.values().map(|pod| pod.node.clone()).collect::<BTreeSet<_>>().len()
        };
        assert!(moments.iter().any(|moment| nodes(moment) > 1), "{}: all pods are on one node", scenario.file);
    }
}

/// Every witness runs what the spec says is proven, so the spec names every file.
#[test]
fn the_spec_names_every_file() {
    let spec = include_str!("../../../docs/semantics.md");
    for scenario in scenario::all().unwrap() {
        assert!(spec.contains(&format!("../{}", scenario.file)), "docs/semantics.md does not name {}", scenario.file);
    }
    let named = spec.matches("(../scenarios/").count() - spec.matches("(../scenarios/README.md").count();
    assert_eq!(
        named,
        scenario::all().unwrap().len(),
        "docs/semantics.md names files that are not there, or some twice"
    );
}

fn probes<'m>(moments: &'m [Moment<'m>]) -> impl Iterator<Item = (&'m Moment<'m>, &'m Probe)> {
    moments.iter().flat_map(|moment| moment.probes().iter().map(move |probe| (moment, probe)))
}

fn exists(moment: &Moment<'_>, end: &End) -> bool {
    let snapshot = &moment.snapshot;
    match end {
        End::Pod(name) => snapshot.pods.get(name).is_some_and(|pod| !pod.finished),
        End::Workload(name) => snapshot.workloads.contains_key(name),
        End::Node(name) => snapshot.nodes.contains_key(name),
        End::Host(name) => snapshot.servers.contains_key(name),
        End::Address(_) => true,
    }
}

fn may_have(end: &End, family: Family) -> bool {
    !matches!(end, End::Address(address) if Family::of(*address) != family)
}
