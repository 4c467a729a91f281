//! What the agent tells the cluster: its `NodeState`, events, and what `palisade wait` makes of it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use palisade_agent::node_state::{NodeStateStatus, Phase};
use palisade_agent::wait::{Outcome, Standing, Subject, Wait, WaitError};
use palisade_compile::UnknownPods;
use palisade_core::PolicyName;
use palisade_testapi::{Disturbance, Fault, Obstacle};
use serde_json::{Value, json};

use crate::asking::status;
use crate::lifetime::{add_policy, shop};
use crate::world::World;

/// A bound for failures, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// As soon as `wait` says that a policy is in force, or gone, the packets agree.
pub fn what_wait_says_is_true() {
    let mut world = world_with_kind();
    let state = node_state(&world, |status| status.phase == Phase::InForce);
    assert_eq!((state.pods.local, state.pods.in_force, state.cluster.network_policies), (3, 3, 2), "{state:?}");
    let owner = &world.api.get("nodestates", "", "n1").unwrap()["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["name"]), (&json!("Node"), &json!("n1")));
    let flows = ["shop/client -> shop/open udp 5300", "shop/client -> shop/closed udp 5300"];
    for _ in 0..3 {
        let mut next = world.snapshot.clone();
        add_policy(&mut next, "client", vec![]);
        next.policies.remove(&PolicyName::new("shop", "closed"));
        world.say(&next);
        in_force(wait(&world, Subject::Policy, "client", PATIENCE));
        in_force(wait(&world, Subject::PolicyGone, "closed", PATIENCE));
        world.agrees_on(&flows);
        world.agrees_on(&["shop/open -> shop/client udp 5300"]);
        world.say(&shop());
        in_force(wait(&world, Subject::Policy, "closed", PATIENCE));
        in_force(wait(&world, Subject::PolicyGone, "client", PATIENCE));
        world.agrees_on(&flows);
        world.agrees_on(&["shop/open -> shop/client udp 5300"]);
    }
    in_force(wait(&world, Subject::Pod, "client", PATIENCE));
    assert!(matches!(wait(&world, Subject::Policy, "none", PATIENCE), Err(WaitError::Missing(_))));
    // An agent that does not follow lags, and is named.
    world.agents.remove("n1").unwrap().kill();
    let mut next = world.snapshot.clone();
    add_policy(&mut next, "client", vec![]);
    world.say(&next);
    let late = wait(&world, Subject::Policy, "client", Duration::from_millis(300)).unwrap();
    assert!(!late.in_force && late.nodes[0].standing == Standing::Lags && late.nodes[0].node == "n1", "{late:?}");
    // What it covers is as new as the newest policy that is left, but it knows one more.
    next = shop();
    next.policies.remove(&PolicyName::new("shop", "closed"));
    world.say(&next);
    let late = wait(&world, Subject::PolicyGone, "closed", Duration::from_millis(300)).unwrap();
    assert!(!late.in_force && late.nodes[0].standing == Standing::Lags, "{late:?}");
}

/// A deletion that the agent learns from a new list alone, which brings no newer version, is told as soon as any other.
pub fn what_a_new_list_lacks_is_told() {
    let mut world = world_with_kind();
    node_state(&world, |status| status.phase == Phase::InForce && status.cluster.network_policies == 2);
    world.api.faults().add(Fault::event("networkpolicies", Disturbance::Gone));
    let mut next = world.snapshot.clone();
    next.policies.remove(&PolicyName::new("shop", "closed"));
    world.say(&next);
    // Less than a heartbeat.
    in_force(wait(&world, Subject::PolicyGone, "closed", PATIENCE));
    world.agrees_on(&["shop/client -> shop/closed udp 5300"]);
}

/// Without the kind, policies are enforced all the same, and the API server is not asked again and again.
pub fn policies_are_enforced_without_the_kind() {
    let world = World::start(&shop(), UnknownPods::Drop);
    world.agrees_on(&["shop/client -> shop/open udp 5300", "shop/client -> shop/closed udp 5300"]);
    let error = wait(&world, Subject::Policy, "open", PATIENCE);
    assert!(matches!(error, Err(WaitError::NodeStates(_))), "{error:?}");
    until(|| names_obstacle(&world), "the obstacle");
    let asked = world.api.requests().iter().filter(|request| request.uri.contains("/nodestates/n1")).count();
    assert!(asked <= 6, "asked {asked} times");
    world.define_node_states();
    node_state(&world, |status| status.phase == Phase::InForce);
    until(|| !names_obstacle(&world), "the end of the obstacle");
}

/// A server that has just started knows neither roles nor kinds for a moment: that is neither told nor waited out for long.
pub fn a_moment_without_rights_is_waited_out() {
    let mut world = World::without_agents(&shop(), UnknownPods::Drop);
    world.define_node_states();
    world.api.faults().add(Fault::request("nodestates", Obstacle::Forbidden).times(3));
    world.start_agent(&"n1".into());
    world.settle();
    let refused = |world: &World| world.api.requests().iter().filter(|request| request.status == 403).count();
    until(|| refused(&world) == 3, "three refusals");
    let start = Instant::now();
    assert!(!names_obstacle(&world));
    node_state(&world, |status| status.phase == Phase::InForce);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // Whoever waits meanwhile waits on, with the server away, too.
    for plural in ["networkpolicies", "nodes", "nodestates"] {
        world.api.faults().add(Fault::request(plural, Obstacle::Forbidden).times(2));
    }
    in_force(wait(&world, Subject::Policy, "open", PATIENCE));
    world.api.stop();
    let waits = wait_for(&world, Subject::Policy, "open", PATIENCE);
    let waiting = std::thread::spawn(move || waits.run());
    std::thread::sleep(Duration::from_secs(2));
    assert!(!waiting.is_finished());
    world.api.resume();
    in_force(waiting.join().unwrap());
    world.api.stop();
    let error = wait(&world, Subject::Policy, "open", Duration::from_millis(300));
    assert!(matches!(error, Err(WaitError::Api { .. })), "{error:?}");
}

fn names_obstacle(world: &World) -> bool {
    status(world).preflight.iter().any(|obstacle| obstacle.name == "node-state")
}

/// A policy that cannot be read has one event, also when the agent is started anew.
pub fn an_unreadable_policy_has_one_event() {
    let mut world = world_with_kind();
    world.api.faults().add(Fault::request("events.events.k8s.io", Obstacle::Unavailable));
    world.api.put(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "namespace": "shop", "name": "broken" },
        "spec": { "podSelector": { "matchLabels": { "app": "client" } }, "ingress": [{ "from": [{ "ipBlock": { "cidr": "no" } }] }] },
    }));
    let events = |world: &World| world.api.list("events.events.k8s.io");
    until(|| !events(&world).is_empty(), "an event");
    let [event] = &events(&world)[..] else { panic!("{:?}", events(&world)) };
    assert_eq!((&event["reason"], &event["type"]), (&json!("Unreadable"), &json!("Warning")), "{event}");
    assert_eq!(event["regarding"]["name"], "broken");
    assert!(event["note"].as_str().unwrap().contains("cidr"), "{event}");
    world.agents.remove("n1").unwrap().kill();
    world.start_agent(&"n1".into());
    let created = |world: &World| {
        world.api.requests().iter().filter(|request| request.uri.contains("/events") && request.status == 409).count()
    };
    until(|| created(&world) == 1, "a second event that is refused");
    assert_eq!(events(&world).len(), 1);
}

fn world_with_kind() -> World {
    let mut world = World::without_agents(&shop(), UnknownPods::Drop);
    world.define_node_states();
    world.start_agent(&"n1".into());
    world.settle();
    world
}

pub fn in_force(outcome: Result<Outcome, WaitError>) {
    let outcome = outcome.unwrap();
    assert!(outcome.in_force, "{outcome:?}");
}

pub fn wait(world: &World, subject: Subject, name: &str, timeout: Duration) -> Result<Outcome, WaitError> {
    wait_for(world, subject, name, timeout).run()
}

/// The same in another namespace than that of the shop.
pub fn wait_in(
    world: &World,
    namespace: &str,
    subject: Subject,
    name: &str,
    timeout: Duration,
) -> Result<Outcome, WaitError> {
    Wait { namespace: namespace.to_string(), ..wait_for(world, subject, name, timeout) }.run()
}

fn wait_for(world: &World, subject: Subject, name: &str, timeout: Duration) -> Wait {
    let kubeconfig = kubeconfig(world);
    let is_of_hosts = matches!(subject, Subject::HostPolicy | Subject::HostPolicyGone);
    let (namespace, name) = (if is_of_hosts { "" } else { "shop" }.to_string(), name.to_string());
    Wait { kubeconfig: Some(kubeconfig), context: None, subject, namespace, name, timeout }
}

fn kubeconfig(world: &World) -> PathBuf {
    let path = world.path().join("wait.kubeconfig");
    fs::write(&path, world.api.kubeconfig()).unwrap();
    path
}

/// The state of the node, as soon as it is as wanted.
fn node_state(world: &World, wanted: impl Fn(&NodeStateStatus) -> bool) -> NodeStateStatus {
    let status = || -> Option<NodeStateStatus> {
        let object: Value = world.api.get("nodestates", "", "n1")?;
        Some(serde_json::from_value(object["status"].clone()).unwrap())
    };
    until(|| status().is_some_and(|status| wanted(&status)), "the state of the node");
    status().unwrap()
}

fn until(condition: impl Fn() -> bool, what: &str) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} is not there");
        std::thread::sleep(Duration::from_millis(10));
    }
}
