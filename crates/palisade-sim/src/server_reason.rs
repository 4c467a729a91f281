//! Why a packet reaches a port of a server outside of the cluster, or does not.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::{AddressType, NodeName, SelectedPods, ServerName, Traffic};

use crate::packet::{Endpoint, Owner};
use crate::reason::{PeerProblem, comma_separated};

/// What the list of a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerDecision {
    /// The server.
    pub server: ServerName,
    /// The port.
    pub traffic: Traffic,
    /// Who sends.
    pub source: Endpoint,
    /// What came out.
    pub outcome: ServerOutcome,
}

/// What a list comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerOutcome {
    /// Admitted: it is the server itself.
    Itself,
    /// Admitted: the list does not name the port.
    NotGuarded,
    /// Admitted by the list.
    Admitted {
        /// The first item that does.
        by: ServerGrant,
    },
    /// Denied.
    Denied {
        /// The node's address that came closest; `None` if no node has the address of the source.
        closest: Option<ServerNear>,
    },
}

/// What of a list admits a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerGrant {
    /// An item of `staticCIDRs`.
    Static {
        /// Its index.
        index: usize,
        /// The item.
        cidr: IpNet,
    },
    /// A node.
    Node {
        /// The index into `clusters`.
        index: usize,
        /// The name of the cluster.
        cluster: Arc<str>,
        /// The node.
        node: NodeName,
        /// Of which type the address is.
        kind: AddressType,
        /// The address, or the range.
        block: IpNet,
    },
}

/// An address of a node that the source is at, and why it is not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerNear {
    /// The index into `clusters`.
    pub index: usize,
    /// The node.
    pub node: NodeName,
    /// Of which type the address is.
    pub kind: AddressType,
    /// The address, or the range.
    pub block: IpNet,
    /// What is wrong with it.
    pub problem: ServerProblem,
}

/// Why an address of a node is not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerProblem {
    /// `nodeSelector` does not select the node.
    NotSelected(PeerProblem),
    /// The node runs no pod that `podSelector` selects, of a namespace that `podNamespaceSelector` does.
    RunsNone(SelectedPods),
    /// `addressTypes` are others.
    OtherType(Vec<AddressType>),
    /// No node has such an address.
    NoNodesAddress,
    /// It is outside of `safety.within`.
    NotWithin(Vec<IpNet>),
}

impl ServerOutcome {
    /// Whether it lets the packet pass.
    pub fn admits(&self) -> bool {
        !matches!(self, ServerOutcome::Denied { .. })
    }
}

impl fmt::Display for ServerDecision {
    /// One line: `port of host/prod-to-postgres: guarded by NodeAllowlist prod-to-postgres; denied, …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServerDecision { server, traffic, source, outcome } = self;
        write!(f, "port of host/{server}: ")?;
        match outcome {
            ServerOutcome::NotGuarded => write!(f, "NodeAllowlist {server} does not guard {traffic}"),
            ServerOutcome::Itself => f.write_str("admitted, it is the server itself"),
            ServerOutcome::Admitted { by } => write!(f, "guarded by NodeAllowlist {server}; admitted by {by}"),
            ServerOutcome::Denied { closest } => {
                write!(f, "guarded by NodeAllowlist {server}; denied, ")?;
                match closest {
                    Some(near) => write!(f, "closest is {near}")?,
                    None => write!(f, "{} is no address of a node, nor in staticCIDRs", source.address)?,
                }
                match (&source.owner, &source.node) {
                    (Owner::Pod(_), Some(node)) => write!(f, "; if its node hides it, it comes as node/{node}"),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for ServerGrant {
    /// `clusters[0] (prod): InternalIP 10.0.0.1 of node n1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerGrant::Static { index, cidr } => write!(f, "staticCIDRs[{index}]: {cidr}"),
            ServerGrant::Node { index, cluster, node, kind, block } => {
                write!(f, "clusters[{index}] ({cluster}): {} {} of node {node}", kind.name(), Shown(block))
            }
        }
    }
}

impl fmt::Display for ServerNear {
    /// `clusters[0].nodeSelector: node n2 has no label role=worker`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServerNear { index, node, kind, block, problem } = self;
        let what = format!("{} {} of node {node}", kind.name(), Shown(block));
        match problem {
            ServerProblem::NotSelected(problem) => write!(f, "clusters[{index}].nodeSelector: {problem}"),
            ServerProblem::RunsNone(SelectedPods { pods, namespaces }) => {
                write!(f, "clusters[{index}].podSelector: node {node} runs no pod {pods}")?;
                match namespaces {
                    Some(namespaces) => write!(f, " in namespaces {namespaces}"),
                    None => Ok(()),
                }
            }
            ServerProblem::OtherType(types) if types.is_empty() => {
                write!(f, "clusters[{index}].addressTypes: {what} is not among them")
            }
            ServerProblem::OtherType(types) => {
                write!(f, "clusters[{index}].addressTypes: {what} is not of type ")?;
                let names: Vec<&str> = types.iter().map(|kind| kind.name()).collect();
                f.write_str(&names.join(" or "))
            }
            ServerProblem::NoNodesAddress => {
                write!(f, "clusters[{index}]: {what} is unspecified, loopback, multicast or broadcast")
            }
            ServerProblem::NotWithin(within) => {
                write!(f, "safety.within: {what} is outside of ")?;
                comma_separated(f, within)
            }
        }
    }
}

/// A block; an address without its length.
struct Shown<'a>(&'a IpNet);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(block) = self;
        if block.prefix_len() == block.max_prefix_len() { write!(f, "{}", block.addr()) } else { write!(f, "{block}") }
    }
}
