//! The cluster of an API server instead of manifests.

use std::fs;

use palisade_testapi::{Fault, Obstacle, Resource, TestApi};
use serde_json::{Value, json};

use crate::sarif;
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
        "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 5432}]}]},
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
    assert_unchanged(&api);
}

fn assert_unchanged(api: &TestApi) {
    let changes = |request: &palisade_testapi::Request| !matches!(request.verb.name(), "list" | "get" | "watch");
    assert!(!api.requests().iter().any(changes));
}

/// A policy of namespace `shop` that lets pods with a label in.
fn policy(name: &str, app: &str, from: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "shop", "name": name},
        "spec": {
            "podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": from}}}]}],
        },
    })
}

#[test]
fn findings_of_a_cluster_name_objects_and_no_places() {
    let api = cluster(3);
    assert_eq!(ask(&api, &["check"]), (String::new(), "1 NetworkPolicy checked: nothing found\n".into(), Some(0)));
    api.put(policy("nobody", "web", "bd"));
    let (out, err, code) = ask(&api, &["check"]);
    assert_eq!((err.as_str(), code), ("2 NetworkPolicies checked: 1 warning\n", Some(1)), "{out}");
    let first = "warning[NP041]: NetworkPolicy shop/nobody: spec.ingress[0].from[0].podSelector: no pod of namespace shop is app=bd\n |\n = note: ";
    assert!(out.starts_with(first) && !out.contains("-->"), "{out}");
    assert_eq!(ask(&api, &["check", "--fail-on", "error"]).2, Some(0));
    let (out, _, code) = ask(&api, &["check", "--output", "json"]);
    let finding: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((finding["object"].as_str(), code), (Some("NetworkPolicy shop/nobody"), Some(1)));
    for field in ["file", "line", "column", "width"] {
        assert_eq!(finding.get(field), Some(&Value::Null), "{field}: {out}");
    }
    let (out, _, _) = ask(&api, &["check", "--output", "sarif"]);
    let log = serde_json::from_str(&out).unwrap();
    sarif::assert_valid(&log);
    let locations = json!([{"logicalLocations": [{"fullyQualifiedName": "NetworkPolicy shop/nobody"}]}]);
    assert_eq!(log["runs"][0]["results"][0]["locations"], locations);
    let (out, _, _) = ask(&api, &["check", "--output", "github"]);
    assert!(out.starts_with("::warning title=NP041 peer-selects-nothing::NetworkPolicy shop/nobody: "), "{out}");
    let (page, err, code) = ask(&api, &["report", "--out", "-"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(page.contains("\"object\":\"NetworkPolicy shop/nobody\"") && page.contains("\"file\":null"), "{page}");
    assert_unchanged(&api);
}

/// Else what a CronJob makes selects nothing, and what an Ingress leads to is open for no reason.
#[test]
fn checks_read_what_verdicts_do_not_need() {
    let api = cluster(3);
    api.put(policy("of-job", "db", "backup"));
    let mut open = policy("open", "web", "web");
    open["spec"]["ingress"] = json!([{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 80}]}]);
    api.put(open);
    api.put(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }));
    let (out, _, code) = ask(&api, &["check"]);
    assert_eq!(code, Some(1));
    assert!(
        out.contains("[NP041]: NetworkPolicy shop/of-job") && out.contains("[NP062]: NetworkPolicy shop/open"),
        "{out}"
    );
    api.register(Resource::new("batch/v1", "cronjobs", "CronJob"));
    api.register(Resource::new("networking.k8s.io/v1", "ingresses", "Ingress"));
    let pod = json!({"metadata": {"labels": {"app": "backup"}}, "spec": {"containers": [{"name": "c"}]}});
    api.put(json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"namespace": "shop", "name": "backup"},
        "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": pod}}},
    }));
    api.put(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
    }));
    assert_eq!(ask(&api, &["check"]), (String::new(), "3 NetworkPolicies checked: nothing found\n".into(), Some(0)));
    api.faults().add(Fault::request("ingresses", Obstacle::Forbidden).always());
    let (out, err, code) = ask(&api, &["check"]);
    assert_eq!((out.as_str(), code), ("", Some(2)));
    assert!(err.contains("hint: 'kubectl auth can-i list ingresses --all-namespaces' is to say yes"), "{err}");
}

/// A policy is replaced, without a word that it is written twice, and one is added; what NEW does not name stays.
#[test]
fn manifests_are_laid_over_a_cluster() {
    let api = cluster(3);
    let directory = user::directory();
    let path = directory.path().join("new.json");
    let diff = |new: &[Value], further: &[&str]| {
        fs::write(&path, json!({"apiVersion": "v1", "kind": "List", "items": new}).to_string()).unwrap();
        ask(&api, &[&["diff", path.to_str().unwrap()], further].concat())
    };
    let to_db = ["--to", "shop/p002"];
    assert_eq!(diff(&[policy("front", "front", "web")], &[]), (String::new(), String::new(), Some(0)));
    let mut replaced = policy("db", "db", "web");
    replaced["spec"]["ingress"][0]["ports"] = json!([{"port": 5433}]);
    let (out, err, code) = diff(&[replaced], &to_db);
    assert_eq!((err.as_str(), code), ("", Some(3)));
    assert_eq!(out, "~ shop/p000 -> shop/p002 tcp 5432 => tcp 5433\n~ shop/p001 -> shop/p002 tcp 5432 => tcp 5433\n");
    // Another one for the same pods adds what it allows.
    let mut added = policy("db-of-block", "db", "web");
    added["spec"]["ingress"] = json!([{"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 22}]}]);
    added["apiVersion"] = json!("extensions/v1beta1");
    let (out, err, code) = diff(&[added], &to_db);
    assert_eq!((out.as_str(), code), ("+ 192.0.2.0-192.0.2.255 -> shop/p002 tcp 22\n", Some(3)));
    assert!(
        err.contains("extensions/v1beta1 is gone") && err.contains("new.json:1:") && !err.contains("NP009"),
        "{err}"
    );
    assert_unchanged(&api);
}

#[test]
fn a_cluster_is_read_in_two_dialects() {
    let api = cluster(3);
    let (_, err, code) = ask(&api, &["diff", "--dialect", "palisade", "--dialect", "kube-router"]);
    assert_eq!(code, Some(0), "{err}");
    let (out, err, code) = ask(&api, &["diff"]);
    assert_eq!((out.as_str(), code), ("", Some(2)));
    assert!(err.starts_with("error: of one state two dialects are compared\n"), "{err}");
}

#[test]
fn a_cluster_and_paths_are_not_read_together() {
    let api = cluster(3);
    let all = [
        &["check", "a.yaml"][..],
        &["check", "-f", "a.yaml"],
        &["diff", "a.yaml", "b.yaml"],
        &["diff", "-f", "a.yaml"],
    ];
    for paths in all {
        let (out, err, code) = ask(&api, paths);
        assert_eq!((out.as_str(), code), ("", Some(2)));
        assert!(err.contains("cannot be used with") && err.contains("--cluster"), "{err}");
    }
    assert_eq!(api.requests().len(), 0);
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
