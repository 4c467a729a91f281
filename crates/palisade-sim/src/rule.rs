//! Whether one rule of one policy matches a packet, and how far it came if not.

use palisade_core::dialect::{BLOCKS_HOLD_NO_NODES, BLOCKS_HOLD_NO_PODS};
use palisade_core::{
    Dialect, Labels, NamespaceName, Peer, Pod, PodName, PortMatch, Ports, Rule, Selector, Snapshot, Traffic,
};

use std::net::IpAddr;

use ipnet::IpNet;

use crate::decide::Reading;
use crate::matching::{Labelled, Unmet, unmet};
use crate::packet::{Endpoint, Owner};
use crate::reason::{Missed, PeerMiss, PeerProblem, PortMiss, PortProblem};

/// A pod that has its own addresses, with its name.
pub(crate) type NamedPod<'a> = (&'a PodName, &'a Pod);

/// What a rule is asked: may the subject exchange this traffic with that peer?
pub(crate) struct Question<'a> {
    /// The cluster.
    pub snapshot: &'a Snapshot,
    /// Whose reading of `ipBlock` is asked for.
    pub dialect: Dialect,
    /// `metadata.namespace` of the policy.
    pub namespace: &'a NamespaceName,
    /// The end that is not the subject.
    pub peer: &'a Endpoint,
    /// The pod that the peer is, if it is one.
    pub peer_pod: Option<NamedPod<'a>>,
    /// The end that the packet goes to.
    pub destination: &'a Endpoint,
    /// The pod that the destination is, if it is one.
    pub destination_pod: Option<NamedPod<'a>>,
    /// The protocol and the port.
    pub traffic: Traffic,
    /// Whether the peer's address was invented.
    pub peer_assumed: bool,
    /// How to read what was invented.
    pub reading: Reading,
}

/// Where a rule matched.
pub(crate) struct Matched {
    /// The index into `from` or `to`; `None` if the rule has no such list.
    pub peer: Option<usize>,
    /// The index into `ports`; `None` if the rule has no such list.
    pub port: Option<usize>,
}

/// How far a rule came, for choosing the closest one.
type Closeness = (u8, u8);

impl Question<'_> {
    /// "This rule allows traffic only if the traffic matches at least one item in the from list" and
    /// "at least one port in the list".
    pub(crate) fn ask(&self, rule: &Rule) -> Result<Matched, Box<(Closeness, Missed)>> {
        match (self.ask_peers(rule), self.ask_ports(&rule.ports)) {
            (Ok(peer), Ok(port)) => Ok(Matched { peer, port }),
            (Ok(_), Err(port)) => Err(Box::new(((2, 0), Missed::Port(port)))),
            (Err((closeness, peer)), Ok(_)) => Err(Box::new(((1, closeness), Missed::Peer(peer)))),
            (Err((closeness, peer)), Err(port)) => Err(Box::new(((0, closeness), Missed::Both(peer, port)))),
        }
    }

    /// `from` and `to`: "Items in this list are combined using a logical OR operation. If this field is empty
    /// or missing, this rule matches all sources (traffic not restricted by source)."
    fn ask_peers(&self, rule: &Rule) -> Result<Option<usize>, (u8, PeerMiss)> {
        let Some(peers) = &rule.peers else { return Ok(None) };
        let mut closest: Option<(u8, PeerMiss)> = None;
        for (index, peer) in peers.iter().enumerate() {
            match self.ask_peer(peer) {
                Ok(()) => return Ok(Some(index)),
                Err((closeness, problem)) => {
                    if closest.as_ref().is_none_or(|(best, _)| closeness > *best) {
                        closest = Some((closeness, PeerMiss { peer: Some(index), problem }));
                    }
                }
            }
        }
        Err(closest.unwrap_or((0, PeerMiss { peer: None, problem: PeerProblem::NoPeers })))
    }

    fn ask_peer(&self, peer: &Peer) -> Result<(), (u8, PeerProblem)> {
        match peer {
            Peer::Pods { namespaces, pods } => self.ask_selectors(namespaces.as_ref(), pods),
            Peer::Block { cidr, except } => {
                ask_block((cidr, except), self.peer.address, self.reading.of(self.peer_assumed))?;
                self.ask_dialect()
            }
        }
    }

    /// Whether a block that holds the address holds whoever has it.
    fn ask_dialect(&self) -> Result<(), (u8, PeerProblem)> {
        let rule = match self.peer.owner {
            Owner::Pod(_) => &BLOCKS_HOLD_NO_PODS,
            Owner::Node => &BLOCKS_HOLD_NO_NODES,
            Owner::Server(_) | Owner::Outside => return Ok(()),
        };
        if let Some(deviation) = self.dialect.rule(rule.id) {
            let peer = Box::new(self.peer.clone());
            return Err((4, PeerProblem::Dialect { peer, dialect: self.dialect, deviation }));
        }
        Ok(())
    }

    /// `podSelector`: "If namespaceSelector is also set, then the `NetworkPolicyPeer` as a whole selects the pods
    /// matching podSelector in the Namespaces selected by namespaceSelector. Otherwise it selects the pods
    /// matching podSelector in the policy's own namespace."
    fn ask_selectors(&self, namespaces: Option<&Selector>, pods: &Selector) -> Result<(), (u8, PeerProblem)> {
        let Some(pod) = self.peer_pod else {
            return Err((0, PeerProblem::NoPod(self.peer.clone())));
        };
        let (name, _) = pod;
        let wrong_namespace = match namespaces {
            None if name.namespace == *self.namespace => None,
            None => Some(PeerProblem::OtherNamespace { pod: name.clone(), namespace: self.namespace.clone() }),
            Some(selector) => namespace_problem(self.snapshot, name, selector),
        };
        ask_pod(pod, wrong_namespace, pods)
    }

    /// `ports`: "Each item in this list is combined using a logical OR. If this field is empty or missing,
    /// this rule matches all ports (traffic not restricted by port)."
    fn ask_ports(&self, ports: &Ports) -> Result<Option<usize>, PortMiss> {
        let Ports::Listed(ports) = ports else { return Ok(None) };
        if let Some(index) = ports.iter().position(|port| self.ask_port(port)) {
            return Ok(Some(index));
        }
        Err(match ports.as_slice() {
            [port] => PortMiss { port: Some(0), problem: self.port_problem(port) },
            _ => PortMiss { port: None, problem: PortProblem::NoneOf { traffic: self.traffic, ports: ports.clone() } },
        })
    }

    /// `NetworkPolicyPort`: "If present, only traffic on the specified protocol AND port will be matched."
    fn ask_port(&self, port: &PortMatch) -> bool {
        // "The protocol (TCP, UDP, or SCTP) which traffic must match": no port matches traffic of another one.
        let Traffic::Port(transport, number) = self.traffic else { return false };
        match port {
            // `port`: "If this field is not provided, this matches all port names and numbers."
            PortMatch::Every(wanted) => transport == *wanted,
            // `endPort`: "the range of ports from port to endPort if set, inclusive".
            PortMatch::Range(wanted, range) => transport == *wanted && range.contains(number),
            // `port`: "a numerical or named port on a pod": the pod that the packet goes to, in both directions.
            PortMatch::Named(wanted, name) => {
                transport == *wanted
                    && self.destination_pod.is_some_and(|(_, pod)| {
                        pod.ports.iter().any(|declared| {
                            declared.name.as_ref() == Some(name)
                                && declared.transport == transport
                                && declared.port == number
                        })
                    })
            }
        }
    }

    fn port_problem(&self, port: &PortMatch) -> PortProblem {
        let none_of = || PortProblem::NoneOf { traffic: self.traffic, ports: vec![port.clone()] };
        let (PortMatch::Named(wanted, name), Traffic::Port(transport, number)) = (port, self.traffic) else {
            return none_of();
        };
        if transport != *wanted {
            return none_of();
        }
        let Some((pod_name, pod)) = self.destination_pod else {
            return PortProblem::NoPod { destination: self.destination.clone(), name: name.clone() };
        };
        let mut declared = Vec::new();
        for container_port in &pod.ports {
            if container_port.name.as_ref() == Some(name) && container_port.transport == transport {
                declared.push(container_port.port);
            }
        }
        PortProblem::NamedElsewhere { pod: pod_name.clone(), transport, name: name.clone(), declared, number }
    }
}

/// Whether a pod's namespace and labels are as a peer wants them.
pub(crate) fn ask_pod(
    (name, pod): NamedPod<'_>,
    wrong_namespace: Option<PeerProblem>,
    pods: &Selector,
) -> Result<(), (u8, PeerProblem)> {
    let wrong_pod = problem(pods, &pod.labels, || Labelled::Pod(name.clone()));
    match (wrong_namespace, wrong_pod) {
        (None, None) => Ok(()),
        (None, Some(problem)) | (Some(problem), None) => Err((2, problem)),
        (Some(problem), Some(_)) => Err((1, problem)),
    }
}

/// Why a `namespaceSelector` does not select the namespace of a pod.
pub(crate) fn namespace_problem(snapshot: &Snapshot, pod: &PodName, selector: &Selector) -> Option<PeerProblem> {
    match snapshot.namespaces.get(&pod.namespace) {
        // Labels that nobody knows select nothing.
        None => Some(PeerProblem::UnknownNamespace(pod.namespace.clone())),
        Some(namespace) => problem(selector, &namespace.labels, || Labelled::Namespace(pod.namespace.clone())),
    }
}

/// `ipBlock`: "a particular CIDR […] that is allowed to the pods"; "The except entry describes CIDRs that
/// should not be included within this rule." A set of addresses, whoever has them.
pub(crate) fn ask_block(
    (cidr, except): (&IpNet, &[IpNet]),
    address: IpAddr,
    reading: Reading,
) -> Result<(), (u8, PeerProblem)> {
    let same_family = cidr.addr().is_ipv4() == address.is_ipv4();
    // A block of the whole family holds an invented address wherever it were.
    let settled = cidr.prefix_len() == 0 && except.is_empty();
    match reading {
        Reading::InFavour if !settled && same_family => return Ok(()),
        Reading::Against if !settled => return Err((0, PeerProblem::OutOfBlock { address, cidr: *cidr })),
        _ => {}
    }
    if !cidr.contains(&address) {
        return Err((0, PeerProblem::OutOfBlock { address, cidr: *cidr }));
    }
    match except.iter().find(|block| block.contains(&address)) {
        Some(except) => Err((3, PeerProblem::Excepted { address, except: *except })),
        None => Ok(()),
    }
}

/// The requirement of a selector that an object's labels do not meet.
pub(crate) fn problem(selector: &Selector, labels: &Labels, object: impl Fn() -> Labelled) -> Option<PeerProblem> {
    let requirement = unmet(selector, labels)?;
    Some(PeerProblem::Labels(Box::new(Unmet {
        object: object(),
        requirement: requirement.clone(),
        value: labels.get(&requirement.key).cloned(),
    })))
}
