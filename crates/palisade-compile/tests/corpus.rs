//! Real manifests: every case of a corpus parses, and oracle and tables agree on it.
//!
//! The corpus is named by `PALISADE_CORPUS`, a directory with `connectivity/CASE/manifests`.
#![expect(clippy::disallowed_methods, reason = "reads the corpus")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use palisade_compile::compile;
use palisade_core::{End, Family, Flow, Level, NodeName, Port, PortMatch, Ports, Snapshot, Tables, Traffic, Transport};
use palisade_sim::{decide, resolve, walk};
use palisade_sources::{Options, parse, read};

/// Pods of one case that take part; some cases are large, and a sample of every workload shows them.
const PODS_MAX: usize = 40;

#[test]
fn oracle_and_tables_agree_on_the_corpus() {
    let Some(corpus) = std::env::var_os("PALISADE_CORPUS") else {
        println!("SKIPPED: PALISADE_CORPUS names no corpus");
        return;
    };
    let cases: Vec<PathBuf> = std::fs::read_dir(PathBuf::from(corpus).join("connectivity"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("manifests"))
        .collect();
    assert!(cases.len() >= 20, "only {} cases", cases.len());
    for case in cases {
        let parsed = parse(&read(std::slice::from_ref(&case)).unwrap(), &Options::default());
        assert!(!parsed.no_answer, "{} cannot be read", case.display());
        // One case holds a container port without a number, which the API refuses; policies must all be readable.
        parsed.diagnostics.iter().filter(|found| found.level == Level::Error).for_each(|found| println!("{found}"));
        let unreadable = parsed.snapshot.policies.values().find(|policy| policy.unreadable.is_some());
        assert_eq!(unreadable, None, "{}", case.display());
        let judged = check(&parsed.snapshot);
        println!("{}: {judged} packets", case.display());
        assert!(judged > 0, "{} has no flow", case.display());
    }
}

fn check(snapshot: &Snapshot) -> usize {
    let tables: BTreeMap<NodeName, Tables> =
        snapshot.nodes.keys().map(|node| (node.clone(), compile(snapshot, node))).collect();
    let step = snapshot.pods.len().div_ceil(PODS_MAX).max(1);
    let mut ends: Vec<End> = snapshot.pods.keys().step_by(step).map(|name| End::Pod(name.clone())).collect();
    let outside = [
        Ipv4Addr::new(172, 49, 6, 1).into(),
        Ipv4Addr::new(10, 0, 0, 1).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    ];
    ends.extend(outside.map(End::Address));
    let mut judged = 0;
    for source in &ends {
        for destination in &ends {
            for traffic in traffic(snapshot) {
                let flow = Flow { source: source.clone(), destination: destination.clone(), traffic };
                for packet in resolve(snapshot, &flow, &Family::ALL).unwrap_or_default() {
                    judged += 1;
                    let (oracle, trace) = (decide(snapshot, &packet), walk(&tables, &packet));
                    assert_eq!(oracle.verdict, trace.verdict, "{packet}: {oracle:#?} {trace:#?}");
                    assert_eq!(oracle.shadow_verdict(), trace.shadow.verdict, "{packet}: {oracle:#?} {trace:#?}");
                }
            }
        }
    }
    judged
}

/// Every port that a policy names, with its neighbours, and ICMP.
fn traffic(snapshot: &Snapshot) -> BTreeSet<Traffic> {
    let mut all = BTreeSet::from([Traffic::Icmp, Traffic::Port(Transport::Tcp, Port::MIN)]);
    let rules = snapshot.policies.values().flat_map(|policy| [&policy.rules.ingress, &policy.rules.egress]);
    for rule in rules.flatten().flatten() {
        let Ports::Listed(ports) = &rule.ports else { continue };
        for port in ports {
            if let PortMatch::Range(transport, range) = port {
                let (first, last) = (range.first().get(), range.last().get());
                let near = [first.checked_sub(1), Some(first), Some(last), last.checked_add(1)];
                all.extend(
                    near.into_iter().flatten().filter_map(Port::new).map(|port| Traffic::Port(*transport, port)),
                );
            }
        }
    }
    let declared = snapshot.pods.values().flat_map(|pod| &pod.ports);
    all.extend(declared.map(|port| Traffic::Port(port.transport, port.port)).take(20));
    all
}
