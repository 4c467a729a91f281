//! Why a packet reaches a port of a node, or does not.

use std::fmt;

use palisade_core::{HostGroup, HostPeer, HostPolicyName, NodeName, Traffic};

use crate::reason::{PeerProblem, comma_separated, write_marks};

/// What the policies of a port of a node say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDecision {
    /// The node.
    pub node: NodeName,
    /// The port.
    pub traffic: Traffic,
    /// Every policy that guards the port there, by name; at least one.
    pub guarded_by: Vec<Guarding>,
    /// What came out.
    pub outcome: HostOutcome,
}

/// A policy that guards a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarding {
    /// The policy.
    pub policy: HostPolicyName,
    /// With whom it admits together.
    pub group: HostGroup,
    /// Why the policy could not be read, if so: it guards, and admits nobody.
    pub unreadable: Option<String>,
    /// Whether it is audited, so that it has a say in the shadow verdict alone.
    pub audit: bool,
}

/// What guarding a port comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostOutcome {
    /// Admitted: it is the node itself.
    Itself,
    /// Admitted: it is a node, and a port without which nodes are lost.
    Failsafe,
    /// Admitted: by a policy of each group that guards the port, the first of the group that does.
    Admitted {
        /// One for each group.
        by: Vec<HostGrant>,
    },
    /// Denied.
    Denied {
        /// The groups that refuse; at least one.
        by: Vec<HostRefusal>,
    },
}

/// The item of a host policy that admits a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostGrant {
    /// The policy.
    pub policy: HostPolicyName,
    /// The index into whom it admits.
    pub index: usize,
    /// The item.
    pub peer: HostPeer,
}

/// A group of which no policy admits a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRefusal {
    /// The group.
    pub group: HostGroup,
    /// The item that came closest; `None` if no policy of the group has one.
    pub closest: Option<HostNear>,
}

/// The item of a host policy that came closest to admitting a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNear {
    /// The policy.
    pub policy: HostPolicyName,
    /// The index into whom it admits.
    pub index: usize,
    /// What did not match.
    pub problem: PeerProblem,
}

impl HostOutcome {
    /// Whether it lets the packet pass.
    pub fn admits(&self) -> bool {
        !matches!(self, HostOutcome::Denied { .. })
    }
}

impl HostDecision {
    /// Whether several groups guard the port, so that it matters which of them refuses.
    fn has_groups(&self) -> bool {
        let mut groups = self.guarded_by.iter().map(|guarding| &guarding.group);
        let first = groups.next();
        groups.any(|group| Some(group) != first)
    }
}

impl fmt::Display for HostDecision {
    /// One line: `port of node n1: guarded by HostPolicy storage; denied, …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port of node {}: guarded by ", self.node)?;
        comma_separated(f, &self.guarded_by)?;
        f.write_str("; ")?;
        match &self.outcome {
            HostOutcome::Itself => f.write_str("admitted, it is the node itself"),
            HostOutcome::Failsafe => f.write_str("admitted, nodes reach the failsafe ports of one another"),
            HostOutcome::Admitted { by } => {
                f.write_str("admitted by ")?;
                separated(f, by, ", and by ", |f, grant| write!(f, "{grant}"))
            }
            HostOutcome::Denied { by } => separated(f, by, "; ", |f, refusal| refusal.write(f, self.has_groups())),
        }
    }
}

impl fmt::Display for Guarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.policy.kind(), self.policy)?;
        write_marks(f, self.audit, self.unreadable.as_deref(), "admits nobody")
    }
}

impl fmt::Display for HostGrant {
    /// `storage-api from[1]: pods name=stork in namespaces …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}[{}]: {}", self.policy, self.policy.from_field(), self.index, self.peer)
    }
}

impl HostRefusal {
    fn write(&self, f: &mut fmt::Formatter<'_>, names_group: bool) -> fmt::Result {
        f.write_str("denied")?;
        if names_group {
            write!(f, " by {}", self.group)?;
        }
        match &self.closest {
            Some(HostNear { policy, index, problem }) => {
                write!(f, ", closest is {policy} {}[{index}]: {problem}", policy.from_field())
            }
            None => f.write_str(", nobody is admitted"),
        }
    }
}

fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    separator: &str,
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        write(f, item)?;
    }
    Ok(())
}
