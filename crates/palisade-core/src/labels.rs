//! Labels and label selectors, as data. Matching belongs to the witnesses.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// `metadata.labels`.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// A `LabelSelector`, with `matchLabels` written as `In` requirements. All requirements must hold; none
/// at all selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// Sorted and without duplicates, so that equal selectors compare equal however they were written.
    requirements: Vec<Requirement>,
}

/// One line of `matchExpressions`, or one pair of `matchLabels`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// What must hold of its value.
    pub operator: Operator,
}

/// `LabelSelectorRequirement.operator`, with the values it takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// The label is present with one of these values.
    In(Vec<Arc<str>>),
    /// The label is absent, or present with none of these values.
    NotIn(Vec<Arc<str>>),
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl Selector {
    /// The empty selector, which selects everything.
    pub fn everything() -> Selector {
        Selector::default()
    }

    /// A selector of these requirements.
    pub fn new(mut requirements: Vec<Requirement>) -> Selector {
        for requirement in &mut requirements {
            if let Operator::In(values) | Operator::NotIn(values) = &mut requirement.operator {
                values.sort();
                values.dedup();
            }
        }
        requirements.sort();
        requirements.dedup();
        Selector { requirements }
    }

    /// Labels that must be equal, as in `matchLabels`.
    pub fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Selector {
        Selector::new(
            pairs
                .into_iter()
                .map(|(key, value)| Requirement { key: key.into(), operator: Operator::In(vec![value.into()]) })
                .collect(),
        )
    }

    /// The requirements, sorted.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl fmt::Display for Selector {
    /// As kubectl writes selectors: `app=web,tier in (a,b),!legacy`; the empty one is `everything`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.requirements.is_empty() {
            return f.write_str("everything");
        }
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.operator {
            Operator::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
            Operator::In(values) => write!(f, "{key} in ({})", values.join(",")),
            Operator::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}
