//! The tables of one node for `BanList`: with whom nobody may speak.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::address_set::AddressSet;
use crate::tables::Layer;

/// What one node enforces of `BanList`.
///
/// A packet from a banned address, or to one after its addresses were translated, is dropped, of a live connection too; a packet between a
/// banned address and a pod of the target of a list is dropped where it is forwarded. What protects from bans is taken out already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BanTables {
    /// Banned for every pod and node.
    pub banned: AddressSet,
    /// What audited lists would ban for every pod and node.
    pub would_ban: AddressSet,
    /// What lists with a target ban, by names that stand for theirs.
    pub targeted: BTreeMap<BanId, TargetedBan>,
}

/// What a list bans for some pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetedBan {
    /// The name of the list, for people.
    pub description: Arc<str>,
    /// Whether packets are only counted and logged.
    pub layer: Layer,
    /// Banned.
    pub banned: AddressSet,
    /// The addresses of the pods, of every node: a client's packet may enter the cluster anywhere.
    pub pods: BTreeSet<IpAddr>,
}

/// What stands for the name of a list: a digest of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BanId(pub Arc<str>);

/// The steps between two states of the ban tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BanChange {
    /// Of what is banned for every pod and node, the ranges of the first set go, and those of the second come.
    Everywhere(Layer, AddressSet, AddressSet),
    /// A list with a target comes, is another, or goes.
    Targeted(BanId, Option<TargetedBan>),
    /// An address comes to the target of a list (`true`), or leaves it.
    Target(BanId, IpAddr, bool),
}

impl BanTables {
    /// Whether nothing is banned, nor would be.
    pub fn is_empty(&self) -> bool {
        self.banned.is_empty() && self.would_ban.is_empty() && self.targeted.is_empty()
    }

    /// What is banned for every pod and node in a layer, where [`Layer::Shadow`] has what audited lists would ban.
    pub fn everywhere(&self, layer: Layer) -> &AddressSet {
        match layer {
            Layer::InForce => &self.banned,
            Layer::Shadow => &self.would_ban,
        }
    }

    /// Takes one step. Steps that change nothing are allowed.
    pub fn apply(&mut self, change: &BanChange) {
        match change {
            BanChange::Everywhere(layer, gone, come) => {
                let set = match layer {
                    Layer::InForce => &mut self.banned,
                    Layer::Shadow => &mut self.would_ban,
                };
                gone.iter().for_each(|range| set.remove(range));
                if set.is_empty() {
                    set.clone_from(come);
                } else {
                    come.iter().for_each(|range| set.insert(range));
                }
            }
            BanChange::Targeted(id, Some(ban)) => drop(self.targeted.insert(id.clone(), ban.clone())),
            BanChange::Targeted(id, None) => drop(self.targeted.remove(id)),
            BanChange::Target(id, address, joins) => {
                if let Some(ban) = self.targeted.get_mut(id) {
                    if *joins {
                        ban.pods.insert(*address);
                    } else {
                        ban.pods.remove(address);
                    }
                }
            }
        }
    }
}

impl fmt::Display for BanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
