//! Agents that end, crash, come back, and API servers that are away: the kernel goes on, under probes every millisecond.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use palisade_agent::cleanup::cleanup;
use palisade_agent::control::{self, Request};
use palisade_agent::restore::{Restored, restore};
use palisade_compile::UnknownPods;
use palisade_core::{
    NetworkPolicy, Node, Peer, PerDirection, Pod, PodName, PolicyName, PortMatch, PortRange, Ports, Rule, Selector,
    Snapshot, Transport,
};
use palisade_nft::Kernel;

use crate::agent::{self, Agent, Told};
use crate::asking::status;
use crate::probing::{Counts, PORT, Probing, Server};
use crate::world::World;

/// The agent is killed, terminated and started again, and the API server goes and comes: no wrong accept, no wrong drop.
pub fn nothing_opens_or_closes_while_agents_come_and_go() {
    let mut world = World::start(&shop(), UnknownPods::Drop);
    let node: palisade_core::NodeName = "n1".into();
    let servers = [Server::start(world.path(), "shop/open"), Server::start(world.path(), "shop/closed")];
    let probes = [
        Probing::start(world.path(), "shop/client", "10.244.1.2", "10.244.1.3"),
        Probing::start(world.path(), "shop/client", "fd44:0:0:1::2", "fd44:0:0:1::3"),
    ];
    let settle = |world: &World| {
        world.settle();
        std::thread::sleep(Duration::from_millis(200));
    };
    for _ in 0..3 {
        world.agents.remove(&node).unwrap().kill();
        world.start_agent(&node);
        settle(&world);
    }
    world.agents.remove(&node).unwrap().terminate();
    world.start_agent(&node);
    settle(&world);
    world.api.stop();
    std::thread::sleep(Duration::from_millis(300));
    // Killed while the API server is away, and started again: what the kernel holds stays.
    world.agents.remove(&node).unwrap().kill();
    world.start_agent(&node);
    std::thread::sleep(Duration::from_millis(300));
    world.api.resume();
    settle(&world);
    for probe in probes {
        assert_right(probe.stop());
    }
    drop(servers);
}

/// A cut that waits its turn is not lost with the agent: whoever comes next has everything judged again.
pub fn a_cut_outlives_the_agent() {
    let mut world = World::start(&shop(), UnknownPods::Drop);
    let node: palisade_core::NodeName = "n1".into();
    let _server = Server::start(world.path(), "shop/open");
    // Each flow has a packet every few milliseconds, so that the first change has all of them judged at once.
    let talk = Probing::start_with(world.path(), "shop/client", ["10.244.1.2", "10.244.1.3"], 20);
    std::thread::sleep(Duration::from_millis(300));
    for app in ["client", "open"] {
        let mut closed = world.snapshot.clone();
        add_policy(&mut closed, app, vec![]);
        world.say(&closed);
        world.settle();
        if app == "client" {
            std::thread::sleep(Duration::from_millis(60));
        }
    }
    world.agents.remove(&node).unwrap().kill();
    world.start_agent(&node);
    world.settle();
    std::thread::sleep(Duration::from_secs(1));
    let counts = talk.stop();
    assert!(counts.allowed - counts.allowed_answered > 500, "{counts:?}");
}

/// The port of the metrics belongs to somebody else: the policies are in force all the same.
pub fn a_taken_port_is_no_reason_not_to_enforce() {
    let mut world = World::without_agents(&shop(), UnknownPods::Drop);
    let node: palisade_core::NodeName = "n1".into();
    let taken = world.lab.inside(&node, || std::net::TcpListener::bind("127.0.0.1:9469").unwrap()).unwrap();
    world.start_agent(&node);
    world.settle();
    world.agrees_on(&["shop/client -> shop/open udp 5300", "shop/client -> shop/closed udp 5300"]);
    drop(taken);
}

/// Two agents would fight over the table: the second one is told who is the first, and does nothing.
pub fn one_agent_enforces_in_a_network_namespace() {
    let mut world = World::start(&shop(), UnknownPods::Drop);
    let node: palisade_core::NodeName = "n1".into();
    let told = Told { state_dir: world.state_dir("other"), ..world.told("n1") };
    let (second, state_dir) = (told.clone(), told.state_dir.clone());
    let attempts = move || {
        let error = palisade_agent::run(agent::settings(second, None)).unwrap_err().to_string();
        std::fs::copy(state_dir.with_file_name("n1").join("state.json"), state_dir.join("state.json")).unwrap();
        (error, cleanup(&state_dir).unwrap_err().to_string(), restore(&state_dir).unwrap())
    };
    let (runs, cleans, restores) = world.lab.inside(&node, attempts).unwrap();
    let first = format!("node n1, state directory {}, process ", world.state_dir("n1").display());
    assert!(runs.contains(&first), "{runs}");
    assert!(cleans.contains(&first), "{cleans}");
    assert!(matches!(&restores, Restored::AgentRuns(agent) if agent.contains(&first)), "{restores:?}");
    assert!(world.difference(&node, false).is_none());
    // One that comes while the first ends waits for it.
    let first = world.agents.remove(&node).unwrap();
    let mut third = Agent::start(world.path(), &told);
    third.ready();
    std::thread::sleep(Duration::from_secs(1));
    first.terminate();
    world.agents.insert(node, third);
    wait_for(|| control::ask(&control::socket(&told.state_dir), Request::Status {}).is_ok(), "the third agent");
    world.say(&Snapshot { policies: BTreeMap::new(), ..world.snapshot.clone() });
    world.settle();
}

/// The Node object goes: the pod ranges that it named go on to hold, for the agent that starts next, too, until it names others.
pub fn pod_ranges_outlive_the_node_object() {
    let mut world = World::start(&shop(), UnknownPods::Drop);
    let node: palisade_core::NodeName = "n1".into();
    let holds = |world: &World| status(world).preflight.iter().any(|obstacle| obstacle.name == "pod-range-held");
    wait_for(|| world.state_dir("n1").join("state.json").exists(), "a state file");
    assert!(!holds(&world));
    world.api.delete("nodes", "", "n1");
    for _ in 0..2 {
        wait_for(|| control::ask(&control::socket(&world.state_dir("n1")), Request::Status {}).is_ok(), "the agent");
        wait_for(|| holds(&world), "the obstacle");
        world.settle();
        world.agents.remove(&node).unwrap().kill();
        world.start_agent(&node);
    }
    let mut next = world.snapshot.clone();
    let other = Node { pod_cidrs: vec!["10.244.0.0/16".parse().unwrap()], ..(*next.nodes[&node]).clone() };
    next.nodes.insert(node.clone(), Arc::new(other));
    world.say(&next);
    world.settle();
    wait_for(|| !holds(&world), "the end of the obstacle");
}

/// A state file that cannot be written is told, and written as soon as it can be.
pub fn a_state_that_cannot_be_written_is_told() {
    let mut world = World::start(&shop(), UnknownPods::Drop);
    let told = |world: &World| status(world).preflight.iter().any(|obstacle| obstacle.name == "state-file");
    let path = world.state_dir("n1").join("state.json");
    wait_for(|| path.exists(), "a state file");
    std::fs::create_dir(path.with_file_name("state.json.new")).unwrap();
    std::fs::remove_file(&path).unwrap();
    world.say(&Snapshot { policies: BTreeMap::new(), ..world.snapshot.clone() });
    wait_for(|| told(&world), "the obstacle");
    std::fs::remove_dir(path.with_file_name("state.json.new")).unwrap();
    wait_for(|| path.exists() && !told(&world), "the state file");
}

/// With the API server away and the kernel empty, as after a reboot, the state file brings the last good rules.
pub fn the_state_file_brings_the_rules_back() {
    let mut world = World::start(&shop(), UnknownPods::Drop);
    let node: palisade_core::NodeName = "n1".into();
    wait_for(|| world.state_dir("n1").join("state.json").exists(), "a state file");
    world.api.stop();
    world.agents.remove(&node).unwrap().terminate();
    world.lab.inside(&node, || Kernel::open().unwrap().remove_table().unwrap()).unwrap();
    world.agents.clear();
    world.start_agent(&node);
    world.settle();
    world.agrees_on(&["shop/client -> shop/open udp 5300", "shop/client -> shop/closed udp 5300"]);
    world.api.resume();
    let mut next = world.snapshot.clone();
    next.policies.clear();
    world.change(&next);
    world.settle();
    world.agrees_on(&["shop/client -> shop/closed udp 5300"]);
}

/// A flush by another program is repaired.
pub fn what_others_change_is_repaired() {
    let world = World::start(&shop(), UnknownPods::Drop);
    let node: palisade_core::NodeName = "n1".into();
    for script in ["flush ruleset", "delete table inet palisade", "flush chain inet palisade forward"] {
        nft(&world, script);
        world.settle();
        world.agrees_on(&["shop/client -> shop/open udp 5300", "shop/client -> shop/closed udp 5300"]);
    }
    // What others do in tables of their own is no drift.
    nft(&world, "add table inet other");
    let generation = world.ruleset(&node).unwrap().generation();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(world.ruleset(&node).unwrap().generation(), generation);
}

fn nft(world: &World, script: &'static str) {
    let run = move || Command::new("nft").arg(script).status().unwrap().success();
    assert!(world.lab.inside(&"n1".into(), run).unwrap(), "nft {script}");
}

fn assert_right(counts: Counts) {
    assert!(counts.allowed > 1_000, "{counts:?}");
    assert_eq!(counts.allowed_answered, counts.allowed, "wrong drops: {counts:?}");
    assert_eq!(counts.denied_answered, 0, "wrong accepts: {counts:?}");
}

pub fn wait_for(condition: impl Fn() -> bool, what: &str) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not come");
}

/// One node with three pods; `client` may reach `open`, and nobody `closed`.
pub fn shop() -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.namespaces.insert("shop".into(), Arc::default());
    let node = Node {
        addresses: vec!["10.99.0.1".parse().unwrap(), "fd99::1".parse().unwrap()],
        pod_cidrs: vec!["10.244.1.0/24".parse().unwrap(), "fd44:0:0:1::/64".parse().unwrap()],
        ..Node::default()
    };
    snapshot.nodes.insert("n1".into(), Arc::new(node));
    for (number, name) in [(1, "client"), (2, "open"), (3, "closed")] {
        add_pod(&mut snapshot, name, number);
    }
    let from_client = Rule {
        peers: Some(vec![Peer::Pods { namespaces: None, pods: Selector::labels([("app", "client")]) }]),
        ports: Ports::Listed(vec![PortMatch::Range(Transport::Udp, PortRange::single(PORT.try_into().unwrap()))]),
    };
    add_policy(&mut snapshot, "open", vec![from_client]);
    add_policy(&mut snapshot, "closed", vec![]);
    snapshot
}

pub fn add_pod(snapshot: &mut Snapshot, name: &str, number: u8) {
    let pod = Pod {
        labels: Arc::new([("app".into(), name.into())].into()),
        node: Some("n1".into()),
        addresses: vec![
            format!("10.244.1.{number}").parse().unwrap(),
            format!("fd44:0:0:1::{number}").parse().unwrap(),
        ],
        ..Pod::default()
    };
    snapshot.pods.insert(PodName::new("shop", name), Arc::new(pod));
}

pub fn add_policy(snapshot: &mut Snapshot, app: &str, ingress: Vec<Rule>) {
    let name = PolicyName::new("shop", app);
    let policy = NetworkPolicy {
        name: name.clone(),
        subjects: Selector::labels([("app", app)]),
        rules: PerDirection { ingress: Some(ingress), egress: None },
        unreadable: None,
        audit: false,
    };
    snapshot.policies.insert(name, Arc::new(policy));
}
