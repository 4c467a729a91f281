//! Whoever may write policies in one namespace writes as many and as large ones as the API server takes. The limits hold, the
//! findings name what is closed, and for everybody else nothing changes.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use palisade_agent::control::{self, Answer, Request};
use palisade_agent::report::{Phase, Report};
use palisade_agent::wait::Subject;
use palisade_compile::UnknownPods;
use palisade_core::{Namespace, Pod, PodName, Snapshot};
use palisade_sources::Limits;
use palisade_sources::live::{Kind, Live, Object};
use palisade_testapi::TestApi;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::lifetime::{add_policy, shop};
use crate::telling::wait_in;
use crate::world::World;

/// The owner of a namespace writes policies; after each attack the node lives.
pub fn a_hostile_namespace_stays_by_itself() {
    let attacks = [
        Attack { namespace: "wide", policies: 200, write: wide, closed: |policies| policies == 200, finds_room: true },
        Attack {
            namespace: "crowd",
            policies: 10_000,
            write: small,
            closed: |policies| policies == 8_000,
            finds_room: true,
        },
        Attack {
            namespace: "staggered",
            policies: 30,
            write: staggered,
            closed: |policies| (5..25).contains(&policies),
            finds_room: true,
        },
        Attack {
            namespace: "room",
            policies: 30,
            write: many_ports,
            closed: |policies| policies == 0,
            finds_room: false,
        },
    ];
    let mut snapshot = shop();
    for (number, attack) in attacks.iter().enumerate() {
        add_inside(&mut snapshot, attack.namespace, 100 + number);
    }
    let mut world = World::without_agents(&snapshot, UnknownPods::Drop);
    world.define_node_states();
    world.elements_per_node = ELEMENTS_PER_NODE;
    world.start_agent(&"n1".into());
    world.settle();
    let mut told = told(&world.api);
    for attack in &attacks {
        let start = Instant::now();
        for number in 0..attack.policies {
            let policy = (attack.write)(attack.namespace, number);
            told.put(Kind::NetworkPolicy, &object(&policy));
            world.api.put(policy);
        }
        lives(&mut world, &told, &attacks);
        let report = report(&world);
        let prefix = format!("NetworkPolicy {}/", attack.namespace);
        let closed = report.findings.iter().filter(|found| found.object.starts_with(&prefix)).count();
        let memory = world.agents.values().map(Agent::memory).max().unwrap_or_default();
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "  {}: {closed} of {} policies closed, {seconds:.1} s, {} MiB",
            attack.namespace,
            attack.policies,
            memory >> 20
        );
        assert!((attack.closed)(closed), "{closed} policies are closed");
        assert!(memory < MEMORY_MAX, "the agent takes {} MiB", memory >> 20);
        let inside = report.pods.iter().find(|pod| pod.pod == format!("{}/inside", attack.namespace)).unwrap();
        let obstacle = report.preflight.iter().find(|obstacle| obstacle.name == "elements-per-node");
        assert_eq!(
            (inside.since.is_some(), obstacle.is_none()),
            (attack.finds_room, attack.finds_room),
            "{obstacle:?}"
        );
        waits_in_vain(&world, attack);
        for number in 0..attack.policies {
            let policy = policy(attack.namespace, number, &[]);
            told.remove(Kind::NetworkPolicy, &object(&policy));
            world.api.delete("networkpolicies", attack.namespace, &name(number));
        }
    }
    lives(&mut world, &told, &attacks);
    for namespace in ["wide", "crowd"] {
        said_in_an_event(&world, namespace);
    }
}

/// What the owner of a namespace does.
struct Attack {
    namespace: &'static str,
    policies: usize,
    /// The policy with this number.
    write: fn(&str, usize) -> Value,
    /// Whether so many policies of it must be closed.
    closed: fn(usize) -> bool,
    /// Whether the node has room for the others.
    finds_room: bool,
}

/// The node of this test has room for less than others, so that it takes less time to fill.
const ELEMENTS_PER_NODE: usize = 1_200_000;
/// What the agent may have taken at most, unoptimised and whatever comes.
const MEMORY_MAX: u64 = 512 << 20;

/// Far more peers than a policy may have.
fn wide(namespace: &str, number: usize) -> Value {
    static PEERS: LazyLock<Value> = LazyLock::new(|| (0..10_000).map(peer).collect());
    policy(namespace, number, &[json!({"ports": [{"port": 80}], "from": *PEERS})])
}

/// With a group of its own.
fn small(namespace: &str, number: usize) -> Value {
    policy(namespace, number, &[json!({"ports": [{"port": 1 + number}], "from": [peer(number)]})])
}

/// Ranges that no other policy has, so that each cuts all others once more.
fn staggered(namespace: &str, number: usize) -> Value {
    let rule = |range: usize| {
        let first = 1 + 30 * range + number;
        json!({"ports": [{"port": first, "endPort": first + 30_000}], "from": [peer(30 * range + number)]})
    };
    policy(namespace, number, &(0..30).map(rule).collect::<Vec<_>>())
}

/// Within every limit of a namespace, and each port with a group of its own.
fn many_ports(namespace: &str, number: usize) -> Value {
    let rule = |port: usize| {
        let port = 100 * number + port;
        json!({"ports": [{"port": 1 + port}], "from": [peer(port)]})
    };
    policy(namespace, number, &(0..100).map(rule).collect::<Vec<_>>())
}

/// The kernel holds what a fresh compile of everything gives; whom nobody attacked, nothing has changed for.
fn lives(world: &mut World, told: &Live, attacks: &[Attack]) {
    world.snapshot = told.snapshot().clone();
    world.settle();
    assert_eq!(report(world).phase, Phase::InForce);
    let mut flows =
        vec!["shop/client -> shop/open udp 5300".to_string(), "shop/client -> shop/closed udp 5300".to_string()];
    flows.extend(attacks.iter().map(|attack| format!("shop/client -> {}/inside udp 65000", attack.namespace)));
    world.agrees_on(&flows.iter().map(String::as_str).collect::<Vec<_>>());
    // A change elsewhere is in force, and taken back.
    let before = world.snapshot.clone();
    let mut changed = before.clone();
    add_policy(&mut changed, "client", vec![]);
    for next in [changed, before] {
        world.say(&next);
        world.settle();
    }
}

/// A policy is in force where its namespace finds room.
fn waits_in_vain(world: &World, attack: &Attack) {
    let patience = if attack.finds_room { Duration::from_secs(30) } else { Duration::from_secs(3) };
    let outcome = wait_in(world, attack.namespace, Subject::Policy, &name(0), patience).unwrap();
    assert_eq!(outcome.in_force, attack.finds_room, "{outcome:?}");
    let why = outcome.nodes[0].why.clone().unwrap_or_default();
    assert_eq!(why.contains("find no room"), !attack.finds_room, "{why}");
}

fn report(world: &World) -> Report {
    let start = Instant::now();
    loop {
        match control::ask(&control::socket(&world.state_dir("n1")), Request::Status {}).unwrap().next() {
            Some(Ok(Answer::Status(report))) if report.phase == Phase::InForce => return *report,
            answer => assert!(start.elapsed() < Duration::from_mins(1), "{answer:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Events come a few a second, and not for each of so many policies.
fn said_in_an_event(world: &World, namespace: &str) {
    let start = Instant::now();
    let is_there = || {
        let events = world.api.list("events.events.k8s.io");
        events.iter().any(|event| event["metadata"]["namespace"] == namespace && event["reason"] == "Unreadable")
    };
    while !is_there() {
        assert!(start.elapsed() < Duration::from_mins(2), "there is no event in {namespace}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What the API server says before the attacks.
fn told(api: &TestApi) -> Live {
    let mut live = Live::new(Limits::default());
    for (kind, plural) in [
        (Kind::Namespace, "namespaces"),
        (Kind::Node, "nodes"),
        (Kind::Pod, "pods"),
        (Kind::NetworkPolicy, "networkpolicies"),
    ] {
        for of_kind in api.list(plural) {
            live.put(kind, &object(&of_kind));
        }
    }
    live
}

fn object(value: &Value) -> Object {
    serde_json::from_str(&value.to_string()).unwrap()
}

fn add_inside(snapshot: &mut Snapshot, namespace: &str, number: usize) {
    let labels = Arc::new([("app".into(), "inside".into())].into());
    let addresses =
        vec![format!("10.244.1.{number}").parse().unwrap(), format!("fd44:0:0:1::{number}").parse().unwrap()];
    let pod = Pod { labels, node: Some("n1".into()), addresses, ..Pod::default() };
    snapshot.namespaces.insert(namespace.into(), Arc::new(Namespace::default()));
    snapshot.pods.insert(PodName::new(namespace, "inside"), Arc::new(pod));
}

fn policy(namespace: &str, number: usize, rules: &[Value]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name(number)},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules},
    })
}

fn name(number: usize) -> String {
    format!("policy-{number:05}")
}

/// A peer that no other selector means.
fn peer(number: usize) -> Value {
    json!({"podSelector": {"matchLabels": {"n": number.to_string()}}})
}
