//! `NetworkPolicy` (networking.k8s.io/v1) after reading: defaults applied, every value checked.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use ipnet::IpNet;

use crate::labels::Selector;
use crate::name::PolicyName;
use crate::net::{PortRange, Transport};

/// Which way a policy looks at a pod's traffic; `spec.policyTypes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Connections that arrive at the pod.
    Ingress,
    /// Connections that the pod opens.
    Egress,
}

impl Direction {
    /// Both, in the order a packet meets them: out of its source first.
    pub const ALL: [Direction; 2] = [Direction::Egress, Direction::Ingress];

    /// `ingress` or `egress`: the field of `spec` that holds its rules.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One value for each direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerDirection<T> {
    /// The value for ingress.
    pub ingress: T,
    /// The value for egress.
    pub egress: T,
}

impl<T> Index<Direction> for PerDirection<T> {
    type Output = T;

    fn index(&self, direction: Direction) -> &T {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

impl<T> IndexMut<Direction> for PerDirection<T> {
    fn index_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}

/// A policy. One that could not be read is here too, with no rule in the directions it names: it isolates
/// and allows nothing (see [`NetworkPolicy::unreadable`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Its name; `metadata.namespace` is also where its subjects are.
    pub name: PolicyName,
    /// `spec.podSelector`: the pods it isolates.
    pub subjects: Selector,
    /// For each direction in `spec.policyTypes` (defaults applied) its rules; `None` where it does not isolate.
    pub rules: PerDirection<Option<Vec<Rule>>>,
    /// Why the policy could not be read, if so.
    pub unreadable: Option<String>,
    /// The annotation `palisade.dev/audit: "true"`: the policy is left out of the verdict, and has a
    /// say in the shadow verdict alone.
    pub audit: bool,
}

/// One item of `spec.ingress` or `spec.egress`. It allows what one of its peers and one of its ports match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `from` or `to`; `None` (absent or empty) matches every peer.
    pub peers: Option<Vec<Peer>>,
    /// `ports`.
    pub ports: Ports,
}

/// `NetworkPolicyPeer`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Pods, by labels.
    Pods {
        /// `namespaceSelector`; `None` (absent) means the policy's own namespace.
        namespaces: Option<Selector>,
        /// `podSelector`; absent selects every pod.
        pods: Selector,
    },
    /// `ipBlock`: addresses, whoever has them.
    Block {
        /// `ipBlock.cidr`, its host bits cleared.
        cidr: IpNet,
        /// `ipBlock.except`, host bits cleared.
        except: Vec<IpNet>,
    },
}

/// The `ports` of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Absent or empty: every protocol, every port.
    All,
    /// Only these.
    Listed(Vec<PortMatch>),
}

/// `NetworkPolicyPort`; `protocol` defaults to TCP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortMatch {
    /// `protocol` without `port`: every port of it.
    Every(Transport),
    /// A number, or `port` to `endPort`.
    Range(Transport, PortRange),
    /// The name of a container port of the destination pod; an address that is no pod's never matches.
    Named(Transport, Arc<str>),
}

impl PortMatch {
    /// `protocol`.
    pub fn transport(&self) -> Transport {
        match self {
            PortMatch::Every(transport) | PortMatch::Range(transport, _) | PortMatch::Named(transport, _) => *transport,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Pods { namespaces: None, pods } => write!(f, "pods {pods}"),
            Peer::Pods { namespaces: Some(namespaces), pods } => {
                write!(f, "pods {pods} in namespaces {namespaces}")
            }
            Peer::Block { cidr, except } => write_block(f, cidr, except),
        }
    }
}

/// As people read an `ipBlock`: `10.0.0.0/8 except 10.1.0.0/16, 10.2.0.0/16`.
pub(crate) fn write_block(f: &mut fmt::Formatter<'_>, cidr: &IpNet, except: &[IpNet]) -> fmt::Result {
    write!(f, "{cidr}")?;
    for (index, block) in except.iter().enumerate() {
        write!(f, "{}{block}", if index == 0 { " except " } else { ", " })?;
    }
    Ok(())
}

impl fmt::Display for PortMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortMatch::Every(transport) => write!(f, "{transport}"),
            PortMatch::Range(transport, range) => write!(f, "{transport} {range}"),
            PortMatch::Named(transport, name) => write!(f, "{transport} {name}"),
        }
    }
}
