//! NP060: pods that no policy isolates.

use std::collections::BTreeSet;

use palisade_core::{Direction, Pod, PodName};
use palisade_sources::{FieldPath, ObjectRef};

use crate::check::Finding;
use crate::cluster::{Cluster, owner};

pub fn find(cluster: &Cluster<'_>) -> Vec<(ObjectRef, Finding)> {
    let mut known = BTreeSet::new();
    let mut found = Vec::new();
    for (name, pod) in &cluster.snapshot().pods {
        // Pods on the network of their node are under no policy, and those that are finished have no address.
        if pod.host_network || pod.finished {
            continue;
        }
        let open = open(cluster, name, pod);
        if !open.is_empty() && known.insert(owner(name, pod)) {
            found.push((owner(name, pod), finding(&open)));
        }
    }
    found
}

/// The directions in which no policy in force isolates a pod.
fn open(cluster: &Cluster<'_>, name: &PodName, pod: &Pod) -> Vec<&'static str> {
    let policies = cluster.policies_of(&name.namespace, &pod.labels);
    let is_isolated = |direction| policies.iter().any(|policy| !policy.audit && policy.rules[direction].is_some());
    let directions = [Direction::Ingress, Direction::Egress].into_iter();
    directions.filter(|direction| !is_isolated(*direction)).map(Direction::name).collect()
}

fn finding(open: &[&str]) -> Finding {
    Finding {
        at: FieldPath::root(),
        message: format!("no policy isolates its pods for {}", open.join(" and ")),
        reason: "what no policy isolates is open to everybody, or for it everybody is".to_string(),
        hint: "write a policy that selects the pods, or one for the namespace with an empty podSelector".to_string(),
    }
}
