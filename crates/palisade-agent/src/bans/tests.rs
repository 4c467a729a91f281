//! Single bans at an API server, also while others change the same list.
#![expect(clippy::disallowed_methods, reason = "writes the kubeconfig of a test server")]

use palisade_testapi::{Resource, TestApi};

use super::*;

fn lists(api: &TestApi) -> BanLists {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kubeconfig");
    std::fs::write(&path, api.kubeconfig()).unwrap();
    BanLists::open(Some(&path), None, "palisade-system").unwrap()
}

fn api() -> TestApi {
    let api = TestApi::start();
    api.register(Resource::new("palisade.dev/v1alpha1", "banlists", "BanList").cluster_scoped().without_status());
    api
}

fn entry(cidr: &str) -> Entry {
    Entry { cidr: cidr.parse().unwrap(), expires_at: None, reason: None, force: false }
}

fn entries(api: &TestApi, list: &str) -> Vec<Value> {
    let list = api.get("banlists", "", list).unwrap_or_default();
    list.pointer("/spec/entries").and_then(Value::as_array).cloned().unwrap_or_default()
}

#[test]
fn an_entry_comes_changes_and_goes() {
    let api = api();
    let lists = lists(&api);
    lists.ban(MANUAL, &entry("203.0.113.9/32")).unwrap();
    assert_eq!(entries(&api, MANUAL), [json!({ "cidr": "203.0.113.9/32" })]);
    lists.ban(MANUAL, &entry("2001:db8::/32")).unwrap();
    let again = Entry { reason: Some("scans".to_owned()), expires_at: Some(Timestamp::MAX), ..entry("203.0.113.9/32") };
    lists.ban(MANUAL, &again).unwrap();
    let expected = json!({ "cidr": "203.0.113.9/32", "reason": "scans", "expiresAt": Timestamp::MAX.to_string() });
    assert_eq!(entries(&api, MANUAL), [json!({ "cidr": "2001:db8::/32" }), expected]);
    lists.ban("other", &entry("203.0.113.0/24")).unwrap();
    let address = "203.0.113.9".parse().unwrap();
    let banning = |lists: &BanLists| -> Vec<String> {
        let (snapshot, _) = lists.snapshot(Some(address)).unwrap();
        ToldAddress::of(&snapshot, address).lists.iter().map(ToString::to_string).collect()
    };
    assert_eq!(banning(&lists), ["BanList manual: 203.0.113.9/32 (scans)", "BanList other: 203.0.113.0/24"]);
    assert!(lists.unban(MANUAL, "203.0.113.9/32".parse().unwrap()).unwrap());
    assert!(!lists.unban(MANUAL, "203.0.113.9/32".parse().unwrap()).unwrap());
    assert!(!lists.unban("none", "203.0.113.9/32".parse().unwrap()).unwrap());
    assert_eq!(banning(&lists), ["BanList other: 203.0.113.0/24"]);
    assert_eq!(api.get("banlists", "", "none"), None);
}

#[test]
fn a_cluster_is_read_with_what_spares_and_what_isolates() {
    let api = api();
    let lists = lists(&api);
    lists.ban(MANUAL, &entry("203.0.113.0/24")).unwrap();
    api.put(
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "db", "labels": { "team": "data" } } }),
    );
    let addresses = json!([{ "type": "InternalIP", "address": "203.0.113.1" }]);
    api.put(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" }, "status": { "addresses": addresses } }));
    api.put(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "namespace": "db", "name": "pg" },
        "spec": { "containers": [{ "name": "a" }] }, "status": { "podIPs": [{ "ip": "203.0.113.2" }] },
    }));
    api.put(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "namespace": "db", "name": "closed" },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress"] },
    }));
    let (cluster, _) = lists.cluster().unwrap();
    let spared = |address: &str| standings(&cluster, address.parse().unwrap()).iter().all(|list| !list.bans());
    assert!(spared("203.0.113.1") && spared("203.0.113.2") && !spared("203.0.113.3"));
    assert_eq!(cluster.namespaces["db"].labels["team"], "data".into());
    assert_eq!(cluster.policies.len(), 1);
}

#[test]
fn nobody_takes_an_entry_of_another_away() {
    let api = api();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let lists = lists(&api);
            scope.spawn(move || lists.ban(MANUAL, &entry(&format!("203.0.113.{number}/32"))).unwrap());
        }
    });
    let mut found: Vec<String> = entries(&api, MANUAL).iter().map(|entry| entry["cidr"].to_string()).collect();
    found.sort();
    assert_eq!(found, ["\"203.0.113.0/32\"", "\"203.0.113.1/32\"", "\"203.0.113.2/32\"", "\"203.0.113.3/32\""]);
}

#[test]
fn a_cluster_without_the_kind_says_so() {
    let api = TestApi::start();
    let error = lists(&api).ban(MANUAL, &entry("203.0.113.9/32")).unwrap_err();
    assert!(matches!(error, BanError::Refused { code: 404, .. }), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("kubectl apply -k deploy/")));
}
