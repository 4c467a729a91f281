//! Files that a program of ours keeps: read, replaced and locked, with errors that name them.
#![expect(clippy::disallowed_methods, reason = "the file that reads and writes what the program keeps")]

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// A program that was told to end, or was killed, may still be ending.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

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

/// The one process that has a file locked, for as long as this lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not used")] File);

impl FileError {
    /// What the system says of an operation, made an error that names it.
    pub fn of(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError + use<> {
        let path = path.to_owned();
        move |source| FileError { operation, path, source }
    }
}

/// Makes a directory if it is not there, and closes it to others.
///
/// # Errors
///
/// If it cannot be made or closed.
pub fn private_directory(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(FileError::of("make", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(FileError::of("close", path))
}

/// What a file holds; `None` if it is not there.
///
/// # Errors
///
/// If it cannot be read.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::of("read", path)(error)),
    }
}

/// Removes a file, if it is there.
///
/// # Errors
///
/// If it cannot be removed.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::of("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Puts a file in the place of the one before: written whole beside it, `.new`, then renamed over it.
///
/// # Errors
///
/// If it cannot be written; the one before stays.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // What lies there is of a process that was killed, or of somebody who may write there, too, and has it lead elsewhere.
    remove(&new)?;
    let written = File::options().write(true).create_new(true).open(&new).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(FileError::of("write", &new))?;
    fs::rename(&new, path).map_err(FileError::of("replace", path))
}

/// Locks a file, which is made if it is not there; waits a moment for a process that is ending. `None` if another one goes on. The lock
/// ends with the process, however it ends.
///
/// # Errors
///
/// If it cannot be made or locked.
pub fn lock(path: &Path) -> Result<Option<Lock>, FileError> {
    let failed = || FileError::of("lock", path);
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed())?;
    let end = Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(Lock(file))),
            Err(Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(LOCK_PAUSE),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(failed()(errno.into())),
        }
    }
}

/// Whether a process has a file locked.
///
/// # Errors
///
/// If that cannot be told.
pub fn is_locked(path: &Path) -> Result<bool, FileError> {
    let failed = || FileError::of("look at", path);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed()(error)),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(failed()(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_way_is_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, victim) = (directory.path().join("list"), directory.path().join("victim"));
        fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, directory.path().join("list.new")).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
        replace(&path, b"newer").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"newer");
    }
}
