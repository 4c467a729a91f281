//! `LabelSelector`, checked as the API server does (`ValidateLabelSelector`).

use std::sync::Arc;

use palisade_core::{Level, Operator, Requirement, Selector};

use crate::metadata::{boolean_key, valid};
use crate::reading::{At, Reading};
use crate::syntax;
use crate::tree::{Value, duplicates, shortened};

/// Reads a selector; `None`, with problems, if any part of it cannot be read: half a selector selects other pods.
pub fn read(at: &At<'_>, reading: &mut Reading) -> Option<Selector> {
    let before = reading.problems.len();
    let mut requirements = Vec::new();
    let mut well = at.known_fields(&["matchLabels", "matchExpressions"], Level::Error, reading).is_some();
    if let Some(at) = at.field("matchLabels") {
        well &= match_labels(&at, &mut requirements, reading).is_some();
    }
    if let Some(at) = at.field("matchExpressions") {
        let items = at.items(reading);
        well &= items.is_some();
        for item in items.into_iter().flatten() {
            match expression(&item, reading) {
                Some(requirement) => requirements.push(requirement),
                None => well = false,
            }
        }
    }
    reading.id_from(before, "NP007");
    well.then(|| Selector::new(requirements))
}

fn match_labels(at: &At<'_>, requirements: &mut Vec<Requirement>, reading: &mut Reading) -> Option<()> {
    let mut well = true;
    let entries = at.entries(reading)?;
    for key in duplicates(entries) {
        reading.problem(Level::Error, key.span, format!("{at}: '{}' is written twice", shortened(&key.text)));
        well = false;
    }
    for entry in entries {
        let at = at.entry(entry);
        let key = &entry.0.text;
        boolean_key(&at, &entry.0, reading);
        well &= valid(&at, key, syntax::label_key(key), reading);
        match value(&at, reading) {
            Some(value) => {
                requirements.push(Requirement { key: reading.share(key), operator: Operator::In(vec![value]) });
            }
            None => well = false,
        }
    }
    well.then_some(())
}

fn value(at: &At<'_>, reading: &mut Reading) -> Option<Arc<str>> {
    let text = match &at.node.value {
        // A null in a map or list of strings is decoded as the empty string.
        Value::Null => "",
        _ => at.text(reading)?,
    };
    valid(at, text, syntax::label_value(text), reading).then(|| reading.share(text))
}

/// One `LabelSelectorRequirement`.
fn expression(at: &At<'_>, reading: &mut Reading) -> Option<Requirement> {
    let well = at.known_fields(&["key", "operator", "values"], Level::Error, reading);
    let key = at.required("key", "text", reading)?;
    let key_text = key.text(reading)?;
    let well = well.filter(|()| valid(&key, key_text, syntax::label_key(key_text), reading));
    let operator = at.required("operator", "text", reading)?;
    let operator_text = operator.text(reading)?;
    let values = values(at, reading)?;
    let operator = match (operator_text, values.is_empty()) {
        ("In", false) => Operator::In(values),
        ("NotIn", false) => Operator::NotIn(values),
        ("Exists", true) => Operator::Exists,
        ("DoesNotExist", true) => Operator::DoesNotExist,
        ("In" | "NotIn", true) => {
            reading.error(at, format!("values: {operator_text} needs at least one value"));
            return None;
        }
        ("Exists" | "DoesNotExist", false) => {
            reading.error(at, format!("values: {operator_text} takes no values"));
            return None;
        }
        _ => {
            reading.error(&operator, format!("expected In, NotIn, Exists or DoesNotExist, found '{operator_text}'"));
            return None;
        }
    };
    well.map(|()| Requirement { key: reading.share(key_text), operator })
}

fn values(at: &At<'_>, reading: &mut Reading) -> Option<Vec<Arc<str>>> {
    let Some(at) = at.field("values") else { return Some(Vec::new()) };
    let read: Vec<_> = at.items(reading)?.map(|item| value(&item, reading)).collect();
    read.into_iter().collect()
}
