//! What a `HostPolicy` is, and what the nodes that it selects say of it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use palisade_core::{Diagnostic, HostPolicy, Labels, Level};
use palisade_sources::Limits;
use palisade_sources::live::{Kind, Live, Object};
use serde::Deserialize as _;

use super::conditions::{Holds, Said, conditions, own};
use crate::host_policy::{self, HostPolicyStatus, Nodes};
use crate::node_state::NodeStateStatus;
use crate::preflight::PAST_HOST_POLICIES;
use crate::wait::judge::{Idle, PolicyKind, Standing, States, Target, standing};

/// Its conditions, in the order in which they are written.
const CONDITIONS: [&str; 3] = ["Accepted", "Programmed", "Effective"];
/// So many nodes are named in a message.
const NODES_NAMED: usize = 3;

/// What is kept of a policy.
#[derive(Clone)]
pub struct Policy {
    resource_version: String,
    generation: i64,
    /// The resourceVersion that agents have to cover.
    to_cover: String,
    content: Arc<HostPolicy>,
    diagnostics: Vec<Diagnostic>,
    /// Its status as the API server has it.
    written: Option<HostPolicyStatus>,
}

impl Policy {
    /// Reads a policy as agents do. `None` if it is not one at all, which no API server serves.
    pub fn read(policy: &DynamicObject, limits: &Limits) -> Option<Policy> {
        let object = Object::deserialize(serde_json::to_value(policy).ok()?).ok()?;
        let mut live = Live::new(limits.clone());
        let update = live.put(Kind::HostPolicy, &object);
        let content = live.snapshot().host_policies.get(&policy.name_any().as_str().into()).cloned()?;
        let written = host_policy::status(policy);
        let own =
            |status: HostPolicyStatus| HostPolicyStatus { conditions: own(&status.conditions, &CONDITIONS), ..status };
        Some(Policy {
            resource_version: policy.resource_version().unwrap_or_default(),
            generation: policy.metadata.generation.unwrap_or_default(),
            to_cover: host_policy::version_to_cover(policy),
            content,
            diagnostics: update.findings.into_iter().flat_map(|finding| finding.diagnostics).collect(),
            written: written.map(own),
        })
    }

    /// The version of the object that this was read from.
    pub fn resource_version(&self) -> &str {
        &self.resource_version
    }

    /// What is to be written, if it is not there already.
    pub fn news(&self, nodes: &BTreeMap<String, Labels>, states: &States, now: Timestamp) -> Option<HostPolicyStatus> {
        let status = self.status(nodes, states, now);
        (self.written.as_ref() != Some(&status)).then_some(status)
    }

    fn status(&self, nodes: &BTreeMap<String, Labels>, states: &States, now: Timestamp) -> HostPolicyStatus {
        let of = PolicyKind::Host;
        let target = Target::Policy { of, namespace: String::new(), version: self.to_cover.clone() };
        let matched = nodes.iter().filter(|(_, labels)| palisade_compile::guards(&self.content, labels));
        let mut found = Found::default();
        for (node, _) in matched {
            let state = states.get(node);
            let (standing, why) = standing(&target, state, now);
            found.matched += 1;
            match why {
                None => {}
                Some(why) => found.lagging.add(node, why),
            }
            match state.filter(|_| standing != Standing::NoAgent) {
                Some(state) => found.look_for_obstacles(node, state),
                None => found.silent.add(node, "nothing is heard of its agent"),
            }
        }
        let said = [self.accepted(), found.programmed(), found.effective(&self.content)];
        let before = self.written.as_ref().map(|status| &*status.conditions).unwrap_or_default();
        HostPolicyStatus {
            observed_generation: self.generation,
            observed_resource_version: self.to_cover.clone(),
            nodes: Nodes { matched: found.matched, programmed: found.matched - found.lagging.count },
            conditions: conditions(said, self.generation, before, now),
        }
    }

    fn accepted(&self) -> Said {
        let (holds, reason, level) = match self.content.unreadable {
            Some(_) => (Holds::False, "Unreadable", Level::Error),
            None => (Holds::True, "Accepted", Level::Warning),
        };
        let told = self.diagnostics.iter().filter(|diagnostic| diagnostic.level == level);
        let mut parts: Vec<&str> = told.clone().map(|diagnostic| &*diagnostic.message).collect();
        parts.extend(told.take(1).filter_map(|diagnostic| diagnostic.effect.as_deref()));
        Said { of: "Accepted", holds, reason, message: parts.join("; ") }
    }
}

/// What the nodes that a policy selects say.
#[derive(Default)]
struct Found {
    matched: usize,
    /// Those on which it is not in force, as far as is known.
    lagging: Few,
    /// Those of which nothing is heard.
    silent: Few,
    /// Those on which it has no effect, and the reason of the first.
    without_effect: Few,
    reason: &'static str,
}

impl Found {
    fn look_for_obstacles(&mut self, node: &str, state: &NodeStateStatus) {
        let idle = Idle::of(PolicyKind::Host, state);
        let obstacle = state.obstacles.iter().find(|name| PAST_HOST_POLICIES.contains(&&***name));
        let (reason, why) = match (idle, obstacle) {
            (Some(idle @ Idle::Paused), _) => ("Paused", idle.to_string()),
            (Some(idle @ Idle::NotEnforced(_)), _) => ("NotEnforced", idle.to_string()),
            (None, Some(obstacle)) => ("PastNetfilter", format!("{obstacle}: packets may meet no rule")),
            (None, None) => return,
        };
        if self.without_effect.count == 0 {
            self.reason = reason;
        }
        self.without_effect.add(node, why);
    }

    fn programmed(&self) -> Said {
        let (holds, reason, message) = if self.matched == 0 {
            (Holds::False, "NoNodeMatched", "spec.nodeSelector selects no node".to_owned())
        } else if self.lagging.count > 0 {
            (Holds::False, "NodesLag", self.lagging.in_words(self.matched))
        } else {
            (Holds::True, "Programmed", "in force on every node that it selects".to_owned())
        };
        Said { of: "Programmed", holds, reason, message }
    }

    fn effective(&self, policy: &HostPolicy) -> Said {
        let (holds, reason, message) = if self.matched == 0 {
            (Holds::False, "NoNodeMatched", "spec.nodeSelector selects no node".to_owned())
        } else if policy.ports.is_empty() {
            (Holds::False, "NoPorts", "no port is guarded".to_owned())
        } else if self.without_effect.count > 0 {
            (Holds::False, self.reason, self.without_effect.in_words(self.matched))
        } else if self.silent.count > 0 {
            (Holds::Unknown, "NodesSilent", self.silent.in_words(self.matched))
        } else if policy.audit {
            (Holds::True, "Audited", "packets are counted and logged, and none is denied".to_owned())
        } else {
            (Holds::True, "Enforced", "nothing is known that keeps packets from it".to_owned())
        };
        Said { of: "Effective", holds, reason, message }
    }
}

/// Some nodes: how many, and the first of them with why.
#[derive(Default)]
struct Few {
    count: usize,
    named: Vec<String>,
}

impl Few {
    fn add(&mut self, node: &str, why: impl Display) {
        self.count += 1;
        if self.named.len() < NODES_NAMED {
            self.named.push(format!("{node}: {why}"));
        }
    }

    /// `2 of 3 nodes: n1: …; n2: …`.
    fn in_words(&self, of: usize) -> String {
        let more = self.count - self.named.len();
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{} of {of} nodes: {}{more}", self.count, self.named.join("; "))
    }
}

#[cfg(test)]
mod tests;
