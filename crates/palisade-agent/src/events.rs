//! Kubernetes Events on policies that cannot be read, so that whoever wrote one sees it beside the policy.
//!
//! Every agent finds the same, and one event is enough. The name of an event is a digest of what it says, so that a second one
//! is refused by the API server; and only [`SPEAKERS`] agents speak of a policy, others for another policy: those of the
//! nodes that come first in an order that differs from policy to policy. If none of them runs, there is no event; status, metrics
//! and `NodeState` tell all the same.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::core::Status;
use kube::{Api, Client};
use palisade_core::{NodeName, ObjectName};
use palisade_sources::live::Kind;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::backoff::Patience;
use crate::definition::{GROUP, VERSION};
use crate::watch::chain;

/// How many agents speak of one policy.
const SPEAKERS: usize = 3;
/// How many findings wait to be told; more are not told.
pub const WAITING_MAX: usize = 256;
/// Two events are so far apart.
const PACE: Duration = Duration::from_millis(200);
/// An event that cannot be written is tried again after pauses that grow from this one.
const RETRY: Duration = Duration::from_secs(1);
/// To this one.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// So often, which takes about a minute; the next one may be luckier.
const TRIES: u32 = 8;
/// What was refused so often in a row is told: an API server that has just started knows no roles for a moment.
const TRIES_TOLD: u32 = 4;
/// The API server answers within this, or the connection is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a note may be, in bytes (events.k8s.io/v1 `note`).
const NOTE_BYTES: usize = 1024;
/// The namespace of events on objects that are of none.
const UNSCOPED: &str = "default";
const CONTROLLER: &str = "palisade.dev/agent";

/// A policy that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// `NetworkPolicy` or `HostPolicy`.
    pub kind: Kind,
    /// Which; the namespace of a host policy is empty.
    pub policy: ObjectName,
    /// What is wrong with it, one line each.
    pub findings: Vec<String>,
}

/// Whether the agent of a node is one of those that speak of a policy.
pub fn speaks<'a>(policy: &ObjectName, own: &NodeName, nodes: impl Iterator<Item = &'a NodeName>) -> bool {
    let rank = |node: &NodeName| {
        let mut hasher = DefaultHasher::new();
        (policy, node).hash(&mut hasher);
        (hasher.finish(), node.clone())
    };
    let ours = rank(own);
    nodes.filter(|node| rank(node) < ours).take(SPEAKERS).count() < SPEAKERS
}

/// Writes events for as long as there may be some.
pub async fn publish(client: Client, node: String, mut findings: mpsc::Receiver<Unreadable>) {
    let mut told = false;
    while let Some(finding) = findings.recv().await {
        let event = event(&finding, &node, Timestamp::now());
        let api = Api::<Event>::namespaced(client.clone(), event.metadata.namespace.as_deref().unwrap_or(UNSCOPED));
        write(&api, &event, &mut told).await;
        sleep(PACE).await;
    }
}

/// Writes an event, again and again where the API server is away or has just started. Says why it cannot be, unless that was `told`.
async fn write(api: &Api<Event>, event: &Event, told: &mut bool) {
    let mut patience = Patience::between(RETRY, RETRY_MAX);
    for tries in 1..=TRIES {
        let error = match timeout(PATIENCE, api.create(&PostParams::default(), event)).await {
            Ok(Ok(_)) => return *told = false,
            Ok(Err(kube::Error::Api(status))) if needs_no_event(&status) => return *told = false,
            Ok(Err(error)) => chain(&error),
            Err(_) => "the API server does not answer".to_string(),
        };
        if tries >= TRIES_TOLD && !std::mem::replace(told, true) {
            tracing::warn!("cannot write events on policies: {error}");
        }
        if tries < TRIES {
            sleep(patience.pause()).await;
        }
    }
}

/// Whether another agent said it, or this one before it was started anew, or the namespace is gone or on its way out.
fn needs_no_event(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    matches!(status.code, 409 | 404) || causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

fn event(finding: &Unreadable, node: &str, now: Timestamp) -> Event {
    let policy = &finding.policy;
    let (effect, version, namespace) = match finding.kind {
        Kind::HostPolicy => ("admits nobody to the ports that can be read", format!("{GROUP}/{VERSION}"), None),
        Kind::BanList => ("bans nothing of what cannot be read", format!("{GROUP}/{VERSION}"), None),
        _ => (
            "isolates what it selects and allows nothing",
            "networking.k8s.io/v1".to_string(),
            Some(policy.namespace.to_string()),
        ),
    };
    let mut note = format!("{effect}: {}", finding.findings.join("; "));
    if note.len() > NOTE_BYTES {
        let ellipsis = '…';
        note.truncate(note.floor_char_boundary(NOTE_BYTES - ellipsis.len_utf8()));
        note.push(ellipsis);
    }
    let digest: [u8; 32] = Sha256::digest(format!("{policy}\0{note}")).into();
    let digest = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    // A name has at most 253 characters, and so may have the policy.
    let prefix: String = policy.name.chars().take(200).collect();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{digest:016x}", prefix.trim_end_matches(['.', '-']))),
            namespace: Some(namespace.clone().unwrap_or_else(|| UNSCOPED.to_string())),
            ..ObjectMeta::default()
        },
        action: Some("Enforce".to_string()),
        event_time: Some(MicroTime(now)),
        note: Some(note),
        reason: Some("Unreadable".to_string()),
        regarding: Some(ObjectReference {
            api_version: Some(version),
            kind: Some(finding.kind.name().to_string()),
            name: Some(policy.name.to_string()),
            namespace,
            ..ObjectReference::default()
        }),
        reporting_controller: Some(CONTROLLER.to_string()),
        reporting_instance: Some(node.to_string()),
        type_: Some("Warning".to_string()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_agents_speak_and_not_the_same_for_every_policy() {
        let nodes: Vec<NodeName> = (0..50).map(|number| NodeName::from(format!("n{number}").as_str())).collect();
        let mut heard = std::collections::BTreeSet::new();
        for number in 0..20 {
            let policy = ObjectName::new("shop", format!("policy-{number}").as_str());
            let speakers: Vec<_> = nodes.iter().filter(|own| speaks(&policy, own, nodes.iter())).collect();
            assert_eq!(speakers.len(), SPEAKERS);
            heard.extend(speakers);
        }
        assert!(heard.len() > 2 * SPEAKERS);
        let policy = ObjectName::new("shop", "policy");
        assert!(nodes[..3].iter().all(|own| speaks(&policy, own, nodes[..3].iter())), "in a small cluster everybody");
    }

    #[test]
    fn an_event_is_named_by_what_it_says_and_bounded() {
        let finding = |name: &str, text: &str| Unreadable {
            kind: Kind::NetworkPolicy,
            policy: ObjectName::new("shop", name),
            findings: vec![text.to_owned()],
        };
        let name = |finding: &Unreadable, node| event(finding, node, Timestamp::UNIX_EPOCH).metadata.name.unwrap();
        let bad = finding("web", "spec.podSelector: no");
        assert_eq!(name(&bad, "n1"), name(&bad, "n2"));
        assert_ne!(name(&bad, "n1"), name(&finding("web", "spec.ingress: no"), "n1"));
        let long = event(&finding(&"x".repeat(253), &"ä".repeat(2000)), "n1", Timestamp::UNIX_EPOCH);
        assert!(long.metadata.name.unwrap().len() <= 253);
        let note = long.note.unwrap();
        assert!(note.len() <= NOTE_BYTES && note.ends_with('…'), "{}", note.len());
    }
}
