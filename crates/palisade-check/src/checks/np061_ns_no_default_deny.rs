//! NP061: namespaces where a new pod starts open.

use palisade_core::{Direction, NetworkPolicy, Ports, Rule, Selector};
use palisade_sources::{FieldPath, ObjectRef};

use crate::check::Finding;
use crate::cluster::Cluster;

pub fn find(cluster: &Cluster<'_>) -> Vec<(ObjectRef, Finding)> {
    let mut found = Vec::new();
    for name in cluster.snapshot().namespaces.keys() {
        // Of a namespace that is merely named nothing is known.
        if cluster.labels_of(name).is_none() && cluster.pods(name).next().is_none() {
            continue;
        }
        let is_closed = |direction| cluster.policies(name).any(|policy| closes(policy, direction));
        let directions = [Direction::Ingress, Direction::Egress].into_iter();
        let open: Vec<&str> = directions.filter(|direction| !is_closed(*direction)).map(Direction::name).collect();
        if open.is_empty() {
            continue;
        }
        let object = ObjectRef { kind: "Namespace".into(), namespace: None, name: name.clone() };
        found.push((object, finding(&open)));
    }
    found
}

/// Whether a policy isolates whatever pod comes, and does not open it again.
fn closes(policy: &NetworkPolicy, direction: Direction) -> bool {
    let is_everything = |rule: &Rule| rule.peers.is_none() && rule.ports == Ports::All;
    !policy.audit
        && policy.subjects == Selector::everything()
        && policy.rules[direction].as_ref().is_some_and(|rules| !rules.iter().any(is_everything))
}

fn finding(open: &[&str]) -> Finding {
    Finding {
        at: FieldPath::root(),
        message: format!("no policy isolates every pod of the namespace for {}", open.join(" and ")),
        reason: "a pod that comes with labels that no policy selects is open".to_string(),
        hint: "add a policy with 'podSelector: {}', these policyTypes and no rules".to_string(),
    }
}
