//! Who of the cluster is not among the allowed networks, though their author may have thought so.

use std::net::IpAddr;

use ipnet::IpNet;
use palisade_core::{Diagnostic, HostPeer, Level, Snapshot};

use super::{ALLOWED_NETWORKS, RestrictIp, object};

impl RestrictIp {
    /// A warning if nodes are not among the allowed networks, and one if pods are not. What the input leaves out and the reader
    /// invented is nobody's.
    pub fn gaps(&self, snapshot: &Snapshot) -> Vec<Diagnostic> {
        if self.unreadable().is_some() {
            return Vec::new();
        }
        let allowed: Vec<IpNet> = self.policy.from.iter().filter_map(block).collect();
        let allowed = IpNet::aggregate(&allowed);
        let is_out = |net: &IpNet| !allowed.iter().any(|block| block.contains(net));
        let mut gaps = Vec::new();
        if let Some((address, node)) = node_addresses(snapshot).find(|(address, _)| is_out(&IpNet::from(*address))) {
            let hint = "it reaches the ports of no other node, nor do its hostNetwork pods; add the addresses of nodes if they shall";
            gaps.push(self.gap(&format!("node {node} ({address}) is not among them"), hint));
        }
        if let Some(range) = pod_ranges(snapshot).find(is_out) {
            let hint = "they do not reach the ports; add their range if they shall";
            gaps.push(self.gap(&format!("pods in {range} are not among them"), hint));
        }
        gaps
    }

    fn gap(&self, message: &str, hint: &str) -> Diagnostic {
        Diagnostic {
            object: Some(object(&self.policy.name)),
            place: self.allowed.clone(),
            hint: Some(hint.to_string()),
            ..Diagnostic::new(Level::Warning, format!("{ALLOWED_NETWORKS}: {message}"))
        }
    }
}

fn block(peer: &HostPeer) -> Option<IpNet> {
    match peer {
        HostPeer::Block { cidr, .. } => Some(*cidr),
        HostPeer::Nodes(_) | HostPeer::Pods { .. } => None,
    }
}

fn node_addresses(snapshot: &Snapshot) -> impl Iterator<Item = (IpAddr, &str)> {
    let known = snapshot.nodes.iter().filter(|(_, node)| !node.assumed);
    known.flat_map(|(name, node)| node.addresses.iter().map(|address| (*address, &**name)))
}

/// What the nodes give their pods, and the addresses that pods have where nodes do not say.
fn pod_ranges(snapshot: &Snapshot) -> impl Iterator<Item = IpNet> {
    let nodes = snapshot.nodes.values().filter(|node| !node.assumed);
    let ranges = nodes.flat_map(|node| node.pod_cidrs.iter().copied());
    let pods = snapshot.pods.values().filter(|pod| !pod.host_network && !pod.finished && !pod.assumed.addresses);
    ranges.chain(pods.flat_map(|pod| pod.addresses.iter().map(|address| IpNet::from(*address))))
}
