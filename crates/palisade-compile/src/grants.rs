//! What the policies of one pod grant, rule by rule, with ports resolved to numbers.

use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_core::{
    Direction, Layer, NetworkPolicy, Peer, Pod, PodName, PortMatch, PortRange, Ports, Rule, Transport,
};

use crate::atom::{Atom, DeclaredPort, Who};
use crate::cluster::Cluster;
use crate::matching::{declared_numbers, selects};
use crate::named::{NamedPort, NamedPorts};

/// One thing that a rule allows.
#[derive(Debug)]
pub struct Grant {
    /// The ports; `None` is all traffic, protocols without ports included.
    pub ports: Option<(Transport, PortRange)>,
    /// The peers, one set for all ports of a rule; `None` is everyone.
    pub peers: Option<Arc<BTreeSet<Arc<Atom>>>>,
}

/// Whether an audited policy selects the pod in this direction.
pub fn is_audited(cluster: &Cluster, pod: (&PodName, &Pod), direction: Direction) -> bool {
    isolators(cluster, pod, (Layer::Shadow, direction)).any(|(policy, _)| policy.audit)
}

/// The same as [`grants`] if the policies that isolate the pod granted nothing.
pub fn none(cluster: &Cluster, pod: (&PodName, &Pod), layer: (Layer, Direction)) -> Option<Vec<Grant>> {
    isolators(cluster, pod, layer).next().map(|_| Vec::new())
}

/// The policies that isolate the pod in this direction, with their rules.
fn isolators<'a>(
    cluster: &'a Cluster,
    (name, pod): (&PodName, &'a Pod),
    (layer, direction): (Layer, Direction),
) -> impl Iterator<Item = (&'a NetworkPolicy, &'a [Rule])> {
    let in_layer = move |policy: &&Arc<NetworkPolicy>| layer == Layer::Shadow || !policy.audit;
    let policies = cluster.policies_in(&name.namespace).filter(in_layer);
    policies
        .filter_map(move |policy| policy.rules[direction].as_deref().map(|rules| (&**policy, rules)))
        .filter(|(policy, _)| selects(&policy.subjects, &pod.labels))
}

/// What the policies that isolate the pod in this direction grant together; `None` if none isolates it. The named
/// ports that the answer depends on are added to `depends_on`.
pub fn grants(
    cluster: &Cluster,
    named: &mut NamedPorts,
    depends_on: &mut BTreeSet<NamedPort>,
    (name, pod): (&PodName, &Pod),
    (layer, direction): (Layer, Direction),
) -> Option<Vec<Grant>> {
    let mut isolated = false;
    let mut grants = Vec::new();
    for (_, rules) in isolators(cluster, (name, pod), (layer, direction)) {
        isolated = true;
        for rule in rules {
            let whos = rule_whos(rule, name);
            let peers = whos.as_deref().map(|whos| atoms(whos, None));
            let Ports::Listed(matches) = &rule.ports else {
                grants.push(Grant { ports: None, peers });
                continue;
            };
            for port_match in matches {
                match (port_match, direction) {
                    (PortMatch::Named(transport, port_name), Direction::Egress) => {
                        for who in whos.clone().unwrap_or_else(|| vec![Who::every_pod()]) {
                            let key = NamedPort { who, name: port_name.clone(), transport: *transport };
                            grants.extend(egress_named(cluster, named, &key));
                            depends_on.insert(key);
                        }
                    }
                    _ => grants.extend(
                        resolved(port_match, pod)
                            .into_iter()
                            .map(|range| Grant { ports: Some((port_match.transport(), range)), peers: peers.clone() }),
                    ),
                }
            }
        }
    }
    isolated.then_some(grants)
}

/// The numbers of a port at its destination, which declares what names mean.
fn resolved(port_match: &PortMatch, destination: &Pod) -> Vec<PortRange> {
    match port_match {
        PortMatch::Every(_) => vec![PortRange::EVERY],
        PortMatch::Range(_, range) => vec![*range],
        PortMatch::Named(transport, name) => {
            declared_numbers(destination, name, *transport).into_iter().map(PortRange::single).collect()
        }
    }
}

/// A named port of an egress rule: at each of its numbers, the destinations that declare that number.
fn egress_named<'a>(
    cluster: &Cluster,
    named: &mut NamedPorts,
    key: &'a NamedPort,
) -> impl Iterator<Item = Grant> + use<'a> {
    named.numbers(cluster, key).into_iter().map(|port| {
        let declares = DeclaredPort { name: key.name.clone(), transport: key.transport, port };
        Grant {
            ports: Some((key.transport, PortRange::single(port))),
            peers: Some(atoms(std::slice::from_ref(&key.who), Some(&declares))),
        }
    })
}

/// "If `from` is empty or missing, this rule matches all sources."
fn rule_whos(rule: &Rule, subject: &PodName) -> Option<Vec<Who>> {
    let who = |peer: &Peer| match peer {
        Peer::Pods { namespaces: None, pods } => Who::PodsOf(subject.namespace.clone(), pods.clone()),
        Peer::Pods { namespaces: Some(namespaces), pods } => Who::PodsWhere(namespaces.clone(), pods.clone()),
        Peer::Block { cidr, except } => Who::Block(*cidr, except.clone()),
    };
    rule.peers.as_ref().map(|peers| peers.iter().map(who).collect())
}

fn atoms(whos: &[Who], declares: Option<&DeclaredPort>) -> Arc<BTreeSet<Arc<Atom>>> {
    let atom = |who: &Who| Arc::new(Atom { who: who.clone(), declares: declares.cloned() });
    Arc::new(whos.iter().map(atom).collect())
}
