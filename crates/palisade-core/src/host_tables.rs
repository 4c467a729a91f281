//! The tables of one node for `HostPolicy`: who may reach ports of nodes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::host_policy::{HostScope, Otherwise};
use crate::net::{PortRange, Transport};
use crate::tables::{GroupId, Layer, PeerGroup};

/// What one node enforces of `HostPolicy`: who may reach ports of nodes.
///
/// A packet to an address of a node is held against the [`Guard`] of that address, before any address of it is translated, and once
/// more after its destination was: on the node itself, and on the node of a pod that sends it, since beyond that the pod may be hidden
/// behind its node's address. What a guard says of sockets alone is asked where the packet arrives, or leaves for another node. What no
/// guard mentions passes.
///
/// Beside the guards stands the shadow: those of ports that an audited policy guards, as they would be with all policies in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTables {
    /// What holds.
    pub guards: Guards,
    /// What would hold, of the ports that audited policies guard.
    pub shadow: Guards,
    /// The guards, by the names that `guards` and `shadow` use.
    pub definitions: BTreeMap<GuardId, Guard>,
    /// Who is admitted, by the names that guards use.
    pub groups: BTreeMap<GroupId, PeerGroup>,
}

/// Which guard holds for which address of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    /// For the addresses of nodes that the cluster knows.
    pub nodes: BTreeMap<IpAddr, GuardId>,
    /// For whatever else is an address of this node.
    pub own: Option<GuardId>,
}

/// Who may reach which ports of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// What the guard means, for people.
    pub description: Arc<str>,
    /// The ports, disjoint within a transport and a scope, and sorted. Of others anybody may reach all. What is in both scopes has to be
    /// admitted by both.
    pub ports: Vec<GuardedPorts>,
}

/// Some ports of a guard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuardedPorts {
    /// The transport.
    pub transport: Transport,
    /// The ports.
    pub range: PortRange,
    /// Which packets to them are meant.
    pub scope: HostScope,
    /// Who is admitted; `None` is nobody.
    pub admitted: Option<GroupId>,
    /// What becomes of packets of others.
    pub otherwise: Otherwise,
}

/// The name of a guard: a digest of its content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuardId(pub Arc<str>);

/// The smallest steps between two states of the host tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostChange {
    /// An address of a node gets another guard, or none.
    Node(Layer, IpAddr, Option<GuardId>),
    /// Addresses of this node that the cluster does not know get another guard, or none.
    Own(Layer, Option<GuardId>),
    /// A guard appears, before anything names it.
    GuardAdded(GuardId, Guard),
    /// A guard is named no more.
    GuardRemoved(GuardId),
    /// A group appears, members included, before anything names it.
    GroupAdded(GroupId, PeerGroup),
    /// A group is named no more.
    GroupRemoved(GroupId),
    /// An address joins (`true`) or leaves a group.
    Member(GroupId, IpAddr, bool),
}

impl HostTables {
    /// Whether nothing is guarded, nor would be.
    pub fn is_empty(&self) -> bool {
        self.guards.is_empty() && self.shadow.is_empty()
    }

    /// The guards of a layer.
    pub fn layer(&self, layer: Layer) -> &Guards {
        match layer {
            Layer::InForce => &self.guards,
            Layer::Shadow => &self.shadow,
        }
    }

    /// Takes one step. Steps that change nothing are allowed.
    pub fn apply(&mut self, change: &HostChange) {
        match change {
            HostChange::Node(layer, address, guard) => {
                let nodes = &mut self.layer_mut(*layer).nodes;
                match guard {
                    Some(guard) => drop(nodes.insert(*address, guard.clone())),
                    None => drop(nodes.remove(address)),
                }
            }
            HostChange::Own(layer, guard) => self.layer_mut(*layer).own.clone_from(guard),
            HostChange::GuardAdded(id, guard) => drop(self.definitions.insert(id.clone(), guard.clone())),
            HostChange::GuardRemoved(id) => drop(self.definitions.remove(id)),
            HostChange::GroupAdded(id, group) => drop(self.groups.insert(id.clone(), group.clone())),
            HostChange::GroupRemoved(id) => drop(self.groups.remove(id)),
            HostChange::Member(id, address, joins) => {
                if let Some(group) = self.groups.get_mut(id) {
                    group.set_member(*address, *joins);
                }
            }
        }
    }

    fn layer_mut(&mut self, layer: Layer) -> &mut Guards {
        match layer {
            Layer::InForce => &mut self.guards,
            Layer::Shadow => &mut self.shadow,
        }
    }
}

impl Guards {
    /// Whether nothing is guarded.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.own.is_none()
    }
}

impl fmt::Display for GuardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
