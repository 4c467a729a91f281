//! What labels a selector selects: the compiler's own reading, which the oracle does not share.

use palisade_core::{Labels, Operator, Selector};

/// `LabelSelector`: "The result of matchLabels and matchExpressions are `ANDed`. An empty label selector matches
/// all objects."
pub fn selects(selector: &Selector, labels: &Labels) -> bool {
    selector.requirements().iter().all(|requirement| {
        let value = labels.get(&requirement.key);
        match &requirement.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    })
}
