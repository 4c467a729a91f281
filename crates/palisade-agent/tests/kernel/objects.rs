//! The objects of a snapshot as the API server holds them.

use palisade_core::{Change, HostPolicyName, Snapshot};
use palisade_testkit::manifest::to_yaml;
use serde_json::Value;

/// Every object of a snapshot.
pub fn objects(snapshot: &Snapshot) -> Vec<Value> {
    let yaml = to_yaml(snapshot);
    if yaml.is_empty() { Vec::new() } else { serde_saphyr::from_multiple(&yaml).unwrap() }
}

/// What of a random cluster an API server can hold: no config files.
pub fn held_by_api(mut snapshot: Snapshot) -> Snapshot {
    snapshot.host_policies.retain(|name, _| name.object().is_some());
    snapshot
}

/// One step of the API server.
pub enum Step {
    Put(Value),
    /// The plural of the kind, the namespace or nothing, the name.
    Delete(&'static str, Option<String>, String),
}

/// The steps from one snapshot to another.
pub fn steps(from: &Snapshot, to: &Snapshot) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut changed = Snapshot::default();
    for change in from.changes_to(to) {
        let delete = match change {
            Change::Namespace(name, None) => ("namespaces", None, name.to_string()),
            Change::Node(name, None) => ("nodes", None, name.to_string()),
            Change::Pod(name, None) => ("pods", Some(name.namespace.to_string()), name.name.to_string()),
            Change::Policy(name, None) => ("networkpolicies", Some(name.namespace.to_string()), name.name.to_string()),
            Change::Namespace(name, Some(object)) => {
                changed.namespaces.insert(name, object);
                continue;
            }
            Change::Node(name, Some(object)) => {
                changed.nodes.insert(name, object);
                continue;
            }
            Change::Pod(name, Some(object)) => {
                changed.pods.insert(name, object);
                continue;
            }
            Change::BanList(name, None) => ("banlists", None, name.to_string()),
            Change::BanList(name, Some(object)) => {
                changed.ban_lists.insert(name, object);
                continue;
            }
            // A config file, and a server outside, are none of its business.
            Change::HostPolicy(HostPolicyName::File(_), _) | Change::Server(..) => continue,
            Change::HostPolicy(name, None) => ("hostpolicies", None, name.to_string()),
            Change::HostPolicy(name, Some(object)) => {
                changed.host_policies.insert(name, object);
                continue;
            }
            Change::Policy(name, Some(object)) => {
                changed.policies.insert(name, object);
                continue;
            }
        };
        steps.push(Step::Delete(delete.0, delete.1, delete.2));
    }
    steps.extend(objects(&changed).into_iter().map(Step::Put));
    steps
}
