//! `palisade agent --cleanup`, `--emergency-stop` and `--resume`, whether an agent runs or not.

use std::path::Path;

use k8s_openapi::jiff::Timestamp;
use palisade_nft::{ApplyError, Kernel, KernelError, Table};

use crate::control::{self, ControlError, Request};
use crate::namespace::{self, NamespaceError};
use crate::state::{Pause, StateDirectory, StateError};

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// The agent cannot be asked.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Another agent enforces.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The state directory cannot be used.
    #[error("the state directory cannot be used")]
    State(#[from] StateError),
    /// The kernel cannot be used.
    #[error("the kernel cannot be used")]
    Kernel(#[from] KernelError),
    /// The kernel refused.
    #[error("the tables are still in the kernel")]
    Refused(#[from] ApplyError),
}

/// Takes everything out of the kernel and keeps it out until [`resume`], across restarts. The agent does it if one runs, and
/// takes its unit off the host.
///
/// # Errors
///
/// If the marker cannot be written, or the kernel refuses.
pub fn cleanup(state_dir: &Path) -> Result<(), CleanupError> {
    if told(state_dir, Request::Pause { by: Pause::Cleanup })? {
        return Ok(());
    }
    let directory = StateDirectory::open(state_dir)?;
    let _lock = control::lock(state_dir)?;
    // One that was started with another state directory would put back what is taken out.
    let _only = namespace::lock(namespace::PATIENCE)?;
    directory.set_pause(Some(Pause::Cleanup))?;
    remove_tables()
}

/// Takes every rule out of the kernel at once and keeps it out until [`resume`], across restarts; nothing else is touched. It does not
/// rely on the agent: one that does not answer finds the marker before it puts rules back.
///
/// # Errors
///
/// If the marker cannot be written, or the kernel refuses. Where the marker alone cannot be written the rules are gone, until an agent
/// brings them back.
pub fn emergency_stop(state_dir: &Path) -> Result<(), CleanupError> {
    let marked = StateDirectory::open(state_dir).and_then(|directory| directory.set_pause(Some(Pause::EmergencyStop)));
    let removed = remove_tables();
    match told(state_dir, Request::Pause { by: Pause::EmergencyStop }) {
        Ok(true) => Ok(()),
        _ => removed.and(marked.map_err(CleanupError::from)),
    }
}

/// Removes every table, also where one cannot be.
fn remove_tables() -> Result<(), CleanupError> {
    let remove = |table| -> Result<(), CleanupError> {
        Kernel::open_table(table)?.remove_table()?;
        Ok(())
    };
    Table::ALL.map(remove).into_iter().collect()
}

/// Ends what [`cleanup`] or [`emergency_stop`] began: the agent that runs enforces again, or the next one does.
///
/// # Errors
///
/// If the marker cannot be removed.
pub fn resume(state_dir: &Path) -> Result<(), CleanupError> {
    if told(state_dir, Request::Resume {})? {
        return Ok(());
    }
    Ok(StateDirectory::at(state_dir).set_pause(None)?)
}

/// Whether an agent runs and did it.
fn told(state_dir: &Path, request: Request) -> Result<bool, ControlError> {
    match control::ask(&StateDirectory::at(state_dir).socket(), request) {
        Err(ControlError::NoAgent { .. }) => Ok(false),
        Err(error) => Err(error),
        Ok(mut answers) => match answers.next() {
            Some(answer) => answer.map(|_| true),
            None => Err(ControlError::Refused("nothing, and ended".to_string())),
        },
    }
}

/// What the state directory tells where no agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// When the last state was written; `None` if there is none that can be read.
    pub saved: Option<Timestamp>,
    /// Whether enforcement is paused.
    pub paused: bool,
}

/// What an agent left in its state directory.
pub fn left_behind(state_dir: &Path) -> LeftBehind {
    let directory = StateDirectory::at(state_dir);
    let state = directory.load().ok().flatten();
    LeftBehind { saved: state.map(|state| state.saved), paused: directory.pause().is_some() }
}
