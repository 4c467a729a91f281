//! Files and directories of the bed, with errors that name them.
#![expect(clippy::disallowed_methods, reason = "the bed is configured by files")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The text of a file.
///
/// # Errors
///
/// It cannot be read or is not UTF-8.
pub fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The content of a file.
///
/// # Errors
///
/// It cannot be read.
pub fn read_bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Writes a file; its directory is made if it is missing.
///
/// # Errors
///
/// It cannot be written.
pub fn write(file: &Path, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
    if let Some(directory) = file.parent() {
        make_directory(directory)?;
    }
    fs::write(file, content).with_context(|| format!("cannot write {}", file.display()))
}

/// A file to read from.
///
/// # Errors
///
/// It cannot be read.
pub fn open(file: &Path) -> anyhow::Result<File> {
    File::open(file).with_context(|| format!("cannot read {}", file.display()))
}

/// A file to write into, emptied.
///
/// # Errors
///
/// It cannot be made.
pub fn create(file: &Path) -> anyhow::Result<File> {
    File::create(file).with_context(|| format!("cannot write {}", file.display()))
}

/// A file to write to the end of, made if it is missing.
///
/// # Errors
///
/// It cannot be made.
pub fn append(file: &Path) -> anyhow::Result<File> {
    let opened = File::options().create(true).append(true).open(file);
    opened.with_context(|| format!("cannot write {}", file.display()))
}

/// Gives a file the name under which others look for it; until then they do not see it unfinished.
///
/// # Errors
///
/// There is no such file, or it cannot be renamed.
pub fn publish(unfinished: &Path, file: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot rename {} to {}", unfinished.display(), file.display());
    fs::rename(unfinished, file).with_context(context)
}

/// Makes a directory and those above it.
///
/// # Errors
///
/// It cannot be made.
pub fn make_directory(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}

/// Removes a directory with all it holds; fine if there is none.
///
/// # Errors
///
/// Something in it cannot be removed.
pub fn remove_directory(directory: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// The names in a directory, sorted; none if it is missing.
///
/// # Errors
///
/// It cannot be read.
pub fn names(directory: &Path) -> anyhow::Result<Vec<OsString>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", directory.display()))?,
    };
    let mut names: Vec<OsString> = entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name())).collect();
    names.sort();
    Ok(names)
}

/// The number of what a path leads to; `None` if it leads nowhere.
pub fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// Where a link leads.
pub fn link(path: &Path) -> Option<PathBuf> {
    fs::read_link(path).ok()
}

/// The end of a log, for an error.
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(15)..].join("\n  ");
    format!("the end of {}:\n  {last}", log.display())
}
