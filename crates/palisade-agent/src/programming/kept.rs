//! The tables beside that of policies: `inet palisade_host` of host policies, and `inet palisade_bans` of ban lists. Each exists only
//! while there is something in it.
//!
//! As long as the objects of the cluster are not known, what was in force stays: the kernel is left alone, or gets the last
//! state where it lost it. An API server that does not tell, or does not know the kind, opens nothing.

mod trying;

use std::fmt::Debug;

use palisade_core::{BanTables, HostTables, Tables, TablesChange};
use palisade_nft::{
    ApplyError, BanHeld, HostHeld, Kernel, KernelError, Ruleset, Settings as Layout, Table, Transaction, diff,
    lower_bans, lower_host,
};

use super::Programmed;

/// What such a table is of.
pub trait Part {
    /// What is to be in force.
    type Tables: Clone + Debug + Default + PartialEq;
    /// What a kernel holds.
    type Held: Debug;
    /// Where.
    const TABLE: Table;

    /// What is to be in force, of everything.
    fn of(tables: &Tables) -> &Self::Tables;
    /// Whether it is nothing.
    fn is_empty(tables: &Self::Tables) -> bool;
    /// The ruleset.
    fn lower(tables: &Self::Tables, layout: Layout) -> Ruleset;
    /// How a kernel that holds nothing comes to these tables: those to begin with, and steps from there.
    fn stages(tables: &Self::Tables) -> (Self::Tables, Vec<TablesChange>);
    /// What a kernel holds to which the ruleset was applied.
    fn held(tables: &Self::Tables, layout: Layout) -> Self::Held;
    /// The transactions that take steps.
    fn changes(held: &mut Self::Held, steps: &[TablesChange]) -> Vec<Transaction>;
}

/// Host policies.
#[derive(Debug)]
pub enum Hosts {}

impl Part for Hosts {
    type Tables = HostTables;
    type Held = HostHeld;
    const TABLE: Table = Table::Host;

    fn of(tables: &Tables) -> &HostTables {
        &tables.host
    }

    fn is_empty(tables: &HostTables) -> bool {
        tables.is_empty()
    }

    fn lower(tables: &HostTables, layout: Layout) -> Ruleset {
        lower_host(tables, &layout)
    }

    fn stages(tables: &HostTables) -> (HostTables, Vec<TablesChange>) {
        (tables.clone(), Vec::new())
    }

    fn held(tables: &HostTables, layout: Layout) -> HostHeld {
        HostHeld::of(tables, &layout)
    }

    fn changes(held: &mut HostHeld, steps: &[TablesChange]) -> Vec<Transaction> {
        vec![held.lower_changes(steps)]
    }
}

/// Ban lists.
#[derive(Debug)]
pub enum Bans {}

impl Part for Bans {
    type Tables = BanTables;
    type Held = BanHeld;
    const TABLE: Table = Table::Bans;

    fn of(tables: &Tables) -> &BanTables {
        &tables.bans
    }

    fn is_empty(tables: &BanTables) -> bool {
        tables.is_empty()
    }

    fn lower(tables: &BanTables, layout: Layout) -> Ruleset {
        lower_bans(tables, &layout)
    }

    fn stages(tables: &BanTables) -> (BanTables, Vec<TablesChange>) {
        BanHeld::stages(tables)
    }

    fn held(tables: &BanTables, layout: Layout) -> BanHeld {
        BanHeld::of(tables, &layout)
    }

    fn changes(held: &mut BanHeld, steps: &[TablesChange]) -> Vec<Transaction> {
        held.lower_changes(steps)
    }
}

/// What the kernel holds of a part.
#[derive(Debug)]
pub struct KeptTable<P: Part> {
    kernel: Kernel,
    layout: Layout,
    /// What was in force before; `None` once the objects of the cluster are known.
    before: Option<Before<P::Tables>>,
    /// What to go back to, while it is not known whether what came after it cuts the node off.
    good: Option<P::Tables>,
    /// What was before is in force again, until something else is wanted than what was taken back.
    undone: bool,
    holds: Holds<P::Held>,
}

/// What was in force before this agent knew the cluster.
#[derive(Debug, Default)]
struct Before<T> {
    /// As the state file tells; `None` if nobody knows.
    tables: Option<T>,
}

/// What the kernel holds.
#[derive(Debug)]
enum Holds<H> {
    /// What it held when the agent started.
    WhatItDid,
    Known(H),
    /// Nobody knows: the next step is a load.
    Unknown,
}

impl<P: Part> KeptTable<P> {
    /// For the namespace of the calling thread. Touches nothing yet.
    pub fn new(kernel: Kernel, layout: Layout) -> KeptTable<P> {
        KeptTable {
            kernel,
            layout,
            before: Some(Before::default()),
            good: None,
            undone: false,
            holds: Holds::WhatItDid,
        }
    }

    /// The kernel, for what else is to be asked of it.
    pub fn kernel_mut(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// What is to be in force, where these are the tables of the cluster as far as it is known.
    pub fn wanted<'a>(&'a self, tables: &'a Tables) -> &'a P::Tables {
        match &self.before {
            Some(Before { tables: Some(before) }) => before,
            // Of a kernel that nobody knows no state can be written; the next one knows more.
            _ => P::of(tables),
        }
    }

    /// Whether the kernel holds the table, if there was one before.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn is_there(&mut self) -> Result<bool, KernelError> {
        let before = self.before.as_ref().and_then(|before| before.tables.as_ref());
        Ok(before.is_none_or(P::is_empty) || self.kernel.read_back()?.is_some())
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
    pub fn remember(&mut self, tables: &P::Tables) {
        if let Some(before) = &mut self.before {
            before.tables = Some(tables.clone());
        }
    }

    /// What was in force before is wanted no more, and nothing to go back to.
    pub fn forget(&mut self) {
        if let Some(good) = &mut self.good {
            *good = P::Tables::default();
        }
        if let Some(before) = &mut self.before {
            before.tables = Some(P::Tables::default());
            self.doubt();
        }
    }

    /// The objects of the cluster are known from here on. What was before is what to go back to.
    pub fn follow(&mut self) {
        if self.undone {
            return;
        }
        if let Some(Before { tables }) = self.before.take() {
            self.good = tables.or_else(|| matches!(self.kernel.read_back(), Ok(None)).then(P::Tables::default));
            self.doubt();
        }
    }

    /// Takes the steps to these tables, if the objects of the cluster are known.
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
        step::<P>(&mut self.kernel, held, steps).inspect_err(|_| self.holds = Holds::Unknown)
    }

    /// Reads the table back and applies what differs from what is wanted.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; the table is as before then.
    pub fn load(&mut self, tables: &Tables) -> Result<Programmed, ApplyError> {
        match &self.before {
            None => self.load_these(P::of(tables)),
            Some(Before { tables: Some(before) }) => self.load_these(&before.clone()),
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
    pub fn load_other(&mut self, tables: &P::Tables) -> Result<Programmed, ApplyError> {
        self.remember(tables);
        self.load_these(tables)
    }

    fn load_these(&mut self, tables: &P::Tables) -> Result<Programmed, ApplyError> {
        self.holds = Holds::Unknown;
        let mut stages = None;
        let mut done = super::load(&mut self.kernel, |have| {
            stages = have.is_none().then(|| P::stages(tables));
            let have = have.unwrap_or_else(|| Ruleset::nothing(P::TABLE));
            let first = stages.as_ref().map_or(tables, |(first, _)| first);
            Ok(Some(diff(&have, &P::lower(first, self.layout))))
        })?;
        let (first, rest) = stages.unwrap_or_else(|| (tables.clone(), Vec::new()));
        let mut held = P::held(&first, self.layout);
        for stage in rest {
            done = done.and(Ok(step::<P>(&mut self.kernel, &mut held, &[stage])?));
        }
        self.holds = Holds::Known(held);
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

/// Takes steps; what was done.
fn step<P: Part>(kernel: &mut Kernel, held: &mut P::Held, steps: &[TablesChange]) -> Result<Programmed, ApplyError> {
    let mut done = Programmed::default();
    for transaction in P::changes(held, steps) {
        let applied = kernel.apply(&transaction)?;
        done = done.and(Ok(Programmed::by(&transaction, applied)));
    }
    Ok(done)
}
