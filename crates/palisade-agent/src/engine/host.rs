//! Host policies: when they are known, and what becomes of the node where the API server does not know the kind.

use std::time::Instant;

use palisade_core::HostScope;
use palisade_sources::live::Kind;

use super::Engine;
use crate::report::{HostReport, Obstacle};

/// What stands in the way is shown under this name.
const OBSTACLE: &str = "host-policies";

impl Engine {
    /// The host policies of the API server are known, and go on to be.
    pub(super) fn host_kind_is_listed(&mut self) {
        if self.is_without_host_kind() {
            self.take_obstacles(OBSTACLE, Vec::new());
        }
        self.look_whether_host_is_known();
    }

    /// Has what is known of host policies in force, as soon as that is all of them.
    pub(super) fn look_whether_host_is_known(&mut self) {
        let is_listed = self.watches.get(&Kind::HostPolicy).is_none_or(|watch| watch.complete);
        // Whoever has config files may do without the kind, and they must not wait for it for ever.
        let is_left_out = self.is_without_host_kind() && !self.settings.configs.is_empty();
        if self.configs_are_known() && (is_listed || is_left_out) {
            self.programming.follow_host();
        }
    }

    /// There is no API server. Of the cluster this node alone is known, and of it no more than its name.
    pub(super) fn stand_alone(&mut self) {
        let node = serde_json::json!({"metadata": {"name": &*self.settings.node}});
        if let Ok(node) = serde_json::from_value(node) {
            let update = self.live.put(Kind::Node, &node);
            self.take_update(update, Instant::now());
        }
    }

    /// A watch failed: whether the API server does not know the kind, for a while already.
    pub(super) fn host_kind_is(&mut self, absent: bool, kind: Kind) {
        if absent && kind == Kind::HostPolicy {
            self.take_obstacles(OBSTACLE, vec![not_installed(!self.settings.configs.is_empty())]);
            self.look_whether_host_is_known();
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
                .map(|ports| match ports.scope {
                    HostScope::Everything => format!("{} {}", ports.transport, ports.range),
                    HostScope::HostSockets => format!("{} {} (sockets)", ports.transport, ports.range),
                })
                .collect(),
            denied: self.seen.guarded.packets,
            would_deny: self.seen.would_guard.packets,
            config_files: self.config_reports(),
        })
    }
}

fn not_installed(has_files: bool) -> Obstacle {
    let ports = if has_files {
        "config files alone guard ports"
    } else {
        "ports of nodes are guarded as before, or not at all"
    };
    Obstacle {
        name: OBSTACLE.to_string(),
        found: "the kind HostPolicy (palisade.dev/v1alpha1) is not installed".to_string(),
        means: format!("{ports}; policies of pods are enforced all the same"),
        hint: Some(
            "kubectl apply -f deploy/base/hostpolicies.yaml installs it; --enforce=network-policy does without"
                .to_string(),
        ),
    }
}
