//! NP089: a network that enforces no policies.

use palisade_core::{WorkloadKind, WorkloadName};
use palisade_sources::ObjectRef;

use crate::check::Finding;
use crate::cluster::Cluster;

/// The `DaemonSet` of flannel, which has no policies.
const FLANNEL: &str = "kube-flannel";
/// What enforces policies beside it, as its `DaemonSet` is called.
const ENGINES: [&str; 8] =
    ["palisade", "calico-node", "canal", "cilium", "kube-router", "antrea-agent", "weave-net", "kube-network-policies"];

pub fn find(cluster: &Cluster<'_>) -> Vec<(ObjectRef, Finding)> {
    let snapshot = cluster.snapshot();
    let daemons = || snapshot.workloads.keys().filter(|workload| workload.kind == WorkloadKind::DaemonSet);
    let is_engine = |workload: &WorkloadName| ENGINES.iter().any(|engine| workload.name.starts_with(engine));
    if snapshot.policies.is_empty() || daemons().any(is_engine) {
        return Vec::new();
    }
    let flannel = daemons().filter(|workload| workload.name.starts_with(FLANNEL));
    flannel.map(|workload| (reference(workload), finding(snapshot.policies.len()))).collect()
}

fn reference(workload: &WorkloadName) -> ObjectRef {
    let (namespace, name) = (Some(workload.namespace.clone()), workload.name.clone());
    ObjectRef { kind: workload.kind.kind().into(), namespace, name }
}

fn finding(policies: usize) -> Finding {
    let count = if policies == 1 { "1 NetworkPolicy".to_string() } else { format!("{policies} NetworkPolicies") };
    Finding {
        at: palisade_sources::FieldPath::root(),
        message: format!("flannel enforces no policies, and there are {count}"),
        reason: "all pods are open, whatever the policies say".to_string(),
        hint: "install what enforces them, as 'palisade agent' does on each node".to_string(),
    }
}
