//! What the engine says for the `NodeState`: how far the rules in force cover the cluster.
//!
//! Nothing is built until it is asked for, at most once a second: at each event only a few numbers are compared.

mod findings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use palisade_compile::UnknownPods;
use palisade_core::ObjectName;
use palisade_nft::Generation;
use palisade_sources::live::{Kind, Object};
use tokio::sync::{Notify, mpsc, oneshot};

use super::Engine;
use super::confirming::can_cut;
use crate::events::Unreadable;
use crate::node_state::{BootGap, Cluster, Covered, NodeStateStatus, Phase, Pods, Told};
use crate::preflight::{self, Surroundings};
use crate::report;

/// The kinds of policies.
const POLICIES: [Kind; 3] = [Kind::NetworkPolicy, Kind::HostPolicy, Kind::BanList];
/// How many pods that are not in force are named.
const PODS_NAMED: usize = 32;
/// How many namespaces that find no room are.
const NAMESPACES_NAMED: usize = 32;
/// How much of an error is told, in characters.
const ERROR_CHARACTERS: usize = 512;

/// What is told to the cluster, and what was.
#[derive(Debug)]
pub struct Telling {
    /// Rings when there is something to tell before the next heartbeat.
    pub changed: Arc<Notify>,
    /// Whether the host loads the last state before the kubelet starts.
    pub boot_gap: BootGap,
    started: Timestamp,
    /// The `metadata.uid` of the Node.
    node_uid: Option<String>,
    /// Who waits for an answer; it is given when what was taken in is in force.
    asked: Vec<oneshot::Sender<Told>>,
    /// The kinds that are being listed again: until a list is complete, nobody knows what else is on it.
    listing: BTreeSet<Kind>,
    /// Up to which resourceVersion the rules in force cover each kind.
    covered: BTreeMap<Kind, String>,
    /// How many policies of each kind there are among what is covered.
    known: BTreeMap<Kind, usize>,
    /// The latest resourceVersion of a pod of this node that was taken in.
    local_pods: u128,
    /// For each kind with a status that of one that somebody may wait for: not one by which its status alone came.
    awaited: BTreeMap<Kind, u128>,
    /// Policies with findings that no event was asked for yet.
    untold: BTreeSet<(Kind, ObjectName)>,
    /// Who writes events.
    pub findings: Option<mpsc::Sender<Unreadable>>,
    /// What was told last, as far as it calls for telling again.
    last: Urgent,
}

/// What is told at once when it changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Urgent {
    phase: Option<report::Phase>,
    boot_gap: BootGap,
    /// How far policies are covered, in the order of [`POLICIES`], and how many they are: a deletion that only a new list shows leaves
    /// the resourceVersion as it is.
    policies: [(u128, usize); POLICIES.len()],
    namespaces: u128,
    local_pods: u128,
    /// Namespaces that find no room.
    closed: Vec<String>,
}

impl Default for Telling {
    fn default() -> Telling {
        Telling {
            changed: Arc::default(),
            boot_gap: BootGap::default(),
            started: Timestamp::now(),
            node_uid: None,
            asked: Vec::new(),
            listing: BTreeSet::new(),
            covered: BTreeMap::new(),
            known: BTreeMap::new(),
            local_pods: 0,
            awaited: BTreeMap::new(),
            untold: BTreeSet::new(),
            findings: None,
            last: Urgent::default(),
        }
    }
}

impl Engine {
    /// Takes note of an object of this node, or of a policy with a status.
    pub(super) fn note_own(&mut self, kind: Kind, object: &Object) {
        match kind {
            Kind::Pod if object.node_name() == Some(&*self.settings.node) => {
                self.telling.local_pods = self.telling.local_pods.max(number(object.resource_version()));
            }
            Kind::Node if object.name() == &*self.settings.node => {
                self.telling.node_uid = Some(object.uid().to_owned());
            }
            // What is on a list may be both: news, and told by others already.
            Kind::HostPolicy | Kind::BanList if !object.is_observed() || self.telling.listing.contains(&kind) => {
                let awaited = self.telling.awaited.entry(kind).or_default();
                *awaited = (*awaited).max(number(object.resource_version()));
            }
            _ => {}
        }
    }

    /// Takes note that a list of a kind begins, or is complete.
    pub(super) fn note_list(&mut self, kind: Kind, complete: bool) {
        if complete {
            self.telling.listing.remove(&kind);
        } else {
            self.telling.listing.insert(kind);
        }
    }

    /// Takes note of what stands in the way, as one who looks for it says.
    pub(super) fn take_obstacles(&mut self, of: &'static str, obstacles: Vec<report::Obstacle>) {
        self.obstacles.insert(of, obstacles);
        self.telling.changed.notify_one();
    }

    /// Somebody wants to know; answered by [`Engine::tell`].
    pub(super) fn asked_for_node_state(&mut self, answer: oneshot::Sender<Told>) {
        self.telling.asked.push(answer);
    }

    /// Answers who asked, and rings if there is something to tell. Called when what was taken in is in force, or cannot be.
    pub(super) fn tell(&mut self) {
        self.tell_findings();
        if self.is_programmed() {
            let is_open = |kind: &Kind| can_cut(*kind).is_some_and(|of| self.confirm.is_open(of));
            let is_told = |kind: &Kind| !self.telling.listing.contains(kind) && !is_open(kind);
            let covered = self.watches.iter().filter(|(kind, _)| is_told(kind));
            let covered: Vec<(Kind, String)> =
                covered.map(|(kind, watch)| (*kind, watch.resource_version.clone())).collect();
            let known: Vec<(Kind, usize)> =
                POLICIES.into_iter().filter(is_told).map(|kind| (kind, self.policies(kind))).collect();
            self.telling.covered.extend(covered);
            self.telling.known.extend(known);
        }
        let urgent = self.urgent();
        if urgent != self.telling.last {
            self.telling.last = urgent;
            self.telling.changed.notify_one();
        }
        for answer in std::mem::take(&mut self.telling.asked) {
            let told = Told { status: self.node_state(), node_uid: self.telling.node_uid.clone() };
            // Who asked may be gone.
            let _ = answer.send(told);
        }
    }

    /// How many policies of a kind there are.
    fn policies(&self, kind: Kind) -> usize {
        let snapshot = self.snapshot();
        match kind {
            // Those of config files are none of the API server's.
            Kind::HostPolicy => snapshot.host_policies.keys().filter(|name| name.object().is_some()).count(),
            Kind::BanList => snapshot.ban_lists.len(),
            _ => snapshot.policies.len(),
        }
    }

    fn urgent(&self) -> Urgent {
        let telling = &self.telling;
        let covered = |kind| telling.covered.get(&kind).map_or(0, |version| number(version));
        let policies = |kind| {
            let known = telling.known.get(&kind).copied().unwrap_or_default();
            // NetworkPolicies have no status of ours: each version of theirs may be waited for.
            if kind == Kind::NetworkPolicy {
                return (covered(kind), known);
            }
            (covered(kind).min(telling.awaited.get(&kind).copied().unwrap_or_default()), known)
        };
        Urgent {
            phase: Some(self.phase()),
            boot_gap: self.boot_gap(),
            policies: POLICIES.map(policies),
            namespaces: covered(Kind::Namespace),
            local_pods: telling.local_pods.min(covered(Kind::Pod)),
            closed: self.closed_namespaces(),
        }
    }

    fn node_state(&self) -> NodeStateStatus {
        let known = |kind| self.telling.known.get(&kind).copied().unwrap_or_default();
        let covered = |kind| self.telling.covered.get(&kind).cloned().unwrap_or_default();
        let with_findings = |kind| self.findings.keys().filter(|(of, _)| *of == kind).count();
        let snapshot = self.snapshot();
        NodeStateStatus {
            version: env!("CARGO_PKG_VERSION").to_string(),
            phase: self.phase().into(),
            enforce: self.settings.enforce.names().map(str::to_string).collect(),
            generation: self.programming.generation().map_or(0, Generation::number),
            covered: Covered {
                namespaces: covered(Kind::Namespace),
                nodes: covered(Kind::Node),
                pods: covered(Kind::Pod),
                network_policies: covered(Kind::NetworkPolicy),
                host_policies: covered(Kind::HostPolicy),
                ban_lists: covered(Kind::BanList),
            },
            pods: self.pods(),
            closed_namespaces: self.closed_namespaces(),
            ban_sources: self.troubled_ban_sources(),
            cluster: Cluster {
                nodes: snapshot.nodes.len(),
                pods: snapshot.pods.len(),
                network_policies: known(Kind::NetworkPolicy),
                network_policies_with_findings: with_findings(Kind::NetworkPolicy),
                host_policies: known(Kind::HostPolicy),
                host_policies_with_findings: with_findings(Kind::HostPolicy),
                ban_lists: known(Kind::BanList),
                ban_lists_with_findings: with_findings(Kind::BanList),
            },
            error: self.error.as_ref().map(|error| error.chars().take(ERROR_CHARACTERS).collect()),
            obstacles: self.obstacles().map(|obstacle| obstacle.name.clone()).collect(),
            boot_gap: self.boot_gap(),
            started: Time(self.telling.started),
            last_heartbeat: Time(Timestamp::now()),
        }
    }

    /// Whether pods are open between a reboot and the start of the agent. Where no unknown pod is dropped, no unit helps.
    pub(super) fn boot_gap(&self) -> BootGap {
        let drops = self.settings.unknown_pods == UnknownPods::Drop && !self.programming.tables().pod_ranges.is_empty();
        if drops { self.telling.boot_gap } else { BootGap::Open }
    }

    /// What is known that limits enforcement.
    pub(super) fn surroundings(&self) -> Surroundings {
        if !self.settings.enforce.network_policy {
            // Nothing of it matters.
            return Surroundings { listed: self.is_listed(), pod_ranges: true, ..Surroundings::default() };
        }
        let pods = self.snapshot().pods.values();
        let local = pods.filter(|pod| pod.node.as_ref() == Some(&self.settings.node) && !pod.finished);
        let engines: BTreeSet<&str> = local.filter_map(|pod| preflight::engine_of(&pod.labels)).collect();
        Surroundings {
            listed: self.is_listed(),
            pod_ranges: !self.programming.tables().pod_ranges.is_empty(),
            unknown_pods_allowed: self.settings.unknown_pods == UnknownPods::Allow,
            engines: engines.into_iter().collect(),
        }
    }

    fn closed_namespaces(&self) -> Vec<String> {
        self.programming.closed().iter().take(NAMESPACES_NAMED).map(ToString::to_string).collect()
    }

    fn pods(&self) -> Pods {
        let mut pods = Pods::default();
        for (name, _) in self.local_pods() {
            pods.local += 1;
            if !self.paused && self.in_force_since.contains_key(name) {
                pods.in_force += 1;
            } else if pods.not_in_force.len() < PODS_NAMED {
                pods.not_in_force.push(name.to_string());
            }
        }
        pods
    }
}

impl From<report::Phase> for Phase {
    fn from(phase: report::Phase) -> Phase {
        match phase {
            report::Phase::Listing => Phase::Listing,
            report::Phase::InForce => Phase::InForce,
            report::Phase::Failing => Phase::Failing,
            report::Phase::Paused => Phase::Paused,
        }
    }
}

/// A resourceVersion as the number that it is since Kubernetes 1.35 says so.
fn number(version: &str) -> u128 {
    version.parse().unwrap_or_default()
}
