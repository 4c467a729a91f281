//! What of a Node object matters. A list of thousands is read, of which each has kilobytes of images, conditions and managed fields: none of
//! it is kept, not even for a moment.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::api::core::v1::NodeAddress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt as _};
use palisade_sources::node_allowlist::AddressType;
use serde::{Deserialize, Deserializer};

use crate::cluster::Observed;

/// A Node, in part.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    addresses: Option<Vec<NodeAddress>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    resource_version: Option<String>,
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let Metadata { name, labels, annotations, resource_version } = Metadata::deserialize(deserializer)?;
    Ok(ObjectMeta { name, labels, annotations, resource_version, ..ObjectMeta::default() })
}

impl Resource for Node {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Node".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "nodes".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Node {
    /// What is told of it. `egress` is the annotation that names addresses, if one does.
    pub fn observed(&self, egress: Option<&str>) -> Observed {
        let addresses = self.status.addresses.iter().flatten().filter_map(|address| {
            let kind = match address.type_.as_str() {
                "InternalIP" => AddressType::InternalIP,
                "ExternalIP" => AddressType::ExternalIP,
                // Names are no addresses.
                _ => return None,
            };
            Some((kind, address.address.clone()))
        });
        let blocks = self.spec.pod_cidrs.as_deref().unwrap_or_default();
        let first = self.spec.pod_cidr.iter().filter(|first| !blocks.contains(first));
        let blocks = first.chain(blocks).map(|block| (AddressType::PodCIDR, block.clone()));
        let named = egress.and_then(|key| self.annotations().get(key)).into_iter();
        let named = named.flat_map(|text| text.split([',', ' ', '\n'])).filter(|text| !text.is_empty());
        let named = named.map(|text| (AddressType::Egress, text.to_owned()));
        let labels = self.labels().iter();
        Observed {
            name: self.name_any().into(),
            labels: labels.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
            addresses: addresses.chain(blocks).chain(named).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_read_and_nothing_has_to_be_there() {
        let json = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "uid": "u", "managedFields": [{"manager": "kubelet"}],
            "labels": {"a": "b"}, "annotations": {"egress": "192.0.2.1, 192.0.2.2"}},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd44::/64"], "taints": null},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "n1"}], "images": []}}"#;
        let observed = serde_json::from_str::<Node>(json).unwrap().observed(Some("egress"));
        assert_eq!(observed.labels.get("a").map(AsRef::as_ref), Some("b"));
        let addresses = observed.addresses.iter().map(|(kind, address)| format!("{} {address}", kind.name()));
        let expected =
            "InternalIP 10.0.0.1, PodCIDR 10.244.1.0/24, PodCIDR fd44::/64, Egress 192.0.2.1, Egress 192.0.2.2";
        assert_eq!(addresses.collect::<Vec<String>>().join(", "), expected);
        for bare in [r#"{"metadata": {}}"#, r#"{"metadata": {"name": ""}, "spec": {}, "status": {"addresses": null}}"#]
        {
            assert_eq!(serde_json::from_str::<Node>(bare).unwrap().observed(None), Observed::default());
        }
    }
}
