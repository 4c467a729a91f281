//! NP046: a policy that allows and isolates nothing which another one does not.

use palisade_core::{Direction, Labels, NetworkPolicy};
use palisade_sources::FieldPath;

use crate::check::Finding;
use crate::checks::np047_policy_vacuous::opener;
use crate::containment::{contains, implies};
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let policy = subject.policy;
    let own = subject.cluster.labels_of(subject.namespace());
    let holds = |other: &&NetworkPolicy| {
        includes(other, policy, own)
            // Of two that say the same the first stays.
            && (other.name < policy.name || !is_for_all_of(policy, other) || !includes(policy, other, own))
            // A deny is meant to stay whatever comes and goes beside it; that of a broader deny does.
            && (allows_something(policy) || !allows_something(other))
    };
    let Some(other) = subject.others_beside().find(holds) else { return Vec::new() };
    if opener(subject).is_some() {
        return Vec::new();
    }
    vec![Finding {
        at: FieldPath::root(),
        message: format!("NetworkPolicy {} isolates its pods and allows all of this already", other.name),
        reason: "policies add up: without this one nothing changes".to_string(),
        hint: "remove it, or narrow the other policy if that goes too far".to_string(),
    }]
}

/// Whether a policy isolates in each direction in which the other does, and allows all that it allows there.
fn includes(outer: &NetworkPolicy, inner: &NetworkPolicy, own: Option<&Labels>) -> bool {
    Direction::ALL.iter().all(|direction| match (&outer.rules[*direction], &inner.rules[*direction]) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(outer), Some(inner)) => inner.iter().all(|inner| outer.iter().any(|outer| contains(outer, inner, own))),
    })
}

/// Whether a policy is in force for all pods that the other selects.
fn is_for_all_of(policy: &NetworkPolicy, other: &NetworkPolicy) -> bool {
    (!policy.audit || other.audit) && implies(&other.subjects, &policy.subjects)
}

fn allows_something(policy: &NetworkPolicy) -> bool {
    Direction::ALL.iter().any(|direction| policy.rules[*direction].as_ref().is_some_and(|rules| !rules.is_empty()))
}
