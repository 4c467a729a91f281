//! The list as a host policy of this server, in the table that an agent has for those of its node.

use std::sync::Arc;

use palisade_compile::{Compiler, server_compiler};
use palisade_core::{Change, HostPolicy};
use palisade_nft::{
    Denied, Established, Kernel, KernelError, Monitor, Ruleset, Settings as Layout, Table, diff, lower_host,
};

use super::EnforceError;

/// A packet that is not admitted is dropped, whatever its connection was before; none is logged.
const LAYOUT: Layout = Layout { denied: Denied::Drop, log_group: None, established: Established::Cut };

/// The rules, and the connection to the kernel that holds them.
#[derive(Debug)]
pub struct OwnChain {
    compiler: Compiler,
    kernel: Kernel,
    /// What the kernel holds; `None` if nobody knows.
    holds: Option<Ruleset>,
}

impl OwnChain {
    /// For the network namespace of the calling thread, in which nothing is changed yet.
    pub fn open() -> Result<OwnChain, KernelError> {
        Ok(OwnChain { compiler: server_compiler(), kernel: Kernel::open_table(Table::Host)?, holds: None })
    }

    /// Listens to what others do to the table.
    pub fn monitor(&self) -> Result<Monitor, KernelError> {
        Monitor::open([&self.kernel])
    }

    /// Somebody changed the table, or may have.
    pub fn doubt(&mut self) {
        self.holds = None;
    }

    /// What the kernel holds now; nothing if the table is not there.
    pub fn held(&mut self) -> Result<Ruleset, EnforceError> {
        Ok(self.kernel.read_back()?.unwrap_or_else(|| Ruleset::nothing(Table::Host)))
    }

    /// Brings the policy into force; whether anything had to be changed. If it fails, what was held stays, and is read again next time.
    pub fn enforce(&mut self, policy: HostPolicy) -> Result<bool, EnforceError> {
        self.compiler.update(&[Change::HostPolicy(policy.name.clone(), Some(Arc::new(policy)))]);
        let wanted = lower_host(&self.compiler.tables().host, &LAYOUT);
        self.hold(wanted)
    }

    /// Makes the kernel hold these rules, in one transaction; whether anything had to be changed.
    pub fn hold(&mut self, wanted: Ruleset) -> Result<bool, EnforceError> {
        let held = match self.holds.take() {
            Some(held) => held,
            None => self.held()?,
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
