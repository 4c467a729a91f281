use serde_json::{Value, json};

use super::*;
use crate::node_state::NodeStateStatus;

const NOW: &str = "2026-01-01T00:10:00Z";

fn policy(change: &Value) -> DynamicObject {
    let mut policy = json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "HostPolicy",
        "metadata": { "name": "guard", "generation": 2, "resourceVersion": "100" },
        "spec": { "ports": [{ "port": 9000 }], "nodeSelector": { "matchLabels": { "storage": "true" } } },
    });
    for (field, value) in change.as_object().unwrap() {
        policy[field] = value.clone();
    }
    serde_json::from_value(policy).unwrap()
}

fn list(spec: &Value) -> DynamicObject {
    let list = json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "BanList",
        "metadata": { "name": "abuse", "generation": 2, "resourceVersion": "100" }, "spec": spec,
    });
    serde_json::from_value(list).unwrap()
}

fn state(change: &Value) -> NodeStateStatus {
    let mut state = json!({
        "version": "0", "phase": "InForce", "enforce": ["network-policy", "host", "bans"], "generation": 1, "bootGap": "open",
        "covered": { "namespaces": "1", "nodes": "1", "pods": "1", "networkPolicies": "1", "hostPolicies": "100", "banLists": "100" },
        "pods": { "local": 0, "inForce": 0, "notInForce": [] },
        "cluster": { "nodes": 1, "pods": 0, "networkPolicies": 0, "networkPoliciesWithFindings": 0 },
        "started": "2026-01-01T00:00:00Z", "lastHeartbeat": "2026-01-01T00:09:30Z",
    });
    for (field, value) in change.as_object().unwrap() {
        state[field] = value.clone();
    }
    serde_json::from_value(state).unwrap()
}

fn nodes(names: &[&str]) -> BTreeMap<String, Labels> {
    let labels: Labels = [("storage".into(), "true".into())].into();
    names.iter().map(|name| ((*name).to_owned(), labels.clone())).collect()
}

fn status(policy: &DynamicObject, nodes: &BTreeMap<String, Labels>, states: &States) -> PolicyStatus {
    let of = if policy.types.as_ref().unwrap().kind == "BanList" { PolicyKind::Ban } else { PolicyKind::Host };
    let policy = Policy::read(of, policy, &Limits::default()).unwrap();
    policy.status(nodes, states, NOW.parse().unwrap())
}

/// Holds what is said of a `HostPolicy` with this change as [`check_of`] does.
fn check(change: &Value, states: &[Value], matched: usize, programmed: usize, expected: [&str; 3]) {
    check_of(&policy(change), states, matched, programmed, expected);
}

/// Holds what is said of nodes `n1`, `n2` and so on with these states (null: none) against lines of it.
fn check_of<const N: usize>(
    policy: &DynamicObject,
    states: &[Value],
    matched: usize,
    programmed: usize,
    expected: [&str; N],
) {
    let names: Vec<String> = (1..=states.len()).map(|number| format!("n{number}")).collect();
    let known = names.iter().zip(states).filter(|(_, change)| !change.is_null());
    let states = known.map(|(name, change)| (name.clone(), state(change))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = status(policy, &nodes(&names), &states);
    let line = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        format!("{}={} {}: {}", condition.type_, condition.status, condition.reason, condition.message)
    };
    let lines: Vec<String> = found.conditions.iter().map(line).collect();
    assert_eq!(lines, expected);
    assert_eq!(found.nodes, Nodes { matched, programmed });
}

const ACCEPTED: &str = "Accepted=True Accepted: ";
const PROGRAMMED: &str = "Programmed=True Programmed: in force on every node that it selects";
const ENFORCED: &str = "Effective=True Enforced: nothing is known that keeps packets from it";

#[test]
fn a_policy_is_programmed_when_every_node_covers_it() {
    check(&json!({}), &[json!({}), json!({})], 2, 2, [ACCEPTED, PROGRAMMED, ENFORCED]);
    let behind = json!({ "covered": { "namespaces": "1", "nodes": "1", "pods": "1", "networkPolicies": "1", "hostPolicies": "99" } });
    let lag = "Programmed=False NodesLag: 1 of 2 nodes: n2: it covers resourceVersion 99, and 100 is wanted";
    check(&json!({}), &[json!({}), behind.clone()], 2, 1, [ACCEPTED, lag, ENFORCED]);
    let why = "it covers resourceVersion 99, and 100 is wanted";
    let many = format!("Programmed=False NodesLag: 5 of 5 nodes: n1: {why}; n2: {why}; n3: {why}; and 2 more");
    check(&json!({}), &vec![behind; 5], 5, 0, [ACCEPTED, &many, ENFORCED]);
}

#[test]
fn its_own_status_makes_no_new_version_of_it() {
    let observed = json!({ "observedGeneration": 2, "observedResourceVersion": "100" });
    let mut written = policy(&json!({ "status": observed }));
    written.metadata.resource_version = Some("170".to_owned());
    let states = [("n1".to_owned(), state(&json!({})))].into();
    let found = status(&written, &nodes(&["n1"]), &states);
    assert_eq!((&*found.observed_resource_version, found.nodes.programmed), ("100", 1));
    written.metadata.generation = Some(3);
    let found = status(&written, &nodes(&["n1"]), &states);
    assert_eq!((&*found.observed_resource_version, found.nodes.programmed), ("170", 0));
}

#[test]
fn a_selector_that_selects_nothing_is_said() {
    let lines =
        ["Programmed", "Effective"].map(|of| format!("{of}=False NoNodeMatched: spec.nodeSelector selects no node"));
    check(&json!({}), &[], 0, 0, [ACCEPTED, &lines[0], &lines[1]]);
}

#[test]
fn nodes_without_an_agent_are_not_programmed() {
    let old = json!({ "lastHeartbeat": "2026-01-01T00:06:59Z" });
    check(
        &json!({}),
        &[json!({}), old, Value::Null],
        3,
        1,
        [
            ACCEPTED,
            "Programmed=False NodesLag: 2 of 3 nodes: n2: its agent last spoke at 2026-01-01T00:06:59Z; n3: there is no NodeState of it",
            "Effective=Unknown NodesSilent: 2 of 3 nodes: n2: nothing is heard of its agent; n3: nothing is heard of its agent",
        ],
    );
}

#[test]
fn what_keeps_it_from_having_an_effect_is_said() {
    let past = json!({ "obstacles": ["iptables-legacy", "ebpf-datapath"] });
    let effective = "Effective=False PastNetfilter: 1 of 2 nodes: n1: ebpf-datapath: packets may meet no rule";
    check(&json!({}), &[past, json!({})], 2, 2, [ACCEPTED, PROGRAMMED, effective]);
    check(
        &json!({}),
        &[json!({ "phase": "Paused" })],
        1,
        0,
        [
            ACCEPTED,
            "Programmed=False NodesLag: 1 of 1 nodes: n1: it is paused: nothing is enforced there",
            "Effective=False Paused: 1 of 1 nodes: n1: it is paused: nothing is enforced there",
        ],
    );
    let why = "its agent does not enforce it: --enforce does not name host";
    check(
        &json!({}),
        &[json!({ "enforce": ["network-policy"] })],
        1,
        0,
        [
            ACCEPTED,
            &format!("Programmed=False NodesLag: 1 of 1 nodes: n1: {why}"),
            &format!("Effective=False NotEnforced: 1 of 1 nodes: n1: {why}"),
        ],
    );
    let audited = json!({ "spec": { "ports": [{ "port": 9000 }], "enforcement": "Audit" } });
    let effective = "Effective=True Audited: packets are counted and logged, and none is denied";
    check(&audited, &[json!({})], 1, 1, [ACCEPTED, PROGRAMMED, effective]);
    // What only NetworkPolicies suffer from is no matter.
    check(&json!({}), &[json!({ "obstacles": ["ipvs", "pod-range"] })], 1, 1, [ACCEPTED, PROGRAMMED, ENFORCED]);
}

#[test]
fn a_policy_that_cannot_be_read_is_not_accepted() {
    let closed = json!({ "spec": { "ports": [{ "port": 9000 }], "form": [] } });
    let accepted = "Accepted=False Unreadable: spec: unknown field 'form'; the policy admits nobody to its ports";
    check(&closed, &[json!({})], 1, 1, [accepted, PROGRAMMED, ENFORCED]);
    let empty = json!({ "spec": { "ports": [{ "port": 0 }] } });
    let policy = Policy::read(PolicyKind::Host, &policy(&empty), &Limits::default()).unwrap();
    let said = policy.status(&nodes(&["n1"]), &[("n1".to_owned(), state(&json!({})))].into(), NOW.parse().unwrap());
    assert_eq!((&*said.conditions[2].status, &*said.conditions[2].reason), ("False", "NoPorts"));
}

#[test]
fn what_is_there_is_not_written_again() {
    let (nodes, states) = (nodes(&["n1"]), States::from([("n1".to_owned(), state(&json!({})))]));
    let first = status(&policy(&json!({})), &nodes, &states);
    let mut written = serde_json::to_value(&first).unwrap();
    // The order of conditions is the API server's, and others have theirs.
    written["conditions"].as_array_mut().unwrap().reverse();
    let foreign = json!({
        "type": "Seen", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    written["conditions"].as_array_mut().unwrap().push(foreign);
    let policy = Policy::read(PolicyKind::Host, &policy(&json!({ "status": written })), &Limits::default()).unwrap();
    let later: Timestamp = "2026-01-01T00:10:45Z".parse().unwrap();
    assert_eq!(policy.news(&nodes, &states, later), None);
    let changed = policy.news(&nodes, &States::new(), later).unwrap();
    let times = changed.conditions.iter().map(|condition| condition.last_transition_time.0.to_string());
    assert_eq!(times.collect::<Vec<_>>(), ["2026-01-01T00:10:00Z", "2026-01-01T00:10:45Z", "2026-01-01T00:10:45Z"]);
}

const EVERYWHERE: &str = "Programmed=True Programmed: in force on every node";

#[test]
fn a_list_is_for_every_node() {
    let entries = json!([{ "cidr": "203.0.113.0/24" }]);
    for target in [json!(null), json!({ "podSelector": { "matchLabels": { "app": "front" } } })] {
        let list = list(&json!({ "entries": entries, "target": target }));
        check_of(&list, &[json!({}), json!({})], 2, 2, [ACCEPTED, EVERYWHERE, ENFORCED]);
    }
    let behind = json!({ "covered": { "namespaces": "1", "nodes": "1", "pods": "1", "networkPolicies": "1", "hostPolicies": "100" } });
    let lag = "Programmed=False NodesLag: 1 of 1 nodes: n1: it covers nothing yet, and resourceVersion 100 is wanted";
    check_of(&list(&json!({ "entries": entries })), &[behind], 1, 0, [ACCEPTED, lag, ENFORCED]);
    let lines = ["Programmed", "Effective"].map(|of| format!("{of}=False NoNodeMatched: there is no node"));
    check_of(&list(&json!({ "entries": entries })), &[], 0, 0, [ACCEPTED, &lines[0], &lines[1]]);
}

#[test]
fn what_keeps_bans_from_having_an_effect_is_said() {
    let entries = json!([{ "cidr": "203.0.113.0/24" }]);
    let banning = list(&json!({ "entries": entries }));
    let past = json!({ "obstacles": ["flowtable"] });
    let effective = "Effective=False PastNetfilter: 1 of 1 nodes: n1: flowtable: packets may meet no rule";
    check_of(&banning, &[past], 1, 1, [ACCEPTED, EVERYWHERE, effective]);
    let why = "its agent does not enforce it: --enforce does not name bans";
    let lag = format!("Programmed=False NodesLag: 1 of 1 nodes: n1: {why}");
    let effective = format!("Effective=False NotEnforced: 1 of 1 nodes: n1: {why}");
    check_of(&banning, &[json!({ "enforce": ["network-policy", "host"] })], 1, 0, [ACCEPTED, &lag, &effective]);
    let audited = list(&json!({ "entries": entries, "enforcement": "Audit" }));
    let effective = "Effective=True Audited: packets are counted and logged, and none is denied";
    check_of(&audited, &[json!({})], 1, 1, [ACCEPTED, EVERYWHERE, effective]);
}

#[test]
fn a_list_without_an_entry_that_lasts_bans_nothing() {
    let empty = "Effective=False NoEntries: no entry bans anything now";
    let check = |entries: &Value, effective| {
        check_of(&list(&json!({ "entries": entries })), &[json!({})], 1, 1, [ACCEPTED, EVERYWHERE, effective]);
    };
    let until = |time: &str| json!({ "cidr": "203.0.113.0/24", "expiresAt": time });
    check(&json!([]), empty);
    check(&json!([until(NOW)]), empty);
    check(&json!([until("2026-01-01T00:10:01Z")]), ENFORCED);
    check(&json!([until(NOW), { "cidr": "203.0.113.0/25" }]), ENFORCED);
}

#[test]
fn a_list_that_cannot_be_read_says_what_becomes_of_the_rest() {
    let entry = list(&json!({ "entries": [{ "cidr": "nonsense" }, { "cidr": "203.0.113.0/24" }] }));
    let accepted = "Accepted=False Unreadable: spec.entries[0].cidr: expected a block such as 10.0.0.0/8 or fd00::/8, found 'nonsense'; the other entries are banned";
    check_of(&entry, &[json!({})], 1, 1, [accepted, EVERYWHERE, ENFORCED]);
    let whole = list(&json!({ "entries": [{ "cidr": "203.0.113.0/24" }], "exceptCIDRs": ["nonsense"] }));
    let accepted = "Accepted=False Unreadable: spec.exceptCIDRs[0]: expected a block such as 10.0.0.0/8 or fd00::/8, found 'nonsense'; the list bans nothing";
    let empty = "Effective=False NoEntries: no entry bans anything now";
    check_of(&whole, &[json!({})], 1, 1, [accepted, EVERYWHERE, empty]);
}

#[test]
fn a_list_with_a_source_says_how_that_is() {
    let list = list(&json!({ "source": { "file": { "path": "drop.txt" } } }));
    let fetched = "Fetched=True Fetched: what its source holds is in force";
    check_of(&list, &[json!({})], 1, 1, [ACCEPTED, fetched, EVERYWHERE, ENFORCED]);
    let source =
        |is_held: bool| json!({ "banSources": [{ "list": "abuse", "isHeld": is_held, "why": "it is no list" }] });
    let stale = "Fetched=False Stale: 1 of 2 nodes: n2: it is no list";
    check_of(&list, &[json!({}), source(true)], 2, 2, [ACCEPTED, stale, EVERYWHERE, ENFORCED]);
    let missing = "Fetched=False Missing: 1 of 1 nodes: n1: it is no list";
    let lag = "Programmed=False NodesLag: 1 of 1 nodes: n1: its source: it is no list";
    check_of(&list, &[source(false)], 1, 0, [ACCEPTED, missing, lag, ENFORCED]);
    let fetched = "Fetched=Unknown NodesLag: 1 of 1 nodes: n1: there is no NodeState of it";
    let lag = "Programmed=False NodesLag: 1 of 1 nodes: n1: there is no NodeState of it";
    let silent = "Effective=Unknown NodesSilent: 1 of 1 nodes: n1: nothing is heard of its agent";
    check_of(&list, &[Value::Null], 1, 0, [ACCEPTED, fetched, lag, silent]);
}
