//! NP047: a policy whose pods another one opens to everybody.

use palisade_core::{Direction, NetworkPolicy, Ports};

use crate::check::Finding;
use crate::subject::{Subject, spec};

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(opener) = opener(subject) else { return Vec::new() };
    let names: Vec<&str> = directions(subject.policy).map(Direction::name).collect();
    vec![Finding {
        at: spec(),
        message: format!("NetworkPolicy {} opens its pods to everybody for {}", opener.name, names.join(" and ")),
        reason: "rules add up: its pods are as open as without any policy".to_string(),
        hint: "remove the rule that allows everything, or narrow the podSelector beside it".to_string(),
    }]
}

/// The first of the policies that open in each direction what this one isolates. What a policy opens itself is NP023.
pub fn opener<'a>(subject: &Subject<'a>) -> Option<&'a NetworkPolicy> {
    if directions(subject.policy).all(|direction| opens(subject.policy, direction)) {
        return None;
    }
    let openers = directions(subject.policy)
        .map(|direction| subject.others_beside().find(|other| opens(other, direction)))
        .collect::<Option<Vec<_>>>()?;
    openers.into_iter().next()
}

fn directions(policy: &NetworkPolicy) -> impl Iterator<Item = Direction> {
    [Direction::Ingress, Direction::Egress].into_iter().filter(|direction| policy.rules[*direction].is_some())
}

/// Whether a rule of the policy allows everything.
fn opens(policy: &NetworkPolicy, direction: Direction) -> bool {
    let mut rules = policy.rules[direction].iter().flatten();
    rules.any(|rule| rule.peers.is_none() && rule.ports == Ports::All)
}
