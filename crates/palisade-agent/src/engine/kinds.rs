//! The kinds of ours: when their objects are known, what is in force of them, and what becomes of the node where the API server does
//! not know a kind.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use palisade_core::HostScope;
use palisade_sources::live::Kind;

use super::Engine;
use crate::report::{BansReport, HostReport, Obstacle};

/// Whether a cluster may do without the kind.
pub(super) fn may_be_absent(kind: Kind) -> bool {
    matches!(kind, Kind::HostPolicy | Kind::BanList)
}

/// What stands in the way is shown under this name.
fn obstacle_of(kind: Kind) -> &'static str {
    if kind == Kind::BanList { "ban-lists" } else { "host-policies" }
}

impl Engine {
    /// The objects of a kind are known to the API server, and go on to be.
    pub(super) fn is_listed_now(&mut self, kind: Kind) {
        if self.is_without(kind) {
            self.take_obstacles(obstacle_of(kind), Vec::new());
        }
        if kind == Kind::HostPolicy {
            self.look_whether_host_is_known();
        }
    }

    /// Has what is known of host policies in force, as soon as that is all of them.
    pub(super) fn look_whether_host_is_known(&mut self) {
        let is_listed = self.watches.get(&Kind::HostPolicy).is_none_or(|watch| watch.complete);
        // Whoever has config files may do without the kind, and they must not wait for it for ever.
        let is_left_out = self.is_without(Kind::HostPolicy) && !self.settings.configs.is_empty();
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
    pub(super) fn kind_is(&mut self, absent: bool, kind: Kind) {
        if absent && may_be_absent(kind) {
            let has_files = !self.settings.configs.is_empty();
            self.take_obstacles(obstacle_of(kind), vec![not_installed(kind, has_files)]);
            self.look_whether_host_is_known();
        }
    }

    /// Whether a kind is missing, so that it holds up nothing.
    pub(super) fn is_without(&self, kind: Kind) -> bool {
        may_be_absent(kind) && self.obstacles.get(obstacle_of(kind)).is_some_and(|obstacles| !obstacles.is_empty())
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

    /// What is in force of ban lists.
    pub(super) fn bans_report(&self) -> Option<BansReport> {
        if !self.settings.enforce.bans {
            return None;
        }
        let lists = &self.snapshot().ban_lists;
        let tables = self.programming.ban_tables();
        Some(BansReport {
            lists: lists.len(),
            audited: lists.values().filter(|list| list.audit).map(|list| list.name.to_string()).collect(),
            entries: lists.values().map(|list| list.all_entries().count()).sum(),
            ranges: tables.banned.len() + tables.targeted.values().map(|ban| ban.banned.len()).sum::<usize>(),
            sources: self.ban_source_reports(),
            next_expiry: self.live.next_expiry().and_then(|expiry| Timestamp::from_second(expiry).ok()),
            denied: self.seen.banned.packets,
            would_deny: self.seen.would_ban.packets,
        })
    }

    /// Takes what has expired out of ban lists.
    pub(super) fn expire(&mut self, now: Instant) {
        let update = self.live.at(Timestamp::now().as_second());
        if !update.changes.is_empty() {
            self.take_update(update, now);
        }
    }

    /// When something expires next. It is looked at a second at a time, so that many entries that expire together are one change.
    pub(super) fn expiry_due(&self, now: Instant) -> Option<Instant> {
        let seconds = self.live.next_expiry()?.saturating_sub(Timestamp::now().as_second());
        // A clock that is set meanwhile is seen within a minute.
        Some(now + Duration::from_secs(u64::try_from(seconds).unwrap_or(0).clamp(1, 60)))
    }
}

fn not_installed(kind: Kind, has_files: bool) -> Obstacle {
    let (means, file, what) = match kind {
        Kind::HostPolicy if has_files => ("config files alone guard ports", "hostpolicies.yaml", "host"),
        Kind::BanList => ("addresses are banned as before, or not at all", "banlists.yaml", "bans"),
        _ => ("ports of nodes are guarded as before, or not at all", "hostpolicies.yaml", "host"),
    };
    Obstacle {
        name: obstacle_of(kind).to_string(),
        found: format!("the kind {kind} (palisade.dev/v1alpha1) is not installed"),
        means: format!("{means}; policies of pods are enforced all the same"),
        hint: Some(format!("kubectl apply -f deploy/base/{file} installs it; --enforce without {what} does without")),
    }
}
