//! An object as the API server sent it, without what nobody reads.
//!
//! A pod of 6 kB has a few hundred bytes that count. What is known to count for nothing is passed over while it is
//! read: its key stays, so that a policy with a field it should not have is still seen to have it. What is not known
//! is kept, because it may be an error. The kind is told by none of this: the items of a list do not say it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::json;
use crate::tree::{Key, Node, Span, Value};

/// One object as the API server sent it, pruned to a plain tree. Whatever JSON it is, it can be deserialized, so that a
/// malformed object never breaks a watch: what is wrong with it is found by [`Live::put`](super::Live::put).
#[derive(Clone, Debug)]
pub struct Object {
    pub(super) tree: Node<'static>,
}

impl Object {
    /// `metadata.name`; empty if there is none.
    pub fn name(&self) -> &str {
        self.metadata("name").unwrap_or_default()
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        weight(&self.tree)
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> Option<&str> {
        self.metadata("namespace")
    }

    /// `metadata.resourceVersion`; empty if there is none.
    pub fn resource_version(&self) -> &str {
        self.metadata("resourceVersion").unwrap_or_default()
    }

    /// `metadata.uid`; empty if there is none.
    pub fn uid(&self) -> &str {
        self.metadata("uid").unwrap_or_default()
    }

    /// Whether `status.observedGeneration` is `metadata.generation`: who writes the status has seen what the object says now.
    pub fn is_observed(&self) -> bool {
        let number = |part: &str, field: &str| match self.tree.get(part)?.get(field)?.value {
            Value::Int(number) => Some(number),
            _ => None,
        };
        let generation = number("metadata", "generation");
        generation.is_some() && generation == number("status", "observedGeneration")
    }

    /// `spec.nodeName`: the node that a pod was given.
    pub fn node_name(&self) -> Option<&str> {
        self.tree.get("spec")?.get_text("nodeName")
    }

    fn metadata(&self, field: &str) -> Option<&str> {
        self.tree.get("metadata")?.get_text(field)
    }
}

fn weight(node: &Node<'_>) -> usize {
    let inside = match &node.value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.iter().map(weight).sum(),
        Value::Map(entries) => entries.iter().map(|(key, node)| size_of_val(key) + weight(node)).sum(),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
    };
    size_of_val(node) + inside
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Object { tree: OBJECT.deserialize(deserializer)? })
    }
}

/// How much of a value is kept. Of a list each item is kept like the list.
#[derive(Clone, Copy)]
enum Keep {
    /// All of it.
    Whole,
    /// That it is there: it becomes null.
    Presence,
    /// Of each field that is named here this much, of every other the whole.
    Fields(&'static [(&'static str, Keep)]),
    /// The entries of a mapping whose keys start like this.
    Prefixed(&'static str),
}

use Keep::{Fields, Prefixed, Presence, Whole};

/// The fields of all kinds together. No field of a `NetworkPolicy`, `HostPolicy` or `BanList` has the name of one that is passed over, but
/// for their status.
const OBJECT: Keep =
    Fields(&[("apiVersion", Whole), ("kind", Whole), ("metadata", METADATA), ("spec", SPEC), ("status", STATUS)]);

/// `ObjectMeta`.
const METADATA: Keep = Fields(&[
    ("name", Whole),
    ("generateName", Whole),
    ("namespace", Whole),
    ("labels", Whole),
    ("uid", Whole),
    ("resourceVersion", Whole),
    ("creationTimestamp", Presence),
    ("generation", Whole),
    ("annotations", Prefixed("palisade.dev/")),
    (
        "ownerReferences",
        Fields(&[
            ("kind", Whole),
            ("name", Whole),
            ("controller", Whole),
            ("apiVersion", Presence),
            ("uid", Presence),
            ("blockOwnerDeletion", Presence),
        ]),
    ),
    ("managedFields", Presence),
    ("finalizers", Presence),
    ("deletionTimestamp", Presence),
    ("selfLink", Presence),
]);

/// The `spec` of every kind.
const SPEC: Keep = Fields(&[
    ("nodeName", Whole),
    ("hostNetwork", Whole),
    ("containers", CONTAINER),
    ("initContainers", CONTAINER),
    ("podSelector", Whole),
    ("policyTypes", Whole),
    ("ingress", Whole),
    ("egress", Whole),
    ("nodeSelector", Whole),
    ("enforcement", Whole),
    ("ports", Whole),
    ("from", Whole),
    ("otherwise", Whole),
    ("target", Whole),
    ("entries", Whole),
    ("exceptCIDRs", Whole),
    ("podCIDR", Whole),
    ("podCIDRs", Whole),
    ("volumes", Presence),
    ("restartPolicy", Presence),
    ("terminationGracePeriodSeconds", Presence),
    ("dnsPolicy", Presence),
    ("serviceAccountName", Presence),
    ("serviceAccount", Presence),
    ("securityContext", Presence),
    ("schedulerName", Presence),
    ("tolerations", Presence),
    ("priority", Presence),
    ("priorityClassName", Presence),
    ("enableServiceLinks", Presence),
    ("preemptionPolicy", Presence),
    ("affinity", Presence),
    ("automountServiceAccountToken", Presence),
    ("dnsConfig", Presence),
    ("ephemeralContainers", Presence),
    ("hostAliases", Presence),
    ("hostname", Presence),
    ("imagePullSecrets", Presence),
    ("overhead", Presence),
    ("readinessGates", Presence),
    ("resourceClaims", Presence),
    ("schedulingGates", Presence),
    ("subdomain", Presence),
    ("topologySpreadConstraints", Presence),
    ("providerID", Presence),
    ("taints", Presence),
    ("finalizers", Presence),
]);

/// `Container`.
const CONTAINER: Keep = Fields(&[
    ("name", Presence),
    ("image", Presence),
    ("ports", Whole),
    ("restartPolicy", Whole),
    ("args", Presence),
    ("command", Presence),
    ("env", Presence),
    ("envFrom", Presence),
    ("imagePullPolicy", Presence),
    ("lifecycle", Presence),
    ("livenessProbe", Presence),
    ("readinessProbe", Presence),
    ("resources", Presence),
    ("securityContext", Presence),
    ("startupProbe", Presence),
    ("terminationMessagePath", Presence),
    ("terminationMessagePolicy", Presence),
    ("volumeDevices", Presence),
    ("volumeMounts", Presence),
    ("workingDir", Presence),
]);

/// The `status` of every kind.
const STATUS: Keep = Fields(&[
    ("phase", Whole),
    ("podIP", Whole),
    ("podIPs", Whole),
    ("hostIP", Whole),
    ("hostIPs", Whole),
    ("addresses", Whole),
    ("observedGeneration", Whole),
    ("observedResourceVersion", Presence),
    ("nodes", Presence),
    ("conditions", Presence),
    ("containerStatuses", Presence),
    ("initContainerStatuses", Presence),
    ("ephemeralContainerStatuses", Presence),
    ("resourceClaimStatuses", Presence),
    ("qosClass", Presence),
    ("startTime", Presence),
    ("message", Presence),
    ("reason", Presence),
    ("allocatable", Presence),
    ("capacity", Presence),
    ("config", Presence),
    ("daemonEndpoints", Presence),
    ("features", Presence),
    ("images", Presence),
    ("nodeInfo", Presence),
    ("runtimeHandlers", Presence),
    ("volumesAttached", Presence),
    ("volumesInUse", Presence),
]);

impl Keep {
    /// The key of an entry, and how much of its value is kept; `None` if nothing of the entry is.
    fn entry(self, key: &str) -> Option<(Cow<'static, str>, Keep)> {
        match self {
            Fields(fields) => Some(match fields.iter().find(|(name, _)| *name == key) {
                Some((name, keep)) => (Cow::Borrowed(*name), *keep),
                None => (Cow::Owned(key.to_owned()), Whole),
            }),
            Prefixed(prefix) => key.starts_with(prefix).then(|| (Cow::Owned(key.to_owned()), Whole)),
            Whole | Presence => Some((Cow::Owned(key.to_owned()), Whole)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Keep {
    type Value = Node<'static>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'static>, D::Error> {
        let value = match self {
            Presence => {
                IgnoredAny::deserialize(deserializer)?;
                Value::Null
            }
            keep => deserializer.deserialize_any(KeptVisitor(keep))?,
        };
        Ok(Node::new(Span::default(), value))
    }
}

struct KeptVisitor(Keep);

impl<'de> Visitor<'de> for KeptVisitor {
    type Value = Value<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'static>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'static>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'static>, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'static>, E> {
        Ok(json::natural(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'static>, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'static>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Value<'static>, E> {
        Ok(Value::Text(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'static>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self.0)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'static>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_key_seed(KeySeed(self.0))? {
            match entry {
                Some((text, keep)) => {
                    entries.push((Key { span: Span::default(), text }, map.next_value_seed(keep)?));
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Map(entries))
    }
}

/// Reads the key of an entry of a value that is kept like this.
struct KeySeed(Keep);

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<(Cow<'static, str>, Keep)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Option<(Cow<'static, str>, Keep)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.entry(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_of_what_the_object_says_now_or_of_before() {
        let check = |text: &str, expected| {
            let object: Object = serde_json::from_str(text).unwrap();
            assert_eq!(object.is_observed(), expected, "{text}");
        };
        check(r#"{"metadata":{"generation":2},"status":{"observedGeneration":2}}"#, true);
        check(r#"{"metadata":{"generation":2},"status":{"observedGeneration":1}}"#, false);
        check(r#"{"metadata":{"generation":2}}"#, false);
        check(r#"{"metadata":{},"status":{}}"#, false);
        check(r#"{"metadata":{"generation":"2"},"status":{"observedGeneration":"2"}}"#, false);
    }
}
