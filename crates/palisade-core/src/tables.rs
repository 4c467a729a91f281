//! The tables of one node: what its kernel is told, before it is nftables.
//!
//! A packet that opens a flow is judged twice, as *egress* of its source and as *ingress* of its
//! destination, each time in the same few steps, whatever the number of policies and pods:
//!
//! 1. `ports`: is there an entry for (subject address, transport, port)? It names who is admitted. Done.
//! 2. `isolated`: else, is the subject isolated? Its [`Rest`] tells who is admitted on ranges of
//!    ports, and who on everything that no port list mentions. Done.
//! 3. Else the subject is no isolated pod of this node, and the packet passes, with one exception: in one of the node's
//!    `pod_ranges` the address of a subject must be `known`. One that is not belongs to a pod that nobody programmed yet, or to
//!    nobody, and the packet is denied.
//!
//! Beside them stands the *shadow*: what would hold if audited policies were in force. It has the subjects that an audited policy
//! selects and no others, each with steps 1 and 2 of its own, and never decides about a packet.
//!
//! *Who* is a [`PeerGroup`]: addresses (of pods, one by one) and blocks (of `ipBlock` peers). Each value is
//! complete: what is admitted on a port by a rule that names it, by a range around it and by a rule without
//! ports are united in the one group, so that no second look is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::ban_tables::{BanChange, BanTables};
use crate::host_tables::{HostChange, HostTables};
use crate::net::{Port, PortRange, Transport};
use crate::policy::{Direction, PerDirection};

/// Everything one node enforces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The subjects, for each direction.
    pub subjects: PerDirection<Subjects>,
    /// The subjects that an audited policy selects, for each direction, as they would be with all audited policies in force. One that
    /// stays open then is here too, with a rest that admits everyone.
    pub shadow: PerDirection<Subjects>,
    /// Who is admitted, by the names that `subjects`, `shadow` and `rests` use.
    pub groups: BTreeMap<GroupId, PeerGroup>,
    /// What holds beyond exact ports, shared by subjects with the same policies, in `subjects` and in `shadow`.
    pub rests: BTreeMap<RestId, Rest>,
    /// The ranges that the node gives addresses to its pods from: sorted, disjoint, without host bits. An address in them that
    /// is not in `known` is denied. Empty where unknown pods pass.
    pub pod_ranges: Vec<IpNet>,
    /// The addresses of the node's pods, isolated or not. Empty where unknown pods pass; elsewhere every isolated subject is
    /// in it.
    pub known: BTreeSet<IpAddr>,
    /// Who may reach ports of nodes.
    pub host: HostTables,
    /// With whom nobody may speak.
    pub bans: BanTables,
}

/// Which of the two pictures of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// What holds: audited policies are left out.
    InForce,
    /// What would hold with all of them.
    Shadow,
}

/// Isolated pods of the node in one direction.
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
    /// As `Port`, in the shadow.
    ShadowPort(Direction, SubjectPort, Option<Admit>),
    /// As `Isolated`, in the shadow: `None` if no audited policy selects the subject any more.
    ShadowIsolated(Direction, IpAddr, Option<RestId>),
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
    /// An address is that of a pod of this node (`true`), or no more.
    Known(IpAddr, bool),
    /// The node has other ranges of pod addresses: all of them.
    PodRanges(Vec<IpNet>),
    /// A step between two states of the host tables.
    Host(HostChange),
    /// A step between two states of the ban tables.
    Ban(BanChange),
}

impl Subjects {
    /// Whether there is no subject.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.isolated.is_empty()
    }

    /// Decides an exact port anew, or no more; returns what was there before.
    pub fn set_port(&mut self, key: SubjectPort, admit: Option<Admit>) -> Option<Admit> {
        match admit {
            Some(admit) => self.ports.insert(key, admit),
            None => self.ports.remove(&key),
        }
    }

    /// Gives a subject a rest, or none; returns what was there before.
    pub fn set_rest(&mut self, address: IpAddr, rest: Option<RestId>) -> Option<RestId> {
        match rest {
            Some(rest) => self.isolated.insert(address, rest),
            None => self.isolated.remove(&address),
        }
    }
}

impl TablesChange {
    /// Whether a packet that passed before may be denied after this step. `false` is certain for a list of steps that begins
    /// and ends in tables in which nothing is named that does not exist; `true` is not.
    pub fn may_deny(&self) -> bool {
        match self {
            // What is decided for everyone is open, whatever it was; without an entry of its own the port is left to the rest.
            TablesChange::Port(_, _, admit) => *admit != Some(Admit::Everyone),
            TablesChange::Isolated(_, _, rest) => rest.is_some(),
            TablesChange::Member(_, _, joins) => !joins,
            // The first two never have a say; the others have none before something names them, or after nothing does.
            TablesChange::ShadowPort(..)
            | TablesChange::ShadowIsolated(..)
            | TablesChange::GroupAdded(..)
            | TablesChange::GroupRemoved(_)
            | TablesChange::RestAdded(..)
            | TablesChange::RestRemoved(_)
            // These judge packets one by one: no connection remembers what held before.
            | TablesChange::Host(_)
            | TablesChange::Ban(_) => false,
            TablesChange::Known(_, known) => !known,
            TablesChange::PodRanges(ranges) => !ranges.is_empty(),
        }
    }
}

impl Tables {
    /// Takes one step. Steps that change nothing are allowed.
    pub fn apply(&mut self, change: &TablesChange) {
        match change {
            TablesChange::Port(direction, key, admit) => {
                self.subjects[*direction].set_port(*key, admit.clone());
            }
            TablesChange::Isolated(direction, address, rest) => {
                self.subjects[*direction].set_rest(*address, rest.clone());
            }
            TablesChange::ShadowPort(direction, key, admit) => {
                self.shadow[*direction].set_port(*key, admit.clone());
            }
            TablesChange::ShadowIsolated(direction, address, rest) => {
                self.shadow[*direction].set_rest(*address, rest.clone());
            }
            TablesChange::GroupAdded(id, group) => {
                self.groups.insert(id.clone(), group.clone());
            }
            TablesChange::GroupRemoved(id) => {
                self.groups.remove(id);
            }
            TablesChange::Member(id, address, joins) => {
                if let Some(group) = self.groups.get_mut(id) {
                    group.set_member(*address, *joins);
                }
            }
            TablesChange::RestAdded(id, rest) => {
                self.rests.insert(id.clone(), rest.clone());
            }
            TablesChange::RestRemoved(id) => {
                self.rests.remove(id);
            }
            TablesChange::Known(address, true) => {
                self.known.insert(*address);
            }
            TablesChange::Known(address, false) => {
                self.known.remove(address);
            }
            TablesChange::PodRanges(ranges) => self.pod_ranges.clone_from(ranges),
            TablesChange::Host(change) => self.host.apply(change),
            TablesChange::Ban(change) => self.bans.apply(change),
        }
    }
}

impl PeerGroup {
    pub(crate) fn set_member(&mut self, address: IpAddr, joins: bool) {
        if joins {
            self.addresses.insert(address);
        } else {
            self.addresses.remove(&address);
        }
    }
}
