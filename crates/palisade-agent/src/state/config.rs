//! The last good text of each config file, which holds while the file is gone or broken.
#![expect(clippy::disallowed_methods, reason = "a part of what reads and writes the state directory")]

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{StateDirectory, StateError};
use crate::digest;
use crate::files::{self, FileError};

/// How the names of copies begin.
const PREFIX: &str = "config-";

impl StateDirectory {
    /// What the config file of this path said last; `None` if nothing is known of it.
    pub fn config(&self, path: &Path) -> Option<String> {
        fs::read_to_string(self.config_copy(path)).ok()
    }

    /// Remembers what the config file of this path says.
    ///
    /// # Errors
    ///
    /// If it cannot be written; what was remembered before stays.
    pub fn set_config(&self, path: &Path, text: &str) -> Result<(), StateError> {
        let copy = self.config_copy(path);
        let new = copy.with_extension("new");
        fs::write(&new, text).map_err(FileError::of("write", &new))?;
        Ok(fs::rename(&new, &copy).map_err(FileError::of("replace", &copy))?)
    }

    /// Forgets what other files said.
    ///
    /// # Errors
    ///
    /// If a copy cannot be removed, or the directory cannot be read.
    pub fn forget_configs_but(&self, paths: &[PathBuf]) -> Result<(), StateError> {
        let kept: Vec<PathBuf> = paths.iter().map(|path| self.config_copy(path)).collect();
        for entry in fs::read_dir(&self.0).map_err(FileError::of("read", &self.0))?.flatten() {
            let is_copy = entry.file_name().as_bytes().starts_with(PREFIX.as_bytes());
            if is_copy && !kept.contains(&entry.path()) {
                files::remove(&entry.path())?;
            }
        }
        Ok(())
    }

    fn config_copy(&self, path: &Path) -> PathBuf {
        self.0.join(format!("{PREFIX}{}.yaml", digest::short(path.as_os_str().as_bytes())))
    }
}
