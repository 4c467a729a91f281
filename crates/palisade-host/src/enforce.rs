//! The list in the kernel: a host policy of this server, in the table that an agent has for those of its node.

use std::sync::Arc;

use palisade_compile::{Compiler, server_compiler};
use palisade_core::{Change, HostPolicy};
use palisade_nft::{
    ApplyError, Denied, Established, Kernel, KernelError, Monitor, Ruleset, Settings as Layout, Table, diff, lower_host,
};

/// A packet that is not admitted is dropped, whatever its connection was before; none is logged.
const LAYOUT: Layout = Layout { denied: Denied::Drop, log_group: None, established: Established::Cut };

/// The rules, and the connection to the kernel that holds them.
#[derive(Debug)]
pub struct Enforcer {
    compiler: Compiler,
    kernel: Kernel,
    /// What the kernel holds; `None` if nobody knows.
    holds: Option<Ruleset>,
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
}

impl Enforcer {
    /// For the network namespace of the calling thread, in which nothing is changed yet.
    ///
    /// # Errors
    ///
    /// If the kernel has no `nf_tables`, or the process may not use it.
    pub fn open() -> Result<Enforcer, KernelError> {
        Ok(Enforcer { compiler: server_compiler(), kernel: Kernel::open_table(Table::Host)?, holds: None })
    }

    /// Listens to what others do to the table.
    ///
    /// # Errors
    ///
    /// As [`Enforcer::open`].
    pub fn monitor(&self) -> Result<Monitor, KernelError> {
        Monitor::open([&self.kernel])
    }

    /// Somebody changed the table, or may have.
    pub fn doubt(&mut self) {
        self.holds = None;
    }

    /// Brings the policy into force, in one transaction; whether anything had to be changed.
    ///
    /// # Errors
    ///
    /// If the kernel cannot be read, or refuses. What it held stays, and is read again next time.
    pub fn enforce(&mut self, policy: HostPolicy) -> Result<bool, EnforceError> {
        self.compiler.update(&[Change::HostPolicy(policy.name.clone(), Some(Arc::new(policy)))]);
        let wanted = lower_host(&self.compiler.tables().host, &LAYOUT);
        let held = match self.holds.take() {
            Some(held) => held,
            None => self.kernel.read_back()?.unwrap_or_else(|| Ruleset::nothing(Table::Host)),
        };
        let transaction = diff(&held, &wanted);
        let changes = !transaction.operations().is_empty();
        if changes {
            self.kernel.apply(&transaction)?;
        }
        self.holds = Some(wanted);
        Ok(changes)
    }
}

/// Takes the table out of the kernel; whether it was there.
///
/// # Errors
///
/// If the kernel cannot be read, or refuses.
pub fn remove() -> Result<bool, EnforceError> {
    Ok(Kernel::open_table(Table::Host)?.remove_table()?)
}
