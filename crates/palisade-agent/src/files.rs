//! What goes wrong with files and sockets.

use std::fs;
use std::io::{self, Write as _};
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

/// Puts a file in the place of the one before: written whole beside it, `.new`, then renamed over it.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = fs::File::create(&new).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(FileError::of("write", &new))?;
    fs::rename(&new, path).map_err(FileError::of("replace", path))
}
