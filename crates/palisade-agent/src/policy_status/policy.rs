//! What a policy is, and its status by what the nodes that it is for say of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DynamicObject;
use palisade_core::{BanList, BanListName, Diagnostic, HostPolicy, Labels, Level};
use palisade_sources::Limits;
use palisade_sources::live::{Kind, Live, Object};

use super::conditions::{Holds, Said, conditions, own};
use super::nodes::Found;
use super::status::{Nodes, PolicyStatus, status_of, version_to_cover};
use crate::policy_kind::PolicyKind;
use crate::wait::judge::{States, Target};

/// Its conditions, in the order in which they are written.
const CONDITIONS: [&str; 4] = ["Accepted", "Fetched", "Programmed", "Effective"];

/// What is kept of a policy.
#[derive(Clone)]
pub struct Policy {
    resource_version: String,
    bytes: usize,
    generation: i64,
    /// The resourceVersion that agents have to cover.
    to_cover: String,
    content: Content,
    is_unreadable: bool,
    diagnostics: Vec<Diagnostic>,
    /// Its status as the API server has it.
    written: Option<PolicyStatus>,
}

/// What it says, as far as its status is about that.
#[derive(Clone)]
enum Content {
    /// The policy.
    Host(Arc<HostPolicy>),
    /// Of a list, which may be long, only so much.
    Ban {
        name: BanListName,
        /// Whether it has a source.
        has_source: bool,
        audit: bool,
        /// In seconds since 1970: from then on it bans nothing. `None` if it never does.
        until: Option<i64>,
    },
}

impl Policy {
    /// Reads a policy as agents do. `None` if it is not one of this kind at all, which no API server serves.
    pub fn read(of: PolicyKind, policy: &DynamicObject, limits: &Limits) -> Option<Policy> {
        let text = serde_json::to_string(policy).ok()?;
        let object: Object = serde_json::from_str(&text).ok()?;
        let mut live = Live::new(limits.clone());
        let name = policy.name_any();
        let (update, content, is_unreadable) = match of {
            PolicyKind::Network => return None,
            PolicyKind::Host => {
                let update = live.put(Kind::HostPolicy, &object);
                let policy = live.snapshot().host_policies.get(&(&*name).into())?;
                (update, Content::Host(Arc::clone(policy)), policy.unreadable.is_some())
            }
            PolicyKind::Ban => {
                let update = live.put(Kind::BanList, &object);
                let list = live.snapshot().ban_lists.get(&*name)?;
                (update, Content::of_list(list), list.unreadable.is_some())
            }
        };
        let own = |status: PolicyStatus| PolicyStatus { conditions: own(&status.conditions, &CONDITIONS), ..status };
        Some(Policy {
            resource_version: policy.resource_version().unwrap_or_default(),
            bytes: text.len(),
            generation: policy.metadata.generation.unwrap_or_default(),
            to_cover: version_to_cover(policy),
            content,
            is_unreadable,
            diagnostics: update.findings.into_iter().flat_map(|finding| finding.diagnostics).collect(),
            written: status_of(policy).map(own),
        })
    }

    /// The version of the object that this was read from.
    pub fn resource_version(&self) -> &str {
        &self.resource_version
    }

    /// How long it is, as JSON.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is to be written, if it is not there already.
    pub fn news(&self, nodes: &BTreeMap<String, Labels>, states: &States, now: Timestamp) -> Option<PolicyStatus> {
        let status = self.status(nodes, states, now);
        (self.written.as_ref() != Some(&status)).then_some(status)
    }

    fn status(&self, nodes: &BTreeMap<String, Labels>, states: &States, now: Timestamp) -> PolicyStatus {
        let of = self.content.kind();
        let target = self.content.target(self.to_cover.clone());
        let matched = nodes.iter().filter(|(_, labels)| self.content.is_for(labels));
        let mut found = Found::of(of);
        for (node, _) in matched {
            found.look_at(node, &target, states.get(node), now);
        }
        let fetched = self.content.has_source().then(|| found.is_fetched());
        let said = [Some(self.accepted()), fetched, Some(found.is_programmed()), Some(self.effective(&found, now))];
        let said = said.into_iter().flatten();
        let before = self.written.as_ref().map(|status| &*status.conditions).unwrap_or_default();
        PolicyStatus {
            observed_generation: self.generation,
            observed_resource_version: self.to_cover.clone(),
            nodes: Nodes { matched: found.matched(), programmed: found.programmed() },
            conditions: conditions(said, self.generation, before, now),
        }
    }

    fn accepted(&self) -> Said {
        let (holds, reason, level) = if self.is_unreadable {
            (Holds::False, "Unreadable", Level::Error)
        } else {
            (Holds::True, "Accepted", Level::Warning)
        };
        let told = self.diagnostics.iter().filter(|diagnostic| diagnostic.level == level);
        let mut parts: Vec<&str> = told.clone().map(|diagnostic| &*diagnostic.message).collect();
        parts.extend(told.take(1).filter_map(|diagnostic| diagnostic.effect.as_deref()));
        Said { of: "Accepted", holds, reason, message: parts.join("; ") }
    }

    fn effective(&self, found: &Found, now: Timestamp) -> Said {
        let (holds, reason, message) = if let Some(nowhere) = found.nowhere() {
            nowhere
        } else if let Some((reason, message)) = self.content.emptiness(now) {
            (Holds::False, reason, message.to_owned())
        } else if let Some(hindrance) = found.hindrance() {
            hindrance
        } else if self.content.is_audit() {
            (Holds::True, "Audited", "packets are counted and logged, and none is denied".to_owned())
        } else {
            (Holds::True, "Enforced", "nothing is known that keeps packets from it".to_owned())
        };
        Said { of: "Effective", holds, reason, message }
    }
}

impl Content {
    fn of_list(list: &BanList) -> Content {
        let ends = list.entries.iter().map(|entry| entry.expires.unwrap_or(i64::MAX));
        // What a source holds nobody knows here.
        let until = if list.source.is_some() { Some(i64::MAX) } else { ends.max() };
        Content::Ban { name: list.name.clone(), has_source: list.source.is_some(), audit: list.audit, until }
    }

    fn kind(&self) -> PolicyKind {
        match self {
            Content::Host(_) => PolicyKind::Host,
            Content::Ban { .. } => PolicyKind::Ban,
        }
    }

    /// What agents have to cover for this version of it.
    fn target(&self, version: String) -> Target {
        let name = match self {
            Content::Host(policy) => policy.name.to_string(),
            Content::Ban { name, .. } => name.to_string(),
        };
        Target::Policy { of: self.kind(), namespace: String::new(), name, version }
    }

    fn has_source(&self) -> bool {
        matches!(self, Content::Ban { has_source: true, .. })
    }

    /// Whether it is for a node with these labels. Bans are for every node, also those for some pods: packets are asked on whichever node
    /// they enter.
    fn is_for(&self, labels: &Labels) -> bool {
        match self {
            Content::Host(policy) => palisade_compile::guards(policy, labels),
            Content::Ban { .. } => true,
        }
    }

    /// Why it denies nothing wherever it is in force, if so: reason and message.
    fn emptiness(&self, now: Timestamp) -> Option<(&'static str, &'static str)> {
        match self {
            Content::Host(policy) => policy.ports.is_empty().then_some(("NoPorts", "no port is guarded")),
            Content::Ban { until, .. } => until
                .is_none_or(|until| until <= now.as_second())
                .then_some(("NoEntries", "no entry bans anything now")),
        }
    }

    fn is_audit(&self) -> bool {
        match self {
            Content::Host(policy) => policy.audit,
            Content::Ban { audit, .. } => *audit,
        }
    }
}

#[cfg(test)]
mod tests;
