use serde_json::json;

use super::*;

const NOW: &str = "2026-01-01T00:03:00Z";

fn status(phase: &str, policies: &str, known: usize, change: &serde_json::Value) -> NodeStateStatus {
    let mut status = json!({
        "version": "0", "phase": phase, "generation": 1, "bootGap": "open",
        "covered": { "namespaces": "1", "nodes": "1", "pods": "70", "networkPolicies": policies },
        "pods": { "local": 2, "inForce": 1, "notInForce": ["shop/late"] },
        "cluster": { "nodes": 1, "pods": 2, "networkPolicies": known, "networkPoliciesWithFindings": 0 },
        "started": "2026-01-01T00:00:00Z", "lastHeartbeat": "2026-01-01T00:01:00Z",
    });
    for (field, value) in change.as_object().unwrap() {
        status[field] = value.clone();
    }
    serde_json::from_value(status).unwrap()
}

fn check(target: &Target, status: &NodeStateStatus, expected: &str) {
    let (standing, why) = standing(target, Some(status), NOW.parse().unwrap());
    let found = format!("{standing:?} {}", why.unwrap_or_default());
    assert_eq!(found.trim_end(), expected, "{target:?}");
}

#[test]
fn a_policy_is_in_force_where_its_version_is_covered() {
    let policy = Target::Policy {
        of: PolicyKind::Network,
        namespace: "shop".to_string(),
        name: "a".to_string(),
        version: "100".to_string(),
    };
    check(&policy, &status("InForce", "100", 1, &json!({})), "InForce");
    check(&policy, &status("Failing", "100", 1, &json!({})), "InForce");
    check(&policy, &status("InForce", "99", 1, &json!({})), "Lags it covers resourceVersion 99, and 100 is wanted");
    let error = json!({ "error": "no" });
    check(&policy, &status("Failing", "99", 1, &error), "Lags it covers resourceVersion 99, and 100 is wanted: no");
    check(
        &policy,
        &status("InForce", "", 1, &json!({})),
        "Lags it covers nothing yet, and resourceVersion 100 is wanted",
    );
    check(&policy, &status("Paused", "100", 1, &json!({})), "Lags it is paused: nothing is enforced there");
    check(&policy, &status("Listing", "100", 1, &json!({})), "Lags its agent has not read the whole cluster yet");
    let pods_alone = json!({ "enforce": ["network-policy"] });
    check(&policy, &status("InForce", "100", 1, &pods_alone), "InForce");
    let host_alone = json!({ "enforce": ["host"] });
    let why = "Lags its agent does not enforce it: --enforce does not name network-policy";
    check(&policy, &status("InForce", "100", 1, &host_alone), why);
    let silent = json!({ "lastHeartbeat": "2025-12-31T23:59:59Z" });
    check(&policy, &status("InForce", "100", 1, &silent), "NoAgent its agent last spoke at 2025-12-31T23:59:59Z");
    check(&policy, &status("InForce", "100", 1, &json!({ "closedNamespaces": ["db"] })), "InForce");
    check(
        &policy,
        &status("InForce", "100", 1, &json!({ "closedNamespaces": ["db", "shop"] })),
        "Lags the policies of namespace shop find no room on the node: its isolated pods are closed",
    );
}

#[test]
fn a_list_is_in_force_where_something_of_its_source_is() {
    let list = Target::Policy {
        of: PolicyKind::Ban,
        namespace: String::new(),
        name: "drop".to_string(),
        version: "100".to_string(),
    };
    let covered = |sources: serde_json::Value| {
        status(
            "InForce",
            "1",
            1,
            &json!({
                "covered": {
                    "namespaces": "1", "nodes": "1", "pods": "1", "networkPolicies": "1", "hostPolicies": "1", "banLists": "100",
                },
                "banSources": sources,
            }),
        )
    };
    let source = |list: &str, is_held: bool| json!([{ "list": list, "isHeld": is_held, "why": "no such file" }]);
    check(&list, &covered(json!([])), "InForce");
    check(&list, &covered(source("drop", true)), "InForce");
    check(&list, &covered(source("other", false)), "InForce");
    check(&list, &covered(source("drop", false)), "Lags its source: no such file");
}

#[test]
fn what_was_rolled_back_is_not_in_force() {
    let list = Target::Policy {
        of: PolicyKind::Ban,
        namespace: String::new(),
        name: "a".to_string(),
        version: "100".to_string(),
    };
    let says = |covered: &str, obstacle: &str| {
        let covered =
            json!({ "namespaces": "1", "nodes": "1", "pods": "70", "networkPolicies": "1", "banLists": covered });
        status("InForce", "1", 1, &json!({ "covered": covered, "obstacles": [obstacle] }))
    };
    check(&list, &says("99", "rolled-back-ban-lists"), "Lags it was rolled back: the node lost the API server");
    let behind = "Lags it covers resourceVersion 99, and 100 is wanted";
    check(&list, &says("99", "rolled-back-host-policies"), behind);
    check(&list, &says("100", "unconfirmed"), "InForce");
}

#[test]
fn a_policy_is_gone_where_just_the_others_are_known() {
    let policies =
        Target::Policies { of: PolicyKind::Network, listed: "200".to_string(), newest: "150".to_string(), count: 3 };
    check(&policies, &status("InForce", "150", 4, &json!({})), "Lags it knows 4 policies, and there are 3");
    check(&policies, &status("InForce", "149", 3, &json!({})), "Lags it knows 3 policies, and there are 3");
    check(&policies, &status("InForce", "150", 3, &json!({})), "InForce");
    check(&policies, &status("InForce", "180", 3, &json!({})), "InForce");
    // What the agent covers is later than the list: others may have come since.
    check(&policies, &status("InForce", "200", 9, &json!({})), "InForce");
    let none = Target::Policies { of: PolicyKind::Network, listed: "200".to_string(), newest: String::new(), count: 0 };
    check(&none, &status("InForce", "", 0, &json!({})), "InForce");
}

#[test]
fn a_pod_is_in_force_where_it_is_covered_and_not_named() {
    let pod = |name: &str, version: &str| Target::Pod { name: name.to_string(), version: version.to_string() };
    check(&pod("shop/early", "70"), &status("InForce", "1", 1, &json!({})), "InForce");
    check(&pod("shop/late", "70"), &status("InForce", "1", 1, &json!({})), "Lags its rules are not in force");
    check(
        &pod("shop/early", "71"),
        &status("InForce", "1", 1, &json!({})),
        "Lags it covers resourceVersion 70, and 71 is wanted",
    );
    let many = json!({ "pods": { "local": 99, "inForce": 1, "notInForce": ["shop/late"] } });
    check(&pod("shop/early", "70"), &status("InForce", "1", 1, &many), "Lags its rules are not in force");
}

#[test]
fn nodes_without_an_agent_hold_up_no_policy() {
    let verdict = |standing| NodeVerdict { node: "n1".to_string(), standing, why: None };
    let (policy, pod) = (
        Target::Policy {
            of: PolicyKind::Network,
            namespace: "a".to_string(),
            name: "a".to_string(),
            version: "1".to_string(),
        },
        Target::Pod { name: "a/b".to_string(), version: "1".to_string() },
    );
    let (yes, lags, none) = (verdict(Standing::InForce), verdict(Standing::Lags), verdict(Standing::NoAgent));
    assert!(all_in_force(&policy, &[yes.clone(), none.clone()]));
    assert!(!all_in_force(&policy, &[yes.clone(), none.clone(), lags]));
    assert!(!all_in_force(&policy, std::slice::from_ref(&none)));
    assert!(!all_in_force(&pod, &[none]));
    assert!(all_in_force(&pod, &[yes]));
}
