//! Host policies: when they are known, and what becomes of the node where the API server does not know the kind.

use palisade_sources::live::Kind;

use super::Engine;
use crate::report::{HostReport, Obstacle};

/// What stands in the way is shown under this name.
const OBSTACLE: &str = "host-policies";

impl Engine {
    /// The host policies of the cluster are known, and go on to be.
    pub(super) fn host_policies_are_known(&mut self) {
        self.programming.follow_host();
        if self.is_without_host_kind() {
            self.take_obstacles(OBSTACLE, Vec::new());
        }
    }

    /// A watch failed: whether the API server does not know the kind, for a while already.
    pub(super) fn host_kind_is(&mut self, absent: bool, kind: Kind) {
        if absent && kind == Kind::HostPolicy {
            self.take_obstacles(OBSTACLE, vec![not_installed()]);
        }
    }

    /// Whether host policies hold up nothing: the kind may be left out of a cluster.
    pub(super) fn is_without_host_kind(&self) -> bool {
        self.obstacles.get(OBSTACLE).is_some_and(|obstacles| !obstacles.is_empty())
    }

    /// What is in force of host policies.
    pub(super) fn host_report(&self) -> Option<HostReport> {
        if !self.settings.enforce.host {
            return None;
        }
        let policies = &self.snapshot().host_policies;
        let tables = self.programming.host_tables();
        let own = tables.guards.own.as_ref().and_then(|id| tables.definitions.get(id));
        Some(HostReport {
            policies: policies.len(),
            audited: policies.values().filter(|policy| policy.audit).map(|policy| policy.name.to_string()).collect(),
            guarded: own
                .iter()
                .flat_map(|guard| &guard.ports)
                .map(|ports| format!("{} {}", ports.transport, ports.range))
                .collect(),
            denied: self.seen.guarded.packets,
            would_deny: self.seen.would_guard.packets,
        })
    }
}

fn not_installed() -> Obstacle {
    Obstacle {
        name: OBSTACLE.to_string(),
        found: "the kind HostPolicy (palisade.dev/v1alpha1) is not installed".to_string(),
        means: "ports of nodes are guarded as before, or not at all; policies of pods are enforced all the same"
            .to_string(),
        hint: Some(
            "kubectl apply -f deploy/base/hostpolicies.yaml installs it; --enforce=network-policy does without"
                .to_string(),
        ),
    }
}
