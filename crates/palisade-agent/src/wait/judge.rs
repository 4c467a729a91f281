//! What the state of a node says about an object.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::node_state::{NodeStateStatus, Phase};
use crate::settings::Enforce;

/// An agent that has not spoken for so long is gone; it speaks once a minute at least.
const HEARTBEAT_AGE_MAX: SignedDuration = SignedDuration::from_mins(3);

/// What each agent said last, by node.
pub type States = BTreeMap<String, NodeStateStatus>;

/// The policies of pods, those of hosts, or bans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// `NetworkPolicy`.
    Network,
    /// `HostPolicy`.
    Host,
    /// `BanList`.
    Ban,
}

impl PolicyKind {
    /// What an agent is told to enforce these.
    pub fn flag(self) -> &'static str {
        match self {
            PolicyKind::Network => Enforce::NETWORK_POLICY,
            PolicyKind::Host => Enforce::HOST,
            PolicyKind::Ban => Enforce::BANS,
        }
    }

    /// Whether an agent enforces these. One of before the field says nothing of it.
    fn is_enforced(self, status: &NodeStateStatus) -> bool {
        status.enforce.is_empty() || status.enforce.iter().any(|name| name == self.flag())
    }

    /// Up to which version the rules on a node cover them, and how many it knows.
    fn covered(self, status: &NodeStateStatus) -> (&str, usize) {
        match self {
            PolicyKind::Network => (&status.covered.network_policies, status.cluster.network_policies),
            PolicyKind::Host => (&status.covered.host_policies, status.cluster.host_policies),
            PolicyKind::Ban => (&status.covered.ban_lists, status.cluster.ban_lists),
        }
    }
}

/// What the agents have to cover.
#[derive(Clone, Debug)]
pub enum Target {
    /// A policy of this resourceVersion.
    Policy {
        /// Which policies it is one of.
        of: PolicyKind,
        /// Its namespace; empty for a host policy.
        namespace: String,
        /// Its resourceVersion.
        version: String,
    },
    /// Just these policies and no other.
    Policies {
        /// Which.
        of: PolicyKind,
        /// The resourceVersion of their list.
        listed: String,
        /// The latest resourceVersion of one of them.
        newest: String,
        /// How many they are.
        count: usize,
    },
    /// A pod of this resourceVersion.
    Pod {
        /// `namespace/name`.
        name: String,
        /// Its resourceVersion.
        version: String,
    },
}

/// Why an agent enforces nothing, whatever it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// By `palisade agent --cleanup` or `--emergency-stop`.
    Paused,
    /// It is not told to enforce these policies.
    NotEnforced(PolicyKind),
}

impl Idle {
    /// Why an agent enforces none of these policies, if so.
    pub fn of(kind: PolicyKind, status: &NodeStateStatus) -> Option<Idle> {
        if status.phase == Phase::Paused {
            return Some(Idle::Paused);
        }
        (!kind.is_enforced(status)).then_some(Idle::NotEnforced(kind))
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Idle::Paused => f.write_str("it is paused: nothing is enforced there"),
            Idle::NotEnforced(kind) => {
                write!(f, "its agent does not enforce it: --enforce does not name {}", kind.flag())
            }
        }
    }
}

/// What a node says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeVerdict {
    /// The node.
    pub node: String,
    /// How it stands.
    pub standing: Standing,
    /// What is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How a node stands to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is in force there.
    InForce,
    /// It is not, or not as far as is known.
    Lags,
    /// The node has no agent, or one that does not speak any more.
    NoAgent,
}

/// What each node says.
pub(super) fn judge(target: &Target, nodes: &[String], states: &States, now: Timestamp) -> Vec<NodeVerdict> {
    let verdict = |node: &String| {
        let (standing, why) = standing(target, states.get(node), now);
        NodeVerdict { node: node.clone(), standing, why }
    };
    nodes.iter().map(verdict).collect()
}

/// Whether the object is in force wherever it can be. A pod needs the agent of its node; a policy needs those nodes
/// that have one, which must be one at least.
pub(super) fn all_in_force(target: &Target, verdicts: &[NodeVerdict]) -> bool {
    let count = |standing| verdicts.iter().filter(|verdict| verdict.standing == standing).count();
    let in_force = count(Standing::InForce);
    in_force > 0 && count(Standing::Lags) == 0 && (in_force == verdicts.len() || !matches!(target, Target::Pod { .. }))
}

/// How a node stands to an object, by what its agent said last, and what is missing. The words are the same as long as nothing
/// happens, so that a status with them in it is not written again and again.
pub fn standing(target: &Target, status: Option<&NodeStateStatus>, now: Timestamp) -> (Standing, Option<String>) {
    let Some(status) = status else {
        return (Standing::NoAgent, Some("there is no NodeState of it".to_string()));
    };
    let spoke = status.last_heartbeat.0;
    if now.duration_since(spoke) > HEARTBEAT_AGE_MAX {
        let why = format!("its agent last spoke at {}", spoke.strftime("%Y-%m-%dT%H:%M:%SZ"));
        return (Standing::NoAgent, Some(why));
    }
    let why = match status.phase {
        Phase::Paused => Some(Idle::Paused.to_string()),
        Phase::Listing => Some("its agent has not read the whole cluster yet".to_string()),
        Phase::InForce | Phase::Failing => missing(target, status),
    };
    match (why, &status.error) {
        (None, _) => (Standing::InForce, None),
        (Some(why), None) => (Standing::Lags, Some(why)),
        (Some(why), Some(error)) => (Standing::Lags, Some(format!("{why}: {error}"))),
    }
}

/// What the rules in force on a node do not cover.
fn missing(target: &Target, status: &NodeStateStatus) -> Option<String> {
    match target {
        Target::Policy { of, .. } if !of.is_enforced(status) => Some(Idle::NotEnforced(*of).to_string()),
        Target::Policy { of, namespace, version } => {
            let (covered, _) = of.covered(status);
            if number(covered) < number(version) {
                return Some(covers(covered, version));
            }
            status.closed_namespaces.contains(namespace).then(|| {
                format!("the policies of namespace {namespace} find no room on the node: its isolated pods are closed")
            })
        }
        // Policies that are there now were there before the list was read. So an agent that knows the newest of them
        // knows all of them, and if it knows as many it knows no other.
        Target::Policies { of, listed, newest, count } => {
            let (covered, known) = of.covered(status);
            let policies = number(covered);
            let same = policies >= number(newest) && known == *count;
            (policies < number(listed) && !same).then(|| format!("it knows {known} policies, and there are {count}"))
        }
        Target::Pod { version, .. } if number(&status.covered.pods) < number(version) => {
            Some(covers(&status.covered.pods, version))
        }
        Target::Pod { name, .. } => {
            let pods = &status.pods;
            let unnamed = pods.local - pods.in_force.min(pods.local) > pods.not_in_force.len();
            (unnamed || pods.not_in_force.contains(name)).then(|| "its rules are not in force".to_string())
        }
    }
}

fn covers(covered: &str, version: &str) -> String {
    match covered {
        "" => format!("it covers nothing yet, and resourceVersion {version} is wanted"),
        _ => format!("it covers resourceVersion {covered}, and {version} is wanted"),
    }
}

/// A resourceVersion as the number that it is since Kubernetes 1.35 says so.
pub fn number(version: &str) -> u128 {
    version.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
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
        let policy =
            Target::Policy { of: PolicyKind::Network, namespace: "shop".to_string(), version: "100".to_string() };
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
    fn a_policy_is_gone_where_just_the_others_are_known() {
        let policies = Target::Policies {
            of: PolicyKind::Network,
            listed: "200".to_string(),
            newest: "150".to_string(),
            count: 3,
        };
        check(&policies, &status("InForce", "150", 4, &json!({})), "Lags it knows 4 policies, and there are 3");
        check(&policies, &status("InForce", "149", 3, &json!({})), "Lags it knows 3 policies, and there are 3");
        check(&policies, &status("InForce", "150", 3, &json!({})), "InForce");
        check(&policies, &status("InForce", "180", 3, &json!({})), "InForce");
        // What the agent covers is later than the list: others may have come since.
        check(&policies, &status("InForce", "200", 9, &json!({})), "InForce");
        let none =
            Target::Policies { of: PolicyKind::Network, listed: "200".to_string(), newest: String::new(), count: 0 };
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
            Target::Policy { of: PolicyKind::Network, namespace: "a".to_string(), version: "1".to_string() },
            Target::Pod { name: "a/b".to_string(), version: "1".to_string() },
        );
        let (yes, lags, none) = (verdict(Standing::InForce), verdict(Standing::Lags), verdict(Standing::NoAgent));
        assert!(all_in_force(&policy, &[yes.clone(), none.clone()]));
        assert!(!all_in_force(&policy, &[yes.clone(), none.clone(), lags]));
        assert!(!all_in_force(&policy, std::slice::from_ref(&none)));
        assert!(!all_in_force(&pod, &[none]));
        assert!(all_in_force(&pod, &[yes]));
    }
}
