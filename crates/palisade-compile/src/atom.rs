//! One peer of a rule: which pods, which addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::{NamespaceName, Operator, Pod, PodName, Port, Selector, Transport};

use crate::cluster::Cluster;
use crate::matching::selects;

/// One peer of a rule, made independent of the policy that holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Atom {
    /// Which pods or addresses.
    pub who: Who,
    /// Of these, only pods that declare this port: a named port of an egress rule, at one of its numbers.
    pub declares: Option<DeclaredPort>,
}

/// `NetworkPolicyPeer`, with the policy's namespace filled in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// podSelector alone: pods of the policy's own namespace.
    PodsOf(NamespaceName, Selector),
    /// namespaceSelector, and podSelector or every pod.
    PodsWhere(Selector, Selector),
    /// ipBlock.
    Block(IpNet, Vec<IpNet>),
    /// Nodes, by all their addresses; only a host policy has them as peers.
    Nodes(Selector),
}

/// A container port by name, resolved to one number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeclaredPort {
    /// `ContainerPort.name`.
    pub name: Arc<str>,
    /// `ContainerPort.protocol`.
    pub transport: Transport,
    /// `ContainerPort.containerPort`.
    pub port: Port,
}

impl Who {
    /// Every pod of every namespace.
    pub fn every_pod() -> Who {
        Who::PodsWhere(Selector::everything(), Selector::everything())
    }

    /// Whether the pod is meant, by its labels or by this address of its.
    pub fn includes(&self, cluster: &Cluster, name: &PodName, pod: &Pod, address: IpAddr) -> bool {
        match self {
            Who::PodsOf(namespace, pods) => *namespace == name.namespace && selects(pods, &pod.labels),
            Who::PodsWhere(namespaces, pods) => {
                cluster.namespace_labels(&name.namespace).is_some_and(|labels| selects(namespaces, labels))
                    && selects(pods, &pod.labels)
            }
            Who::Block(cidr, except) => in_block((cidr, except), address),
            Who::Nodes(_) => false,
        }
    }

    /// Calls `visit` with every pod and address that is meant.
    pub fn for_each<'a>(&self, cluster: &'a Cluster, mut visit: impl FnMut(&'a PodName, &'a Pod, IpAddr)) {
        let mut selected = |name: &'a PodName, pod: &'a Arc<Pod>, selector: &Selector| {
            if selects(selector, &pod.labels) {
                pod.addresses.iter().for_each(|address| visit(name, pod, *address));
            }
        };
        match self {
            Who::PodsOf(namespace, pods) => {
                cluster.pods_in(namespace).for_each(|(name, pod)| selected(name, pod, pods));
            }
            Who::PodsWhere(namespaces, pods) => {
                for (namespace, _) in cluster.namespaces().filter(|(_, labels)| selects(namespaces, labels)) {
                    cluster.pods_in(namespace).for_each(|(name, pod)| selected(name, pod, pods));
                }
            }
            Who::Block(..) => {
                for (name, pod) in cluster.pods() {
                    for address in &pod.addresses {
                        if self.includes(cluster, name, pod, *address) {
                            visit(name, pod, *address);
                        }
                    }
                }
            }
            Who::Nodes(_) => {}
        }
    }
}

impl Atom {
    /// Whether this address of the pod is in the atom.
    pub fn includes(&self, cluster: &Cluster, name: &PodName, pod: &Pod, address: IpAddr) -> bool {
        self.declares.as_ref().is_none_or(|declared| declared.is_declared_by(pod))
            && self.who.includes(cluster, name, pod, address)
    }

    /// Whether a pod or a node that is meant has this address.
    pub fn includes_owner(&self, cluster: &Cluster, address: IpAddr) -> bool {
        match &self.who {
            Who::Nodes(selector) => cluster.nodes_at(address).any(|node| selects(selector, &node.labels)),
            _ => cluster.pods_at(address).any(|(name, pod)| self.includes(cluster, name, pod, address)),
        }
    }

    /// The block, if the atom is one: then it holds addresses that no pod has, too.
    pub fn block(&self) -> Option<(&IpNet, &[IpNet])> {
        match (&self.who, &self.declares) {
            (Who::Block(cidr, except), None) => Some((cidr, except)),
            _ => None,
        }
    }
}

impl DeclaredPort {
    fn is_declared_by(&self, pod: &Pod) -> bool {
        pod.ports.iter().any(|port| {
            port.name.as_ref() == Some(&self.name) && port.transport == self.transport && port.port == self.port
        })
    }
}

/// The pods of an atom, by address; kept for the time of one update, in which many groups share atoms.
#[derive(Default)]
pub struct AtomMembers {
    known: BTreeMap<Arc<Atom>, Arc<BTreeSet<IpAddr>>>,
    /// How many addresses are known, counted once for each atom.
    addresses: usize,
    by_label: BTreeMap<NamespaceName, ByLabel>,
}

impl AtomMembers {
    /// Some thousand atoms that each hold all pods of a large cluster would take more memory than the tables.
    const ADDRESSES_MAX: usize = 1_000_000;

    /// The addresses of the atom's pods; none for a block, which holds its pods as ranges of addresses already.
    pub fn of(&mut self, atom: &Arc<Atom>, cluster: &Cluster) -> Arc<BTreeSet<IpAddr>> {
        if let Some(members) = self.known.get(atom) {
            return Arc::clone(members);
        }
        let mut members = Vec::new();
        let mut visit = |pod: &Pod, address: IpAddr| {
            if atom.declares.as_ref().is_none_or(|declared| declared.is_declared_by(pod)) {
                members.push(address);
            }
        };
        match &atom.who {
            Who::PodsOf(namespace, pods) => self.in_namespace(cluster, namespace, pods, &mut visit),
            Who::PodsWhere(namespaces, pods) => {
                for (namespace, _) in cluster.namespaces().filter(|(_, labels)| selects(namespaces, labels)) {
                    self.in_namespace(cluster, namespace, pods, &mut visit);
                }
            }
            Who::Block(..) if atom.declares.is_none() => {}
            Who::Block(..) => atom.who.for_each(cluster, |_, pod, address| visit(pod, address)),
            Who::Nodes(selector) => {
                let nodes = cluster.nodes().filter(|node| selects(selector, &node.labels));
                members.extend(nodes.flat_map(|node| &node.addresses));
            }
        }
        let members: Arc<BTreeSet<IpAddr>> = Arc::new(members.into_iter().collect());
        self.addresses += members.len();
        if self.addresses > AtomMembers::ADDRESSES_MAX {
            self.known.clear();
            self.addresses = members.len();
        }
        self.known.insert(Arc::clone(atom), Arc::clone(&members));
        members
    }

    /// Calls `visit` with every address of the pods of a namespace that a selector selects.
    fn in_namespace(
        &mut self,
        cluster: &Cluster,
        namespace: &NamespaceName,
        selector: &Selector,
        visit: &mut impl FnMut(&Pod, IpAddr),
    ) {
        let mut visit = |pod: &Pod| {
            if selects(selector, &pod.labels) {
                pod.addresses.iter().for_each(|address| visit(pod, *address));
            }
        };
        let by_label = self.by_label.entry(namespace.clone()).or_default();
        match by_label.candidates(cluster, namespace, selector) {
            Some(names) => names.filter_map(|name| cluster.pod(name)).for_each(|pod| visit(pod)),
            None => cluster.pods_in(namespace).for_each(|(_, pod)| visit(pod)),
        }
    }
}

/// The pods of a namespace by label: of many selectors that require a label, none need look at all pods.
#[derive(Default)]
struct ByLabel {
    scans: usize,
    pods: HashMap<Arc<str>, HashMap<Arc<str>, Vec<PodName>>>,
}

impl ByLabel {
    /// After so many scans of a namespace it is worth to sort its pods by label.
    const SCANS_MAX: usize = 2;

    /// The pods that have one of the labels that a selector requires; `None` if all pods are to be looked at.
    fn candidates<'a>(
        &'a mut self,
        cluster: &Cluster,
        namespace: &NamespaceName,
        selector: &'a Selector,
    ) -> Option<impl Iterator<Item = &'a PodName>> {
        let (key, values) = selector.requirements().iter().find_map(|requirement| match &requirement.operator {
            Operator::In(values) => Some((&requirement.key, values)),
            _ => None,
        })?;
        self.scans += 1;
        if self.scans <= ByLabel::SCANS_MAX {
            return None;
        }
        if self.scans == ByLabel::SCANS_MAX + 1 {
            for (name, pod) in cluster.pods_in(namespace) {
                for (key, value) in &*pod.labels {
                    let by_value = self.pods.entry(key.clone()).or_default();
                    by_value.entry(value.clone()).or_default().push(name.clone());
                }
            }
        }
        let by_value = self.pods.get(key);
        Some(values.iter().filter_map(move |value| by_value?.get(value)).flatten())
    }
}

impl Atom {
    /// The atom, for people.
    pub fn describe(&self) -> String {
        let mut text = match &self.who {
            Who::PodsOf(namespace, pods) => format!("pods {pods} in {namespace}"),
            Who::PodsWhere(namespaces, pods) => format!("pods {pods} in namespaces {namespaces}"),
            Who::Block(cidr, except) if except.is_empty() => cidr.to_string(),
            Who::Block(cidr, except) => {
                let except: Vec<String> = except.iter().map(ToString::to_string).collect();
                format!("{cidr} except {}", except.join(", "))
            }
            Who::Nodes(selector) => format!("nodes {selector}"),
        };
        if let Some(DeclaredPort { name, transport, port }) = &self.declares {
            let _ = write!(text, " with {transport} {port} named {name}");
        }
        text
    }
}

/// Whether an address is in a block and in none of its excepts.
pub fn in_block((cidr, except): (&IpNet, &[IpNet]), address: IpAddr) -> bool {
    cidr.contains(&address) && !except.iter().any(|block| block.contains(&address))
}
