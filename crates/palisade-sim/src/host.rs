//! The oracle for `HostPolicy` (palisade.dev/v1alpha1): whether a packet may reach a port of a node.
//!
//! The meaning is that of `docs/semantics.md`: a port of a node that no policy guards is open. One that is guarded is reached by whom
//! each group of policies that guard it admits, by the node itself, and, if it is a failsafe port, by every node. A group admits
//! whom one of its policies admits.

use std::collections::BTreeSet;

use palisade_core::host_policy::FAILSAFE_PORTS;
use palisade_core::{
    HostGroup, HostPeer, HostPolicy, HostScope, Node, NodeName, Port, Selector, Snapshot, Traffic, Transport,
};

use crate::decide::{Asked, Reading, is_assumed, pods_at};
use crate::host_reason::{Guarding, HostDecision, HostGrant, HostNear, HostOutcome, HostRefusal};
use crate::matching::{Labelled, selects};
use crate::packet::{Leg, Owner, Packet, Stage};
use crate::reason::PeerProblem;
use crate::rule::{self, ask_block, ask_pod, namespace_problem};

/// A packet to a port of a node that policies guard.
pub(crate) struct Guarded<'a> {
    snapshot: &'a Snapshot,
    pub(crate) packet: &'a Packet,
    node: &'a NodeName,
    transport: Transport,
    port: Port,
    /// The policies that guard the port there, by name.
    policies: Vec<&'a HostPolicy>,
    /// Whether the source's address was invented.
    pub(crate) peer_assumed: bool,
}

impl<'a> Guarded<'a> {
    /// `None` if the packet goes to no node, or no policy that is asked guards the port.
    ///
    /// `scope`: a policy of sockets alone says nothing about what the node that it comes to translates.
    pub(crate) fn of(snapshot: &'a Snapshot, leg: &'a Leg, asked: Asked) -> Option<Guarded<'a>> {
        let packet = &leg.packet;
        let Traffic::Port(transport, port) = packet.traffic else { return None };
        let node = packet.destination.node.as_ref().filter(|_| packet.destination.owner == Owner::Node)?;
        let mut policies = Vec::new();
        for policy in snapshot.host_policies.values() {
            let is_about = policy.scope == HostScope::Everything || leg.stage != Stage::Entering;
            let is_asked = is_about && (asked == Asked::All || !policy.audit);
            let names_port = policy.ports.iter().any(|guarded| guarded.contains(transport, port));
            if is_asked && names_port && is_guarded_by(snapshot, packet, node, policy) {
                policies.push(&**policy);
            }
        }
        let peer_assumed = is_assumed(snapshot, packet.source.address);
        (!policies.is_empty()).then_some(Guarded { snapshot, packet, node, transport, port, policies, peer_assumed })
    }

    /// Whether an audited policy is among those that guard the port.
    pub(crate) fn is_audited(&self) -> bool {
        self.policies.iter().any(|policy| policy.audit)
    }

    pub(crate) fn decision(&self) -> HostDecision {
        let guarding = |policy: &&HostPolicy| Guarding {
            policy: policy.name.clone(),
            group: policy.group(),
            unreadable: policy.unreadable.clone(),
            audit: policy.audit,
        };
        HostDecision {
            node: self.node.clone(),
            traffic: self.packet.traffic,
            guarded_by: self.policies.iter().map(guarding).collect(),
            outcome: self.outcome(Reading::AsInvented),
        }
    }

    pub(crate) fn outcome(&self, reading: Reading) -> HostOutcome {
        let source = &self.packet.source;
        // What a node sends to itself does not leave it.
        if source.owner == Owner::Node && source.node.as_ref() == Some(self.node) {
            return HostOutcome::Itself;
        }
        if self.is_failsafe() && self.nodes_at_source().next().is_some() {
            return HostOutcome::Failsafe;
        }
        let groups: BTreeSet<HostGroup> = self.policies.iter().map(|policy| policy.group()).collect();
        let (mut grants, mut refusals) = (Vec::new(), Vec::new());
        for group in groups {
            match self.ask_group(&group, reading) {
                Ok(grant) => grants.push(grant),
                Err(closest) => refusals.push(HostRefusal { group, closest }),
            }
        }
        if refusals.is_empty() { HostOutcome::Admitted { by: grants } } else { HostOutcome::Denied { by: refusals } }
    }

    /// The first item of a policy of the group that admits the source; if there is none, the one that came closest.
    fn ask_group(&self, group: &HostGroup, reading: Reading) -> Result<HostGrant, Option<HostNear>> {
        let mut closest: Option<(u8, HostNear)> = None;
        for policy in self.policies.iter().filter(|policy| policy.group() == *group) {
            for (index, peer) in policy.from.iter().enumerate() {
                match self.ask(peer, reading) {
                    Ok(()) => return Ok(HostGrant { policy: policy.name.clone(), index, peer: peer.clone() }),
                    Err((closeness, problem)) => {
                        if closest.as_ref().is_none_or(|(best, _)| closeness > *best) {
                            closest = Some((closeness, HostNear { policy: policy.name.clone(), index, problem }));
                        }
                    }
                }
            }
        }
        Err(closest.map(|(_, near)| near))
    }

    fn is_failsafe(&self) -> bool {
        FAILSAFE_PORTS.iter().any(|ports| ports.contains(self.transport, self.port))
    }

    /// The nodes that have the source's address.
    fn nodes_at_source(&self) -> impl Iterator<Item = (&'a NodeName, &'a Node)> {
        let address = self.packet.source.address;
        let nodes = self.snapshot.nodes.iter().map(|(name, node)| (name, &**node));
        nodes.filter(move |(_, node)| node.addresses.contains(&address))
    }

    /// Whether an item of `from` holds the source; if not, how close it came and what failed.
    fn ask(&self, peer: &HostPeer, reading: Reading) -> Result<(), (u8, PeerProblem)> {
        match peer {
            HostPeer::Nodes(selector) => self.ask_nodes(selector),
            HostPeer::Pods { namespaces, pods } => self.ask_pods(namespaces, pods),
            HostPeer::Block { cidr, except } => {
                ask_block((cidr, except), self.packet.source.address, reading.of(self.peer_assumed))
            }
        }
    }

    /// `nodes`: every address of a node is the node.
    fn ask_nodes(&self, selector: &Selector) -> Result<(), (u8, PeerProblem)> {
        let mut problem = (0, PeerProblem::NoNode(self.packet.source.clone()));
        for (name, node) in self.nodes_at_source() {
            match rule::problem(selector, &node.labels, || Labelled::Node(name.clone())) {
                None => return Ok(()),
                Some(wrong) => problem = (2, wrong),
            }
        }
        Err(problem)
    }

    /// `pods`: as peers of a `NetworkPolicy` they have addresses of their own, or are none.
    fn ask_pods(&self, namespaces: &Selector, pods: &Selector) -> Result<(), (u8, PeerProblem)> {
        let mut problem = (0, PeerProblem::NoPod(self.packet.source.clone()));
        for pod in pods_at(self.snapshot, self.packet.source.address) {
            match ask_pod(pod, namespace_problem(self.snapshot, pod.0, namespaces), pods) {
                Ok(()) => return Ok(()),
                Err(wrong) => problem = wrong,
            }
        }
        Err(problem)
    }
}

/// `spec.nodeSelector`, asked of the node that the packet goes to, and of every node that has the address it goes to.
fn is_guarded_by(snapshot: &Snapshot, packet: &Packet, node: &NodeName, policy: &HostPolicy) -> bool {
    let mut found = false;
    for (name, candidate) in &snapshot.nodes {
        if name == node || candidate.addresses.contains(&packet.destination.address) {
            found |= selects(&policy.nodes, &candidate.labels);
        }
    }
    found
}
