//! What the source of each ban list held last, which stays in force while it is away or broken.
#![expect(clippy::disallowed_methods, reason = "a part of what reads and writes the state directory")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::{StateDirectory, StateError};
use crate::files::{self, FileError};

/// How the names of copies begin.
const PREFIX: &str = "feed-";

impl StateDirectory {
    /// What the source that has this name held last; `None` if nothing is known of it.
    pub fn feed(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.feed_copy(name)).ok()
    }

    /// Remembers what a source holds.
    ///
    /// # Errors
    ///
    /// If it cannot be written; what was remembered before stays.
    pub fn set_feed(&self, name: &str, text: &str) -> Result<(), StateError> {
        let copy = self.feed_copy(name);
        let new = copy.with_extension("new");
        fs::write(&new, text).map_err(FileError::of("write", &new))?;
        Ok(fs::rename(&new, &copy).map_err(FileError::of("replace", &copy))?)
    }

    /// Forgets what other sources held.
    ///
    /// # Errors
    ///
    /// If a copy cannot be removed, or the directory cannot be read.
    pub fn forget_feeds_but(&self, names: &BTreeSet<String>) -> Result<(), StateError> {
        for entry in fs::read_dir(&self.0).map_err(FileError::of("read", &self.0))?.flatten() {
            let file = entry.file_name();
            let Some(name) = file.to_str().and_then(|file| file.strip_prefix(PREFIX)) else { continue };
            if !names.contains(name.trim_end_matches(".txt")) {
                files::remove(&entry.path())?;
            }
        }
        Ok(())
    }

    fn feed_copy(&self, name: &str) -> PathBuf {
        self.0.join(format!("{PREFIX}{name}.txt"))
    }
}
