//! Exact sets and findings as JSON; `docs/reference/json.md` has the fields.

use palisade_check::{Check, checks};
use palisade_core::{Diagnostic, Family, Transport};
use palisade_reach::{Edge, Families, Party, TrafficSet};
use serde_json::{Map, Value, json};

/// An edge, as `palisade matrix` prints it.
pub fn edge(edge: &Edge<'_>) -> Value {
    json!({
        "from": party(edge.from),
        "to": party(edge.to),
        "families": families(&edge.traffic, |set| traffic(set)),
    })
}

/// An end: its name, its pods unless they are a whole workload, its addresses if it has no pods.
pub fn party(party: Party<'_>) -> Value {
    let (pods, range) = match party {
        Party::Pods(class) if class.workload.is_some() => (Vec::new(), None),
        Party::Pods(class) => (class.pods.iter().map(ToString::to_string).collect(), None),
        Party::Addresses(range) => (Vec::new(), Some(range)),
    };
    json!({
        "name": party.to_string(),
        "pods": pods,
        "first": range.map(|range| range.first),
        "last": range.map(|range| range.last),
    })
}

/// An object with the values by family.
pub fn families<T>(families: &Families<T>, json: impl Fn(&T) -> Value) -> Value {
    let each = Family::ALL.into_iter().zip(families);
    let each = each.filter_map(|(family, value)| Some((family.digit().to_string(), json(value.as_ref()?))));
    Value::Object(each.collect())
}

/// For each transport its ranges of ports, and whether protocols without ports pass.
pub fn traffic(traffic: &TrafficSet) -> Value {
    let mut object = Map::new();
    for transport in Transport::ALL {
        let ranges = traffic.ports(transport).ranges().iter();
        object.insert(transport.name().to_string(), ranges.map(ToString::to_string).collect());
    }
    object.insert("other".to_string(), traffic.has_other().into());
    Value::Object(object)
}

/// A finding, as `palisade check` prints it.
pub fn finding(finding: &Diagnostic) -> Value {
    let place = finding.place.as_ref();
    json!({
        "id": finding.id,
        "level": finding.level.to_string(),
        "file": place.map(|place| &*place.file),
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
        "width": place.map(|place| place.width),
        "object": finding.object,
        "message": finding.message,
        "reason": finding.effect,
        "hint": finding.hint,
    })
}

/// The same with the name of its check in words.
pub(crate) fn finding_with_name(diagnostic: &Diagnostic) -> Value {
    let mut value = finding(diagnostic);
    value["name"] = diagnostic.id.and_then(checks::find).map(Check::name).into();
    value
}
