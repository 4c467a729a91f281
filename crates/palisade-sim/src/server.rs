//! The oracle for `NodeAllowlist` (palisade.dev/v1alpha1): whether a packet may reach a port of a server outside of the cluster.
//!
//! The meaning is that of `docs/semantics.md`: a port that the list does not name is open. One that it names is reached by the server
//! itself, by `staticCIDRs`, and by the nodes that a cluster of the list selects, by their labels and by the pods that they run: from
//! addresses of theirs that are of the types asked for, that a node can have, and that are within `safety.within`.

use ipnet::IpNet;
use palisade_core::{
    AddressType, AdmittedNodes, Node, NodeName, Pod, SelectedPods, Server, ServerName, Snapshot, Traffic,
};

use crate::decide::{Reading, is_assumed};
use crate::matching::{Labelled, selects};
use crate::packet::{Owner, Packet};
use crate::rule::{self, ask_block, namespace_problem};
use crate::server_reason::{ServerDecision, ServerGrant, ServerNear, ServerOutcome, ServerProblem};

/// What no node has as its address: "unspecified, loopback, multicast, broadcast".
const NO_NODE: [&str; 7] =
    ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "::1/128", "ff00::/8"];

/// A packet to a server that has a list in force.
pub(crate) struct Listed<'a> {
    snapshot: &'a Snapshot,
    packet: &'a Packet,
    name: &'a ServerName,
    server: &'a Server,
    /// Whether the source's address was invented.
    peer_assumed: bool,
}

impl<'a> Listed<'a> {
    /// `None` if the packet goes to no server.
    pub(crate) fn of(snapshot: &'a Snapshot, packet: &'a Packet) -> Option<Listed<'a>> {
        let Owner::Server(name) = &packet.destination.owner else { return None };
        let (name, server) = snapshot.servers.get_key_value(name)?;
        let peer_assumed = is_assumed(snapshot, packet.source.address);
        Some(Listed { snapshot, packet, name, server, peer_assumed })
    }

    /// Whether anything that is asked for may have been invented.
    pub(crate) fn may_be_assumed(&self) -> bool {
        let asks_for_pods = self.server.clusters.iter().any(|cluster| cluster.pods.is_some());
        self.peer_assumed || asks_for_pods && self.snapshot.pods.values().any(|pod| pod.assumed.node)
    }

    pub(crate) fn decision(&self) -> ServerDecision {
        let source = &self.packet.source;
        ServerDecision {
            server: self.name.clone(),
            traffic: self.packet.traffic,
            source: source.clone(),
            outcome: self.outcome(Reading::AsInvented),
        }
    }

    pub(crate) fn outcome(&self, reading: Reading) -> ServerOutcome {
        if self.packet.source.owner == self.packet.destination.owner {
            return ServerOutcome::Itself;
        }
        if !self.is_guarded() {
            return ServerOutcome::NotGuarded;
        }
        for (index, cidr) in self.server.static_cidrs.iter().enumerate() {
            if self.is_in(cidr, reading) {
                return ServerOutcome::Admitted { by: ServerGrant::Static { index, cidr: *cidr } };
            }
        }
        let mut closest: Option<(u8, ServerNear)> = None;
        for (index, cluster) in self.server.clusters.iter().enumerate() {
            for (name, node) in &self.snapshot.nodes {
                for (kind, block) in claims(node) {
                    if !self.is_at(kind, &block, reading) {
                        continue;
                    }
                    let (cluster_name, node_name) = (cluster.name.clone(), name.clone());
                    match self.ask(cluster, (name, node), (kind, &block), reading) {
                        Ok(()) => {
                            let by = ServerGrant::Node { index, cluster: cluster_name, node: node_name, kind, block };
                            return ServerOutcome::Admitted { by };
                        }
                        Err((closeness, problem)) => {
                            if closest.as_ref().is_none_or(|(best, _)| closeness > *best) {
                                closest =
                                    Some((closeness, ServerNear { index, node: node_name, kind, block, problem }));
                            }
                        }
                    }
                }
            }
        }
        ServerOutcome::Denied { closest: closest.map(|(_, near)| near) }
    }

    fn is_guarded(&self) -> bool {
        let Traffic::Port(transport, port) = self.packet.traffic else { return false };
        self.server.ports.iter().any(|ports| ports.contains(transport, port))
    }

    /// Whether a block holds the source.
    fn is_in(&self, block: &IpNet, reading: Reading) -> bool {
        ask_block((block, &[]), self.packet.source.address, reading.of(self.peer_assumed)).is_ok()
    }

    /// Whether the source is at an address of a node. That an invented one is in the range of its node is an invention, too.
    fn is_at(&self, kind: AddressType, block: &IpNet, reading: Reading) -> bool {
        if kind == AddressType::PodCIDR {
            return self.is_in(block, reading);
        }
        block.contains(&self.packet.source.address)
    }

    /// Whether the list admits the address of a node that the source is at; if not, how close it came and what failed.
    fn ask(
        &self,
        cluster: &AdmittedNodes,
        (name, node): (&NodeName, &Node),
        (kind, block): (AddressType, &IpNet),
        reading: Reading,
    ) -> Result<(), (u8, ServerProblem)> {
        if let Some(problem) = rule::problem(&cluster.nodes, &node.labels, || Labelled::Node(name.clone())) {
            return Err((1, ServerProblem::NotSelected(problem)));
        }
        if let Some(selected) = cluster.pods.as_ref().filter(|selected| !self.runs(name, selected, reading)) {
            return Err((2, ServerProblem::RunsNone(selected.clone())));
        }
        if !cluster.address_types.contains(&kind) {
            return Err((3, ServerProblem::OtherType(cluster.address_types.clone())));
        }
        if NO_NODE.iter().filter_map(|never| never.parse::<IpNet>().ok()).any(|never| overlap(&never, block)) {
            return Err((4, ServerProblem::NoNodesAddress));
        }
        let within = &self.server.within;
        let is_within = |within: &IpNet| match kind {
            AddressType::PodCIDR => within.contains(block),
            _ => self.is_in(within, reading),
        };
        if !within.is_empty() && !within.iter().any(is_within) {
            return Err((5, ServerProblem::NotWithin(within.clone())));
        }
        Ok(())
    }

    /// Whether the node runs a pod that is selected, of a namespace that is. One that has finished runs no more.
    fn runs(&self, node: &NodeName, selected: &SelectedPods, reading: Reading) -> bool {
        let is_there = |pod: &Pod| match reading {
            Reading::Against if pod.assumed.node => false,
            Reading::InFavour if pod.assumed.node => true,
            _ => pod.node.as_ref() == Some(node),
        };
        self.snapshot.pods.iter().any(|(name, pod)| {
            let wrong = selected.namespaces.as_ref().and_then(|wanted| namespace_problem(self.snapshot, name, wanted));
            !pod.finished && is_there(pod) && selects(&selected.pods, &pod.labels) && wrong.is_none()
        })
    }
}

/// Under which addresses a node may be meant: those in its status, and its pod ranges.
fn claims(node: &Node) -> Vec<(AddressType, IpNet)> {
    let mut claims = Vec::new();
    for address in &node.addresses {
        claims.extend(node.types_of(*address).iter().map(|kind| (*kind, IpNet::from(*address))));
    }
    claims.extend(node.pod_cidrs.iter().map(|range| (AddressType::PodCIDR, *range)));
    claims
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}
