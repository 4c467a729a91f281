//! The status of host policies and ban lists: written by one agent, as all of them say.

use std::time::{Duration, Instant};

use palisade_agent::wait::Subject;
use palisade_compile::UnknownPods;
use palisade_testapi::Verb;
use serde_json::{Value, json};

use crate::agent::Told;
use crate::asking::until;
use crate::hosts::guarded;
use crate::telling::{in_force, wait};
use crate::world::World;

const LISTS: &str = "banlists";
const LEASES: &str = "leases.coordination.k8s.io";
pub const NAMESPACE: &str = "palisade-system";
const LEASE: &str = "palisade-status";
/// Longer than what is to be written takes to be.
const A_WHILE: Duration = Duration::from_secs(4);

/// A policy says where it is in force, as soon as it is; nothing is written when nothing happens.
pub fn a_host_policy_says_where_it_is_in_force() {
    let world = world(&["n1", "n2"]);
    programmed(&world, "guard", 1, "2 of 2");
    // Only who writes reads what all agents say.
    assert_eq!(world.api.open_watches("nodestates"), 1);
    let conditions = conditions(&world, "guard");
    let line = "Accepted=True Accepted, Programmed=True Programmed, Effective=True Enforced";
    assert_eq!(conditions, line);
    world.api.forget_requests();
    std::thread::sleep(A_WHILE);
    // Nor do agents tell of the versions that come of the status alone.
    assert_eq!(
        (patches(&world, "hostpolicies.palisade.dev/status"), patches(&world, "nodestates.palisade.dev")),
        (0, 0)
    );
    let mut policy = world.api.get("hostpolicies", "", "guard").unwrap();
    policy["spec"]["otherwise"] = json!("Reject");
    world.api.put(policy);
    programmed(&world, "guard", 2, "2 of 2");
    let start = Instant::now();
    in_force(wait(&world, Subject::HostPolicy, "guard", Duration::from_secs(30)));
    assert!(start.elapsed() < A_WHILE, "{:?}", start.elapsed());
}

/// What is wrong with a policy stands in its status.
pub fn what_is_wrong_with_a_host_policy_is_said() {
    let world = world(&["n1", "n2"]);
    world.api.put(policy(
        "nowhere",
        &json!({
            "nodeSelector": { "matchLabels": { "storage": "true" } }, "ports": [{ "port": 9100 }],
        }),
    ));
    world.api.put(policy(
        "broken",
        &json!({
            "ports": [{ "port": 9200 }], "from": [{ "nodes": { "nodeSelector": { "matchLabels": 1 } } }],
        }),
    ));
    let nowhere = "Accepted=True Accepted, Programmed=False NoNodeMatched, Effective=False NoNodeMatched";
    until(|| conditions(&world, "nowhere") == nowhere, || conditions(&world, "nowhere"));
    let broken = "Accepted=False Unreadable, Programmed=True Programmed, Effective=True Enforced";
    until(|| conditions(&world, "broken") == broken, || conditions(&world, "broken"));
    let message = status(&world, "broken")["conditions"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("matchLabels") && message.ends_with("admits nobody to its ports"), "{message}");
    // A node that has the label makes the difference.
    let mut node = world.api.get("nodes", "", "n2").unwrap();
    node["metadata"]["labels"]["storage"] = json!("true");
    world.api.put(node);
    programmed(&world, "nowhere", 1, "1 of 1");
}

/// A node without an agent that speaks has nothing in force, as far as is known; it is named.
pub fn a_node_whose_agent_is_gone_is_named() {
    let world = world(&["n1"]);
    let lags = |why: &str| {
        until(|| programmed_message(&world).contains(why), || programmed_message(&world));
        assert_eq!(status(&world, "guard")["nodes"], json!({ "matched": 2, "programmed": 1 }));
    };
    lags("1 of 2 nodes: n2: there is no NodeState of it");
    let mut state = world.api.get("nodestates", "", "n1").unwrap();
    state["metadata"] = json!({ "name": "n2" });
    state["status"]["lastHeartbeat"] = json!("2026-01-01T00:00:00Z");
    world.api.put(state.clone());
    lags("1 of 2 nodes: n2: its agent last spoke at 2026-01-01T00:00:00Z");
    assert_eq!(status(&world, "guard")["conditions"][2]["status"], "Unknown");
    // What cannot be read is of a version to come, and holds up nothing.
    state["status"]["phase"] = json!("Dreaming");
    world.api.put(state);
    lags("1 of 2 nodes: n2: there is no NodeState of it");
    assert!(world.api.delete("nodes", "", "n2"));
    programmed(&world, "guard", 1, "1 of 1");
}

/// After a holder that was killed another one goes on, with the same words; one that ends in order gives the Lease back at once.
pub fn another_agent_goes_on_with_the_status() {
    let mut world = world(&["n1", "n2"]);
    programmed(&world, "guard", 1, "2 of 2");
    let first = holder(&world).unwrap();
    let other = if first == "n1" { "n2" } else { "n1" };
    let before = status(&world, "guard");
    world.api.forget_requests();
    world.agents.remove(&*first).unwrap().kill();
    // It is another's no sooner than fifteen seconds after its last renewal, which is five seconds ago at most.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(holder(&world).as_ref(), Some(&first));
    until(|| holder(&world).as_deref() == Some(other), || format!("{:?}", holder(&world)));
    std::thread::sleep(A_WHILE);
    assert_eq!((status(&world, "guard"), patches(&world, "hostpolicies.palisade.dev/status")), (before, 0));
    assert_eq!(world.api.get(LEASES, NAMESPACE, LEASE).unwrap()["spec"]["leaseTransitions"], 2);
    let mut policy = world.api.get("hostpolicies", "", "guard").unwrap();
    policy["spec"]["otherwise"] = json!("Reject");
    world.api.put(policy);
    until(
        || programmed_message(&world).contains(&format!("1 of 2 nodes: {first}: it covers")),
        || programmed_message(&world),
    );
    start(&mut world, &first);
    programmed(&world, "guard", 2, "2 of 2");
    let begun = Instant::now();
    world.agents.remove(other).unwrap().terminate();
    until(|| holder(&world).as_deref() != Some(other), || "the Lease given back".to_owned());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    until(|| holder(&world).as_deref() == Some(&*first), || format!("{:?}", holder(&world)));
}

/// Without a Lease, as where the manifests are of before, all is enforced; with one the status comes by itself.
pub fn policies_are_enforced_without_a_lease() {
    let mut world = World::without_agents(&guarded(), UnknownPods::Drop);
    world.define_node_states();
    start(&mut world, "n1");
    world.settle();
    world.agrees_on(&["shop/client -> node/n1 udp 9000", "node/n2 -> node/n1 udp 9000"]);
    assert_eq!((status(&world, "guard"), world.api.open_watches("nodestates")), (Value::Null, 0));
    define_lease(&world);
    until(|| programmed_message(&world).starts_with("1 of 2 nodes: n2"), || programmed_message(&world));
}

/// The same of a ban list; one that cannot be read says so, and what becomes of the rest.
pub fn a_ban_list_says_where_it_is_in_force() {
    let world = world(&["n1", "n2"]);
    world.api.put(list("abuse", &json!([{ "cidr": "203.0.113.0/24" }])));
    let is_so = |name: &str, line: &str| {
        let found = || conditions_of(&status_of(&world, LISTS, name));
        until(|| found() == line, || format!("{name}: {}", found()));
    };
    is_so("abuse", "Accepted=True Accepted, Programmed=True Programmed, Effective=True Enforced");
    assert_eq!(status_of(&world, LISTS, "abuse")["nodes"], json!({ "matched": 2, "programmed": 2 }));
    programmed(&world, "guard", 1, "2 of 2");
    world.api.forget_requests();
    std::thread::sleep(A_WHILE);
    // Nor do agents tell of the versions that come of the status alone.
    let written = ["banlists.palisade.dev/status", "hostpolicies.palisade.dev/status", "nodestates.palisade.dev"];
    assert_eq!(written.map(|resource| patches(&world, resource)), [0; 3]);
    // It is the status that names the version to wait for, whatever agents have told since.
    let start = Instant::now();
    in_force(wait(&world, Subject::BanList, "abuse", Duration::from_secs(30)));
    world.api.put(list("abuse", &json!([{ "cidr": "203.0.113.0/24" }, { "cidr": "nonsense" }])));
    is_so("abuse", "Accepted=False Unreadable, Programmed=True Programmed, Effective=True Enforced");
    let message = status_of(&world, LISTS, "abuse")["conditions"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("'nonsense'") && message.ends_with("the other entries are banned"), "{message}");
    let mut sourced = list("sourced", &json!([]));
    sourced["spec"]["source"] = json!({ "configMapRef": { "name": "drop" } });
    world.api.put(sourced);
    is_so(
        "sourced",
        "Accepted=True Accepted, Fetched=False Missing, Programmed=False NodesLag, Effective=True Enforced",
    );
    world.api.put(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "drop", "namespace": NAMESPACE },
        "data": { "drop.txt": "198.51.100.0/24" },
    }));
    in_force(wait(&world, Subject::BanList, "sourced", Duration::from_secs(30)));
    is_so(
        "sourced",
        "Accepted=True Accepted, Fetched=True Fetched, Programmed=True Programmed, Effective=True Enforced",
    );
    world.api.put(list("empty", &json!([])));
    is_so("empty", "Accepted=True Accepted, Programmed=True Programmed, Effective=False NoEntries");
    in_force(wait(&world, Subject::BanList, "abuse", Duration::from_secs(30)));
    assert!(world.api.delete(LISTS, "", "empty"));
    in_force(wait(&world, Subject::BanListGone, "empty", Duration::from_secs(30)));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// Two nodes with a guarded port each, and agents on these of them, one of which writes.
fn world(nodes: &[&str]) -> World {
    let mut world = World::without_agents(&guarded(), UnknownPods::Drop);
    world.define_node_states();
    define_lease(&world);
    for node in nodes {
        start(&mut world, node);
    }
    world
}

fn start(world: &mut World, node: &str) {
    let told = Told { namespace: Some(NAMESPACE.to_owned()), ..world.told(node) };
    world.start_agent_told(&told);
}

pub fn define_lease(world: &World) {
    let metadata = json!({ "namespace": NAMESPACE, "name": LEASE });
    world.api.put(json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata }));
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "HostPolicy", "metadata": { "name": name }, "spec": spec,
    })
}

fn list(name: &str, entries: &Value) -> Value {
    json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "BanList", "metadata": { "name": name },
        "spec": { "entries": entries },
    })
}

/// Who writes.
fn holder(world: &World) -> Option<String> {
    let lease = world.api.get(LEASES, NAMESPACE, LEASE).unwrap();
    lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

fn status(world: &World, name: &str) -> Value {
    status_of(world, "hostpolicies", name)
}

fn status_of(world: &World, resource: &str, name: &str) -> Value {
    world.api.get(resource, "", name).unwrap()["status"].clone()
}

/// Those of a `HostPolicy`, as [`conditions_of`] its status.
fn conditions(world: &World, name: &str) -> String {
    conditions_of(&status(world, name))
}

/// `Accepted=True Accepted, …`.
fn conditions_of(status: &Value) -> String {
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap().to_owned();
    let line = |condition: &Value| {
        format!("{}={} {}", text(condition, "type"), text(condition, "status"), text(condition, "reason"))
    };
    status["conditions"].as_array().into_iter().flatten().map(line).collect::<Vec<_>>().join(", ")
}

/// What `guard` says of the nodes on which it is not in force.
fn programmed_message(world: &World) -> String {
    status(world, "guard")["conditions"][1]["message"].as_str().unwrap_or_default().to_owned()
}

/// Waits until a generation of a policy is in force on so many nodes of so many, and says so.
fn programmed(world: &World, name: &str, generation: i64, nodes: &str) {
    let is_programmed = || {
        let status = status(world, name);
        let (matched, programmed) = (&status["nodes"]["matched"], &status["nodes"]["programmed"]);
        let condition = &status["conditions"][1];
        status["observedGeneration"] == generation
            && condition["observedGeneration"] == generation
            && condition["status"] == "True"
            && format!("{programmed} of {matched}") == nodes
    };
    until(is_programmed, || format!("{name} in force on {nodes}: {}", status(world, name)));
}

fn patches(world: &World, resource: &str) -> usize {
    let requests = world.api.requests();
    requests.iter().filter(|request| request.verb == Verb::Patch && request.resource == resource).count()
}
