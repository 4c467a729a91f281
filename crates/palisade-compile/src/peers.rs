//! Who is meant by the peers of rules together, apart from who that is at the moment.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::{Family, GroupId, PeerGroup};

use crate::atom::{Atom, AtomMembers, in_block};
use crate::cluster::Cluster;
use crate::digest::Canonical;
use crate::ranges::{Range, intersection, of_network, union, without};

/// Those that are in one of the atoms of *each* clause. No clause at all is everyone; a clause without atoms
/// is nobody. A pod's rules make one clause; an address that two pods claim has a clause of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peers {
    /// The clauses.
    pub clauses: BTreeSet<BTreeSet<Arc<Atom>>>,
}

/// The blocks of a group as ranges: sorted, disjoint, not adjacent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    /// IPv4.
    pub v4: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// IPv6.
    pub v6: Vec<(Ipv6Addr, Ipv6Addr)>,
}

impl Peers {
    /// Everyone.
    pub fn everyone() -> Peers {
        Peers::default()
    }

    /// Those in one of the atoms.
    pub fn any_of(atoms: BTreeSet<Arc<Atom>>) -> Peers {
        Peers { clauses: BTreeSet::from([atoms]) }
    }

    /// Whether this is everyone.
    pub fn is_everyone(&self) -> bool {
        self.clauses.is_empty()
    }

    /// Whether this is nobody, whatever pods come.
    pub fn is_nobody(&self) -> bool {
        self.clauses.iter().any(BTreeSet::is_empty)
    }

    /// Those in both.
    pub fn and(mut self, other: Peers) -> Peers {
        self.clauses.extend(other.clauses);
        self
    }

    /// Whether an address that pods or nodes have is to be listed one by one, in addition to [`Peers::blocks`].
    pub fn lists(&self, cluster: &Cluster, address: IpAddr) -> bool {
        let mut by_owner = false;
        let in_every_clause = self.clauses.iter().all(|clause| {
            let owner = clause.iter().any(|atom| atom.block().is_none() && atom.includes_owner(cluster, address));
            by_owner |= owner;
            owner || clause.iter().any(|atom| atom.block().is_some_and(|block| in_block(block, address)))
        });
        in_every_clause && by_owner
    }

    /// The addresses of [`Peers::lists`], all of them.
    pub fn listed(&self, cluster: &Cluster, members: &mut AtomMembers) -> BTreeSet<IpAddr> {
        let mut clauses = self.clauses.iter();
        let (Some(first), None) = (clauses.next(), clauses.next()) else {
            let candidates: BTreeSet<IpAddr> = self
                .clauses
                .iter()
                .flatten()
                .flat_map(|atom| members.of(atom, cluster).iter().copied().collect::<Vec<_>>())
                .collect();
            return candidates.into_iter().filter(|address| self.lists(cluster, *address)).collect();
        };
        let mut sets = first.iter().map(|atom| members.of(atom, cluster));
        let Some(mut union) = sets.next().map(|set| (*set).clone()) else { return BTreeSet::new() };
        sets.for_each(|set| union.extend(set.iter()));
        union
    }

    /// The addresses that blocks admit, whoever has them.
    pub fn blocks(&self) -> Blocks {
        let narrow = |number: u128| Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX));
        let v4 = self.blocks_of(Family::V4).into_iter();
        let v6 = self.blocks_of(Family::V6).into_iter();
        Blocks {
            v4: v4.map(|(first, last)| (narrow(first), narrow(last))).collect(),
            v6: v6.map(|(first, last)| (first.into(), last.into())).collect(),
        }
    }

    fn blocks_of(&self, family: Family) -> Vec<Range> {
        let of_family = |network: &IpNet| Family::of(network.network()) == family;
        let of_clause = |clause: &BTreeSet<Arc<Atom>>| {
            let blocks = clause.iter().filter_map(|atom| atom.block()).filter(|(cidr, _)| of_family(cidr));
            union(
                blocks
                    .flat_map(|(cidr, except)| {
                        let holes = except.iter().filter(|hole| of_family(hole)).map(of_network).collect();
                        without(of_network(cidr), &union(holes))
                    })
                    .collect(),
            )
        };
        let in_each = self.clauses.iter().map(of_clause);
        in_each.reduce(|all, next| intersection(&all, &next)).unwrap_or_default()
    }

    /// The group as it is now.
    pub fn group(&self, cluster: &Cluster, members: &mut AtomMembers) -> PeerGroup {
        let blocks = self.blocks();
        PeerGroup {
            description: self.description().into(),
            addresses: self.listed(cluster, members),
            blocks4: blocks.v4.into(),
            blocks6: blocks.v6.into(),
        }
    }

    /// Which of these addresses join the group (`true`) or leave it.
    pub fn news<'a>(
        &'a self,
        group: &'a PeerGroup,
        cluster: &'a Cluster,
        addresses: &'a BTreeSet<IpAddr>,
    ) -> impl Iterator<Item = (IpAddr, bool)> + 'a {
        let listed = addresses.iter().map(|address| (*address, self.lists(cluster, *address)));
        listed.filter(|(address, is_listed)| *is_listed != group.addresses.contains(address))
    }

    /// The name of the group in the tables: a digest of its meaning, which is the same on every path to it.
    pub fn id(&self) -> GroupId {
        let mut canonical = Canonical::default();
        canonical.list(self.clauses.len());
        for clause in &self.clauses {
            canonical.list(clause.len());
            for atom in clause {
                canonical.atom(atom);
            }
        }
        GroupId(canonical.digest())
    }

    /// What the group means, for people.
    pub fn description(&self) -> String {
        let clauses = self.clauses.iter().map(|clause| {
            let atoms: Vec<String> = clause.iter().map(|atom| atom.describe()).collect();
            if atoms.is_empty() { "nobody".to_string() } else { atoms.join("; ") }
        });
        clauses.collect::<Vec<_>>().join(" and also ")
    }
}
