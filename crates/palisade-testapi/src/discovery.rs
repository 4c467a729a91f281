//! What a client may ask of the server beside objects: its version, its health, and the kinds that it serves.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::{failure::json_response, resource::Resource, store::Store};

/// Answers a path that is not about objects; `None` when it is, or leads nowhere.
pub(crate) fn answer(store: &Store, path: &str, aggregated: bool) -> Option<Response> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let groups = groups(store);
    let body = match parts.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => return Some("ok".into_response()),
        ["version"] => version(),
        ["api"] if aggregated => aggregate(groups.iter().filter(|(group, _)| group.is_empty())),
        ["apis"] if aggregated => aggregate(groups.iter().filter(|(group, _)| !group.is_empty())),
        ["api"] => json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }),
        ["apis"] => {
            let listed = groups.iter().filter(|(group, _)| !group.is_empty());
            let listed: Vec<Value> = listed.map(|(group, kinds)| group_of(group, kinds)).collect();
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": listed })
        }
        ["api", version] => resources(groups.get("")?, version)?,
        ["apis", group] => {
            let mut found = group_of(group, groups.get(*group)?);
            (found["kind"], found["apiVersion"]) = ("APIGroup".into(), "v1".into());
            found
        }
        ["apis", group, version] => resources(groups.get(*group)?, version)?,
        _ => return None,
    };
    Some(json_response(200, body.to_string()))
}

/// The kinds of each group.
fn groups(store: &Store) -> BTreeMap<&str, Vec<&Resource>> {
    let mut groups: BTreeMap<&str, Vec<&Resource>> = BTreeMap::new();
    for collection in store.collections() {
        groups.entry(&collection.resource.group).or_default().push(&collection.resource);
    }
    groups
}

fn versions<'a>(kinds: &[&'a Resource]) -> Vec<&'a str> {
    let mut versions: Vec<&str> = kinds.iter().map(|kind| kind.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    versions
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2025-04-23T00:00:00Z", "goVersion": "go1.24.2", "compiler": "gc", "platform": "linux/amd64",
    })
}

fn group_of(group: &str, kinds: &[&Resource]) -> Value {
    let named = |version: &str| json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    let versions = versions(kinds);
    let preferred = versions.first().copied().unwrap_or_default();
    let listed: Vec<Value> = versions.iter().map(|version| named(version)).collect();
    json!({ "name": group, "versions": listed, "preferredVersion": named(preferred) })
}

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];

fn resources(kinds: &[&Resource], version: &str) -> Option<Value> {
    let mut listed = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.version == version) {
        let (plural, name, namespaced) = (&kind.plural, &kind.kind, kind.namespaced);
        let singular = name.to_lowercase();
        listed.push(json!({
            "name": plural, "singularName": singular, "namespaced": namespaced, "kind": name, "verbs": VERBS,
        }));
        if kind.status {
            let part = format!("{plural}/status");
            listed.push(json!({
                "name": part, "singularName": "", "namespaced": namespaced, "kind": name, "verbs": STATUS_VERBS,
            }));
        }
    }
    let group_version = kinds.iter().find(|kind| kind.version == version)?.api_version();
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed,
    }))
}

/// Aggregated discovery, `apidiscovery.k8s.io/v2`.
fn aggregate<'a>(groups: impl Iterator<Item = (&'a &'a str, &'a Vec<&'a Resource>)>) -> Value {
    let items: Vec<Value> = groups
        .map(|(group, kinds)| {
            let listed = versions(kinds).into_iter().map(|version| {
                let kinds = kinds.iter().filter(|kind| kind.version == version);
                let resources: Vec<Value> = kinds.map(|kind| aggregated_resource(kind)).collect();
                json!({ "version": version, "freshness": "Current", "resources": resources })
            });
            json!({ "metadata": { "name": group }, "versions": listed.collect::<Vec<_>>() })
        })
        .collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

fn aggregated_resource(kind: &Resource) -> Value {
    let response = json!({ "group": kind.group, "version": kind.version, "kind": kind.kind });
    let scope = if kind.namespaced { "Namespaced" } else { "Cluster" };
    let mut resource = json!({
        "resource": kind.plural, "singularResource": kind.kind.to_lowercase(), "scope": scope,
        "responseKind": response, "verbs": VERBS,
    });
    if kind.status {
        let part = json!({ "subresource": "status", "responseKind": response, "verbs": STATUS_VERBS });
        resource["subresources"] = json!([part]);
    }
    resource
}
