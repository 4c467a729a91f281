//! The pods and namespaces that selectors are held against.

use std::collections::{BTreeMap, BTreeSet};

use palisade_core::{ContainerPort, Family, Labels, NetworkPolicy, ObjectName, Peer, Selector, Snapshot, WorkloadKind};
use palisade_sim::selects;
use palisade_sources::Written;

/// Pods of one namespace that no policy of the input can tell apart: there are far fewer of them than pods.
#[derive(Clone, Copy, Debug)]
pub struct PodClass<'a> {
    /// The labels of one of them; the others differ in labels alone that no selector asks for.
    pub labels: &'a Labels,
    /// The ports that they declare.
    pub ports: &'a [ContainerPort],
    /// Whether they have addresses of their own: policies do not know pods on the network of their node, nor those that are finished.
    pub addressed: bool,
    /// Whether they have addresses of both families, as the input says.
    pub dual_stack: bool,
}

/// What the input shows of a cluster.
pub struct Cluster<'a> {
    snapshot: &'a Snapshot,
    classes: BTreeMap<&'a str, Vec<PodClass<'a>>>,
    /// Whatever labels pods of a namespace have.
    labels: BTreeMap<&'a str, BTreeSet<&'a Labels>>,
    /// Namespaces of workloads that make no pod now, but might: their labels are not known.
    hiding: BTreeSet<&'a str>,
    /// Namespaces whose labels are known.
    labelled: BTreeSet<&'a str>,
}

impl<'a> Cluster<'a> {
    pub fn new(snapshot: &'a Snapshot, written: &Written<'_>) -> Cluster<'a> {
        let asked = asked(snapshot);
        let mut classes: BTreeMap<&str, Vec<PodClass<'_>>> = BTreeMap::new();
        let mut labels: BTreeMap<&str, BTreeSet<&Labels>> = BTreeMap::new();
        let mut known = BTreeSet::new();
        for (name, pod) in &snapshot.pods {
            labels.entry(&name.namespace).or_default().insert(&pod.labels);
            let addressed = !pod.host_network && !pod.finished;
            let told_by: Vec<_> = pod.labels.iter().filter(|(key, _)| asked.contains(&***key)).collect();
            let dual_stack = !pod.assumed.addresses && Family::ALL.iter().all(|family| pod.address(*family).is_some());
            if known.insert((&name.namespace, told_by, &pod.ports, addressed, dual_stack)) {
                let class = PodClass { labels: &pod.labels, ports: &pod.ports, addressed, dual_stack };
                classes.entry(&name.namespace).or_default().push(class);
            }
        }
        let without_pods = snapshot.workloads.iter().filter(|(_, pods)| pods.is_empty()).map(|(name, _)| name);
        let hiding = without_pods.filter(|name| name.kind != WorkloadKind::Service).map(|name| &*name.namespace);
        let labelled = snapshot.namespaces.keys().map(|name| &**name).filter(|name| written.has_namespace(name));
        Cluster { snapshot, classes, labels, hiding: hiding.collect(), labelled: labelled.collect() }
    }

    /// The pods of a namespace.
    pub fn pods(&self, namespace: &str) -> impl Iterator<Item = PodClass<'a>> {
        self.classes.get(namespace).into_iter().flatten().copied()
    }

    /// The labels of the pods of a namespace, those that no selector asks for included.
    pub fn labels_of_pods(&self, namespace: &str) -> impl Iterator<Item = &'a Labels> {
        self.labels.get(namespace).into_iter().flatten().copied()
    }

    /// Whether a namespace may have pods of which the input shows nothing: it shows none at all, or a workload that makes none.
    pub fn may_hide_pods(&self, namespace: &str) -> bool {
        !self.classes.contains_key(namespace) || self.hiding.contains(namespace)
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

    /// Whether the input seems to be all of a cluster: it has its nodes.
    pub fn is_whole(&self) -> bool {
        self.snapshot.nodes.values().any(|node| !node.assumed)
    }

    /// The policies of a namespace.
    pub fn policies(&self, namespace: &'a str) -> impl Iterator<Item = &'a NetworkPolicy> {
        within(&self.snapshot.policies, namespace).map(|(_, policy)| &**policy)
    }
}

/// The objects of a namespace.
fn within<'a, T>(
    objects: &'a BTreeMap<ObjectName, T>,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a ObjectName, &'a T)> {
    let first = ObjectName::new(namespace, "");
    objects.range(first..).take_while(move |(name, _)| *name.namespace == *namespace)
}

/// The keys that selectors of pods ask for.
fn asked(snapshot: &Snapshot) -> BTreeSet<&str> {
    let mut selectors = Vec::new();
    for policy in snapshot.policies.values() {
        selectors.push(&policy.subjects);
        let rules = policy.rules.ingress.iter().chain(&policy.rules.egress).flatten();
        for peer in rules.flat_map(|rule| rule.peers.iter().flatten()) {
            if let Peer::Pods { pods, .. } = peer {
                selectors.push(pods);
            }
        }
    }
    selectors.into_iter().flat_map(Selector::requirements).map(|requirement| &*requirement.key).collect()
}
