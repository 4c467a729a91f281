//! The kinds of objects that are served, and where a request path points.

use std::fmt;

use serde_json::Value;

/// A kind of object: what a `CustomResourceDefinition` says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version within the group, as `v1`.
    pub version: String,
    /// The name in paths, as `pods`.
    pub plural: String,
    /// The name in objects, as `Pod`.
    pub kind: String,
    /// Whether objects lie in namespaces.
    pub namespaced: bool,
    /// Whether `status` is written by a path of its own, and by that alone.
    pub status: bool,
}

impl Resource {
    /// A namespaced kind with a `status` subresource; `api_version` is `v1` or `group/v1`.
    pub fn new(api_version: &str, plural: &str, kind: &str) -> Self {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            namespaced: true,
            status: true,
        }
    }

    /// The same kind outside of namespaces.
    #[must_use]
    pub fn cluster_scoped(self) -> Self {
        Self { namespaced: false, ..self }
    }

    /// The same kind with `status`, if it has one, as an ordinary field.
    #[must_use]
    pub fn without_status(self) -> Self {
        Self { status: false, ..self }
    }

    /// The `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The name among all kinds, as kubectl and errors have it: `pods`, `networkpolicies.networking.k8s.io`.
    pub fn id(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Whether the API server knows it by itself, which leaves `kind` and `apiVersion` out of the items of lists.
    pub(crate) fn is_built_in(&self) -> bool {
        built_in().iter().any(|known| known.group == self.group)
    }

    /// What a stored `CustomResourceDefinition` defines: one kind a served version.
    pub(crate) fn of_definition(definition: &Value) -> Vec<Self> {
        let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
        let served = versions.into_iter().flatten().filter(|version| version["served"] == Value::Bool(true));
        served
            .map(|version| Self {
                group: text("/spec/group").to_owned(),
                version: version["name"].as_str().unwrap_or_default().to_owned(),
                plural: text("/spec/names/plural").to_owned(),
                kind: text("/spec/names/kind").to_owned(),
                namespaced: text("/spec/scope") == "Namespaced",
                status: version.pointer("/subresources/status").is_some(),
            })
            .collect()
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

/// The id of the kind whose objects define further kinds.
pub(crate) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// What every server has from the start.
pub(crate) fn built_in() -> Vec<Resource> {
    vec![
        Resource::new("v1", "namespaces", "Namespace").cluster_scoped(),
        Resource::new("v1", "nodes", "Node").cluster_scoped(),
        Resource::new("v1", "pods", "Pod"),
        Resource::new("v1", "services", "Service"),
        Resource::new("v1", "configmaps", "ConfigMap").without_status(),
        Resource::new("v1", "events", "Event").without_status(),
        Resource::new("events.k8s.io/v1", "events", "Event").without_status(),
        Resource::new("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy").without_status(),
        Resource::new("discovery.k8s.io/v1", "endpointslices", "EndpointSlice").without_status(),
        Resource::new("coordination.k8s.io/v1", "leases", "Lease").without_status(),
        Resource::new("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition")
            .cluster_scoped(),
    ]
}

/// Where a path points, read as Kubernetes reads it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub group: String,
    pub version: String,
    pub namespace: Option<String>,
    pub plural: String,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

impl Place {
    /// `None` for a path that names no kind of object, as `/version`.
    pub fn of(path: &str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/');
        let (group, version) = match parts.next()? {
            "api" => (String::new(), parts.next()?.to_owned()),
            "apis" => (parts.next()?.to_owned(), parts.next()?.to_owned()),
            _ => return None,
        };
        let rest: Vec<&str> = parts.collect();
        let (namespace, rest) = match rest.as_slice() {
            // `namespaces/NAME/status` is a part of the Namespace itself.
            ["namespaces", _, "status" | "finalize"] => (None, rest.as_slice()),
            ["namespaces", namespace, inner @ ..] if !inner.is_empty() => (Some((*namespace).to_owned()), inner),
            other => (None, other),
        };
        let owned = |at: usize| rest.get(at).map(|part| (*part).to_owned());
        (1..=3).contains(&rest.len()).then_some(())?;
        Some(Self { group, version, namespace, plural: owned(0)?, name: owned(1), subresource: owned(2) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: &str) {
        let shown = Place::of(path).map_or("-".to_owned(), |place| {
            let parts = [place.namespace, Some(place.plural), place.name, place.subresource];
            let parts: Vec<String> = parts.into_iter().map(|part| part.unwrap_or("-".to_owned())).collect();
            format!("{}|{} {}", place.group, place.version, parts.join(" "))
        });
        assert_eq!(shown, expected, "{path}");
    }

    #[test]
    fn paths() {
        check("/api/v1/pods", "|v1 - pods - -");
        check("/api/v1/namespaces/shop/pods/web/status", "|v1 shop pods web status");
        check("/api/v1/namespaces/shop", "|v1 - namespaces shop -");
        check("/api/v1/namespaces/shop/status", "|v1 - namespaces shop status");
        check("/apis/palisade.dev/v1alpha1/nodestates/n1", "palisade.dev|v1alpha1 - nodestates n1 -");
        check(
            "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies",
            "networking.k8s.io|v1 shop networkpolicies - -",
        );
        check("/apis/networking.k8s.io/v1", "-");
        check("/api", "-");
        check("/version", "-");
    }
}
