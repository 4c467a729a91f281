//! The table of host policies, `inet palisade_host`.
//!
//! As long as the host policies of the cluster are not known, what was in force stays: the kernel is left alone, or gets the last
//! state where it lost it. An API server that does not tell, or does not know the kind, opens no port.

use palisade_core::{HostTables, Tables, TablesChange};
use palisade_nft::{ApplyError, HostHeld, Kernel, KernelError, Ruleset, Settings as Layout, Table, diff, lower_host};

use super::Programmed;

/// What the kernel holds of the policies of hosts.
#[derive(Debug)]
pub struct HostTable {
    kernel: Kernel,
    layout: Layout,
    /// What was in force before; `None` once the policies of the cluster are known.
    before: Option<Before>,
    holds: Holds,
}

/// What was in force before this agent knew the cluster.
#[derive(Debug, Default)]
struct Before {
    /// As the state file tells; `None` if nobody knows.
    tables: Option<HostTables>,
}

/// What the kernel holds.
#[derive(Debug)]
enum Holds {
    /// What it held when the agent started.
    WhatItDid,
    Known(HostHeld),
    /// Nobody knows: the next step is a load.
    Unknown,
}

impl HostTable {
    /// For the namespace of the calling thread. Touches nothing yet.
    pub fn new(kernel: Kernel, layout: Layout) -> HostTable {
        HostTable { kernel, layout, before: Some(Before::default()), holds: Holds::WhatItDid }
    }

    /// The kernel, for what else is to be asked of it.
    pub fn kernel_mut(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// What is to be in force, where these are the tables of the cluster as far as it is known.
    pub fn wanted<'a>(&'a self, tables: &'a Tables) -> &'a HostTables {
        match &self.before {
            Some(Before { tables: Some(before) }) => before,
            // Of a kernel that nobody knows no state can be written; the next one knows more.
            _ => &tables.host,
        }
    }

    /// Whether the kernel holds the table, if there was one before.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn is_there(&mut self) -> Result<bool, KernelError> {
        let before = self.before.as_ref().and_then(|before| before.tables.as_ref());
        Ok(before.is_none_or(HostTables::is_empty) || self.kernel.read_back()?.is_some())
    }

    /// Whether what is wanted is in force, as far as is known.
    pub fn is_in_force(&self) -> bool {
        !matches!(self.holds, Holds::Unknown)
    }

    /// The kernel does not hold what it was told to: the next step is a load.
    pub fn doubt(&mut self) {
        self.holds = Holds::Unknown;
    }

    /// Remembers what was in force before.
    pub fn remember(&mut self, tables: &HostTables) {
        if let Some(before) = &mut self.before {
            before.tables = Some(tables.clone());
        }
    }

    /// What was in force before is wanted no more.
    pub fn forget(&mut self) {
        if let Some(before) = &mut self.before {
            before.tables = Some(HostTables::default());
            self.doubt();
        }
    }

    /// The policies of the cluster are known from here on.
    pub fn follow(&mut self) {
        if self.before.take().is_some() {
            self.doubt();
        }
    }

    /// Takes the steps to these tables, if the policies of the cluster are known.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; the table is as before then, and the next step is a load.
    pub fn take(&mut self, steps: &[TablesChange], tables: &Tables) -> Result<Programmed, ApplyError> {
        let held = match &mut self.holds {
            Holds::Unknown => return self.load(tables),
            Holds::Known(held) if self.before.is_none() => held,
            Holds::Known(_) | Holds::WhatItDid => return Ok(Programmed::default()),
        };
        let transaction = held.lower_changes(steps);
        let applied = self.kernel.apply(&transaction).inspect_err(|_| self.holds = Holds::Unknown)?;
        Ok(Programmed::by(&transaction, applied))
    }

    /// Reads the table back and applies what differs from what is wanted.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; the table is as before then.
    pub fn load(&mut self, tables: &Tables) -> Result<Programmed, ApplyError> {
        match &self.before {
            None => self.load_host(&tables.host),
            Some(Before { tables: Some(before) }) => self.load_host(&before.clone()),
            Some(Before { tables: None }) => {
                self.holds = Holds::WhatItDid;
                Ok(Programmed::default())
            }
        }
    }

    /// Brings the tables into force that were before.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; the table is as before then.
    pub fn load_other(&mut self, tables: &HostTables) -> Result<Programmed, ApplyError> {
        self.remember(tables);
        self.load_host(tables)
    }

    fn load_host(&mut self, tables: &HostTables) -> Result<Programmed, ApplyError> {
        self.holds = Holds::Unknown;
        let want = lower_host(tables, &self.layout);
        let done = super::load(&mut self.kernel, |have| {
            let have = have.unwrap_or_else(|| Ruleset::nothing(Table::Host));
            Ok(Some(diff(&have, &want)))
        })?;
        self.holds = Holds::Known(HostHeld::of(tables, &self.layout));
        Ok(done)
    }

    /// Takes the table out of the kernel.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn remove(&mut self) -> Result<(), ApplyError> {
        self.holds = Holds::Unknown;
        self.kernel.remove_table().map(drop)
    }
}
