//! NP031: `NotIn`, which selects what lacks the label, too.

use palisade_core::{Operator, Selector};

use crate::check::Finding;
use crate::matching::NAMESPACE_NAME;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for selector in subject.selectors() {
        for key in keys(selector.selector) {
            found.push(Finding {
                at: selector.at.clone(),
                message: format!("NotIn selects {} without the label {key}, too", selector.of),
                reason: "whatever is not labelled is selected, and so is whatever comes later".to_string(),
                hint: format!("name the values with In, or add '{{key: {key}, operator: Exists}}'"),
            });
        }
    }
    found
}

/// The keys that `NotIn` is asked of and that need not be there. Every namespace has its name.
fn keys(selector: &Selector) -> Vec<&str> {
    let all = selector.requirements();
    let is_there = |key: &str| {
        all.iter().any(|other| *other.key == *key && matches!(other.operator, Operator::In(_) | Operator::Exists))
    };
    let negative = all.iter().filter(|requirement| matches!(requirement.operator, Operator::NotIn(_)));
    negative.map(|requirement| &*requirement.key).filter(|key| *key != NAMESPACE_NAME && !is_there(key)).collect()
}
