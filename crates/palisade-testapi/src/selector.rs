//! Label and field selectors, as the `labelSelector` and `fieldSelector` of a request spell them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{failure::Failure, resource::Resource, store::Object};

/// Which objects a request is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug)]
enum Operator {
    In(Vec<String>),
    /// As in the API: also true of objects without the key.
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selection {
    /// Reads both selectors; empty ones select everything.
    pub fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, Failure> {
        let labels = split_outside_parentheses(labels).into_iter().map(requirement).collect::<Result<_, _>>()?;
        let known = selectable(resource);
        let fields = fields.split(',').filter(|part| !part.trim().is_empty()).map(|part| field(part, known));
        Ok(Self { labels, fields: fields.collect::<Result<_, _>>()? })
    }

    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub fn matches(&self, object: &Object) -> bool {
        self.labels.iter().all(|requirement| requirement.matches(&object.labels))
            && self.fields.iter().all(|(name, equal, value)| {
                let actual = object.fields.iter().find(|(known, _)| known == name).map_or("", |(_, actual)| actual);
                (actual == value) == *equal
            })
    }
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

fn requirement(text: &str) -> Result<Requirement, Failure> {
    let text = text.trim();
    let made = |key: &str, operator| Ok(Requirement { key: key.trim().to_owned(), operator });
    if let Some(key) = text.strip_prefix('!') {
        return made(key, Operator::DoesNotExist);
    }
    if let Some((head, values)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        return match head.split_whitespace().collect::<Vec<_>>().as_slice() {
            [key, "in"] => made(key, Operator::In(values)),
            [key, "notin"] => made(key, Operator::NotIn(values)),
            _ => Err(unreadable(text)),
        };
    }
    match comparison(text) {
        Some((key, true, value)) => made(key, Operator::In(vec![value.to_owned()])),
        Some((key, false, value)) => made(key, Operator::NotIn(vec![value.to_owned()])),
        None if text.is_empty() || text.contains(char::is_whitespace) => Err(unreadable(text)),
        None => made(text, Operator::Exists),
    }
}

fn field(text: &str, known: &[&str]) -> Result<(String, bool, String), Failure> {
    let (name, equal, value) = comparison(text.trim()).ok_or_else(|| unreadable(text))?;
    if known.contains(&name) || COMMON_FIELDS.contains(&name) {
        Ok((name.to_owned(), equal, value.to_owned()))
    } else {
        Err(Failure::bad_request(format!("field label not supported: {name}")))
    }
}

/// Key, whether equal is asked for, and value.
fn comparison(text: &str) -> Option<(&str, bool, &str)> {
    let unequal = text.split_once("!=").map(|(key, value)| (key, false, value));
    let found = unequal.or_else(|| text.split_once('=').map(|(key, value)| (key, true, value)));
    found.map(|(key, equal, value)| (key.trim(), equal, value.strip_prefix('=').unwrap_or(value).trim()))
}

fn unreadable(text: &str) -> Failure {
    Failure::bad_request(format!("unable to parse requirement: {text:?}"))
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    if text.trim().is_empty() { Vec::new() } else { parts }
}

const COMMON_FIELDS: [&str; 2] = ["metadata.name", "metadata.namespace"];

/// The fields beyond name and namespace by which the kind can be selected.
fn selectable(resource: &Resource) -> &'static [&'static str] {
    match resource.id().as_str() {
        "pods" => &["spec.nodeName", "status.phase", "status.podIP"],
        "namespaces" => &["status.phase"],
        "events" => &["involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "reason", "type"],
        "events.events.k8s.io" => &["regarding.kind", "regarding.namespace", "regarding.name", "reason", "type"],
        _ => &[],
    }
}

/// What selectors look at in an object: its labels, and the fields that it may be selected by.
pub(crate) fn facts(resource: &Resource, value: &Value) -> (BTreeMap<String, String>, Vec<(&'static str, String)>) {
    let labels = value.pointer("/metadata/labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
    let names = COMMON_FIELDS.iter().chain(selectable(resource));
    let fields = names.filter_map(|name| {
        let found = name.split('.').try_fold(value, |value, part| value.get(part))?;
        Some((*name, found.as_str()?.to_owned()))
    });
    (labels, fields.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(labels: &str, fields: &str, expected: &str) {
        let pods = Resource::new("v1", "pods", "Pod");
        let made = |name: &str, labels: Value, node: &str| {
            Object::new(
                &pods,
                1,
                json!({ "metadata": { "name": name, "labels": labels }, "spec": { "nodeName": node } }),
            )
        };
        let objects = [
            ("a", made("a", json!({ "app": "web", "tier": "front" }), "n1")),
            ("b", made("b", json!({ "app": "db" }), "n2")),
            ("c", made("c", json!({}), "")),
        ];
        let found = match Selection::parse(&pods, labels, fields) {
            Ok(selection) => {
                objects.iter().filter(|(_, object)| selection.matches(object)).map(|(name, _)| *name).collect()
            }
            Err(failure) => format!("{}", failure.code),
        };
        assert_eq!(found, expected, "{labels} {fields}");
    }

    #[test]
    fn labels() {
        check("", "", "abc");
        check("app=web", "", "a");
        check("app==web", "", "a");
        check("app!=web", "", "bc");
        check("app in (web, db)", "", "ab");
        check("app notin (web),tier", "", "");
        check("app notin (db),app", "", "a");
        check("!app", "", "c");
        check("app,!tier", "", "b");
        check("app near (web)", "", "400");
    }

    #[test]
    fn fields() {
        check("", "spec.nodeName=n1", "a");
        check("", "spec.nodeName=", "c");
        check("", "spec.nodeName!=n1,metadata.name!=c", "b");
        check("app", "metadata.name=b", "b");
        check("", "spec.color=red", "400");
    }
}
