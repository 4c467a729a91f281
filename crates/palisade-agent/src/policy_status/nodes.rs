//! What the nodes that a policy is for say of it.

use std::fmt::Display;

use k8s_openapi::jiff::Timestamp;

use super::conditions::{Holds, Said};
use crate::node_state::NodeStateStatus;
use crate::policy_kind::PolicyKind;
use crate::preflight::PAST_HOOKS;
use crate::wait::judge::{Idle, Standing, Target, standing};

/// So many nodes are named in a message.
const NODES_NAMED: usize = 3;

/// Whether a condition holds, the reason and the message.
pub type Finding = (Holds, &'static str, String);

/// What the nodes say.
pub struct Found {
    of: PolicyKind,
    matched: usize,
    /// Those on which it is not in force, as far as is known.
    lagging: Few,
    /// Those of which nothing is heard.
    silent: Few,
    /// Those on which it has no effect, and the reason of the first.
    without_effect: Few,
    reason: &'static str,
    /// Those on which its source is not as it should be, and whether something of it is in force on all of them.
    unfetched: Few,
    is_held: bool,
}

impl Found {
    /// Before a node was looked at.
    pub fn of(of: PolicyKind) -> Found {
        let none = Few::default;
        Found {
            of,
            matched: 0,
            lagging: none(),
            silent: none(),
            without_effect: none(),
            reason: "",
            unfetched: none(),
            is_held: true,
        }
    }

    /// Takes in what the agent of a node said last, if it said anything.
    pub fn look_at(&mut self, node: &str, target: &Target, state: Option<&NodeStateStatus>, now: Timestamp) {
        let (standing, why) = standing(target, state, now);
        self.matched += 1;
        if let Some(why) = why {
            self.lagging.add(node, why);
        }
        match state.filter(|_| standing != Standing::NoAgent) {
            Some(state) => {
                self.look_for_obstacles(node, state);
                self.look_at_source(node, target, state);
            }
            None => self.silent.add(node, "nothing is heard of its agent"),
        }
    }

    fn look_for_obstacles(&mut self, node: &str, state: &NodeStateStatus) {
        let idle = Idle::of(self.of, state);
        let obstacle = state.obstacles.iter().find(|name| PAST_HOOKS.contains(&&***name));
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

    fn look_at_source(&mut self, node: &str, target: &Target, state: &NodeStateStatus) {
        let Target::Policy { of: PolicyKind::Ban, name, .. } = target else { return };
        if let Some(source) = state.ban_sources.iter().find(|source| source.list == *name) {
            self.is_held &= source.is_held;
            self.unfetched.add(node, &source.why);
        }
    }

    /// `Fetched`, of a list that has a source.
    pub fn is_fetched(&self) -> Said {
        let (holds, reason, message) = if self.unfetched.count > 0 {
            let reason = if self.is_held { "Stale" } else { "Missing" };
            (Holds::False, reason, self.unfetched.in_words(self.matched))
        } else if self.lagging.count > 0 {
            (Holds::Unknown, "NodesLag", self.lagging.in_words(self.matched))
        } else {
            (Holds::True, "Fetched", "what its source holds is in force".to_owned())
        };
        Said { of: "Fetched", holds, reason, message }
    }

    /// How many nodes it is for.
    pub fn matched(&self) -> usize {
        self.matched
    }

    /// On how many of them it is in force.
    pub fn programmed(&self) -> usize {
        self.matched - self.lagging.count
    }

    /// `Programmed`.
    pub fn is_programmed(&self) -> Said {
        let (holds, reason, message) = if let Some(nowhere) = self.nowhere() {
            nowhere
        } else if self.lagging.count > 0 {
            (Holds::False, "NodesLag", self.lagging.in_words(self.matched))
        } else {
            let nodes = if self.of == PolicyKind::Host { "every node that it selects" } else { "every node" };
            (Holds::True, "Programmed", format!("in force on {nodes}"))
        };
        Said { of: "Programmed", holds, reason, message }
    }

    /// What is said of a policy that is for no node, if this is one.
    pub fn nowhere(&self) -> Option<Finding> {
        let why = if self.of == PolicyKind::Host { "spec.nodeSelector selects no node" } else { "there is no node" };
        (self.matched == 0).then(|| (Holds::False, "NoNodeMatched", why.to_owned()))
    }

    /// What is known of nodes that keeps it from having an effect there, or what is not known.
    pub fn hindrance(&self) -> Option<Finding> {
        if self.without_effect.count > 0 {
            Some((Holds::False, self.reason, self.without_effect.in_words(self.matched)))
        } else if self.silent.count > 0 {
            Some((Holds::Unknown, "NodesSilent", self.silent.in_words(self.matched)))
        } else {
            None
        }
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
