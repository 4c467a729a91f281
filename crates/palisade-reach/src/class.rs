//! Pods that no rule can tell apart, so that all of them are judged at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use palisade_core::dialect::BLOCKS_HOLD_NO_PODS;
use palisade_core::{
    ContainerPort, Dialect, End, Family, Labels, NamespaceName, NetworkPolicy, Peer, Pod, PodName, Port, PortMatch,
    Ports, Selector, Snapshot, Transport, WorkloadName,
};

use crate::reach::{in_force, rules};
use crate::space::Space;

/// Pods of one workload, or a bare pod, that no rule can tell apart.
#[derive(Debug)]
pub struct Class<'a> {
    /// Their namespace.
    pub namespace: &'a NamespaceName,
    /// The workload, if they are all of its pods.
    pub workload: Option<&'a WorkloadName>,
    /// Their names, in order; at least one.
    pub pods: Vec<&'a PodName>,
    /// Where their addresses are, by family.
    pub(crate) places: [Place; 2],
    /// One of them, which stands for all.
    pod: &'a Pod,
}

/// Where the address of a pod is in a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// It has none, and no traffic.
    Nowhere,
    /// In no block, whatever it is.
    Apart,
    /// Nobody knows: it was invented, so that only a block of every address holds it.
    Invented,
    /// In the blocks of this zone.
    Zone(usize),
}

impl Class<'_> {
    /// Their labels, as far as rules ask for them.
    pub(crate) fn labels(&self) -> &Labels {
        &self.pod.labels
    }

    /// The ports that they declare under this name and protocol.
    pub(crate) fn ports_named(&self, name: &str, transport: Transport) -> impl Iterator<Item = &ContainerPort> {
        let is_named = move |port: &&ContainerPort| port.transport == transport && port.name.as_deref() == Some(name);
        self.pod.ports.iter().filter(is_named)
    }
}

impl<'a> Class<'a> {
    /// The same for these pods of it alone.
    pub(crate) fn part(&self, pods: Vec<&'a PodName>) -> Class<'a> {
        Class { pods, workload: None, ..*self }
    }

    /// The same by itself.
    pub(crate) fn whole(&self) -> Class<'a> {
        Class { pods: self.pods.clone(), ..*self }
    }
}

/// How many pods of a class are named that is not all of a workload.
const NAMED_MAX: usize = 3;

impl fmt::Display for Class<'_> {
    /// `shop/deployment/web`, `data/pg`, or `shop/web-0,web-1,web-2,+4` for some of the pods of a workload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(workload) = self.workload {
            return write!(f, "{workload}");
        }
        let mut pods = self.pods.iter();
        if let Some(first) = pods.next() {
            write!(f, "{}", End::Pod(PodName::clone(first)))?;
        }
        for pod in pods.by_ref().take(NAMED_MAX - 1) {
            write!(f, ",{}", pod.name)?;
        }
        if pods.len() > 0 { write!(f, ",+{}", pods.len()) } else { Ok(()) }
    }
}

/// The classes of a snapshot, in the order of their first pods.
pub(crate) fn classes<'a>(snapshot: &'a Snapshot, spaces: &[Space<'a>; 2], dialect: Dialect) -> Vec<Class<'a>> {
    let asked = Asked::of(snapshot);
    let mut looks: HashMap<*const Labels, Look<'_>> = HashMap::new();
    let mut numbers: HashMap<Key<'_>, usize> = HashMap::new();
    let mut classes: Vec<Class<'a>> = Vec::new();
    let mut parts: BTreeMap<&WorkloadName, usize> = BTreeMap::new();
    for (name, pod) in &snapshot.pods {
        let Some(places) = places(pod, spaces, dialect) else { continue };
        let alike = (dialect != Dialect::NpGuard).then(|| {
            // Pods of one workload share their labels.
            let look = looks.entry(Arc::as_ptr(&pod.labels)).or_insert_with(|| asked.look(&pod.labels));
            (Arc::clone(look), asked.ports_of(pod), places)
        });
        let key = Key { namespace: &name.namespace, owner: pod.workload.as_ref().ok_or(name), alike };
        let next = classes.len();
        let number = *numbers.entry(key).or_insert(next);
        if number == next {
            if let Some(workload) = &pod.workload {
                *parts.entry(workload).or_default() += 1;
            }
            let (namespace, workload) = (&name.namespace, pod.workload.as_ref());
            classes.push(Class { namespace, workload, pods: Vec::new(), places, pod });
        }
        classes[number].pods.push(name);
    }
    for class in &mut classes {
        class.workload = class.workload.filter(|workload| parts[workload] == 1);
    }
    classes
}

/// What a rule may ask of labels: the pairs under the keys that are asked for.
type Look<'a> = Arc<[(&'a str, &'a str)]>;

type NamedPort<'a> = (&'a str, Transport, Port);

/// Pods with one key are in one class.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    namespace: &'a NamespaceName,
    /// The workload, or the pod itself if it has none.
    owner: Result<&'a WorkloadName, &'a PodName>,
    /// What rules may tell apart; `None` where a workload is taken as one.
    alike: Option<(Look<'a>, BTreeSet<NamedPort<'a>>, [Place; 2])>,
}

/// What selectors and rules ask of pods.
struct Asked<'a> {
    keys: BTreeSet<&'a str>,
    port_names: BTreeSet<&'a str>,
}

impl<'a> Asked<'a> {
    fn of(snapshot: &'a Snapshot) -> Asked<'a> {
        let mut asked = Asked { keys: BTreeSet::new(), port_names: BTreeSet::new() };
        for (_, policy) in in_force(snapshot) {
            asked.add(policy);
        }
        asked
    }

    fn add(&mut self, policy: &'a NetworkPolicy) {
        self.add_selector(&policy.subjects);
        for rule in rules(policy) {
            for peer in rule.peers.iter().flatten() {
                if let Peer::Pods { pods, .. } = peer {
                    self.add_selector(pods);
                }
            }
            if let Ports::Listed(ports) = &rule.ports {
                self.port_names.extend(ports.iter().filter_map(|port| match port {
                    PortMatch::Named(_, name) => Some(&**name),
                    PortMatch::Every(_) | PortMatch::Range(..) => None,
                }));
            }
        }
    }

    fn add_selector(&mut self, selector: &'a Selector) {
        self.keys.extend(selector.requirements().iter().map(|requirement| &*requirement.key));
    }

    fn look<'l>(&self, labels: &'l Labels) -> Look<'l> {
        let asked = labels.iter().filter(|(key, _)| self.keys.contains(&***key));
        asked.map(|(key, value)| (&**key, &**value)).collect()
    }

    fn ports_of<'p>(&self, pod: &'p Pod) -> BTreeSet<NamedPort<'p>> {
        let named = pod.ports.iter().filter_map(|port| Some((port.name.as_deref()?, port.transport, port.port)));
        named.filter(|(name, ..)| self.port_names.contains(name)).collect()
    }
}

/// Where the addresses of a pod are; `None` if it has none of its own.
fn places(pod: &Pod, spaces: &[Space<'_>; 2], dialect: Dialect) -> Option<[Place; 2]> {
    if pod.finished {
        return None;
    }
    if dialect == Dialect::NpGuard {
        return Some([Place::Apart, Place::Nowhere]);
    }
    let place = |family| match pod.address(family) {
        None => Place::Nowhere,
        Some(_) if dialect.has(&BLOCKS_HOLD_NO_PODS) => Place::Apart,
        Some(_) if pod.assumed.addresses => Place::Invented,
        Some(address) => Place::Zone(spaces[index(family)].zone_at(address)),
    };
    let places = Family::ALL.map(place);
    (!pod.host_network && places != [Place::Nowhere; 2]).then_some(places)
}

/// The place of a family among values by family.
pub(crate) fn index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}
