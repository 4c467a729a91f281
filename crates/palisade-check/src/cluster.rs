//! The pods and namespaces that selectors are held against.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::dialect::{BLOCKS_HOLD_NO_NODES, BLOCKS_HOLD_NO_PODS};
use palisade_core::{
    AddressRange, Dialect, Labels, NetworkPolicy, NodeName, ObjectName, Pod, PodName, Port, Selector, ServiceName,
    ServicePort, Snapshot, TargetPort, Transport, WorkloadKind, WorkloadName,
};
use palisade_sim::selects;
use palisade_sources::{Facts, ObjectRef, Written};

use crate::dns::Dns;
use crate::pod_class::{self, PodClass};

/// What the input shows of a cluster.
pub struct Cluster<'a> {
    snapshot: &'a Snapshot,
    facts: &'a Facts,
    dialect: Dialect,
    /// Who has which address, for dialects in which that matters: their rules are about blocks.
    pods_at: BTreeMap<IpAddr, &'a PodName>,
    nodes_at: BTreeMap<IpAddr, &'a NodeName>,
    classes: BTreeMap<&'a str, Vec<PodClass<'a>>>,
    /// Whatever labels pods of a namespace have.
    labels: BTreeMap<&'a str, BTreeSet<&'a Labels>>,
    /// Namespaces of workloads that make no pod now, but might: their labels are not known.
    hiding: BTreeSet<&'a str>,
    /// Namespaces whose labels are known.
    labelled: BTreeSet<&'a str>,
    /// The ports of Services that lead to another port.
    translated: BTreeSet<(Transport, Port)>,
    dns: Option<Dns<'a>>,
}

impl<'a> Cluster<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, written: &'a Written<'_>, dialect: Dialect) -> Cluster<'a> {
        let mut labels: BTreeMap<&str, BTreeSet<&Labels>> = BTreeMap::new();
        for (name, pod) in &snapshot.pods {
            labels.entry(&name.namespace).or_default().insert(&pod.labels);
        }
        let without_pods = snapshot.workloads.iter().filter(|(_, pods)| pods.is_empty()).map(|(name, _)| name);
        let hiding = without_pods.filter(|name| name.kind != WorkloadKind::Service).map(|name| &*name.namespace);
        let labelled = snapshot.namespaces.keys().map(|name| &**name).filter(|name| written.has_namespace(name));
        Cluster {
            snapshot,
            facts: written.facts(),
            dialect,
            pods_at: if dialect.has(&BLOCKS_HOLD_NO_PODS) { pods_at(snapshot) } else { BTreeMap::new() },
            nodes_at: if dialect.has(&BLOCKS_HOLD_NO_NODES) { nodes_at(snapshot) } else { BTreeMap::new() },
            classes: pod_class::classes(snapshot, written.facts()),
            labels,
            hiding: hiding.collect(),
            labelled: labelled.collect(),
            translated: translated(snapshot),
            dns: Dns::read(snapshot),
        }
    }

    /// What the input says, as far as verdicts rest on it.
    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// Whose reading is asked for.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The first pod in a range of addresses.
    pub fn pod_at(&self, range: AddressRange) -> Option<(IpAddr, &'a PodName)> {
        self.pods_at.range(range.first..=range.last).next().map(|(address, pod)| (*address, *pod))
    }

    /// The first node in a range of addresses, of those that the input names.
    pub fn node_at(&self, range: AddressRange) -> Option<(IpAddr, &'a NodeName)> {
        self.nodes_at.range(range.first..=range.last).next().map(|(address, node)| (*address, *node))
    }

    /// The pods of a namespace that are on the network of their nodes.
    pub fn pods_on_nodes(&self, namespace: &str) -> impl Iterator<Item = (&'a PodName, &'a Pod)> {
        let pods = within(&self.snapshot.pods, namespace).map(|(name, pod)| (name, &**pod));
        pods.filter(|(_, pod)| pod.host_network && !pod.finished)
    }

    /// Whether a Service leads to pods that the input shows.
    pub fn leads_to_pods(&self, service: &ServiceName) -> bool {
        let (namespace, name) = (Arc::clone(&service.namespace), Arc::clone(&service.name));
        let workload = WorkloadName { namespace, kind: WorkloadKind::Service, name };
        self.snapshot.workloads.get(&workload).is_some_and(|pods| !pods.is_empty())
    }

    /// What it says besides.
    pub fn facts(&self) -> &'a Facts {
        self.facts
    }

    /// The pods of a namespace.
    pub fn pods(&self, namespace: &str) -> impl Iterator<Item = &PodClass<'a>> {
        self.classes.get(namespace).into_iter().flatten()
    }

    /// The labels of the pods of a namespace, those that no selector asks for included.
    pub fn labels_of_pods(&self, namespace: &str) -> impl Iterator<Item = &'a Labels> {
        self.labels.get(namespace).into_iter().flatten().copied()
    }

    /// Whether a namespace may have pods of which the input shows nothing: it shows none at all, or a workload that makes none.
    pub fn may_hide_pods(&self, namespace: &str) -> bool {
        !self.classes.contains_key(namespace) || self.hiding.contains(namespace)
    }

    /// Whether the input shows every pod of a namespace.
    pub fn shows_all_pods(&self, namespace: &str) -> bool {
        !self.hiding.contains(namespace) && (self.is_whole() || self.classes.contains_key(namespace))
    }

    /// Every namespace with its labels, as far as they are known.
    pub fn namespaces(&self) -> impl Iterator<Item = (&'a str, &'a Labels)> {
        self.snapshot.namespaces.iter().map(|(name, namespace)| (&**name, &namespace.labels))
    }

    /// The labels of a namespace, `None` if the input does not show all of them.
    pub fn labels_of(&self, namespace: &str) -> Option<&'a Labels> {
        self.labelled.contains(namespace).then(|| self.snapshot.namespaces.get(namespace))?.map(|found| &found.labels)
    }

    /// The namespaces that a selector selects, as far as their labels are known.
    pub fn selected(&self, selector: &Selector) -> impl Iterator<Item = &'a str> {
        self.namespaces().filter(|(_, labels)| selects(selector, labels)).map(|(name, _)| name)
    }

    /// Whether the labels of every namespace are known.
    pub fn knows_all_labels(&self) -> bool {
        self.labelled.len() == self.snapshot.namespaces.len()
    }

    /// The policies that select pods with these labels.
    pub fn policies_of(&self, namespace: &str, labels: &Labels) -> Vec<&'a NetworkPolicy> {
        self.policies(namespace).filter(|policy| selects(&policy.subjects, labels)).collect()
    }

    /// Whether this is the port of a Service that leads to another port.
    pub fn is_translated(&self, transport: Transport, port: Port) -> bool {
        self.translated.contains(&(transport, port))
    }

    /// The DNS servers, if the input shows them.
    pub fn dns(&self) -> Option<&Dns<'a>> {
        self.dns.as_ref()
    }

    /// Whether the input seems to be all of a cluster: it has its nodes.
    pub fn is_whole(&self) -> bool {
        self.snapshot.nodes.values().any(|node| !node.assumed)
    }

    /// The policies of a namespace.
    pub fn policies(&self, namespace: &str) -> impl Iterator<Item = &'a NetworkPolicy> {
        within(&self.snapshot.policies, namespace).map(|(_, policy)| &**policy)
    }
}

/// What a pod is told by: the workload that made it, or else itself.
pub fn owner(name: &PodName, pod: &Pod) -> ObjectRef {
    let reference = |kind: &str, name: &Arc<str>, namespace: &Arc<str>| ObjectRef {
        kind: kind.into(),
        namespace: Some(Arc::clone(namespace)),
        name: Arc::clone(name),
    };
    match &pod.workload {
        Some(workload) => reference(workload.kind.kind(), &workload.name, &workload.namespace),
        None => reference("Pod", &name.name, &name.namespace),
    }
}

fn pods_at(snapshot: &Snapshot) -> BTreeMap<IpAddr, &PodName> {
    let pods = snapshot.pods.iter().filter(|(_, pod)| !pod.host_network && !pod.finished);
    pods.flat_map(|(name, pod)| pod.addresses.iter().map(move |address| (*address, name))).collect()
}

fn nodes_at(snapshot: &Snapshot) -> BTreeMap<IpAddr, &NodeName> {
    let nodes = snapshot.nodes.iter().filter(|(_, node)| !node.assumed);
    nodes.flat_map(|(name, node)| node.addresses.iter().map(move |address| (*address, name))).collect()
}

/// The ports of Services that lead to another port.
fn translated(snapshot: &Snapshot) -> BTreeSet<(Transport, Port)> {
    // A name without an address leads to the pods themselves, at whatever port.
    let ports = snapshot.services.values().filter(|service| !service.headless).flat_map(|service| &service.ports);
    let is_other = |port: &&ServicePort| port.target != TargetPort::Number(port.port);
    ports.filter(is_other).map(|port| (port.transport, port.port)).collect()
}

/// The objects of a namespace.
pub fn within<'a, T>(
    objects: &'a BTreeMap<ObjectName, T>,
    namespace: &str,
) -> impl Iterator<Item = (&'a ObjectName, &'a T)> {
    let first = ObjectName::new(namespace, "");
    objects.range(first..).take_while(move |(name, _)| *name.namespace == *namespace)
}
