//! What is known, on disk: for the next start, and for whoever asks meanwhile.
#![expect(clippy::disallowed_methods, reason = "the file that reads and writes the state directory")]

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_agent::Timestamp;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::cluster::ClusterState;

/// Where it is, unless another directory is named.
pub const STATE_DIR: &str = "/var/lib/palisade-host";
/// The version of the format.
const VERSION: u32 = 1;
const FILE: &str = "nodes.json";
const LOCK: &str = "lock";
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Everything that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    version: u32,
    /// The name of the list.
    pub name: Arc<str>,
    /// The ports, for people.
    pub ports: Vec<String>,
    /// `spec.staticCIDRs`, for people.
    pub static_cidrs: Vec<String>,
    /// Since when the kernel holds it; `None` if it does not.
    pub in_force_since: Option<Timestamp>,
    /// Why it does not.
    pub error: Option<String>,
    /// The clusters.
    pub clusters: BTreeMap<Arc<str>, ClusterState>,
}

impl State {
    /// Of a list of which nothing is known yet.
    pub fn new(name: Arc<str>, ports: Vec<String>, static_cidrs: Vec<String>) -> State {
        let clusters = BTreeMap::new();
        State { version: VERSION, name, ports, static_cidrs, in_force_since: None, error: None, clusters }
    }
}

/// The state cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}", path = path.display())]
pub struct StoreError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The directory of the state.
#[derive(Debug)]
pub struct Store(PathBuf);

/// Who holds it is the only one that writes there.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not used")] File);

impl Store {
    /// The directory; it is made if it is not there, and closed to others.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        fs::create_dir_all(path).map_err(failed("make", path))?;
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed("close", path))?;
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
    pub fn lock(&self) -> Result<Option<Lock>, StoreError> {
        let path = self.0.join(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(failed("lock", &path))?;
        let end = Instant::now() + LOCK_PATIENCE;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Lock(file))),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(LOCK_PAUSE),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(failed("lock", &path)(errno.into())),
            }
        }
    }

    /// Whether somebody has the lock.
    ///
    /// # Errors
    ///
    /// If that cannot be told.
    pub fn is_locked(&self) -> Result<bool, StoreError> {
        let path = self.0.join(LOCK);
        let file = match File::options().read(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("look at", &path)(error)),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(errno) => Err(failed("look at", &path)(errno.into())),
        }
    }

    /// What was written last; `None` if nothing was.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is of another version.
    pub fn load(&self) -> Result<Option<State>, StoreError> {
        let path = self.0.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let state: State = serde_json::from_slice(&text).map_err(|error| failed("understand", &path)(error.into()))?;
        if state.version == VERSION {
            return Ok(Some(state));
        }
        let message = format!("it is of version {}, and this program knows {VERSION}", state.version);
        Err(failed("understand", &path)(io::Error::other(message)))
    }

    /// Replaces it: written whole beside the old one, then renamed over it.
    ///
    /// # Errors
    ///
    /// If it cannot be written; the old one stays.
    pub fn save(&self, state: &State) -> Result<(), StoreError> {
        let (path, new) = (self.0.join(FILE), self.0.join("nodes.json.new"));
        let written = File::create(&new).and_then(|mut file| {
            serde_json::to_writer(&file, state)?;
            file.write_all(b"\n")?;
            file.sync_all()
        });
        written.map_err(failed("write", &new))?;
        fs::rename(&new, &path).map_err(failed("replace", &path))
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError { operation, path, source }
}
