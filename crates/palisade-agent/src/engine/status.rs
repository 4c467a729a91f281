//! What the engine says of itself: the report, and since when each pod's rules are in force.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::jiff::Timestamp;
use palisade_compile::UnknownPods;
use palisade_core::{Change, Direction, ObjectName, Pod, PodName, TablesChange};
use palisade_nft::Generation;
use palisade_sources::live::Kind;

use super::Engine;
use crate::programming::Programmed;
use crate::report::{ForgedSourcesReport, ObjectFindings, Obstacle, Phase, PodReport, Report, UnknownPodsReport};

impl Engine {
    /// What is in force.
    pub(crate) fn report(&self) -> Report {
        let snapshot = self.snapshot();
        Report {
            node: self.settings.node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            phase: self.phase(),
            generation: self.programming.generation().map_or(0, Generation::number),
            watches: self.watches.iter().map(|(kind, watch)| (kind.name().to_string(), watch.clone())).collect(),
            pods: self.local_pods().map(|(name, pod)| self.pod_report(name, pod)).collect(),
            cluster_pods: snapshot.pods.len(),
            policies: snapshot.policies.len(),
            audited: {
                let audited = snapshot.policies.values().filter(|policy| policy.audit);
                audited.map(|policy| policy.name.to_string()).collect()
            },
            findings: self.findings.iter().map(findings).chain(self.config_findings()).collect(),
            unknown_pods: UnknownPodsReport {
                dropped: self.settings.unknown_pods == UnknownPods::Drop
                    && !self.programming.tables().pod_ranges.is_empty(),
                pod_ranges: self.programming.tables().pod_ranges.clone(),
            },
            forged_sources: ForgedSourcesReport {
                dropped: self.sources.binding().is_some() && !self.paused,
                packets: self.seen.forged(),
            },
            host: self.host_report(),
            bans: self.bans_report(),
            preflight: self.obstacles().cloned().collect(),
            boot_gap: self.boot_gap(),
            error: self.error.clone(),
            repairs: self.repairs.iter().cloned().collect(),
        }
    }

    /// What stands in the way of enforcement.
    pub(super) fn obstacles(&self) -> impl Iterator<Item = &Obstacle> {
        self.obstacles.values().flatten()
    }

    pub(super) fn phase(&self) -> Phase {
        if self.paused {
            Phase::Paused
        } else if self.error.is_some() {
            Phase::Failing
        } else if self.is_listed() && self.pending.listed.is_none() {
            Phase::InForce
        } else {
            Phase::Listing
        }
    }

    /// What keeps the policies from being in force, one line each.
    pub(super) fn not_ready(&self) -> Vec<String> {
        let mut waits = Vec::new();
        if self.paused {
            waits.push("paused: nothing is enforced until 'palisade agent --resume'".to_string());
        }
        let is_needed = |kind| !self.is_without(kind);
        for (kind, watch) in self.watches.iter().filter(|(kind, watch)| !watch.complete && is_needed(**kind)) {
            let why = watch.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            waits.push(format!("the list of {} is not complete{why}", kind.name()));
        }
        waits.extend(self.undone().map(|obstacle| obstacle.found));
        waits.extend(self.error.as_ref().map(|error| format!("the rules are not in force: {error}")));
        if waits.is_empty() && !self.is_in_force() {
            waits.push("the rules are about to be in force".to_string());
        }
        waits
    }

    /// The pods of this node that have a network namespace of their own.
    pub(crate) fn local_pods(&self) -> impl Iterator<Item = (&PodName, &Pod)> {
        let pods = self.local.iter().filter_map(|name| self.snapshot().pods.get_key_value(name));
        pods.map(|(name, pod)| (name, &**pod)).filter(|(_, pod)| !pod.host_network && !pod.finished)
    }

    fn pod_report(&self, name: &PodName, pod: &Pod) -> PodReport {
        let isolators = |direction| {
            let policies = palisade_sim::isolators(self.snapshot(), name, direction);
            (!policies.is_empty()).then(|| policies.iter().map(ToString::to_string).collect())
        };
        PodReport {
            pod: name.to_string(),
            addresses: pod.addresses.clone(),
            since: self.in_force_since.get(name).copied(),
            ingress: isolators(Direction::Ingress),
            egress: isolators(Direction::Egress),
            interface: self.sources.binding().and_then(|binding| binding.interface(name)).map(str::to_string),
            denied: self.seen.of_pod(name),
        }
    }

    /// Takes note of the pods whose rules are not what the cluster says, since the kernel refused.
    pub(super) fn note_not_in_force(&mut self, changes: &[Change]) {
        for name in changes.iter().filter_map(pod_name) {
            self.in_force_since.remove(name);
        }
    }

    /// Takes note of the pods whose rules are in force as of now.
    pub(super) fn note_in_force(&mut self, changes: &[Change], done: &Programmed) {
        let addresses: BTreeSet<IpAddr> = done.steps.iter().filter_map(subject).collect();
        let is_here = |name: &&PodName| self.local.contains(*name) || self.in_force_since.contains_key(*name);
        let named: BTreeSet<&PodName> = changes.iter().filter_map(pod_name).filter(is_here).collect();
        let now = Timestamp::now();
        let reached: Vec<PodName> = self
            .local_pods()
            .filter(|(name, pod)| {
                let is_new = !self.in_force_since.contains_key(*name) && !pod.addresses.is_empty();
                is_new || named.contains(name) || pod.addresses.iter().any(|address| addresses.contains(address))
            })
            .filter(|(name, pod)| !pod.addresses.is_empty() && !self.is_closed(name, pod))
            .map(|(name, _)| name.clone())
            .collect();
        let closed: Vec<PodName> =
            self.local_pods().filter(|(name, pod)| self.is_closed(name, pod)).map(|(name, _)| name.clone()).collect();
        for name in named.into_iter().chain(&closed) {
            self.in_force_since.remove(name);
        }
        self.in_force_since.extend(reached.into_iter().map(|name| (name, now)));
    }
}

fn subject(step: &TablesChange) -> Option<IpAddr> {
    match step {
        TablesChange::Port(_, key, _) => Some(key.address),
        TablesChange::Isolated(_, address, _) | TablesChange::Known(address, _) => Some(*address),
        _ => None,
    }
}

fn pod_name(change: &Change) -> Option<&PodName> {
    match change {
        Change::Pod(name, _) => Some(name),
        _ => None,
    }
}

fn findings(((kind, name), diagnostics): (&(Kind, ObjectName), &Vec<palisade_core::Diagnostic>)) -> ObjectFindings {
    let object = match &*name.namespace {
        "" => format!("{} {}", kind.name(), name.name),
        _ => format!("{} {name}", kind.name()),
    };
    let line = |diagnostic: &palisade_core::Diagnostic| format!("{}: {}", diagnostic.level, diagnostic.message);
    ObjectFindings { object, findings: diagnostics.iter().map(line).collect() }
}
