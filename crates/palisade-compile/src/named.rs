//! Named ports of egress rules: the destinations decide what number a name has, so pods that come and go
//! may add numbers and take them away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::{PodName, Port, Transport};

use crate::atom::Who;
use crate::cluster::Cluster;
use crate::matching::declared_numbers;

/// A port name as an egress rule uses it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort {
    /// The destinations that the rule means.
    pub who: Who,
    /// The port's name.
    pub name: Arc<str>,
    /// Its protocol.
    pub transport: Transport,
}

/// The numbers of every name in use, and the subjects that depend on them.
#[derive(Debug, Default)]
pub struct NamedPorts {
    in_use: BTreeMap<NamedPort, Usage>,
    by_subject: BTreeMap<IpAddr, BTreeSet<NamedPort>>,
}

#[derive(Debug, Default)]
struct Usage {
    declared_by: BTreeMap<Port, BTreeSet<PodName>>,
    subjects: BTreeSet<IpAddr>,
}

impl NamedPorts {
    /// The numbers that a name stands for now.
    pub fn numbers(&mut self, cluster: &Cluster, key: &NamedPort) -> Vec<Port> {
        let usage = self.in_use.entry(key.clone()).or_insert_with(|| {
            let mut usage = Usage::default();
            key.who.for_each(cluster, |name, pod, _| {
                for number in declared_numbers(pod, &key.name, key.transport) {
                    usage.declared_by.entry(number).or_default().insert(name.clone());
                }
            });
            usage
        });
        usage.declared_by.keys().copied().collect()
    }

    /// Takes in that pods have changed; adds the subjects for which a number came or went.
    pub fn update(&mut self, cluster: &Cluster, pods: &BTreeSet<PodName>, subjects: &mut BTreeSet<IpAddr>) {
        for (key, usage) in &mut self.in_use {
            let before: Vec<Port> = usage.declared_by.keys().copied().collect();
            for name in pods {
                usage.declared_by.values_mut().for_each(|names| {
                    names.remove(name);
                });
                let Some(pod) = cluster.pod(name) else { continue };
                if pod.addresses.iter().any(|address| key.who.includes(cluster, name, pod, *address)) {
                    for number in declared_numbers(pod, &key.name, key.transport) {
                        usage.declared_by.entry(number).or_default().insert(name.clone());
                    }
                }
            }
            usage.declared_by.retain(|_, names| !names.is_empty());
            if !usage.declared_by.keys().eq(&before) {
                subjects.extend(&usage.subjects);
            }
        }
    }

    /// Notes what a subject depends on now, and forgets names that nobody uses any more.
    pub fn set_dependencies(&mut self, subject: IpAddr, depends_on: BTreeSet<NamedPort>) {
        for key in &depends_on {
            if let Some(usage) = self.in_use.get_mut(key) {
                usage.subjects.insert(subject);
            }
        }
        let before = self.by_subject.remove(&subject).unwrap_or_default();
        for key in before.difference(&depends_on) {
            if let Some(usage) = self.in_use.get_mut(key) {
                usage.subjects.remove(&subject);
                if usage.subjects.is_empty() {
                    self.in_use.remove(key);
                }
            }
        }
        if !depends_on.is_empty() {
            self.by_subject.insert(subject, depends_on);
        }
    }
}
