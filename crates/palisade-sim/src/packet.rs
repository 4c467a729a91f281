//! A concrete packet: one family, one address at each end.

use std::fmt;
use std::net::IpAddr;

use palisade_core::{Family, NodeName, PodName, Traffic};

/// The packet that opens a flow, after every Service has been resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Packet {
    /// The family of both addresses.
    pub family: Family,
    /// The client.
    pub source: Endpoint,
    /// The server.
    pub destination: Endpoint,
    /// The protocol, and the port of the server.
    pub traffic: Traffic,
}

/// One end of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address in the packet.
    pub address: IpAddr,
    /// Whose address it is.
    pub owner: Owner,
    /// The node that the owner runs on, or that it is; `None` outside the cluster and for a pod that no node runs yet.
    pub node: Option<NodeName>,
}

/// Whose address it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A pod with its own network namespace.
    Pod(PodName),
    /// A node, or a hostNetwork pod on it: the two cannot be told apart.
    Node,
    /// Nobody the snapshot knows.
    Outside,
}

impl fmt::Display for Endpoint {
    /// As an end of a flow: `web/front`, `node/n1`, `203.0.113.7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.owner, &self.node) {
            (Owner::Pod(name), _) => write!(f, "{name}"),
            (Owner::Node, Some(node)) => write!(f, "node/{node}"),
            (Owner::Node, None) | (Owner::Outside, _) => write!(f, "{}", self.address),
        }
    }
}

impl fmt::Display for Packet {
    /// As a flow: `web/front -> db/pg tcp 5432`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {}", self.source, self.destination, self.traffic)
    }
}
