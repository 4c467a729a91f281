//! An immutable view of the cluster: what the witnesses judge by.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::ban::{BanList, BanListName};
use crate::host_policy::{HostPolicy, HostPolicyName};
use crate::labels::Labels;
use crate::name::{NamespaceName, NodeName, PodName, PolicyName, WorkloadName};
use crate::net::{Family, Port, Transport};
use crate::policy::NetworkPolicy;
use crate::server::{AddressType, Server, ServerName};
use crate::service::{Service, ServiceName};

/// The cluster at one moment. Objects are shared, so that a copy costs little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every namespace, also those that only an object in them names.
    pub namespaces: BTreeMap<NamespaceName, Arc<Namespace>>,
    /// Every node.
    pub nodes: BTreeMap<NodeName, Arc<Node>>,
    /// Every pod.
    pub pods: BTreeMap<PodName, Arc<Pod>>,
    /// Every `NetworkPolicy`.
    pub policies: BTreeMap<PolicyName, Arc<NetworkPolicy>>,
    /// Every `HostPolicy`.
    pub host_policies: BTreeMap<HostPolicyName, Arc<HostPolicy>>,
    /// Every `BanList`.
    pub ban_lists: BTreeMap<BanListName, Arc<BanList>>,
    /// Every server outside of the cluster that has a `NodeAllowlist`.
    pub servers: BTreeMap<ServerName, Arc<Server>>,
    /// Every Service. What they lead to is settled before anything is judged.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// The pods of each workload and of each Service, by name. For naming ends of a flow, and for where Services lead; it has no say in verdicts.
    pub workloads: BTreeMap<WorkloadName, Arc<[PodName]>>,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its labels, `kubernetes.io/metadata.name` included.
    pub labels: Labels,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its labels.
    pub labels: Labels,
    /// `status.addresses` that are IP addresses: every one of them, both families.
    pub addresses: Vec<IpAddr>,
    /// The types of those of them that are not `InternalIP` alone. A host name that is written as an address has none.
    pub other_types: BTreeMap<IpAddr, Vec<AddressType>>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNet>,
    /// Whether the addresses were invented.
    pub assumed: bool,
}

impl Node {
    /// The types of one of its addresses.
    pub fn types_of(&self, address: IpAddr) -> &[AddressType] {
        self.other_types.get(&address).map_or(&[AddressType::InternalIP], Vec::as_slice)
    }
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its labels; pods of one workload share a copy.
    pub labels: Arc<Labels>,
    /// `spec.nodeName`.
    pub node: Option<NodeName>,
    /// `status.podIPs`; for a hostNetwork pod the addresses of its node.
    pub addresses: Vec<IpAddr>,
    /// `spec.hostNetwork`: its traffic is the node's.
    pub host_network: bool,
    /// Phase Succeeded or Failed: it has no address any more, whatever its status says.
    pub finished: bool,
    /// The ports its containers declare (init containers with `restartPolicy: Always` included).
    pub ports: Vec<ContainerPort>,
    /// What made it, if the input says so.
    pub workload: Option<WorkloadName>,
    /// What was invented because the input leaves it out.
    pub assumed: Assumed,
}

impl Pod {
    /// The pod's first address in a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| Family::of(*address) == family)
    }
}

/// What the input left out and the reader invented; a verdict that rests on it says `assumed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assumed {
    /// The addresses.
    pub addresses: bool,
    /// The node.
    pub node: bool,
}

/// `ContainerPort`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerPort {
    /// `name`, if any.
    pub name: Option<Arc<str>>,
    /// `protocol`, TCP if absent.
    pub transport: Transport,
    /// `containerPort`.
    pub port: Port,
    /// `hostPort`: a port of the node that leads here.
    pub host_port: Option<Port>,
    /// `hostIP`: the one address of the node at which it does; `None` is every one.
    pub host_address: Option<IpAddr>,
}

/// One object that came, changed (`Some`) or went (`None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A namespace.
    Namespace(NamespaceName, Option<Arc<Namespace>>),
    /// A node.
    Node(NodeName, Option<Arc<Node>>),
    /// A pod.
    Pod(PodName, Option<Arc<Pod>>),
    /// A policy.
    Policy(PolicyName, Option<Arc<NetworkPolicy>>),
    /// A host policy.
    HostPolicy(HostPolicyName, Option<Arc<HostPolicy>>),
    /// A ban list.
    BanList(BanListName, Option<Arc<BanList>>),
    /// A server outside of the cluster.
    Server(ServerName, Option<Arc<Server>>),
}

impl Snapshot {
    /// The changes that lead from this snapshot to another. Objects both share are skipped without a look inside.
    pub fn changes_to(&self, other: &Snapshot) -> Vec<Change> {
        let mut changes = Vec::new();
        difference(&self.namespaces, &other.namespaces, |name, new| changes.push(Change::Namespace(name, new)));
        difference(&self.nodes, &other.nodes, |name, new| changes.push(Change::Node(name, new)));
        difference(&self.pods, &other.pods, |name, new| changes.push(Change::Pod(name, new)));
        difference(&self.policies, &other.policies, |name, new| changes.push(Change::Policy(name, new)));
        let (before, now) = (&self.host_policies, &other.host_policies);
        difference(before, now, |name, new| changes.push(Change::HostPolicy(name, new)));
        difference(&self.ban_lists, &other.ban_lists, |name, new| changes.push(Change::BanList(name, new)));
        difference(&self.servers, &other.servers, |name, new| changes.push(Change::Server(name, new)));
        changes
    }
}

fn difference<K: Ord + Clone, V: PartialEq>(
    old: &BTreeMap<K, Arc<V>>,
    new: &BTreeMap<K, Arc<V>>,
    mut changed: impl FnMut(K, Option<Arc<V>>),
) {
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        changed(name.clone(), None);
    }
    for (name, value) in new {
        let same = old.get(name).is_some_and(|old| Arc::ptr_eq(old, value) || old == value);
        if !same {
            changed(name.clone(), Some(Arc::clone(value)));
        }
    }
}
