//! Pods that no policy tells apart, with the policies and Services that are about them.

use std::collections::{BTreeMap, BTreeSet};

use palisade_core::{
    ContainerPort, Direction, Family, Labels, NetworkPolicy, Peer, PodName, PolicyName, Selector, Service, ServiceName,
    Snapshot, WorkloadKind, WorkloadName,
};
use palisade_sim::selects;
use palisade_sources::Facts;

use crate::cluster::{owner, within};

/// Pods of one namespace that no policy and no Service of the input can tell apart: there are far fewer of them than pods.
#[derive(Clone, Debug)]
pub struct PodClass<'a> {
    /// Their namespace.
    pub namespace: &'a str,
    /// Those of their labels that selectors ask for, in which they are alike.
    pub told_by: Vec<(&'a str, &'a str)>,
    /// The labels of one of them; the others differ in labels alone that no selector asks for.
    pub labels: &'a Labels,
    /// The ports that they declare.
    pub ports: &'a [ContainerPort],
    /// Whether they have addresses of their own: policies do not know pods on the network of their node, nor those that are finished.
    pub addressed: bool,
    /// Whether they have addresses of both families, as the input says.
    pub dual_stack: bool,
    /// Whether they ask the DNS of the cluster, as far as the input says.
    pub asks_dns: bool,
    /// How many there are.
    pub count: usize,
    /// The number of the policies that select them: classes under the same policies have the same.
    pub under: usize,
    /// The policies that select them, those among them that cannot be read.
    pub policies: Vec<&'a NetworkPolicy>,
    /// The Services that lead to them.
    pub services: Vec<Named<'a>>,
}

impl PodClass<'_> {
    /// Whether a policy isolates them. Audited ones do not.
    pub fn is_isolated(&self, direction: Direction) -> bool {
        self.policies.iter().any(|policy| !policy.audit && policy.rules[direction].is_some())
    }

    /// As people would select them.
    pub fn in_words(&self) -> String {
        let labels = Selector::labels(self.told_by.iter().copied());
        if self.told_by.is_empty() { "these pods".to_string() } else { format!("pods {labels}") }
    }

    /// Whether all policies that select them could be read.
    pub fn is_readable(&self) -> bool {
        self.policies.iter().all(|policy| policy.unreadable.is_none())
    }
}

/// The classes of each namespace.
pub fn classes<'a>(snapshot: &'a Snapshot, facts: &Facts) -> BTreeMap<&'a str, Vec<PodClass<'a>>> {
    let (asked, services) = (asked(snapshot), services(snapshot));
    let mut classes: BTreeMap<&str, Vec<PodClass<'_>>> = BTreeMap::new();
    let mut known: BTreeMap<_, usize> = BTreeMap::new();
    let mut under: BTreeMap<Vec<&PolicyName>, usize> = BTreeMap::new();
    for (name, pod) in &snapshot.pods {
        let namespace = &*name.namespace;
        let labels = pod.labels.iter().filter(|(key, _)| asked.contains(&***key));
        let told_by: Vec<(&str, &str)> = labels.map(|(key, value)| (&**key, &**value)).collect();
        let services = services.get(name).map(|services| &**services).unwrap_or_default();
        let addressed = !pod.host_network && !pod.finished;
        let dual_stack = !pod.assumed.addresses && Family::ALL.iter().all(|family| pod.address(*family).is_some());
        let names: Vec<&ServiceName> = services.iter().map(|(name, _)| *name).collect();
        let asks_dns = facts.own_dns.is_empty() || !facts.own_dns.contains(&owner(name, pod));
        let key = (namespace, told_by, names, &pod.ports, addressed, dual_stack, asks_dns);
        let classes = classes.entry(namespace).or_default();
        if let Some(number) = known.get(&key) {
            classes[*number].count += 1;
        } else {
            let policies = within(&snapshot.policies, namespace).map(|(_, policy)| &**policy);
            let policies: Vec<_> = policies.filter(|policy| selects(&policy.subjects, &pod.labels)).collect();
            let next = under.len();
            let under = *under.entry(policies.iter().map(|policy| &policy.name).collect()).or_insert(next);
            let told_by = key.1.clone();
            known.insert(key, classes.len());
            classes.push(PodClass {
                namespace,
                told_by,
                labels: &pod.labels,
                ports: &pod.ports,
                addressed,
                dual_stack,
                asks_dns,
                count: 1,
                under,
                policies,
                services: services.to_vec(),
            });
        }
    }
    classes
}

/// A Service and its name.
type Named<'a> = (&'a ServiceName, &'a Service);

/// The Services that lead to each pod.
fn services(snapshot: &Snapshot) -> BTreeMap<&PodName, Vec<Named<'_>>> {
    let mut leading: BTreeMap<&PodName, Vec<Named<'_>>> = BTreeMap::new();
    for (name, service) in &snapshot.services {
        let (namespace, kind) = (name.namespace.clone(), WorkloadKind::Service);
        let workload = WorkloadName { namespace, kind, name: name.name.clone() };
        for pod in snapshot.workloads.get(&workload).into_iter().flat_map(|pods| pods.iter()) {
            leading.entry(pod).or_default().push((name, service));
        }
    }
    leading
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
    let keys = selectors.into_iter().flat_map(Selector::requirements).map(|requirement| &*requirement.key);
    // By this one the DNS servers are told.
    keys.chain(["k8s-app"]).collect()
}
