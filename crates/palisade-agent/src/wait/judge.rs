//! What the state of a node says about an object.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::node_state::{NodeStateStatus, Phase};
use crate::policy_kind::PolicyKind;

/// An agent that has not spoken for so long is gone; it speaks once a minute at least.
const HEARTBEAT_AGE_MAX: SignedDuration = SignedDuration::from_mins(3);

/// What each agent said last, by node.
pub type States = BTreeMap<String, NodeStateStatus>;

/// What the agents have to cover.
#[derive(Clone, Debug)]
pub enum Target {
    /// A policy of this resourceVersion.
    Policy {
        /// Which policies it is one of.
        of: PolicyKind,
        /// Its namespace; empty for a kind without.
        namespace: String,
        /// Its name.
        name: String,
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
        Target::Policy { of, namespace, name, version } => {
            let (covered, _) = of.covered(status);
            if number(covered) < number(version) {
                let rolled_back = "it was rolled back: the node lost the API server";
                let is_rolled_back = of.is_rolled_back(status);
                return Some(if is_rolled_back { rolled_back.to_string() } else { covers(covered, version) });
            }
            if *of == PolicyKind::Ban
                && let Some(source) = status.ban_sources.iter().find(|source| source.list == *name && !source.is_held)
            {
                return Some(format!("its source: {}", source.why));
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
mod tests;
