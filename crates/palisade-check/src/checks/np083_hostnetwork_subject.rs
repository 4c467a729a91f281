//! NP083: a policy for pods on the network of their node.

use palisade_sim::selects;

use crate::check::Finding;
use crate::subject::{Subject, spec};

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let (cluster, subjects) = (subject.cluster, &subject.policy.subjects);
    let selected = cluster.pods_on_nodes(subject.namespace()).filter(|(_, pod)| selects(subjects, &pod.labels));
    // Where it selects others as well, it is for them.
    let Some((name, _)) = selected.take(1).next().filter(|_| subject.pods().is_empty()) else { return Vec::new() };
    vec![Finding {
        at: spec().field("podSelector"),
        message: format!("pod {name} is on the network of its node, and so are all that are selected"),
        reason: "policies do not know such pods: they are as open as their nodes".to_string(),
        hint: "guard ports of nodes by a HostPolicy, or take hostNetwork off the pods".to_string(),
    }]
}
