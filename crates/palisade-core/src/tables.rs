//! The tables of one node: what its kernel is told, before it is nftables.
//!
//! A packet that opens a flow is judged twice, as *egress* of its source and as *ingress* of its
//! destination, each time in the same few steps, whatever the number of policies and pods:
//!
//! 1. `ports`: is there an entry for (subject address, transport, port)? It names who is admitted. Done.
//! 2. `isolated`: else, is the subject isolated? Its [`Rest`] tells who is admitted on ranges of
//!    ports, and who on everything that no port list mentions. Done.
//! 3. Else the subject is no isolated pod of this node, and the packet passes.
//!
//! *Who* is a [`PeerGroup`]: addresses (of pods, one by one) and blocks (of `ipBlock` peers). Each value is
//! complete: what is admitted on a port by a rule that names it, by a range around it and by a rule without
//! ports are united in the one group, so that no second look is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::net::{Port, PortRange, Transport};
use crate::policy::{Direction, PerDirection};

/// Everything one node enforces of `NetworkPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The subjects, for each direction.
    pub subjects: PerDirection<Subjects>,
    /// Who is admitted, by the names that `subjects` and `rests` use.
    pub groups: BTreeMap<GroupId, PeerGroup>,
    /// What holds beyond exact ports, shared by subjects with the same policies.
    pub rests: BTreeMap<RestId, Rest>,
}

/// The isolated pods of the node in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subjects {
    /// Who is admitted on exactly this port.
    pub ports: BTreeMap<SubjectPort, Admit>,
    /// The isolated addresses, and what holds for all other packets of theirs.
    pub isolated: BTreeMap<IpAddr, RestId>,
}

/// A subject and a port: of the subject itself for ingress, of its peer for egress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectPort {
    /// The subject's address.
    pub address: IpAddr,
    /// The transport.
    pub transport: Transport,
    /// The destination port of the flow.
    pub port: Port,
}

/// Who is admitted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Admit {
    /// Every peer.
    Everyone,
    /// The members of this group.
    Group(GroupId),
}

/// The name of a group: a digest of what the group means, never of who is in it at the moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub Arc<str>);

/// The name of a rest: a digest of its content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestId(pub Arc<str>);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of addresses that are admitted together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerGroup {
    /// What the group means, for people: `pods app=web in namespace shop; 10.0.0.0/8`.
    pub description: Arc<str>,
    /// Addresses of pods. They come and go while the group stays.
    pub addresses: BTreeSet<IpAddr>,
    /// IPv4 blocks as disjoint, sorted, non-adjacent ranges, excepts taken out. Fixed for the group's life.
    pub blocks4: Arc<[(Ipv4Addr, Ipv4Addr)]>,
    /// The same for IPv6.
    pub blocks6: Arc<[(Ipv6Addr, Ipv6Addr)]>,
}

/// What holds for the packets of a subject that no exact port decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The direction it belongs to.
    pub direction: Direction,
    /// What the rest means, for people.
    pub description: Arc<str>,
    /// Who is admitted on ranges of ports: disjoint within a transport, sorted.
    pub ranges: Vec<(Transport, PortRange, Admit)>,
    /// Who is admitted on everything else, protocols without ports included; `None` is nobody.
    pub otherwise: Option<Admit>,
}

/// The smallest steps between two states of the tables. A list of them is applied in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TablesChange {
    /// An exact port is decided anew (`Some`) or no more.
    Port(Direction, SubjectPort, Option<Admit>),
    /// A subject gets another rest (`Some`) or is not isolated any more.
    Isolated(Direction, IpAddr, Option<RestId>),
    /// A group appears, members included, before anything names it.
    GroupAdded(GroupId, PeerGroup),
    /// A group is named no more.
    GroupRemoved(GroupId),
    /// An address joins (`true`) or leaves a group.
    Member(GroupId, IpAddr, bool),
    /// A rest appears, before anything names it.
    RestAdded(RestId, Rest),
    /// A rest is named no more.
    RestRemoved(RestId),
}

impl Tables {
    /// Takes one step. Steps that change nothing are allowed.
    pub fn apply(&mut self, change: &TablesChange) {
        match change {
            TablesChange::Port(direction, key, Some(admit)) => {
                self.subjects[*direction].ports.insert(*key, admit.clone());
            }
            TablesChange::Port(direction, key, None) => {
                self.subjects[*direction].ports.remove(key);
            }
            TablesChange::Isolated(direction, address, Some(rest)) => {
                self.subjects[*direction].isolated.insert(*address, rest.clone());
            }
            TablesChange::Isolated(direction, address, None) => {
                self.subjects[*direction].isolated.remove(address);
            }
            TablesChange::GroupAdded(id, group) => {
                self.groups.insert(id.clone(), group.clone());
            }
            TablesChange::GroupRemoved(id) => {
                self.groups.remove(id);
            }
            TablesChange::Member(id, address, joins) => {
                if let Some(group) = self.groups.get_mut(id) {
                    if *joins {
                        group.addresses.insert(*address);
                    } else {
                        group.addresses.remove(address);
                    }
                }
            }
            TablesChange::RestAdded(id, rest) => {
                self.rests.insert(id.clone(), rest.clone());
            }
            TablesChange::RestRemoved(id) => {
                self.rests.remove(id);
            }
        }
    }
}
