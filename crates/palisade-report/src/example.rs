//! Flows that stand for others: the first pod of a class, the first port of a range, and what `palisade explain` says about them.

use std::sync::Arc;

use palisade_core::{
    AddressRange, Direction, End, Family, Flow, Namespace, NamespaceName, NetworkPolicy, PerDirection, Pod, PodName,
    PolicyName, Port, Snapshot, Traffic, Transport,
};
use palisade_reach::TrafficSet;
use palisade_sim::{Explanation, explain, isolators};

/// A pod that stands for those that no rule tells apart from it, with the policies that isolate it.
#[derive(Debug)]
pub(crate) struct Sample<'a> {
    pub(crate) name: &'a PodName,
    pub(crate) pod: &'a Arc<Pod>,
    namespace: (&'a NamespaceName, Arc<Namespace>),
    policies: PerDirection<Vec<(&'a PolicyName, &'a Arc<NetworkPolicy>)>>,
}

impl<'a> Sample<'a> {
    /// The pod of this name; `None` if there is none.
    pub(crate) fn new(snapshot: &'a Snapshot, name: &PodName) -> Option<Sample<'a>> {
        let (name, pod) = snapshot.pods.get_key_value(name)?;
        let namespace = snapshot.namespaces.get(&name.namespace).cloned().unwrap_or_default();
        let policies = |direction| {
            let names = isolators(snapshot, name, direction);
            names.iter().filter_map(|name| snapshot.policies.get_key_value(name)).collect()
        };
        let policies = PerDirection { ingress: policies(Direction::Ingress), egress: policies(Direction::Egress) };
        Some(Sample { name, pod, namespace: (&name.namespace, namespace), policies })
    }

    /// Whether a policy isolates it.
    pub(crate) fn is_isolated(&self, direction: Direction) -> bool {
        !self.policies[direction].is_empty()
    }

    /// What stands for it in texts: its name, then its addresses.
    pub(crate) fn words(&self) -> Vec<String> {
        let addresses = Family::ALL.into_iter().filter_map(|family| self.pod.address(family));
        [self.name.to_string()].into_iter().chain(addresses.map(|address| address.to_string())).collect()
    }
}

/// One end of an example.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'s> {
    /// A pod.
    Pod(&'s Sample<'s>),
    /// Addresses that nobody in the cluster has.
    Addresses(AddressRange),
}

impl Place<'_> {
    /// What stands for it in texts.
    pub(crate) fn words(&self) -> Vec<String> {
        match self {
            Place::Pod(sample) => sample.words(),
            Place::Addresses(range) => vec![range.first.to_string()],
        }
    }

    fn sample(&self) -> Option<&Sample<'_>> {
        match self {
            Place::Pod(sample) => Some(sample),
            Place::Addresses(_) => None,
        }
    }

    /// The end to ask about. A range may begin with the address of the pod at the other end.
    fn end(&self, other: &Place<'_>) -> Option<End> {
        match self {
            Place::Pod(sample) => Some(End::Pod(sample.name.clone())),
            Place::Addresses(AddressRange { first, last }) => {
                let is_free = |address| other.sample().is_none_or(|sample| !sample.pod.addresses.contains(address));
                [first, last].into_iter().find(|address| is_free(address)).map(|address| End::Address(*address))
            }
        }
    }
}

/// What `palisade explain` says of a flow, asked of all that has a say in exact sets: two ends, and the `NetworkPolicies` that isolate them.
/// `None` if there is no such flow.
pub(crate) fn explained(
    from: &Place<'_>,
    to: &Place<'_>,
    traffic: Traffic,
    families: &[Family],
) -> Option<Explanation> {
    let mut part = Snapshot::default();
    for (place, direction) in [(from, Direction::Egress), (to, Direction::Ingress)] {
        let Some(sample) = place.sample() else { continue };
        part.namespaces.insert(sample.namespace.0.clone(), Arc::clone(&sample.namespace.1));
        part.pods.insert(sample.name.clone(), Arc::clone(sample.pod));
        let policies = sample.policies[direction].iter();
        part.policies.extend(policies.map(|(name, policy)| (PolicyName::clone(name), Arc::clone(policy))));
    }
    let flow = Flow { source: from.end(to)?, destination: to.end(from)?, traffic };
    explain(&part, &flow, families).ok()
}

/// The parts of a set, each with a flow that stands for it.
pub(crate) fn parts(set: &TrafficSet) -> Vec<(String, Traffic)> {
    let mut parts = Vec::new();
    for transport in Transport::ALL {
        let ports = set.ports(transport);
        parts.extend(ports.ranges().iter().map(|range| {
            let name = if ports.is_every() { transport.to_string() } else { format!("{transport} {range}") };
            (name, Traffic::Port(transport, range.first()))
        }));
    }
    if set.has_other() {
        parts.push(("icmp and others".to_string(), Traffic::Icmp));
    }
    parts
}

/// Something that is not in a set, rather what a pod listens on; `None` if everything is in it.
pub(crate) fn beyond(set: &TrafficSet, to: &Place<'_>) -> Option<Traffic> {
    let declared = to.sample().into_iter().flat_map(|sample| &sample.pod.ports);
    let declared = declared.map(|port| Traffic::Port(port.transport, port.port));
    let lowest = Transport::ALL.into_iter().filter_map(|transport| {
        let port = match set.ports(transport).ranges() {
            [first, ..] if first.first() == Port::MIN => first.last().checked_add(1)?,
            _ => Port::MIN,
        };
        Some(Traffic::Port(transport, port))
    });
    let http = Port::new(80).map(|port| Traffic::Port(Transport::Tcp, port));
    declared.chain(http).chain(lowest).chain([Traffic::Icmp]).find(|traffic| !set.contains(*traffic))
}
