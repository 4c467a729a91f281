//! What happens around a cluster, and what people are told of it.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::Labels;
use palisade_sources::node_allowlist::AddressType;
use serde::{Deserialize, Serialize};

use super::address::shown;

/// What an API server says of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `status.addresses` and `spec.podCIDRs`, as they are written.
    pub addresses: Vec<(AddressType, String)>,
}

/// What happens around a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A list begins.
    ListBegins,
    /// A node on it.
    Listed(Observed),
    /// It is complete.
    ListEnds,
    /// A node came or changed.
    Put(Observed),
    /// A node was deleted.
    Deleted(Arc<str>),
    /// The API server does not answer, or not well. What it said stays.
    Failed(String),
}

/// What people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// An address is admitted.
    Joined(Arc<str>, IpNet),
    /// An address of a node that is gone, or has it no more, is admitted for a while yet.
    Leaves(Arc<str>, IpNet),
    /// An address is admitted no more.
    Left(Arc<str>, IpNet),
    /// An address is not admitted.
    Refused(Arc<str>, Refusal),
    /// Nodes stay that should leave.
    Kept(String),
    /// Nobody is admitted any more, since the API server has told nothing for too long.
    Stale,
    /// The API server fails.
    Failed(String),
}

/// An address that is not admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// As the API server writes it.
    pub address: String,
    /// Why not.
    pub reason: String,
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            News::Joined(node, net) => write!(f, "node {node}: {} is admitted", shown(*net)),
            News::Leaves(node, net) => {
                write!(f, "node {node} is gone, not selected, or has {} no more: it leaves soon", shown(*net))
            }
            News::Left(node, net) => write!(f, "node {node}: {} is admitted no more", shown(*net)),
            News::Refused(node, refusal) => {
                write!(f, "node {node}: {} is not admitted: {}", refusal.address, refusal.reason)
            }
            News::Kept(why) => f.write_str(why),
            News::Stale => {
                f.write_str("none of its nodes is admitted, since the API server has told nothing for staleSeconds")
            }
            News::Failed(error) => write!(f, "the API server does not tell, and what it said holds on: {error}"),
        }
    }
}

impl News {
    /// Whether somebody should look.
    pub fn is_warning(&self) -> bool {
        matches!(self, News::Refused(..) | News::Kept(_) | News::Stale | News::Failed(_))
    }
}
