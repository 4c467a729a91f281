//! The node's tables: what is wanted, what the kernel holds, and how the one becomes the other.
//!
//! Two ways lead to the kernel. A *change* is lowered to the transaction of what it touches. A *load* reads a
//! table back and applies what differs; it is the way of the first time, of repairs, and of recovery after a refusal.
//! Neither ever flushes: what is in force stays so until the transaction that replaces it.
//!
//! The policies of pods, those of hosts and bans have a table each. What the kernel refuses of one holds up nothing of the others.

mod kept;
mod policies;
mod trying;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use palisade_compile::Compiler;
use palisade_core::{BanTables, Change, HostTables, NamespaceName, Tables, TablesChange};
use palisade_nft::{Applied, ApplyError, Generation, Kernel, KernelError, Ruleset, Transaction};

pub use policies::PolicyTable;

/// The table of host policies.
pub type HostTable = kept::KeptTable<kept::Hosts>;
/// That of ban lists.
pub type BanTable = kept::KeptTable<kept::Bans>;

/// How often a load begins again because another program changed the table meanwhile.
const LOADS_TRIED: usize = 5;

/// What is wanted of the kernel, and what it holds.
#[derive(Debug)]
pub struct Programming {
    compiler: Compiler,
    /// `None` where the policies of pods are not enforced.
    policies: Option<PolicyTable>,
    /// `None` where those of hosts are not.
    host: Option<HostTable>,
    /// `None` where ban lists are not.
    bans: Option<BanTable>,
}

/// What was done to the kernel.
#[derive(Debug, Default)]
pub struct Programmed {
    /// The steps of the tables; empty for a load.
    pub steps: Vec<TablesChange>,
    /// Operations applied; none means that nothing differed.
    pub operations: usize,
    /// The longest commit that it took.
    pub longest_commit: Duration,
    /// There was no table before, of all that of policies, so that its counters begin at zero.
    pub is_new: bool,
    /// The kernel refused this of the tables of host policies and bans; the rest was done.
    pub refused: Option<ApplyError>,
}

impl Programmed {
    fn by(transaction: &Transaction, applied: Applied) -> Programmed {
        let operations = transaction.operations().len();
        Programmed { operations, longest_commit: applied.longest, ..Programmed::default() }
    }

    fn and(self, other: Result<Programmed, ApplyError>) -> Programmed {
        match other {
            Ok(other) => Programmed {
                operations: self.operations + other.operations,
                longest_commit: self.longest_commit.max(other.longest_commit),
                ..self
            },
            Err(error) => Programmed { refused: Some(error), ..self },
        }
    }
}

impl Programming {
    /// Touches nothing yet.
    pub fn new(
        compiler: Compiler,
        policies: Option<PolicyTable>,
        host: Option<HostTable>,
        bans: Option<BanTable>,
    ) -> Programming {
        Programming { compiler, policies, host, bans }
    }

    /// What is wanted.
    pub fn tables(&self) -> &Tables {
        self.compiler.tables()
    }

    /// What is to be in force of the policies of hosts: what was before, as long as those of the cluster are not known.
    pub fn host_tables(&self) -> &HostTables {
        let tables = self.compiler.tables();
        self.host.as_ref().map_or(&tables.host, |host| host.wanted(tables))
    }

    /// The same of bans.
    pub fn ban_tables(&self) -> &BanTables {
        let tables = self.compiler.tables();
        self.bans.as_ref().map_or(&tables.bans, |bans| bans.wanted(tables))
    }

    /// Whether the kernel holds tables of ours, of whenever: that of policies, and those of host policies and bans if there were some.
    ///
    /// # Errors
    ///
    /// If the kernel cannot be read.
    pub fn holds_something(&mut self) -> Result<bool, KernelError> {
        let policies = self.policies.as_mut().map_or(Ok(true), PolicyTable::is_there)?;
        let host = self.host.as_mut().map_or(Ok(true), HostTable::is_there)?;
        Ok(policies && host && self.bans.as_mut().map_or(Ok(true), BanTable::is_there)?)
    }

    /// The namespaces for whose policies there is no room.
    pub fn closed(&self) -> &BTreeSet<NamespaceName> {
        self.compiler.closed()
    }

    /// The number of the rules in force; `None` where the policies of pods are not enforced.
    pub fn generation(&self) -> Option<Generation> {
        self.policies.as_ref().map(PolicyTable::generation)
    }

    /// The connection to the table of policies.
    pub fn policies_kernel(&mut self) -> Option<&mut Kernel> {
        self.policies.as_mut().map(PolicyTable::kernel_mut)
    }

    /// The one to the table of host policies.
    pub fn host_kernel(&mut self) -> Option<&mut Kernel> {
        self.host.as_mut().map(HostTable::kernel_mut)
    }

    /// The one to the table of bans.
    pub fn bans_kernel(&mut self) -> Option<&mut Kernel> {
        self.bans.as_mut().map(BanTable::kernel_mut)
    }

    /// Whether what is wanted is in force, as far as is known.
    pub fn is_in_force(&self) -> bool {
        self.policies_are_in_force()
            && self.host.as_ref().is_none_or(HostTable::is_in_force)
            && self.bans.as_ref().is_none_or(BanTable::is_in_force)
    }

    /// The same of the policies of pods alone.
    pub fn policies_are_in_force(&self) -> bool {
        self.policies.as_ref().is_none_or(PolicyTable::is_in_force)
    }

    /// The kernel does not hold what it was told to: the next step is a load.
    pub fn doubt(&mut self) {
        self.policies.iter_mut().for_each(PolicyTable::doubt);
        self.host.iter_mut().for_each(HostTable::doubt);
        self.bans.iter_mut().for_each(BanTable::doubt);
    }

    /// The policies of hosts are known from here on.
    pub fn follow_host(&mut self) {
        self.host.iter_mut().for_each(HostTable::follow);
    }

    /// Bans are known from here on.
    pub fn follow_bans(&mut self) {
        self.bans.iter_mut().for_each(BanTable::follow);
    }

    /// Brings changes of the cluster into force.
    ///
    /// # Errors
    ///
    /// If the kernel refuses what is of the policies of pods; the table is as before then, and the next step is a load.
    pub fn update(&mut self, changes: &[Change], now: Instant) -> Result<Programmed, ApplyError> {
        let steps = self.compiler.update(changes);
        self.take(steps, now)
    }

    /// Opens the namespaces that were closed and find room by now.
    ///
    /// # Errors
    ///
    /// As for [`Programming::update`].
    pub fn review(&mut self, now: Instant) -> Result<Programmed, ApplyError> {
        let steps = self.compiler.review();
        self.take(steps, now)
    }

    fn take(&mut self, steps: Vec<TablesChange>, now: Instant) -> Result<Programmed, ApplyError> {
        let tables = self.compiler.tables();
        let policies = self.policies.as_mut().map(|table| table.take(&steps, tables, now));
        let host = self.host.as_mut().map(|table| table.take(&steps, tables));
        let bans = self.bans.as_mut().map(|table| table.take(&steps, tables));
        all(policies, [host, bans]).map(|done| Programmed { steps, ..done })
    }

    /// Takes changes of the cluster into account, and leaves the kernel alone: the next step is a load.
    pub fn note(&mut self, changes: &[Change]) {
        self.compiler.update(changes);
        self.doubt();
    }

    /// Brings other tables into force than those of the cluster: the last state, before the cluster is known.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; the table is as before then.
    pub fn load_other(&mut self, tables: &Tables, now: Instant) -> Result<Programmed, ApplyError> {
        let policies = self.policies.as_mut().map(|table| table.load_other(tables, now));
        let host = self.host.as_mut().map(|table| table.load_other(&tables.host));
        let bans = self.bans.as_mut().map(|table| table.load_other(&tables.bans));
        all(policies, [host, bans])
    }

    /// Remembers what was in force of host policies and of bans, which goes on to be wanted until those of the cluster are known.
    pub fn remember(&mut self, tables: &Tables) {
        self.host.iter_mut().for_each(|table| table.remember(&tables.host));
        self.bans.iter_mut().for_each(|table| table.remember(&tables.bans));
    }

    /// What was in force of them was of another cluster, and is wanted no more.
    pub fn forget(&mut self) {
        self.host.iter_mut().for_each(HostTable::forget);
        self.bans.iter_mut().for_each(BanTable::forget);
    }

    /// Reads the tables back and applies what differs from what is wanted.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; the table is as before then.
    pub fn load(&mut self, now: Instant) -> Result<Programmed, ApplyError> {
        let tables = self.compiler.tables();
        let policies = self.policies.as_mut().map(|table| table.load(tables, now));
        let host = self.host.as_mut().map(|table| table.load(tables));
        let bans = self.bans.as_mut().map(|table| table.load(tables));
        all(policies, [host, bans])
    }

    /// When connections are to be judged again, if that waits.
    pub fn cut_due(&self) -> Option<Instant> {
        self.policies.as_ref().and_then(PolicyTable::cut_due)
    }

    /// Has every live connection judged again by its next packet.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn cut(&mut self, now: Instant) -> Result<(), ApplyError> {
        let tables = self.compiler.tables();
        self.policies.as_mut().map_or(Ok(()), |table| table.cut(tables, now))
    }

    /// The generation whose marks alone are to be left, if those of former ones should be cleared now, in the background.
    pub fn wants_sweep(&self) -> Option<Generation> {
        self.policies.as_ref().filter(|table| table.wants_sweep()).map(PolicyTable::generation)
    }

    /// A sweep that began at `generation` is done: only marks of that and of later ones are left.
    pub fn swept(&mut self, generation: Generation) {
        self.policies.iter_mut().for_each(|table| table.swept(generation));
    }

    /// Takes our tables out of the kernel.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn remove(&mut self) -> Result<(), ApplyError> {
        let policies = self.policies.as_mut().map_or(Ok(()), PolicyTable::remove);
        let host = self.host.as_mut().map_or(Ok(()), HostTable::remove);
        let bans = self.bans.as_mut().map_or(Ok(()), BanTable::remove);
        policies.and(host).and(bans)
    }
}

/// Reads a table back and applies what is to differ, `None` being nothing; what was done, without steps.
fn load(
    kernel: &mut Kernel,
    mut towards: impl FnMut(Option<Ruleset>) -> Result<Option<Transaction>, KernelError>,
) -> Result<Programmed, ApplyError> {
    for _ in 0..LOADS_TRIED {
        let have = kernel.read_back()?;
        let is_new = have.is_none();
        let Some(transaction) = towards(have)? else { return Ok(Programmed::default()) };
        match kernel.apply(&transaction) {
            Ok(applied) => return Ok(Programmed { is_new, ..Programmed::by(&transaction, applied) }),
            // Somebody changed our table since we read it: what differs is something else now.
            Err(ApplyError::Changed) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ApplyError::Changed)
}

/// What was done to all tables. Each was tried, whatever became of the others.
fn all(
    policies: Option<Result<Programmed, ApplyError>>,
    kept: [Option<Result<Programmed, ApplyError>>; 2],
) -> Result<Programmed, ApplyError> {
    let done = policies.unwrap_or_else(|| Ok(Programmed::default()))?;
    Ok(kept.into_iter().flatten().fold(done, Programmed::and))
}
