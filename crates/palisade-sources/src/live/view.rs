//! The snapshot, and what happens to it. An object that is set to what it is already is no change.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_core::{
    BanList, BanListName, Change, HostPolicy, HostPolicyName, Namespace, NamespaceName, NetworkPolicy, Node, NodeName,
    Pod, PodName, PolicyName, Snapshot,
};

/// The snapshot, with the changes since they were last taken.
#[derive(Default)]
pub struct View {
    pub snapshot: Snapshot,
    pub changes: Vec<Change>,
}

impl View {
    /// Sets or removes a namespace.
    pub fn namespace(&mut self, name: &NamespaceName, new: Option<Arc<Namespace>>) {
        if set(&mut self.snapshot.namespaces, name, new.as_ref()) {
            self.changes.push(Change::Namespace(Arc::clone(name), new));
        }
    }

    /// Sets or removes a node.
    pub fn node(&mut self, name: &NodeName, new: Option<Arc<Node>>) {
        if set(&mut self.snapshot.nodes, name, new.as_ref()) {
            self.changes.push(Change::Node(Arc::clone(name), new));
        }
    }

    /// Sets or removes a pod.
    pub fn pod(&mut self, name: &PodName, new: Option<Arc<Pod>>) {
        if set(&mut self.snapshot.pods, name, new.as_ref()) {
            self.changes.push(Change::Pod(name.clone(), new));
        }
    }

    /// Sets or removes a policy.
    pub fn policy(&mut self, name: &PolicyName, new: Option<Arc<NetworkPolicy>>) {
        if set(&mut self.snapshot.policies, name, new.as_ref()) {
            self.changes.push(Change::Policy(name.clone(), new));
        }
    }

    /// Sets or removes a host policy.
    pub fn host_policy(&mut self, name: &HostPolicyName, new: Option<Arc<HostPolicy>>) {
        if set(&mut self.snapshot.host_policies, name, new.as_ref()) {
            self.changes.push(Change::HostPolicy(name.clone(), new));
        }
    }

    /// Sets or removes a ban list.
    pub fn ban_list(&mut self, name: &BanListName, new: Option<Arc<BanList>>) {
        if set(&mut self.snapshot.ban_lists, name, new.as_ref()) {
            self.changes.push(Change::BanList(name.clone(), new));
        }
    }
}

/// Whether it was something else before.
fn set<K: Ord + Clone, V: PartialEq>(map: &mut BTreeMap<K, Arc<V>>, name: &K, new: Option<&Arc<V>>) -> bool {
    match (map.get_mut(name), new) {
        (Some(old), Some(new)) if Arc::ptr_eq(old, new) || **old == **new => false,
        (Some(old), Some(new)) => {
            *old = Arc::clone(new);
            true
        }
        (None, Some(new)) => {
            map.insert(name.clone(), Arc::clone(new));
            true
        }
        (Some(_), None) => map.remove(name).is_some(),
        (None, None) => false,
    }
}
