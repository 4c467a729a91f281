//! Label selectors in the words of other engines.

use palisade_core::{Operator, Requirement, Selector};
use serde_json::{Value, json};

/// As `LabelSelector` of Kubernetes and of Cilium, each key with something before it.
pub fn label_selector<'a>(parts: impl IntoIterator<Item = (&'a str, &'a Selector)>) -> Value {
    let expressions: Vec<Value> = parts
        .into_iter()
        .flat_map(|(prefix, selector)| selector.requirements().iter().map(move |one| expression(prefix, one)))
        .collect();
    if expressions.is_empty() { json!({}) } else { json!({ "matchExpressions": expressions }) }
}

fn expression(prefix: &str, requirement: &Requirement) -> Value {
    let key = format!("{prefix}{}", requirement.key);
    let with = |operator, values: &[std::sync::Arc<str>]| {
        let values: Vec<&str> = values.iter().map(|value| &**value).collect();
        json!({ "key": key, "operator": operator, "values": values })
    };
    match &requirement.operator {
        Operator::In(values) => with("In", values),
        Operator::NotIn(values) => with("NotIn", values),
        Operator::Exists => json!({ "key": key, "operator": "Exists" }),
        Operator::DoesNotExist => json!({ "key": key, "operator": "DoesNotExist" }),
    }
}

/// As Calico writes selectors: `app == 'web' && !has(legacy)`. `not in` selects what lacks the label too, as `NotIn` does.
pub fn calico(selector: &Selector) -> String {
    let parts: Vec<String> = selector.requirements().iter().map(calico_part).collect();
    if parts.is_empty() { "all()".to_string() } else { parts.join(" && ") }
}

fn calico_part(requirement: &Requirement) -> String {
    let key = &requirement.key;
    let set = |values: &[std::sync::Arc<str>]| {
        let values: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
        format!("{{{}}}", values.join(", "))
    };
    match &requirement.operator {
        Operator::In(values) if values.len() == 1 => format!("{key} == '{}'", values[0]),
        Operator::In(values) => format!("{key} in {}", set(values)),
        Operator::NotIn(values) => format!("{key} not in {}", set(values)),
        Operator::Exists => format!("has({key})"),
        Operator::DoesNotExist => format!("!has({key})"),
    }
}
