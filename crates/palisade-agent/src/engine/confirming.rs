//! Changes that could take the way to the API server away: tried, and taken back if they do.

use std::collections::BTreeSet;
use std::time::Instant;

use palisade_core::{Change, HostPolicyName};
use palisade_sources::live::Kind;

use super::Engine;
use crate::confirm::{Changes, Probe, Step};
use crate::policy_kind::PolicyKind;
use crate::report::Obstacle;

const KINDS: [PolicyKind; 2] = [PolicyKind::Host, PolicyKind::Ban];
/// How many of the objects that changed are named.
const NAMED: usize = 3;
/// What was taken back, and what nobody could confirm, is shown under this name.
const OBSTACLE: &str = "confirm";
/// The name of the second.
const UNCONFIRMED: &str = "unconfirmed";

/// The kind of policies, if it is one that can cut the node off.
pub(super) fn can_cut(kind: Kind) -> Option<PolicyKind> {
    match kind {
        Kind::HostPolicy => Some(PolicyKind::Host),
        Kind::BanList => Some(PolicyKind::Ban),
        _ => None,
    }
}

impl Engine {
    /// Whether what waits could cut the node off, and it is about to be known whether the API server can be reached now.
    pub(super) fn waits_for_probe(&mut self, now: Instant) -> bool {
        let could_cut = self.pending.changes.iter().any(|change| changed(change).is_some()) || self.follows_newly();
        could_cut && !self.confirm.lets_through(now)
    }

    /// Whether the objects of a kind are to be in force for the first time, or again after a pause.
    pub(super) fn follows_newly(&self) -> bool {
        KINDS.iter().any(|kind| self.is_newly_followed(*kind))
    }

    fn is_newly_followed(&self, kind: PolicyKind) -> bool {
        self.programming.is_tried(kind) && !self.confirm.looks_at(kind)
    }

    /// What of these changes could cut the node off. What is in force is kept, to go back to.
    pub(super) fn begin_trial(&mut self, changes: &[Change]) -> Changes {
        let mut tried = Changes::new();
        for kind in KINDS.into_iter().filter(|kind| self.is_newly_followed(*kind)) {
            tried.insert(kind, BTreeSet::new());
        }
        for (kind, name) in changes.iter().filter_map(changed) {
            tried.entry(kind).or_default().insert(name);
        }
        for kind in tried.keys() {
            self.programming.begin(*kind);
        }
        tried.retain(|kind, _| self.programming.is_tried(*kind));
        tried
    }

    /// From here on it counts whether the API server can still be reached.
    pub(super) fn try_out(&mut self, mut tried: Changes) {
        if tried.is_empty() {
            return;
        }
        for kind in KINDS {
            if tried.contains_key(&kind) && self.programming.is_as_before(kind) {
                tried.remove(&kind);
                self.confirm.is_as_before(kind);
            }
        }
        if !tried.is_empty() && !self.confirm.changed(tried, Instant::now()) {
            self.programming.confirm();
        }
        self.tell_confirmed();
    }

    /// An attempt at a new connection ended.
    pub(super) fn probed(&mut self, probe: Probe) {
        let now = Instant::now();
        match self.confirm.probed(probe, now) {
            None => return self.tell_confirmed(),
            Some(Step::Confirm) => self.programming.confirm(),
            Some(Step::GoBack) => {
                self.programming.go_back(&self.confirm.kinds());
                self.metrics.rolled_back();
            }
            Some(Step::TakeAgain) => {
                self.programming.take_again(&self.confirm.kinds());
                self.programming.confirm();
            }
        }
        // What is wanted now is brought into force with the next step.
        self.due.retry = None;
        self.tell_confirmed();
    }

    /// What was taken back.
    pub(super) fn undone(&self) -> impl Iterator<Item = Obstacle> {
        self.confirm.undone.iter().map(|(kind, names)| undone(*kind, names))
    }

    pub(super) fn tell_confirmed(&mut self) {
        let unconfirmed = self.confirm.unconfirmed().map(|(kind, names)| unconfirmed(kind, names));
        let obstacles: Vec<Obstacle> = self.undone().chain(unconfirmed).collect();
        let before = self.obstacles.get(OBSTACLE).map_or(&[][..], Vec::as_slice);
        if obstacles == before {
            return;
        }
        for obstacle in obstacles.iter().filter(|obstacle| !before.contains(obstacle)) {
            if obstacle.name == UNCONFIRMED {
                tracing::warn!("{}: {}", obstacle.found, obstacle.means);
            } else {
                tracing::error!("{}: {}", obstacle.found, obstacle.means);
            }
        }
        self.take_obstacles(OBSTACLE, obstacles);
    }
}

/// The kind that a change is of, and what changed. What comes and goes of nodes and pods is too frequent, and too harmless, to be tried.
fn changed(change: &Change) -> Option<(PolicyKind, String)> {
    match change {
        Change::HostPolicy(name @ HostPolicyName::Object(_), _) => {
            Some((PolicyKind::Host, format!("HostPolicy {name}")))
        }
        Change::HostPolicy(name @ HostPolicyName::File(_), _) => Some((PolicyKind::Host, format!("ipChain {name}"))),
        Change::BanList(name, _) => Some((PolicyKind::Ban, format!("BanList {name}"))),
        _ => None,
    }
}

fn undone(kind: PolicyKind, names: &BTreeSet<String>) -> Obstacle {
    let (means, hint) = if kind == PolicyKind::Ban {
        (
            "addresses are banned as before, until a BanList changes",
            "exceptCIDRs, or --protect, spares what is behind the address of the API server",
        )
    } else {
        (
            "ports of the node are guarded as before, until a HostPolicy or a config file changes",
            "a change that admits who leads to the API server is tried again",
        )
    };
    Obstacle {
        name: kind.rolled_back().to_string(),
        found: format!("rolled back: with {} the node lost the API server", objects(kind, names)),
        means: means.to_string(),
        hint: Some(hint.to_string()),
    }
}

fn unconfirmed(kind: PolicyKind, names: &BTreeSet<String>) -> Obstacle {
    Obstacle {
        name: UNCONFIRMED.to_string(),
        found: format!("unconfirmed: no new connection to the API server works since before {}", objects(kind, names)),
        means: "it is in force; whether it is in the way is not known".to_string(),
        hint: Some("'palisade agent --emergency-stop' takes every rule away, if it is".to_string()),
    }
}

/// `the change of HostPolicy a, HostPolicy b and 2 more`.
fn objects(kind: PolicyKind, names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        let kind = if kind == PolicyKind::Host { "HostPolicies" } else { "BanLists" };
        return format!("all {kind}");
    }
    let first: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("the change of {}{more}", first.join(", "))
}
