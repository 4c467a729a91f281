//! What goes wrong with files and sockets.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file or socket cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}")]
pub struct FileError {
    /// What was tried.
    operation: &'static str,
    /// With what.
    path: PathBuf,
    /// What the system said.
    source: io::Error,
}

impl FileError {
    /// What the system says of an operation, made an error that names it.
    pub(crate) fn of(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError + use<> {
        let path = path.to_owned();
        move |source| FileError { operation, path, source }
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::of("remove", path)(error)),
        _ => Ok(()),
    }
}
