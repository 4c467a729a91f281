//! The compiler's view of the cluster: only what policies can see, indexed by what changes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::{
    AddressRange, BanList, BanListName, Change, HostPolicy, HostPolicyName, Labels, Namespace, NamespaceName,
    NetworkPolicy, Node, NodeName, Pod, PodName, PolicyName,
};

use crate::matching::selects;

/// Namespaces, nodes, policies, and the pods that have traffic of their own.
#[derive(Debug, Default)]
pub struct Cluster {
    namespaces: BTreeMap<NamespaceName, Arc<Namespace>>,
    /// Pods that are neither hostNetwork (their traffic is the node's) nor finished (their address is free).
    pods: BTreeMap<PodName, Arc<Pod>>,
    /// Those of them that run on this node.
    local: BTreeSet<PodName>,
    by_address: BTreeMap<IpAddr, Claim>,
    /// hostNetwork pods: their addresses are those of nodes, whether or not the Node says so.
    of_hosts: BTreeMap<PodName, Arc<Pod>>,
    /// How many of them have an address.
    by_host_address: BTreeMap<IpAddr, usize>,
    policies: BTreeMap<PolicyName, Arc<NetworkPolicy>>,
    nodes: BTreeMap<NodeName, Arc<Node>>,
    by_node_address: BTreeMap<IpAddr, BTreeSet<NodeName>>,
    host_policies: BTreeMap<HostPolicyName, Arc<HostPolicy>>,
}

/// The pods that have an address. A set of one would take ten times the memory of its pod's name.
#[derive(Debug)]
enum Claim {
    One(PodName),
    Several(BTreeSet<PodName>),
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
    /// Whether the guards of nodes may have changed.
    pub guards: bool,
    /// Lists of bans that came or changed, and those that went. They are not kept: who needs one keeps what it names.
    pub ban_lists: BTreeMap<BanListName, Option<Arc<BanList>>>,
    /// Whether nodes may have changed.
    pub nodes: bool,
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
                Change::Node(name, new) => self.update_node(name, new.as_ref(), &mut touched),
                Change::HostPolicy(name, new) => {
                    touched.guards = true;
                    match new {
                        Some(policy) => drop(self.host_policies.insert(name.clone(), Arc::clone(policy))),
                        None => drop(self.host_policies.remove(name)),
                    }
                }
                Change::BanList(name, new) => drop(touched.ban_lists.insert(name.clone(), new.clone())),
                // No node asks about them: they are compiled by themselves.
                Change::Server(..) => {}
            }
        }
        // As many changes pay for it.
        if changes.len() > self.pods.len() / 2 {
            pack(&mut self.pods);
            pack(&mut self.by_address);
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
        let new = new.filter(|pod| !pod.finished);
        let of_host = new.filter(|pod| pod.host_network);
        let before = match of_host {
            Some(pod) => self.of_hosts.insert(name.clone(), Arc::clone(pod)),
            None => self.of_hosts.remove(name),
        };
        touched.addresses.extend(before.iter().chain(of_host).flat_map(|pod| &pod.addresses));
        for address in of_host.into_iter().flat_map(|pod| &pod.addresses) {
            *self.by_host_address.entry(*address).or_default() += 1;
        }
        for address in before.iter().flat_map(|pod| &pod.addresses) {
            if let Entry::Occupied(mut count) = self.by_host_address.entry(*address) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        let new = new.filter(|pod| !pod.host_network);
        if let Some(old) = self.pods.remove(name) {
            self.local.remove(name);
            for address in &old.addresses {
                self.release(*address, name);
            }
            touched.pod(name, &old, node);
        }
        if let Some(pod) = new {
            for address in &pod.addresses {
                self.claim(*address, name);
            }
            if is_on(pod, node) {
                self.local.insert(name.clone());
            }
            self.pods.insert(name.clone(), Arc::clone(pod));
            touched.pod(name, pod, node);
        }
    }

    fn claim(&mut self, address: IpAddr, name: &PodName) {
        match self.by_address.entry(address) {
            Entry::Vacant(entry) => drop(entry.insert(Claim::One(name.clone()))),
            Entry::Occupied(mut entry) => match entry.get_mut() {
                Claim::Several(names) => drop(names.insert(name.clone())),
                Claim::One(other) if other == name => {}
                Claim::One(other) => *entry.get_mut() = Claim::Several([other.clone(), name.clone()].into()),
            },
        }
    }

    fn release(&mut self, address: IpAddr, name: &PodName) {
        let Some(claim) = self.by_address.get_mut(&address) else { return };
        match claim {
            Claim::One(_) => drop(self.by_address.remove(&address)),
            Claim::Several(names) => {
                names.remove(name);
                if names.len() == 1
                    && let Some(last) = names.pop_first()
                {
                    *claim = Claim::One(last);
                }
            }
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

    /// No rule of `NetworkPolicy` looks at a node, whose own pods are exempt by the path of their packets; host policies and bans do.
    fn update_node(&mut self, name: &NodeName, new: Option<&Arc<Node>>, touched: &mut Touched) {
        touched.guards |= !self.host_policies.is_empty();
        touched.nodes = true;
        if let Some(old) = self.nodes.remove(name) {
            for address in &old.addresses {
                touched.addresses.insert(*address);
                if let Some(names) = self.by_node_address.get_mut(address) {
                    names.remove(name);
                    if names.is_empty() {
                        self.by_node_address.remove(address);
                    }
                }
            }
        }
        if let Some(node) = new {
            for address in &node.addresses {
                touched.addresses.insert(*address);
                self.by_node_address.entry(*address).or_default().insert(name.clone());
            }
            self.nodes.insert(name.clone(), Arc::clone(node));
        }
    }

    /// The host policies, by name.
    pub fn host_policies(&self) -> impl Iterator<Item = &HostPolicy> {
        self.host_policies.values().map(|policy| &**policy)
    }

    /// Every node.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().map(|node| &**node)
    }

    /// One node.
    pub fn node(&self, name: &NodeName) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// The nodes that have this address: one, as a rule.
    pub fn nodes_at(&self, address: IpAddr) -> impl Iterator<Item = &Node> {
        let names = self.by_node_address.get(&address);
        names.into_iter().flatten().filter_map(|name| self.nodes.get(name).map(|node| &**node))
    }

    /// The addresses within a range that nodes and pods have as their own, those of hostNetwork pods included. One may come twice.
    pub fn addresses_in(&self, AddressRange { first, last }: AddressRange) -> impl Iterator<Item = IpAddr> {
        let of_nodes = self.by_node_address.range(first..=last).map(|(address, _)| *address);
        let of_pods = self.by_address.range(first..=last).map(|(address, _)| *address);
        let of_hosts = self.by_host_address.range(first..=last).map(|(address, _)| *address);
        of_nodes.chain(of_pods).chain(of_hosts)
    }

    /// How many addresses nodes and pods have.
    pub fn addresses_len(&self) -> usize {
        self.by_node_address.len() + self.by_address.len() + self.by_host_address.len()
    }

    /// Every address of a node, with the nodes that have it.
    pub fn node_addresses(&self) -> impl Iterator<Item = (IpAddr, Vec<&Node>)> {
        self.by_node_address.keys().map(|address| (*address, self.nodes_at(*address).collect()))
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

    /// The addresses of the pods on this node.
    pub fn local_addresses(&self) -> BTreeSet<IpAddr> {
        self.local.iter().filter_map(|name| self.pods.get(name)).flat_map(|pod| &pod.addresses).copied().collect()
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
        let claim = self.by_address.get(&address);
        claim.into_iter().flat_map(Claim::names).filter_map(|name| self.pods.get(name).map(|pod| (name, pod)))
    }
}

impl Claim {
    fn names(&self) -> impl Iterator<Item = &PodName> {
        let (one, several) = match self {
            Claim::One(name) => (Some(name), None),
            Claim::Several(names) => (None, Some(names)),
        };
        one.into_iter().chain(several.into_iter().flatten())
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

/// Builds a map anew. One that was filled in the order of its keys, as lists of an API server are, is half empty; this one is full.
fn pack<K: Ord, V>(map: &mut BTreeMap<K, V>) {
    *map = std::mem::take(map).into_iter().collect();
}

/// Whether the pod runs on the node.
pub fn is_on(pod: &Pod, node: &NodeName) -> bool {
    pod.node.as_ref() == Some(node)
}
