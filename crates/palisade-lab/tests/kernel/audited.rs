//! Audited policies: nothing is denied for their sake, and what they would deny is counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use palisade_compile::UnknownPods;
use palisade_core::{Audit, Direction, Family, NetworkPolicy, PerDirection, PodName, PolicyName, Rule, Selector};
use palisade_core::{Snapshot, Verdict};
use palisade_nft::{Denial, Log, Logged, Settings};
use palisade_sim::{Packet, decide, resolve};

use crate::cluster::pod_peer;
use crate::denied::udp;
use crate::node::{Fate, Node, PATIENCE, addresses, cluster};

/// What [`Node::send`] sends takes so many bytes, by family.
const BYTES: [u64; 2] = [36, 56];
const ENDS: [&str; 3] = ["a", "b", "far"];
const PORTS: [u16; 2] = [5000, 5001];

/// Packets, bytes.
type Counts = BTreeMap<(Direction, String), (u64, u64)>;

/// After each change new connections are opened between all ends: the oracle knows how often who would have been denied.
pub fn what_audited_policies_would_deny_is_counted() {
    let mut node = Node::new(cluster(&["a", "b"]), UnknownPods::Drop, Settings::default(), &ENDS);
    let mut expected = Counts::new();
    let mut seen = BTreeMap::new();
    let from_b = || vec![Rule { peers: Some(vec![pod_peer("b")]), ports: udp(5000) }];
    let to_all = || vec![Rule { peers: None, ports: udp(5001) }];
    let steps: [&dyn Fn(&mut Snapshot); 10] = [
        &|_| {},
        // Each direction by itself, then both, beside policies that are in force and by themselves.
        &|snapshot| put(snapshot, ("a", "in"), true, Some(from_b()), None),
        &|snapshot| put(snapshot, ("a", "both"), false, Some(to_all()), Some(to_all())),
        &|snapshot| put(snapshot, ("b", "out"), true, None, Some(to_all())),
        // What would be allowed is not counted, nor what one end denies already.
        &|snapshot| put(snapshot, ("a", "out"), true, None, Some(vec![Rule { peers: None, ports: udp(5000) }])),
        &|snapshot| put(snapshot, ("a", "in"), true, Some(to_all()), None),
        // Both ends at once.
        &|snapshot| put(snapshot, ("b", "in"), true, Some(vec![]), None),
        // A policy changes sides.
        &|snapshot| put(snapshot, ("b", "out"), false, None, Some(to_all())),
        &|snapshot| put(snapshot, ("a", "both"), true, Some(vec![]), None),
        // The last audited policies go.
        &|snapshot| snapshot.policies.retain(|_, policy| !policy.audit),
    ];
    for (source_port, step) in (7000..).zip(steps) {
        node.enforce(step);
        open_all(&mut node, source_port, &mut expected, &mut seen);
    }
    assert!(seen[&Some(Audit::WouldDeny)] >= 20 && seen[&Some(Audit::WouldAllow)] >= 4, "{seen:?}");
}

/// Opens a connection from every end to every other, in both families, and sends a second packet along it.
fn open_all(node: &mut Node, source_port: u16, expected: &mut Counts, seen: &mut BTreeMap<Option<Audit>, usize>) {
    let servers = ENDS.map(|end| PORTS.map(|port| node.sockets(end, port)));
    let clients = ENDS.map(|end| node.sockets(end, source_port));
    for (from, client) in ENDS.iter().zip(&clients) {
        for (to, server) in ENDS.iter().zip(&servers) {
            for (port, server) in PORTS.iter().zip(server).filter(|_| from != to) {
                for (family, bytes) in (0..2).zip(BYTES) {
                    let packet = packet(node, (from, family), (to, family), *port);
                    let decision = decide(&node.snapshot, &packet);
                    let fate = if decision.verdict == Verdict::Allow { Fate::Arrived } else { Fate::Denied };
                    for _ in 0..2 {
                        assert_eq!(node.send(&client[family], &server[family]), fate, "{packet}");
                    }
                    *seen.entry(decision.audit()).or_default() += 1;
                    // A node counts what it lets pass.
                    let shadow = decision.shadow.iter().flat_map(|shadow| &shadow.directions);
                    for judged in shadow.filter(|judged| fate == Fate::Arrived && !judged.outcome.allows()) {
                        let count = expected.entry((judged.direction, judged.subject.name.to_string())).or_default();
                        *count = (count.0 + 1, count.1 + bytes);
                    }
                    assert_eq!(node.would_deny(), in_words(expected), "{packet}: {decision:#?}");
                }
            }
        }
    }
}

fn packet(node: &Node, (from, family): (&str, usize), (to, _): (&str, usize), port: u16) -> Packet {
    let end = |name: &str| match name {
        "far" => addresses("far")[family].to_string(),
        pod => format!("shop/{pod}"),
    };
    let flow = format!("{} -> {} udp {port}", end(from), end(to)).parse().unwrap();
    resolve(&node.snapshot, &flow, &[Family::ALL[family]]).unwrap().remove(0)
}

fn in_words(counts: &Counts) -> Vec<String> {
    let line = |((direction, name), (packets, bytes)): (&(Direction, String), &(u64, u64))| {
        format!("{direction} of {name}: {packets} packets, {bytes} bytes")
    };
    counts.iter().map(line).collect()
}

/// A connection that lives when an audited policy comes goes on uncounted; new ones are logged, a few, and all of them pass.
pub fn what_audited_policies_would_deny_is_logged() {
    const GROUP: u16 = 9;
    const CONNECTIONS: u16 = 40;
    let settings = Settings { log_group: Some(GROUP), ..Settings::default() };
    let mut node = Node::new(cluster(&["a"]), UnknownPods::Drop, settings, &["a", "far"]);
    let mut log = Log::open(GROUP).unwrap();
    let ([a, _], [far, _]) = (node.sockets("a", 5000), node.sockets("far", 5000));
    assert_eq!(node.send(&far, &a), Fate::Arrived);
    node.enforce(|snapshot| put(snapshot, ("a", "in"), true, Some(vec![]), None));
    assert_eq!(node.send(&far, &a), Fate::Arrived);
    assert_eq!(node.send(&a, &far), Fate::Arrived);
    assert_eq!(node.would_deny(), Vec::<String>::new());

    for port in 6000..6000 + CONNECTIONS {
        let [far, _] = node.sockets("far", port);
        assert_eq!(node.send(&far, &a), Fate::Arrived);
    }
    assert_eq!(node.would_deny(), [format!("ingress of a: {CONNECTIONS} packets, {} bytes", CONNECTIONS * 36)]);
    let Some(Logged::Packet(packet)) = log.next(PATIENCE).unwrap() else { panic!("nothing is logged") };
    assert_eq!(Denial::of_prefix(&packet.prefix), Some(Denial::WouldDeny(Direction::Ingress)));
    assert_eq!(packet.headers.unwrap().destination, addresses("a")[0]);
    while let Some(logged) = log.next(Duration::ZERO).unwrap() {
        let Logged::Packet(packet) = logged else { continue };
        assert_eq!(packet.prefix, "would deny ingress");
    }
}

/// A policy on one pod, under a name that is made of both.
fn put(
    snapshot: &mut Snapshot,
    (pod, name): (&str, &str),
    audit: bool,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
) {
    assert!(snapshot.pods.contains_key(&PodName::new("shop", pod)));
    let name = PolicyName::new("shop", format!("{pod}-{name}"));
    let policy = NetworkPolicy {
        name: name.clone(),
        subjects: Selector::labels([("app", pod)]),
        rules: PerDirection { ingress, egress },
        unreadable: None,
        audit,
    };
    snapshot.policies.insert(name, Arc::new(policy));
}
