//! From objects to the snapshot: workloads become the pods they would make, every pod gets its node and addresses,
//! every namespace that is named exists.
//!
//! Pods of a workload are named so that their names can be foretold: `front` if it makes one, `front-1`, `front-2` if
//! it makes more; those of a `StatefulSet` as Kubernetes names them (`pg-0`), of a `DaemonSet` by node (`agent-n1`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use palisade_core::{
    Assumed, Level, NamespaceName, NodeName, Pod, PodName, Snapshot, WorkloadKind, WorkloadName,
};

use crate::Options;
use crate::metadata::Owner;
use crate::objects::Objects;
use crate::placement;
use crate::pod::{PodObject, Template};
use crate::reading::{Problem, Reading};
use crate::report::{Origin, Report};
use crate::{limits, namespace};

/// A pod on its way into the snapshot.
pub struct Draft {
    pub pod: Pod,
    pub origin: Origin,
    /// What made it, and what made that: the last one is the topmost.
    owners: Vec<WorkloadName>,
}

/// Makes the snapshot.
pub fn snapshot(mut objects: Objects, options: &Options, reading: &mut Reading, report: &mut Report<'_>) -> Snapshot {
    limits::apply(&mut objects.policies, &options.limits, report);
    let mut pods = live_pods(&mut objects);
    let node_names = placement::node_names(&objects, pods.values().filter_map(|draft| draft.pod.node.clone()), options);
    let mut invented = Vec::new();
    for (name, workload) in invention_order(&objects, &pods) {
        let made = invent(name, workload, &node_names, options, &pods);
        invented.push(name.clone());
        pods.extend(made);
    }
    let namespaces = namespaces(&objects, pods.keys(), reading);
    let workloads = workloads(&objects, &pods);
    let nodes = placement::place(&mut objects, &mut pods, &node_names, options, report);
    foreign(&objects.foreign, report);
    Snapshot {
        namespaces,
        nodes,
        pods: pods.into_iter().map(|(name, draft)| (name, Arc::new(draft.pod))).collect(),
        policies: objects.policies.into_iter().map(|(name, policy)| (name, Arc::new(policy.object))).collect(),
        workloads,
    }
}
