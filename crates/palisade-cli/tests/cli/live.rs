//! The cluster of an API server instead of manifests.

use std::fs;

use palisade_testapi::{Fault, Obstacle, TestApi};
use serde_json::{Value, json};

use crate::user::{self, User};

/// So many pods, the last of which a policy isolates, on nodes with addresses. 600 are more than a page.
fn cluster(pods: u16) -> TestApi {
    let api = TestApi::start();
    for number in 1..=2 {
        api.put(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("n{number}")},
            "status": {"addresses": [{"type": "InternalIP", "address": format!("10.99.0.{number}")}]},
        }));
    }
    api.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    for number in 0..pods {
        let [high, low] = number.to_be_bytes();
        api.put(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": format!("p{number:03}"), "labels": {"app": if number == pods - 1 { "db" } else { "web" }}},
            "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
            "status": {"phase": "Running", "podIPs": [{"ip": format!("10.244.{high}.{low}")}]},
        }));
    }
    api.put(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "shop", "name": "db"},
        "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 5432}]}]},
    }));
    api
}

/// What a command prints of this cluster, what it tells, and how it ends.
fn ask(api: &TestApi, arguments: &[&str]) -> (String, String, Option<i32>) {
    let directory = user::directory();
    fs::write(directory.path().join("kubeconfig"), api.kubeconfig()).unwrap();
    let mut command = User::Same.command(directory.path());
    command.args(arguments).args(["--cluster", "--kubeconfig", "kubeconfig"]);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn a_cluster_is_read_whole_and_not_changed() {
    let api = cluster(600);
    let (out, err, code) = ask(&api, &["matrix", "--to", "shop/p599", "--output", "json"]);
    assert_eq!(code, Some(0), "{err}");
    // Every other pod, and nobody from outside.
    assert_eq!(out.lines().count(), 599, "{err}");
    let first: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(first["from"]["name"], "shop/p000");
    let (out, err, code) = ask(&api, &["explain", "shop/p598 -> shop/p599 tcp 5432", "shop/p000 -> shop/p599 tcp 22"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(out.contains("shop/p598 -> shop/p599 tcp 5432: allow") && out.contains("tcp 22: deny"), "{out}");
    let changes = |request: &palisade_testapi::Request| !matches!(request.verb.name(), "list" | "get" | "watch");
    assert!(!api.requests().iter().any(changes));
}

#[test]
fn a_page_is_about_a_cluster() {
    let api = cluster(3);
    let (page, err, code) = ask(&api, &["report", "--out", "-"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(page.contains("{\"about\":\"the cluster\",\"policies\":1,") && page.ends_with("</html>\n"), "{page}");
    assert!(
        page.contains("allowed by shop/db ingress[0] (from[0]: pods app=web; ") && page.contains("tcp 5432"),
        "{page}"
    );
    assert!(err.contains("1 NetworkPolicy checked: "), "{err}");
}

#[test]
fn what_the_api_server_refuses_is_told() {
    let api = cluster(3);
    api.faults().add(Fault::request("networkpolicies", Obstacle::Forbidden).always());
    let (out, err, code) = ask(&api, &["matrix"]);
    assert_eq!((out.as_str(), code), ("", Some(2)));
    assert!(err.contains("error: the API server does not list networkpolicies: ") && err.contains("(403)"), "{err}");
    assert!(err.contains("hint: 'kubectl auth can-i list networkpolicies --all-namespaces' is to say yes"), "{err}");
    api.stop();
    let (_, err, code) = ask(&api, &["explain", "shop/p000 -> shop/p002 tcp 5432"]);
    assert_eq!(code, Some(2));
    assert!(err.starts_with("error: cannot list namespaces: "), "{err}");
}

#[test]
fn a_lab_plays_a_cluster() {
    if !user::namespaces_can_be_had(&User::Same) {
        return;
    }
    let api = cluster(3);
    let (out, err, code) = ask(&api, &["lab", "--family", "4"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("3 pods on 2 nodes, 1 policy") && out.ends_with("oracle, tables and kernel agree\n"), "{out}");
}
