//! NP045: a rule that allows nothing which another one of its policy does not allow.

use palisade_core::Direction;

use crate::check::Finding;
use crate::containment::contains;
use crate::subject::{Subject, spec};

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let own = subject.cluster.labels_of(subject.namespace());
    let mut found = Vec::new();
    for direction in [Direction::Ingress, Direction::Egress] {
        let rules = subject.policy.rules[direction].as_deref().unwrap_or_default();
        let at = |index| spec().field(direction.name()).item(index);
        for (index, rule) in rules.iter().enumerate() {
            // Of two that say the same the first stays.
            let holds = |&other: &usize| {
                other != index
                    && contains(&rules[other], rule, own)
                    && (other < index || !contains(rule, &rules[other], own))
            };
            let Some(other) = (0..rules.len()).find(holds) else { continue };
            found.push(Finding {
                at: at(index),
                message: format!("{} allows all of this already", at(other)),
                reason: "rules add up: without this one nothing changes".to_string(),
                hint: "remove it, or narrow the other rule if it goes too far".to_string(),
            });
        }
    }
    found
}
