//! NP047: a policy whose pods another one opens to everybody.

use palisade_core::{Direction, NetworkPolicy, Ports};

use crate::check::Finding;
use crate::subject::{Subject, spec};

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let policy = subject.policy;
    let directions = || [Direction::Ingress, Direction::Egress].into_iter().filter(|of| policy.rules[*of].is_some());
    // What a policy opens itself is NP023.
    if directions().all(|direction| opens(policy, direction)) {
        return Vec::new();
    }
    let opener = |direction| subject.others_beside().find(|other| opens(other, direction));
    let openers: Option<Vec<&NetworkPolicy>> = directions().map(opener).collect();
    let Some(first) = openers.as_ref().and_then(|openers| openers.first()) else { return Vec::new() };
    let names: Vec<&str> = directions().map(Direction::name).collect();
    vec![Finding {
        at: spec(),
        message: format!("NetworkPolicy {} opens its pods to everybody for {}", first.name, names.join(" and ")),
        reason: "rules add up: its pods are as open as without any policy".to_string(),
        hint: "remove the rule that allows everything, or narrow the podSelector beside it".to_string(),
    }]
}

/// Whether a rule of the policy allows everything.
fn opens(policy: &NetworkPolicy, direction: Direction) -> bool {
    let mut rules = policy.rules[direction].iter().flatten();
    rules.any(|rule| rule.peers.is_none() && rule.ports == Ports::All)
}
