//! Single bans on a host without an API server: lists in the state directory, which the agent follows.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Entry, add, is_of};
use crate::ban_files::{lock_own, own_list, read_own, write_own};
use crate::definition::{GROUP, VERSION};
use crate::files::FileError;

/// The lists of a state directory.
#[derive(Clone, Debug)]
pub struct LocalBanLists {
    state_dir: PathBuf,
}

/// Why a list cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum LocalBanError {
    /// Its file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its file holds something else.
    #[error("{} is no BanList that palisade wrote\nhint: move it away, and its entries are banned no more", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

impl LocalBanLists {
    /// Those of the agent with this state directory.
    pub fn at(state_dir: &Path) -> LocalBanLists {
        LocalBanLists { state_dir: state_dir.to_owned() }
    }

    /// Puts an entry into a list, in the place of one of the same block; the list is made if it is not there.
    ///
    /// # Errors
    ///
    /// If the file of the list cannot be used.
    pub fn ban(&self, list: &str, entry: &Entry) -> Result<(), LocalBanError> {
        let _only = lock_own(&self.state_dir)?;
        let mut entries = self.entries(list)?;
        add(&mut entries, entry);
        self.write(list, &entries)
    }

    /// Takes the entry of a block out of a list; whether there was one.
    ///
    /// # Errors
    ///
    /// If the file of the list cannot be used.
    pub fn unban(&self, list: &str, cidr: IpNet) -> Result<bool, LocalBanError> {
        let _only = lock_own(&self.state_dir)?;
        let mut entries = self.entries(list)?;
        let before = entries.len();
        entries.retain(|entry| !is_of(entry, cidr));
        let was_banned = entries.len() < before;
        if was_banned {
            self.write(list, &entries)?;
        }
        Ok(was_banned)
    }

    fn entries(&self, list: &str) -> Result<Vec<Value>, LocalBanError> {
        let path = own_list(&self.state_dir, list);
        let Some(text) = read_own(&path)? else { return Ok(Vec::new()) };
        let read: Option<Value> = serde_json::from_str(&text).ok();
        let entries = read.as_ref().and_then(|list| list.pointer("/spec/entries")?.as_array());
        entries.cloned().ok_or(LocalBanError::Foreign { path })
    }

    fn write(&self, list: &str, entries: &[Value]) -> Result<(), LocalBanError> {
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "BanList", "metadata": { "name": list },
            "spec": { "entries": entries },
        });
        Ok(write_own(&own_list(&self.state_dir, list), &format!("{object:#}\n"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_changes_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let lists = LocalBanLists::at(directory.path());
        let cidr = "203.0.113.9/32".parse().unwrap();
        let entry = |reason: &str| Entry { cidr, expires_at: None, reason: Some(reason.to_owned()), force: false };
        assert!(!lists.unban("manual", cidr).unwrap());
        lists.ban("manual", &entry("a")).unwrap();
        lists.ban("manual", &entry("b")).unwrap();
        assert_eq!(lists.entries("manual").unwrap(), [json!({ "cidr": "203.0.113.9/32", "reason": "b" })]);
        assert!(lists.unban("manual", cidr).unwrap());
        assert_eq!(lists.entries("manual").unwrap(), [] as [Value; 0]);
        write_own(&own_list(directory.path(), "other"), "kind: BanList\n").unwrap();
        assert!(lists.ban("other", &entry("a")).unwrap_err().to_string().contains("is no BanList that palisade wrote"));
    }
}
