//! `spec.clusters`: whose nodes are admitted, and by which addresses.

use std::path::PathBuf;
use std::sync::Arc;

use palisade_core::{AddressType, Level, SelectedPods, Selector};

use super::{is_empty, needed, path};
use crate::host_policy::optional_selector;
use crate::metadata::valid;
use crate::reading::{At, Reading};
use crate::tree::shortened;
use crate::{selector, syntax};

/// A cluster whose nodes are admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSource {
    /// `name`, by which people know it.
    pub name: Arc<str>,
    /// `kubeconfig`: how to reach its API server.
    pub kubeconfig: PathBuf,
    /// `context` of the kubeconfig; `None` is its current one.
    pub context: Option<String>,
    /// `nodeSelector`: which of its nodes.
    pub nodes: Selector,
    /// `podSelector` and `podNamespaceSelector`: only nodes that run such a pod.
    pub pods: Option<SelectedPods>,
    /// `addressTypes`: which of their addresses.
    pub address_types: Vec<AddressType>,
    /// `egressAnnotation`: an annotation of nodes that names the addresses their packets come from.
    pub egress_annotation: Option<String>,
}

impl ClusterSource {
    /// Every node of the cluster of a kubeconfig, by the addresses that most nodes have.
    pub fn whole(name: Arc<str>, kubeconfig: PathBuf) -> ClusterSource {
        ClusterSource {
            name,
            kubeconfig,
            context: None,
            nodes: Selector::everything(),
            pods: None,
            address_types: AddressType::DEFAULT.into(),
            egress_annotation: None,
        }
    }

    /// Whether addresses of this type are admitted.
    pub fn admits(&self, kind: AddressType) -> bool {
        self.address_types.contains(&kind) || kind == AddressType::Egress && self.egress_annotation.is_some()
    }
}

pub fn read(spec: &At<'_>, reading: &mut Reading) -> Vec<ClusterSource> {
    let found = spec.field("clusters");
    let items = found.as_ref().and_then(|at| at.items(reading));
    let clusters: Vec<ClusterSource> = items.into_iter().flatten().filter_map(|item| cluster(&item, reading)).collect();
    if found.as_ref().is_none_or(is_empty) {
        reading.error(spec, "clusters: expected at least one cluster, found none");
    }
    for (index, cluster) in clusters.iter().enumerate() {
        if clusters[..index].iter().any(|before| before.name == cluster.name) {
            reading.error(spec, format!("clusters: two have the name {}", cluster.name));
        }
    }
    clusters
}

/// What cannot be read is told, and then nothing is made of the file.
fn cluster(at: &At<'_>, reading: &mut Reading) -> Option<ClusterSource> {
    let known = [
        "name",
        "kubeconfig",
        "context",
        "nodeSelector",
        "podSelector",
        "podNamespaceSelector",
        "addressTypes",
        "egressAnnotation",
    ];
    at.known_fields(&known, Level::Error, reading)?;
    let name = needed(at, "name", reading).map(Arc::from);
    let kubeconfig = path(at, "kubeconfig", reading);
    let context = at.field("context").and_then(|_| needed(at, "context", reading)).map(str::to_owned);
    let nodes = optional_selector(at, "nodeSelector", reading);
    let pods = selected_pods(at, reading);
    let egress_annotation = at.field("egressAnnotation").and_then(|field| annotation(&field, reading));
    let address_types = match at.field("addressTypes") {
        Some(field) => address_types(&field, egress_annotation.is_some(), reading)?,
        None => AddressType::DEFAULT.into(),
    };
    Some(ClusterSource {
        name: name?,
        kubeconfig: kubeconfig?,
        context,
        nodes: nodes?,
        pods,
        address_types,
        egress_annotation,
    })
}

fn selected_pods(at: &At<'_>, reading: &mut Reading) -> Option<SelectedPods> {
    let mut read = |name| at.field(name).and_then(|field| selector::read(&field, reading));
    let (pods, namespaces) = (read("podSelector"), read("podNamespaceSelector"));
    (pods.is_some() || namespaces.is_some()).then(|| SelectedPods { pods: pods.unwrap_or_default(), namespaces })
}

fn annotation(at: &At<'_>, reading: &mut Reading) -> Option<String> {
    let text = at.text(reading)?;
    // Keys of annotations are written as those of labels are.
    valid(at, text, syntax::label_key(text), reading).then(|| text.to_owned())
}

fn address_types(at: &At<'_>, may_be_none: bool, reading: &mut Reading) -> Option<Vec<AddressType>> {
    let mut types = Vec::new();
    for item in at.items(reading)? {
        let text = item.text(reading)?;
        let Some(known) = AddressType::WRITTEN.into_iter().find(|known| known.name() == text) else {
            reading.error(&item, format!("expected InternalIP, ExternalIP or PodCIDR, found '{}'", shortened(text)));
            return None;
        };
        types.push(known);
    }
    if types.is_empty() && !may_be_none {
        reading.error(at, "expected at least one type, found none");
        reading.hint("with egressAnnotation there may be none");
    }
    Some(types)
}
