//! What checks of other implementations' readings have in common.

use palisade_core::{Deviation, Dialect, Peer, Rule, Selector};

use crate::containment::contains;
use crate::subject::{RuleAt, Subject};

/// A rule of a dialect, as a reason.
pub fn told(dialect: Dialect, rule: &Deviation) -> String {
    format!("with {dialect} {} ({})", rule.says, rule.id)
}

/// Whether selectors let all pods do what a rule allows, by any policy of the same pods.
pub fn lets_all_pods(subject: &Subject<'_>, rule: &RuleAt<'_>) -> bool {
    let every = Peer::Pods { namespaces: Some(Selector::everything()), pods: Selector::everything() };
    let wanted = Rule { peers: Some(vec![every]), ports: rule.rule.ports.clone() };
    let mut rules = subject.policies_beside().flat_map(|policy| policy.rules[rule.direction].iter().flatten());
    rules.any(|other| contains(other, &wanted, None))
}
