//! The addresses in sets of the administrator's own rules, which are left alone.

use std::collections::BTreeSet;

use ipnet::IpNet;
use palisade_core::Family;
use palisade_nft::{ForeignName, ForeignSet, Ipset, KernelError, SetError};
use palisade_sources::node_allowlist::{NamedSet, SetPlace};

use super::EnforceError;

/// The sets that are filled.
#[derive(Debug)]
pub struct Sets(Vec<Filled>);

#[derive(Debug)]
struct Filled {
    family: Family,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Nftables(ForeignSet),
    Ipset(Ipset),
}

impl Sets {
    /// Those of the network namespace of the calling thread. Whether they are there shows when they are filled.
    pub fn open(sets: &[NamedSet]) -> Result<Sets, KernelError> {
        sets.iter().map(Filled::open).collect::<Result<_, _>>().map(Sets)
    }

    /// Fills each of them; whether anything had to be changed. One that fails keeps what it held, and the others are filled.
    pub fn fill(&mut self, wanted: &BTreeSet<IpNet>) -> Result<bool, EnforceError> {
        let mut changed = false;
        let mut failed = None;
        for set in &mut self.0 {
            match set.place.fill(wanted) {
                Ok(some) => changed |= some,
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        failed.map_or(Ok(changed), |error| Err(error.into()))
    }

    /// Whether the kernel does not tell what others do to one of them.
    pub fn has_silent(&self) -> bool {
        self.0.iter().any(|set| matches!(set.place, Place::Ipset(_)))
    }

    /// Which families none of them holds, though these addresses are of it.
    pub fn unheld(&self, wanted: &BTreeSet<IpNet>) -> Vec<Family> {
        let is_held = |family: &Family| self.0.iter().any(|set| set.family == *family);
        let is_wanted = |family: &Family| wanted.iter().any(|net| Family::of(net.addr()) == *family);
        Family::ALL.into_iter().filter(|family| is_wanted(family) && !is_held(family)).collect()
    }

    /// What each of them holds.
    pub fn held(&mut self) -> Result<Vec<BTreeSet<IpNet>>, EnforceError> {
        self.0.iter_mut().map(|set| set.place.content().map_err(EnforceError::from)).collect()
    }

    /// Goes back to what each of them held.
    pub fn hold(&mut self, held: &[BTreeSet<IpNet>]) -> Result<(), EnforceError> {
        for (set, held) in self.0.iter_mut().zip(held) {
            set.place.fill(held)?;
        }
        Ok(())
    }
}

impl Filled {
    fn open(named: &NamedSet) -> Result<Filled, KernelError> {
        let family = named.family;
        let place = match &named.place {
            SetPlace::Ipset(name) => Place::Ipset(Ipset::open(name, family)?),
            SetPlace::Nftables { table_family, table, set } => {
                let table = ForeignName::new(table_family, table).ok_or(KernelError::Missing)?;
                Place::Nftables(ForeignSet::open(table, set, family)?)
            }
        };
        Ok(Filled { family, place })
    }
}

impl Place {
    fn fill(&mut self, wanted: &BTreeSet<IpNet>) -> Result<bool, SetError> {
        match self {
            Place::Nftables(set) => set.fill(wanted),
            Place::Ipset(set) => set.fill(wanted),
        }
    }

    fn content(&mut self) -> Result<BTreeSet<IpNet>, SetError> {
        match self {
            Place::Nftables(set) => set.content(),
            Place::Ipset(set) => set.content(),
        }
    }
}
