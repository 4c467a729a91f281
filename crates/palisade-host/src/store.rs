//! What is known, on disk: for the next start, and for whoever asks meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_agent::Timestamp;
use palisade_agent::files::{self, FileError, Lock};
use palisade_sources::node_allowlist::{Mode, NodeAllowlist};
use serde::{Deserialize, Serialize};

use crate::cluster::ClusterState;
use crate::export::ExportState;

/// Where it is, unless another directory is named.
pub const STATE_DIR: &str = "/var/lib/palisade-host";
/// The version of the format.
const VERSION: u32 = 1;
const FILE: &str = "nodes.json";
const LOCK: &str = "lock";

/// Everything that is known. `C` is what is known of a cluster: where it is written down, only lent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State<C = ClusterState> {
    version: u32,
    /// The name of the list.
    pub name: Arc<str>,
    /// `spec.mode`.
    pub mode: String,
    /// The ports, for people.
    pub ports: Vec<String>,
    /// The sets that are filled, for people.
    pub sets: Vec<String>,
    /// `spec.staticCIDRs`, for people.
    pub static_cidrs: Vec<String>,
    /// Since when the kernel holds it; `None` if it does not.
    pub in_force_since: Option<Timestamp>,
    /// Why it does not.
    pub error: Option<String>,
    /// Until when it waits to be confirmed, if so.
    pub unconfirmed_until: Option<Timestamp>,
    /// What stands in the way, though it is in force.
    pub obstacles: Vec<String>,
    /// The files.
    pub exports: Vec<ExportState>,
    /// The clusters.
    pub clusters: BTreeMap<Arc<str>, C>,
}

impl<C> State<C> {
    /// Of a list of which nothing is known yet.
    pub fn new(list: &NodeAllowlist) -> State<C> {
        let (mode, sets) = match &list.mode {
            Mode::OwnChain => ("OwnChain", Vec::new()),
            Mode::SetOnly(sets) => ("SetOnly", sets.iter().map(ToString::to_string).collect()),
            Mode::ExportOnly => ("ExportOnly", Vec::new()),
        };
        State {
            version: VERSION,
            name: Arc::clone(&list.name),
            mode: mode.to_string(),
            ports: list.allow.iter().map(ToString::to_string).collect(),
            sets,
            static_cidrs: list.static_cidrs.iter().map(ToString::to_string).collect(),
            in_force_since: None,
            error: None,
            unconfirmed_until: None,
            obstacles: Vec::new(),
            exports: Vec::new(),
            clusters: BTreeMap::new(),
        }
    }

    /// The same with these clusters.
    pub fn with<D>(&self, clusters: BTreeMap<Arc<str>, D>) -> State<D> {
        State {
            version: self.version,
            name: Arc::clone(&self.name),
            mode: self.mode.clone(),
            ports: self.ports.clone(),
            sets: self.sets.clone(),
            static_cidrs: self.static_cidrs.clone(),
            in_force_since: self.in_force_since,
            error: self.error.clone(),
            unconfirmed_until: self.unconfirmed_until,
            obstacles: self.obstacles.clone(),
            exports: self.exports.clone(),
            clusters,
        }
    }
}

/// The directory of the state.
#[derive(Debug)]
pub struct Store(PathBuf);

impl Store {
    /// The directory; it is made if it is not there, and closed to others.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn open(path: &Path) -> Result<Store, FileError> {
        files::private_directory(path)?;
        Ok(Store(path.to_owned()))
    }

    /// The directory as it is, for whoever only looks.
    pub fn at(path: &Path) -> Store {
        Store(path.to_owned())
    }

    /// Becomes the only one that writes there; waits a moment for one that is ending. `None` if another process goes on.
    ///
    /// # Errors
    ///
    /// If the lock cannot be made.
    pub fn lock(&self) -> Result<Option<Lock>, FileError> {
        files::lock(&self.0.join(LOCK))
    }

    /// Whether somebody has the lock.
    ///
    /// # Errors
    ///
    /// If that cannot be told.
    pub fn is_locked(&self) -> Result<bool, FileError> {
        files::is_locked(&self.0.join(LOCK))
    }

    /// Where a request of people is put, see [`crate::request`].
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What was written last; `None` if nothing was.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is of another version.
    pub fn load(&self) -> Result<Option<State>, FileError> {
        let path = self.0.join(FILE);
        let Some(text) = files::read(&path)? else { return Ok(None) };
        let not_understood = || FileError::of("understand", &path);
        let state: State = serde_json::from_slice(&text).map_err(|error| not_understood()(error.into()))?;
        if state.version == VERSION {
            return Ok(Some(state));
        }
        let message = format!("it is of version {}, and this program knows {VERSION}", state.version);
        Err(not_understood()(io::Error::other(message)))
    }

    /// Replaces it: written whole beside the old one, then renamed over it.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the old one stays.
    pub fn save(&self, state: &State<&ClusterState>) -> Result<(), FileError> {
        let path = self.0.join(FILE);
        let mut text = serde_json::to_vec(state).map_err(|error| FileError::of("write", &path)(error.into()))?;
        text.push(b'\n');
        files::replace(&path, &text)
    }
}
