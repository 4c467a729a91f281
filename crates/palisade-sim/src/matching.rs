//! Which labels a selector selects (`meta/v1 LabelSelector`).

use std::fmt;
use std::sync::Arc;

use palisade_core::{Labels, NamespaceName, NodeName, Operator, PodName, Requirement, Selector};

/// The first requirement that the labels do not meet; `None` if the selector selects them.
///
/// "The result of matchLabels and matchExpressions are `ANDed`. An empty label selector matches all objects."
pub(crate) fn unmet<'a>(selector: &'a Selector, labels: &Labels) -> Option<&'a Requirement> {
    selector.requirements().iter().find(|requirement| !meets(requirement, labels))
}

/// Whether the selector selects the labels.
pub fn selects(selector: &Selector, labels: &Labels) -> bool {
    unmet(selector, labels).is_none()
}

/// `LabelSelectorRequirement.operator`: "a key's relationship to a set of values".
fn meets(requirement: &Requirement, labels: &Labels) -> bool {
    match (&requirement.operator, labels.get(&requirement.key)) {
        (Operator::In(values), Some(value)) => values.contains(value),
        (Operator::In(_), None) => false,
        (Operator::NotIn(values), Some(value)) => !values.contains(value),
        // "NotIn" holds as well for objects without the key.
        (Operator::NotIn(_), None) => true,
        (Operator::Exists, value) => value.is_some(),
        (Operator::DoesNotExist, value) => value.is_none(),
    }
}

/// A requirement that an object's labels do not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// Whose labels.
    pub object: Labelled,
    /// What was required of them.
    pub requirement: Requirement,
    /// The value that the object has for the key, if any.
    pub value: Option<Arc<str>>,
}

/// An object with labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Labelled {
    /// A pod.
    Pod(PodName),
    /// A namespace.
    Namespace(NamespaceName),
    /// A node.
    Node(NodeName),
}

impl fmt::Display for Labelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Labelled::Pod(name) => write!(f, "pod {name}"),
            Labelled::Namespace(name) => write!(f, "namespace {name}"),
            Labelled::Node(name) => write!(f, "node {name}"),
        }
    }
}

impl fmt::Display for Unmet {
    /// A sentence without its dot: `pod web/front has no label app=api`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unmet { object, requirement, value } = self;
        let key = &requirement.key;
        match (&requirement.operator, value) {
            (Operator::In(values), None) if values.len() == 1 => write!(f, "{object} has no label {requirement}"),
            (Operator::In(values), Some(value)) if values.len() == 1 => {
                write!(f, "{object} has no label {requirement}, but {key}={value}")
            }
            (Operator::In(_), Some(value)) => write!(f, "{object} has {key}={value}, not {requirement}"),
            (Operator::In(_) | Operator::Exists, _) => write!(f, "{object} has no label {key}"),
            (Operator::NotIn(_), Some(value)) => write!(f, "{object} has {key}={value}, against {requirement}"),
            (Operator::NotIn(_) | Operator::DoesNotExist, _) => write!(f, "{object} has the label {key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operator: &Operator, labels: &[(&str, &str)], expected: bool) {
        let labels: Labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let selector = Selector::new(vec![Requirement { key: "app".into(), operator: operator.clone() }]);
        assert_eq!(selects(&selector, &labels), expected, "{operator:?} on {labels:?}");
    }

    #[test]
    fn every_operator_on_a_label_that_fits_differs_or_is_absent() {
        let values = || vec!["a".into(), "b".into()];
        let fits = [("app", "b")];
        let differs = [("app", "c"), ("tier", "a")];
        let absent = [("tier", "a")];
        check(&Operator::In(values()), &fits, true);
        check(&Operator::In(values()), &differs, false);
        check(&Operator::In(values()), &absent, false);
        check(&Operator::NotIn(values()), &fits, false);
        check(&Operator::NotIn(values()), &differs, true);
        check(&Operator::NotIn(values()), &absent, true);
        check(&Operator::Exists, &fits, true);
        check(&Operator::Exists, &absent, false);
        check(&Operator::DoesNotExist, &fits, false);
        check(&Operator::DoesNotExist, &absent, true);
    }

    #[test]
    fn an_empty_value_is_a_value() {
        check(&Operator::Exists, &[("app", "")], true);
        check(&Operator::In(vec!["".into()]), &[("app", "")], true);
        check(&Operator::In(vec!["".into()]), &[], false);
        check(&Operator::NotIn(vec!["".into()]), &[], true);
    }

    #[test]
    fn every_requirement_must_hold_and_none_selects_everything() {
        let labels: Labels = [("app".into(), "a".into())].into();
        assert!(selects(&Selector::everything(), &labels));
        assert!(!selects(&Selector::labels([("app", "a"), ("tier", "x")]), &labels));
        assert!(selects(&Selector::labels([("app", "a")]), &labels));
    }
}
