//! The compiler's view of the cluster: only what `NetworkPolicy` can see, indexed by what changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::{Change, Labels, Namespace, NamespaceName, NetworkPolicy, NodeName, Pod, PodName, PolicyName};

use crate::matching::selects;

/// Namespaces, policies, and the pods that have traffic of their own.
#[derive(Debug, Default)]
pub struct Cluster {
    namespaces: BTreeMap<NamespaceName, Arc<Namespace>>,
    /// Pods that are neither hostNetwork (their traffic is the node's) nor finished (their address is free).
    pods: BTreeMap<PodName, Arc<Pod>>,
    /// Those of them that run on this node.
    local: BTreeSet<PodName>,
    by_address: BTreeMap<IpAddr, BTreeSet<PodName>>,
    policies: BTreeMap<PolicyName, Arc<NetworkPolicy>>,
}

/// What a batch of changes may have touched.
#[derive(Debug, Default)]
pub struct Touched {
    /// Pods that may have joined or left a set of peers.
    pub peers: BTreeSet<PodName>,
    /// Addresses that those pods have or had.
    pub addresses: BTreeSet<IpAddr>,
    /// Addresses of local pods whose own policies may have changed.
    pub subjects: BTreeSet<IpAddr>,
}

impl Cluster {
    /// Takes the changes in and tells what they touch on this node.
    pub fn update(&mut self, changes: &[Change], node: &NodeName) -> Touched {
        let mut touched = Touched::default();
        for change in changes {
            match change {
                Change::Namespace(name, new) => self.update_namespace(name, new.as_ref(), &mut touched),
                Change::Pod(name, new) => self.update_pod(name, new.as_ref(), node, &mut touched),
                Change::Policy(name, new) => self.update_policy(name, new.as_ref(), &mut touched),
                // No rule of NetworkPolicy looks at a node: its own pods are exempt by the path of their packets.
                Change::Node(..) => {}
            }
        }
        touched
    }

    fn update_namespace(&mut self, name: &NamespaceName, new: Option<&Arc<Namespace>>, touched: &mut Touched) {
        match new {
            Some(namespace) => self.namespaces.insert(name.clone(), Arc::clone(namespace)),
            None => self.namespaces.remove(name),
        };
        for (pod_name, pod) in self.pods_in(name) {
            touched.peers.insert(pod_name.clone());
            touched.addresses.extend(&pod.addresses);
        }
    }

    fn update_pod(&mut self, name: &PodName, new: Option<&Arc<Pod>>, node: &NodeName, touched: &mut Touched) {
        let new = new.filter(|pod| !pod.host_network && !pod.finished);
        if let Some(old) = self.pods.remove(name) {
            self.local.remove(name);
            for address in &old.addresses {
                if let Some(names) = self.by_address.get_mut(address) {
                    names.remove(name);
                    if names.is_empty() {
                        self.by_address.remove(address);
                    }
                }
            }
            touched.pod(name, &old, node);
        }
        if let Some(pod) = new {
            for address in &pod.addresses {
                self.by_address.entry(*address).or_default().insert(name.clone());
            }
            if is_on(pod, node) {
                self.local.insert(name.clone());
            }
            self.pods.insert(name.clone(), Arc::clone(pod));
            touched.pod(name, pod, node);
        }
    }

    fn update_policy(&mut self, name: &PolicyName, new: Option<&Arc<NetworkPolicy>>, touched: &mut Touched) {
        let old = match new {
            Some(policy) => self.policies.insert(name.clone(), Arc::clone(policy)),
            None => self.policies.remove(name),
        };
        let first = PodName::new(name.namespace.clone(), "");
        let local = self.local.range(first..).take_while(|pod| pod.namespace == name.namespace);
        for pod in local.filter_map(|name| self.pods.get(name)) {
            if old.iter().chain(new).any(|policy| selects(&policy.subjects, &pod.labels)) {
                touched.subjects.extend(&pod.addresses);
            }
        }
    }

    /// The pods of a namespace.
    pub fn pods_in(&self, namespace: &NamespaceName) -> impl Iterator<Item = (&PodName, &Arc<Pod>)> {
        let first = PodName::new(namespace.clone(), "");
        let namespace = namespace.clone();
        self.pods.range(first..).take_while(move |(name, _)| name.namespace == namespace)
    }

    /// The policies of a namespace.
    pub fn policies_in(&self, namespace: &NamespaceName) -> impl Iterator<Item = &Arc<NetworkPolicy>> {
        let first = PolicyName::new(namespace.clone(), "");
        let namespace = namespace.clone();
        self.policies.range(first..).take_while(move |(name, _)| name.namespace == namespace).map(|(_, policy)| policy)
    }

    /// Every namespace that has an object of its own.
    pub fn namespaces(&self) -> impl Iterator<Item = (&NamespaceName, &Labels)> {
        self.namespaces.iter().map(|(name, namespace)| (name, &namespace.labels))
    }

    /// The labels of a namespace; `None` if no object describes it, and then no namespaceSelector selects it.
    pub fn namespace_labels(&self, name: &NamespaceName) -> Option<&Labels> {
        self.namespaces.get(name).map(|namespace| &namespace.labels)
    }

    /// Every pod with traffic of its own.
    pub fn pods(&self) -> impl Iterator<Item = (&PodName, &Arc<Pod>)> {
        self.pods.iter()
    }

    /// One pod, if it has traffic of its own.
    pub fn pod(&self, name: &PodName) -> Option<&Arc<Pod>> {
        self.pods.get(name)
    }

    /// The pods that have this address: one, or more while an address changes hands.
    pub fn pods_at(&self, address: IpAddr) -> impl Iterator<Item = (&PodName, &Arc<Pod>)> {
        self.by_address
            .get(&address)
            .into_iter()
            .flatten()
            .filter_map(|name| self.pods.get(name).map(|pod| (name, pod)))
    }
}

impl Touched {
    fn pod(&mut self, name: &PodName, pod: &Pod, node: &NodeName) {
        self.peers.insert(name.clone());
        self.addresses.extend(&pod.addresses);
        if is_on(pod, node) {
            self.subjects.extend(&pod.addresses);
        }
    }
}

/// Whether the pod runs on the node.
pub fn is_on(pod: &Pod, node: &NodeName) -> bool {
    pod.node.as_ref() == Some(node)
}
