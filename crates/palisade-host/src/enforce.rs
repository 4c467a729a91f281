//! What is admitted, in the kernel: in a table of our own, or in sets of the administrator's rules.

mod own_chain;
mod sets;

use std::collections::BTreeSet;

use ipnet::IpNet;
use palisade_core::Family;
use palisade_nft::{ApplyError, Kernel, KernelError, Monitor, Ruleset, SetError, Table};
use palisade_sources::node_allowlist::{Mode, NodeAllowlist};

use own_chain::OwnChain;
use sets::Sets;

/// The kernel, as `mode` uses it.
#[derive(Debug)]
pub enum Enforcer {
    /// `OwnChain`.
    OwnChain(Box<OwnChain>),
    /// `SetOnly`.
    Sets(Sets),
    /// `ExportOnly`: it is left alone.
    Nothing,
}

/// What the kernel held at some time.
#[derive(Debug)]
pub enum Before {
    /// In our table.
    OwnChain(Box<Ruleset>),
    /// In each of the sets.
    Sets(Vec<BTreeSet<IpNet>>),
    /// It is not touched.
    Nothing,
}

/// Why the kernel does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// The kernel cannot be asked.
    #[error("the kernel cannot be read")]
    Kernel(#[from] KernelError),
    /// It refuses the rules.
    #[error("the kernel refuses the rules")]
    Refused(#[from] ApplyError),
    /// A set cannot be filled.
    #[error(transparent)]
    Set(#[from] SetError),
}

impl Enforcer {
    /// For the network namespace of the calling thread, in which nothing is changed yet.
    ///
    /// # Errors
    ///
    /// If the kernel has no `nf_tables`, or the process may not use it.
    pub fn open(mode: &Mode) -> Result<Enforcer, KernelError> {
        Ok(match mode {
            Mode::OwnChain => Enforcer::OwnChain(Box::new(OwnChain::open()?)),
            Mode::SetOnly(sets) => Enforcer::Sets(Sets::open(sets)?),
            Mode::ExportOnly => Enforcer::Nothing,
        })
    }

    /// Listens to what others do to the ruleset, where that matters.
    ///
    /// # Errors
    ///
    /// As [`Enforcer::open`].
    pub fn monitor(&self) -> Result<Option<Monitor>, KernelError> {
        match self {
            Enforcer::OwnChain(chain) => chain.monitor().map(Some),
            Enforcer::Sets(_) => Monitor::open([]).map(Some),
            Enforcer::Nothing => Ok(None),
        }
    }

    /// Somebody changed what it holds, or may have.
    pub fn doubt(&mut self) {
        if let Enforcer::OwnChain(chain) = self {
            chain.doubt();
        }
    }

    /// Whether others may change what it holds without a word of the kernel.
    pub fn has_silent_sets(&self) -> bool {
        matches!(self, Enforcer::Sets(sets) if sets.has_silent())
    }

    /// Families of these addresses for which there is no set.
    pub fn unheld(&self, wanted: &BTreeSet<IpNet>) -> Vec<Family> {
        match self {
            Enforcer::Sets(sets) => sets.unheld(wanted),
            Enforcer::OwnChain(_) | Enforcer::Nothing => Vec::new(),
        }
    }

    /// Brings these addresses of nodes into force; whether anything had to be changed.
    ///
    /// # Errors
    ///
    /// If the kernel cannot be read, or refuses. What our table held stays; of sets some may be filled.
    pub fn enforce(&mut self, list: &NodeAllowlist, nodes: &BTreeSet<IpNet>) -> Result<bool, EnforceError> {
        match self {
            Enforcer::OwnChain(chain) => chain.enforce(list.policy(nodes.iter().copied())),
            Enforcer::Sets(sets) => sets.fill(&list.admitted(nodes.iter().copied())),
            Enforcer::Nothing => Ok(false),
        }
    }

    /// What the kernel holds now.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn held(&mut self) -> Result<Before, EnforceError> {
        Ok(match self {
            Enforcer::OwnChain(chain) => Before::OwnChain(Box::new(chain.held()?)),
            Enforcer::Sets(sets) => Before::Sets(sets.held()?),
            Enforcer::Nothing => Before::Nothing,
        })
    }

    /// Makes the kernel hold what it held before.
    ///
    /// # Errors
    ///
    /// As [`Enforcer::enforce`].
    pub fn go_back(&mut self, before: Before) -> Result<(), EnforceError> {
        match (self, before) {
            (Enforcer::OwnChain(chain), Before::OwnChain(ruleset)) => chain.hold(*ruleset).map(drop),
            (Enforcer::Sets(sets), Before::Sets(held)) => sets.hold(&held),
            _ => Ok(()),
        }
    }
}

/// Takes our table out of the kernel; whether it was there.
///
/// # Errors
///
/// If the kernel cannot be read, or refuses.
pub fn remove() -> Result<bool, EnforceError> {
    Ok(Kernel::open_table(Table::Host)?.remove_table()?)
}

/// Whether our table is in the kernel.
///
/// # Errors
///
/// If the kernel cannot be read.
pub fn is_there() -> Result<bool, EnforceError> {
    Ok(Kernel::open_table(Table::Host)?.read_back()?.is_some())
}
