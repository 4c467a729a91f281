//! NP040: a policy that selects no pod.

use crate::check::Finding;
use crate::matching::{self, Match};
use crate::subject::{Subject, spec};

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    if matching::subjects(subject) != Match::Nothing {
        return Vec::new();
    }
    vec![Finding {
        at: spec().field("podSelector"),
        message: format!("no pod of namespace {} is {}", subject.namespace(), subject.policy.subjects),
        reason: "the policy isolates nobody: the pods that it was written for stay open".to_string(),
        hint: "write the labels of the pods, or remove the policy".to_string(),
    }]
}
