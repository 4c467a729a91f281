//! The last good text of what others write, which holds while that is gone or broken: one file each, named by whose text it is.
#![expect(clippy::disallowed_methods, reason = "a part of what reads and writes the state directory")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::{StateDirectory, StateError};
use crate::files::{self, FileError};

/// What a text is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// A config file of kube-restrict-ip.
    Config,
    /// A file with ban lists.
    BanFile,
    /// The source of a ban list.
    Feed,
}

impl Copied {
    /// How the names of its copies begin.
    fn prefix(self) -> &'static str {
        match self {
            Copied::Config => "config-",
            Copied::BanFile => "ban-file-",
            Copied::Feed => "feed-",
        }
    }
}

impl StateDirectory {
    /// The last good text of this name; `None` if nothing is known of it.
    pub fn copy(&self, of: Copied, name: &str) -> Option<String> {
        fs::read_to_string(self.path_of(of, name)).ok()
    }

    /// Remembers a text.
    ///
    /// # Errors
    ///
    /// If it cannot be written; what was remembered before stays.
    pub fn set_copy(&self, of: Copied, name: &str, text: &str) -> Result<(), StateError> {
        Ok(files::replace(&self.path_of(of, name), text.as_bytes())?)
    }

    /// Forgets all texts but those of these names.
    ///
    /// # Errors
    ///
    /// If a copy cannot be removed, or the directory cannot be read.
    pub fn forget_copies_but(&self, of: Copied, names: &BTreeSet<String>) -> Result<(), StateError> {
        for entry in fs::read_dir(&self.0).map_err(FileError::of("read", &self.0))?.flatten() {
            let file = entry.file_name();
            let Some(name) = file.to_str().and_then(|file| file.strip_prefix(of.prefix())) else { continue };
            // One that is being written is that of the same name.
            let name = name.split_once('.').map_or(name, |(name, _)| name);
            if !names.contains(name) {
                files::remove(&entry.path())?;
            }
        }
        Ok(())
    }

    fn path_of(&self, of: Copied, name: &str) -> PathBuf {
        self.0.join(format!("{}{name}", of.prefix()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_names_any_more_is_forgotten() {
        let state = tempfile::tempdir().unwrap();
        let directory = StateDirectory::open(state.path()).unwrap();
        for name in ["a", "b"] {
            directory.set_copy(Copied::Feed, name, name).unwrap();
            directory.set_copy(Copied::Config, name, name).unwrap();
        }
        fs::write(state.path().join("feed-a.new"), "half of it").unwrap();
        directory.forget_copies_but(Copied::Feed, &["a".to_owned()].into()).unwrap();
        let found = |of, name: &str| directory.copy(of, name);
        assert_eq!((found(Copied::Feed, "a").as_deref(), found(Copied::Feed, "b")), (Some("a"), None));
        assert_eq!(found(Copied::Config, "b").as_deref(), Some("b"));
        assert!(state.path().join("feed-a.new").exists());
    }
}
