//! Which nodes are admitted, whatever their clusters say, and however.

use std::time::Duration;

use palisade_testapi::{Disturbance, Fault, Obstacle, TestApi};
use serde_json::{Value, json};

use crate::process::USER;
use crate::world::{PORT, World, node, node_with, until};
use crate::{NO, YES};

fn spec(safety: &str) -> String {
    format!("  allow: [{{port: {PORT}}}]\n  safety: {{{safety}}}\n")
}

fn pod(namespace: &str, name: &str, on: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name, "labels": {"app": app}},
        "spec": {"nodeName": on, "containers": []}, "status": {"phase": "Running"},
    })
}

fn namespace(name: &str, team: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": team}}})
}

pub fn pods_single_out_nodes() {
    let selecting = ", podSelector: {matchLabels: {app: api}}, podNamespaceSelector: {matchLabels: {team: shop}}";
    let mut world = World::with(&spec("removeDelaySeconds: 0"), selecting);
    world.put("n2");
    world.put("n3");
    world.api.put(namespace("shop", "shop"));
    world.api.put(namespace("other", "none"));
    world.api.put(pod("shop", "a", "n2", "api"));
    world.api.put(pod("shop", "b", "n3", "web"));
    world.api.put(pod("other", "c", "n3", "api"));
    world.start();
    world.becomes("n3", NO);
    world.becomes("n2", YES);
    world.api.put(namespace("other", "shop"));
    world.becomes("n3", YES);
    world.api.put(namespace("other", "none"));
    world.becomes("n3", NO);
    world.api.put(pod("shop", "d", "n3", "api"));
    world.becomes("n3", YES);
    let mut ended = pod("shop", "d", "n3", "api");
    ended["status"]["phase"] = "Succeeded".into();
    world.api.put(ended);
    world.becomes("n3", NO);
    // Who may not list pods learns nothing, and takes nobody away.
    world.api.faults().add(Fault::request("pods", Obstacle::Forbidden).always());
    world.api.faults().break_watches();
    world.tells("pods is forbidden");
    world.is_for_a_while("n2", YES, Duration::from_secs(1));
    // What is missed meanwhile is found by the list.
    world.api.put(pod("shop", "e", "n3", "api"));
    assert!(world.api.delete("pods", "shop", "a"));
    world.api.faults().clear();
    world.becomes("n3", YES);
    world.becomes("n2", NO);
}

pub fn two_clusters_are_apart() {
    let mut world = World::new("");
    let other = TestApi::start();
    other.lead(&world.path("d.sock"));
    world.list(&spec("removeDelaySeconds: 0"), "", ", {name: d, kubeconfig: KUBECONFIG}");
    world.put("n2");
    other.put(node("n3"));
    world.start();
    world.tells("\"n2\"");
    world.tells("\"n3\"");
    // What becomes of the one is nothing to the other.
    other.stop();
    world.tells("\"error\":\"");
    world.put("n4");
    world.delete("n2");
    world.becomes("n2", NO);
    assert_eq!(world.reaches("n3"), YES);
    // A node of both stays until it is gone from both.
    other.resume();
    other.put(node("n2"));
    world.becomes("n2", YES);
    world.put("n2");
    assert!(other.delete("nodes", "", "n2"));
    world.is_for_a_while("n2", YES, Duration::from_secs(1));
    world.delete("n2");
    world.becomes("n2", NO);
}

pub fn nodes_come_and_go_by_the_hundred() {
    let mut world = World::with(&spec("removeDelaySeconds: 0, maxShrinkPercent: 100"), "");
    world.put("n2");
    world.start();
    world.becomes("n3", NO);
    world.becomes("n2", YES);
    let many = |round: u16| (0..300).map(move |number| (format!("m{round}-{number}"), round, number));
    for round in 0..4 {
        for (name, round, number) in many(round) {
            let [high, low] = u16::to_be_bytes(number);
            let addresses = [format!("10.{}.{high}.{low}", 100 + round), format!("fd98:{round}::{number:x}")];
            world.api.put(node_with(&name, &addresses.each_ref().map(String::as_str)));
        }
        match round % 2 {
            0 => world.put("n3"),
            _ => world.delete("n3"),
        }
        if round > 0 {
            many(round - 1).for_each(|(name, _, _)| assert!(world.api.delete("nodes", "", &name)));
        }
        world.becomes("n3", if round % 2 == 0 { YES } else { NO });
        assert_eq!(world.reaches("n2"), YES);
    }
    // The table has what is there, and nothing else: 300 and one, of each family, some as ranges of neighbours.
    let rules = || world.tool("nft", &["list", "table", "inet", "palisade_host"], "");
    until(|| rules().contains("10.103.0.0-10.103.1.43") && !rules().contains("10.102."), rules);
    until(|| !world.state().contains("m2-"), || world.state());
}

pub fn hostile_nodes_admit_nobody() {
    let mut world = World::with(&spec("within: [10.99.0.0/24, 'fd99::/64'], removeDelaySeconds: 0"), "");
    world.put("n2");
    let bad = [
        "0.0.0.0",
        "::",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
        "10.98.0.1",
        "10.99.0.3 ",
        "10.99.0.3/0",
        "::ffff:10.98.0.3",
        "fe80::1%eth0",
        "0.0.0.0/0",
        "\u{1b}[31m10.99.0.3",
        "",
    ];
    world.api.put(node_with("evil\u{7}\n", &bad));
    world.start();
    world.becomes("n2", YES);
    world.tells("it is outside of spec.safety.within");
    world.is_for_a_while("n3", NO, Duration::from_secs(1));
    // Within what is trusted a node may name the address of another, which is why within is to be narrow; it goes with the node.
    world.api.put(node_with("thief", &["10.99.0.3", "fd99::3"]));
    world.becomes("n3", YES);
    assert!(world.api.delete("nodes", "", "thief"));
    world.becomes("n3", NO);
    // One that names everybody's takes nobody's away when it goes.
    world.api.put(node_with("thief", &["10.99.0.2", "fd99::2"]));
    assert!(world.api.delete("nodes", "", "thief"));
    world.is_for_a_while("n2", YES, Duration::from_secs(1));
}

pub fn an_address_that_changes_is_followed() {
    let mut world = World::with(&spec("removeDelaySeconds: 2"), "");
    world.api.put(node_with("moving", &["10.99.0.2", "fd99::2"]));
    world.start();
    world.becomes("n2", YES);
    world.becomes("n3", NO);
    world.api.put(node_with("moving", &["10.99.0.3", "fd99::3"]));
    world.becomes("n3", YES);
    assert_eq!(world.reaches("n2"), YES);
    world.becomes("n2", NO);
    // A kubelet that starts tells no address for a moment.
    world.api.put(node_with("moving", &[]));
    world.is_for_a_while("n3", YES, Duration::from_secs(3));
    // One family of two.
    world.api.put(node_with("moving", &["10.99.0.3"]));
    world.becomes("n3", [true, false]);
}

pub fn what_an_annotation_names_is_admitted() {
    let egress = ", addressTypes: [], egressAnnotation: example.com/egress";
    let mut world = World::with(&spec("removeDelaySeconds: 0"), egress);
    let mut observed = node("n2");
    observed["metadata"]["annotations"] = json!({"example.com/egress": "10.99.0.3, fd99::3"});
    world.api.put(observed.clone());
    world.start();
    world.becomes("n2", NO);
    world.becomes("n3", YES);
    observed["metadata"]["annotations"] = json!({"example.com/egress": "10.99.0.0/24"});
    world.api.put(observed);
    world.becomes("n3", [true, false]);
    world.becomes("n2", [true, false]);
}

pub fn every_fault_of_an_api_server_is_survived() {
    let mut world = World::with(&spec("removeDelaySeconds: 0"), "");
    world.put("n2");
    world.start();
    world.becomes("n3", NO);
    world.becomes("n2", YES);
    let obstacles = [
        Obstacle::TooManyRequests(1),
        Obstacle::InternalError,
        Obstacle::Unavailable,
        Obstacle::Forbidden,
        Obstacle::Gone,
        Obstacle::Slow(Duration::from_millis(300)),
        Obstacle::Broken,
    ];
    for obstacle in obstacles {
        world.api.faults().add(Fault::request("nodes", obstacle));
        world.api.faults().break_watches();
        world.is_for_a_while("n2", YES, Duration::from_millis(500));
        // What comes meanwhile is admitted once it is over.
        world.put("n3");
        world.becomes("n3", YES);
        world.delete("n3");
        world.becomes("n3", NO);
    }
    let disturbances = [
        Disturbance::BreakInLine,
        Disturbance::Duplicate,
        Disturbance::Gone,
        Disturbance::InternalError,
        Disturbance::HalfLine,
        Disturbance::OtherShape,
    ];
    for disturbance in disturbances {
        world.api.faults().add(Fault::event("nodes", disturbance));
        world.put("n3");
        world.becomes("n3", YES);
        world.delete("n3");
        world.becomes("n3", NO);
        assert_eq!(world.reaches("n2"), YES);
    }
}

pub fn credentials_come_from_a_program() {
    let mut world = World::new("removeDelaySeconds: 0");
    world.put("n2");
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "secret"},
    });
    let script = format!("touch {}; echo '{credential}'", world.path("ran").display());
    let exec = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script], "interactiveMode": "Never",
    }});
    world.write(USER, &exec.to_string());
    world.start();
    world.becomes("n3", NO);
    world.becomes("n2", YES);
    assert!(world.path("ran").exists());
}
