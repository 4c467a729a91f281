//! `palisade restore`: what a node runs at boot before its kubelet starts, so that no pod is open before the agent is there.
//!
//! After a boot every pod of the node has a new network and nobody knows its addresses. So of the last state only the pod
//! ranges are used: whatever comes from them or goes to them is dropped, but for the node's own traffic, until the agent
//! has read the cluster.
#![expect(clippy::disallowed_methods, reason = "reads the boot's identity, and notes that it was restored")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use palisade_nft::{ApplyError, Kernel, KernelError, Settings as Layout, Table};

use crate::files::FileError;
use crate::namespace::{self, NamespaceError};
use crate::programming::{BanTable, HostTable, PolicyTable};
use crate::state::{StateDirectory, StateError};

/// The file in the state directory that holds the identity of the boot at which the state was restored.
pub(crate) const RESTORED: &str = "restored-at-boot";
/// What the kernel calls each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// There is no state: no agent ran here yet.
    Nothing,
    /// Enforcement is paused.
    Paused,
    /// The pod ranges of the node were not known, or unknown pods are let through; no port was guarded, and nothing banned.
    NoPodRanges,
    /// The kernel holds rules of ours already.
    InForceAlready,
    /// This agent runs, and the rules are its.
    AgentRuns(String),
    /// The node is closed until its agent runs.
    Closed {
        /// Packets of these ranges are dropped.
        pod_ranges: Vec<IpNet>,
        /// Whether ports of nodes are guarded by what the state holds of host policies; pods are not admitted.
        guarded: bool,
        /// Whether addresses are banned by what the state holds of ban lists.
        banned: bool,
    },
}

/// Why the state cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The state cannot be read.
    #[error("the state cannot be used")]
    State(#[from] StateError),
    /// It cannot be told whether an agent runs.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The kernel cannot be used.
    #[error("the kernel cannot be used")]
    Kernel(#[from] KernelError),
    /// The kernel refuses.
    #[error("the kernel refuses the rules")]
    Apply(#[from] ApplyError),
    /// It cannot be noted that it was restored.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Drops, from now on, what comes from and goes to the pods of the node whose state is in this directory.
///
/// # Errors
///
/// If the state cannot be read or the kernel refuses. The kernel is as before then.
pub fn restore(state_dir: &Path) -> Result<Restored, RestoreError> {
    if !state_dir.exists() {
        return Ok(Restored::Nothing);
    }
    let restored = restore_from(&StateDirectory::at(state_dir))?;
    if matches!(restored, Restored::Closed { .. } | Restored::InForceAlready) {
        let path = state_dir.join(RESTORED);
        fs::write(&path, boot_id()).map_err(FileError::of("write", &path))?;
    }
    Ok(restored)
}

/// Whether a table of ours that is in the kernel was made in this boot. Otherwise another program brought it, such as one
/// that loads at boot what it saved long ago, and the pods that it knows are gone.
pub(crate) fn is_of_this_boot(boot_of_state: &str, directory: &StateDirectory) -> bool {
    let boot = boot_id();
    let restored_at = fs::read_to_string(directory.path().join(RESTORED)).unwrap_or_default();
    !boot.is_empty() && (boot_of_state == boot || restored_at.trim() == boot)
}

fn restore_from(directory: &StateDirectory) -> Result<Restored, RestoreError> {
    if directory.pause().is_some() {
        return Ok(Restored::Paused);
    }
    let Some(state) = directory.load()? else { return Ok(Restored::Nothing) };
    let is_of_this_boot = is_of_this_boot(&state.boot, directory);
    let tables = state.after_boot();
    if tables.pod_ranges.is_empty() && tables.host.is_empty() && tables.bans.is_empty() {
        return Ok(Restored::NoPodRanges);
    }
    let _only = match namespace::lock(Duration::ZERO) {
        Err(NamespaceError::Taken { holder }) => return Ok(Restored::AgentRuns(holder)),
        lock => lock?,
    };
    let layout = Layout::default();
    let mut policies = PolicyTable::new(Kernel::open()?, layout);
    let mut host = HostTable::new(Kernel::open_table(Table::Host)?, layout);
    let mut bans = BanTable::new(Kernel::open_table(Table::Bans)?, layout);
    host.remember(&tables.host);
    bans.remember(&tables.bans);
    let is_closed = is_of_this_boot && policies.is_there()?;
    let is_guarded = is_of_this_boot && host.is_there()?;
    let is_banned = is_of_this_boot && bans.is_there()?;
    let (closed, guarded) = (!is_closed && !tables.pod_ranges.is_empty(), !is_guarded && !tables.host.is_empty());
    let banned = !is_banned && !tables.bans.is_empty();
    // Each is tried, whatever becomes of the others.
    let guarding = guarded.then(|| host.load_other(&tables.host)).transpose();
    let banning = banned.then(|| bans.load_other(&tables.bans)).transpose();
    if closed {
        policies.load_other(&tables, Instant::now())?;
    }
    guarding?;
    banning?;
    if !closed && !guarded && !banned {
        return Ok(Restored::InForceAlready);
    }
    let pod_ranges = if closed { tables.pod_ranges } else { Vec::new() };
    Ok(Restored::Closed { pod_ranges, guarded, banned })
}

/// The identity of this boot; empty if the kernel does not tell.
pub(crate) fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default()
}
