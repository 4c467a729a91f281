//! Real manifests, with the connections and differences that netpol-analyzer of np-guard finds in them.
//!
//! The corpus is named by `PALISADE_CORPUS`, a directory with `connectivity/CASE/{manifests,connlist.txt}` and `diff/OLD__NEW.txt`.
#![expect(clippy::disallowed_methods, reason = "reads the corpus")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_core::{
    AddressRange, Dialect, Direction, Family, Peer, PodName, Snapshot, Transport, WorkloadKind, WorkloadName,
};
use palisade_reach::{Diff, Party, Reach, TrafficSet, united};
use palisade_sources::{Options, parse, read};

#[test]
fn connections_are_those_of_the_corpus() {
    let Some(corpus) = corpus() else { return };
    let cases: Vec<PathBuf> =
        std::fs::read_dir(corpus.join("connectivity")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(cases.len() >= 24, "only {} cases", cases.len());
    for case in cases {
        let snapshot = snapshot(&case);
        let reach = Reach::new(&snapshot, Dialect::NpGuard);
        let mut found = BTreeSet::new();
        for edge in reach.edges() {
            let [from, to] = [(edge.from, Direction::Ingress), (edge.to, Direction::Egress)]
                .map(|(party, direction)| ends(party, &[&snapshot], direction));
            for (_, traffic) in united(&edge.traffic) {
                let traffic = connections(traffic);
                found.extend(pairs(&from, &to).map(|(from, to)| format!("{from} => {to} : {traffic}")));
            }
        }
        compare(&case.join("connlist.txt"), &found);
    }
}

#[test]
fn differences_are_those_of_the_corpus() {
    let Some(corpus) = corpus() else { return };
    let cases: Vec<PathBuf> =
        std::fs::read_dir(corpus.join("diff")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(cases.len() >= 8, "only {} cases", cases.len());
    for case in cases {
        let name = case.file_stem().unwrap().to_str().unwrap();
        let (old, new) = name.split_once("__").unwrap();
        let (old, new) =
            (snapshot(&corpus.join("connectivity").join(old)), snapshot(&corpus.join("connectivity").join(new)));
        let (before, now) = (Reach::new(&old, Dialect::NpGuard), Reach::new(&new, Dialect::NpGuard));
        let known = |reach: &Reach<'_>| -> BTreeSet<String> {
            reach.classes().iter().flat_map(|class| ends(Party::Pods(class), &[], Direction::Egress)).collect()
        };
        let known = (known(&before), known(&now));
        let diff = Diff::new(&before, &now);
        let mut found = BTreeSet::new();
        for difference in diff.differences() {
            let [from, to] = [(difference.from, Direction::Ingress), (difference.to, Direction::Egress)]
                .map(|(party, direction)| ends(party, &[&old, &new], direction));
            for (_, step) in united(&difference.traffic) {
                found.extend(pairs(&from, &to).map(|(from, to)| difference_line(from, to, step, &known)));
            }
        }
        compare(&case, &found);
    }
}

fn corpus() -> Option<PathBuf> {
    let corpus = std::env::var_os("PALISADE_CORPUS");
    if corpus.is_none() {
        println!("SKIPPED: PALISADE_CORPUS names no corpus");
    }
    corpus.map(PathBuf::from)
}

fn compare(expected: &Path, found: &BTreeSet<String>) {
    let text = std::fs::read_to_string(expected).unwrap();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "Connectivity diff:");
    let lines: BTreeSet<String> = lines.map(str::to_string).collect();
    let missing: Vec<&String> = lines.difference(found).collect();
    let beyond: Vec<&String> = found.difference(&lines).collect();
    assert!(
        missing.is_empty() && beyond.is_empty(),
        "{}: missing {missing:#?}, beyond {beyond:#?}",
        expected.display()
    );
    println!("{}: {} lines", expected.display(), lines.len());
}

/// The kind of an owner that names none, which the API server would refuse and that tool takes for a pod.
const OWNER_WITHOUT_KIND: WorkloadKind = WorkloadKind::Job;

fn snapshot(case: &Path) -> Snapshot {
    let texts = read(&[case.join("manifests")]).unwrap();
    let parsed = parse(&texts, &Options { families: vec![Family::V4], ..Options::default() });
    let mut snapshot = parsed.snapshot;
    let owned = texts.iter().flat_map(|text| owners_without_kind(&text.text));
    for (pod, owner) in owned {
        let namespace = "default".into();
        let workload = WorkloadName { namespace, kind: OWNER_WITHOUT_KIND, name: owner.into() };
        Arc::make_mut(snapshot.pods.get_mut(&pod).unwrap()).workload = Some(workload);
    }
    // That tool knows the owner of a pod, and not that the owner has one itself.
    for pod in snapshot.pods.values_mut().filter(|pod| pod.labels.contains_key("pod-template-hash")) {
        let pod = Arc::make_mut(pod);
        let hash = pod.labels["pod-template-hash"].clone();
        if let Some(workload) = pod.workload.as_mut().filter(|workload| workload.kind == WorkloadKind::Deployment) {
            workload.kind = WorkloadKind::ReplicaSet;
            workload.name = format!("{}-{hash}", workload.name).into();
        }
    }
    snapshot
}

/// The pods of `default` whose owner has no kind, with its name: of YAML in which the pod is named in the first line of its metadata.
fn owners_without_kind(text: &str) -> Vec<(PodName, String)> {
    let value = |line: Option<&str>, key| Some(line?.trim().strip_prefix(key)?.to_string());
    let text = text.replace("\r\n", "\n");
    let documents = text.split("\n---").filter(|document| document.contains("\nkind: Pod\n"));
    let owned = documents.filter_map(|document| {
        let (head, owners) = document.split_once("ownerReferences:\n")?;
        let (_, metadata) = head.split_once("\nmetadata:\n")?;
        let pod = value(metadata.lines().next(), "name: ")?;
        let owner = value(owners.lines().next(), "- name: ")?;
        (!owners.lines().take(4).any(|line| line.trim().starts_with("kind:")))
            .then_some((PodName::new("default", pod), owner))
    });
    owned.collect()
}

fn pairs<'a>(from: &'a [String], to: &'a [String]) -> impl Iterator<Item = (&'a String, &'a String)> {
    from.iter().flat_map(move |from| to.iter().map(move |to| (from, to)))
}

/// An end as that tool names it. It cuts the addresses from, or to, which something passes wherever a block of any ingress, or egress, rule ends.
fn ends(party: Party<'_>, snapshots: &[&Snapshot], direction: Direction) -> Vec<String> {
    match party {
        Party::Pods(class) => {
            let pod = class.pods[0];
            let owner = class.workload.map(|workload| match workload.kind {
                OWNER_WITHOUT_KIND => (&workload.name, "Pod".to_string()),
                kind => (&workload.name, format!("{kind:?}")),
            });
            let (name, kind) = owner.unwrap_or((&pod.name, "Pod".to_string()));
            vec![format!("{}/{name}[{kind}]", pod.namespace)]
        }
        Party::Addresses(range) => cut(range, snapshots, direction),
    }
}

fn cut(range: AddressRange, snapshots: &[&Snapshot], direction: Direction) -> Vec<String> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        IpAddr::V6(address) => panic!("{address} in a dialect of IPv4 alone"),
    };
    let (first, end) = (number(range.first), number(range.last) + 1);
    let mut cuts = BTreeSet::from([first, end]);
    for rule in snapshots.iter().flat_map(|snapshot| snapshot.policies.values()).flat_map(|policy| {
        let of_direction: Vec<_> = policy.rules[direction].iter().flatten().collect();
        of_direction
    }) {
        for peer in rule.peers.iter().flatten() {
            let Peer::Block { cidr, except } = peer else { continue };
            let nets = std::iter::once(cidr).chain(except);
            let edges = nets.flat_map(|net| [number(net.network()), number(net.broadcast()) + 1]);
            cuts.extend(edges.filter(|edge| first < *edge && *edge < end));
        }
    }
    let cuts: Vec<u64> = cuts.into_iter().collect();
    let address = |number: u64| std::net::Ipv4Addr::from(u32::try_from(number).unwrap());
    cuts.windows(2).map(|pair| format!("{}-{}[External]", address(pair[0]), address(pair[1] - 1))).collect()
}

/// `All Connections`, `No Connections`, or as in `TCP 8080,9090,UDP 53`.
fn connections(traffic: &TrafficSet) -> String {
    let by_name: BTreeMap<String, &palisade_reach::PortSet> = Transport::ALL
        .into_iter()
        .map(|transport| (transport.name().to_uppercase(), traffic.ports(transport)))
        .collect();
    if by_name.values().all(|ports| ports.is_every()) {
        return "All Connections".to_string();
    }
    if traffic.is_empty() {
        return "No Connections".to_string();
    }
    let listed = by_name.into_iter().filter(|(_, ports)| !ports.is_empty()).map(|(name, ports)| {
        let ranges: Vec<String> = ports.ranges().iter().map(ToString::to_string).collect();
        format!("{name} {}", ranges.join(","))
    });
    listed.collect::<Vec<_>>().join(",")
}

fn difference_line(
    from: &str,
    to: &str,
    (before, now): &palisade_reach::Step,
    (old, new): &(BTreeSet<String>, BTreeSet<String>),
) -> String {
    let is_changed = |(here, there): (&BTreeSet<String>, &BTreeSet<String>)| {
        let alone = [from, to].into_iter().filter(|end| here.contains(*end) && !there.contains(*end));
        alone.collect::<Vec<_>>().join(" and ")
    };
    let (kind, changed) = match (before.is_empty(), now.is_empty()) {
        (true, _) => ("added", is_changed((new, old))),
        (_, true) => ("removed", is_changed((old, new))),
        _ => ("changed", String::new()),
    };
    let info = if changed.is_empty() { changed } else { format!(", workloads-diff-info: workload {changed} {kind}") };
    let (before, now) = (connections(before), connections(now));
    format!("diff-type: {kind}, source: {from}, destination: {to}, ref1: {before}, ref2: {now}{info}")
}
