//! Files, directories and standard input: the only I/O of this crate.
#![expect(clippy::disallowed_methods, reason = "reading the manifests that the user names is what this file is for")]

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The text of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// The file as the user named it; `-` is standard input.
    pub file: Arc<str>,
    /// Its content.
    pub text: String,
}

/// A path that cannot be read.
#[derive(Debug)]
pub struct ReadError {
    /// The path as the user named it.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read {}", self.path.display())
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Reads files, directories and `-`, standard input, in the order given.
///
/// Of a directory it reads, as `kubectl apply -R -f` does, every `.yaml`, `.yml` and `.json` file in it and below it, in the
/// order of their names; hidden files and directories are skipped, and links to directories are not followed.
///
/// # Errors
/// A path that is not there or may not be read, text that is not UTF-8, a directory without any manifest.
pub fn read(paths: &[PathBuf]) -> Result<Vec<SourceText>, ReadError> {
    let mut sources = Vec::new();
    for path in paths {
        let failed = |source| ReadError { path: path.clone(), source };
        if path.as_os_str() == "-" {
            sources.push(standard_input()?);
        } else if fs::metadata(path).map_err(failed)?.is_dir() {
            let before = sources.len();
            directory(path, &mut sources)?;
            if sources.len() == before {
                let message = "the directory holds no .yaml, .yml or .json file";
                return Err(failed(io::Error::new(io::ErrorKind::NotFound, message)));
            }
        } else {
            sources.push(file(path)?);
        }
    }
    Ok(sources)
}

/// Reads files and `-`, standard input, in the order given.
///
/// # Errors
/// A path that is not there, may not be read or is a directory; text that is not UTF-8.
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<SourceText>, ReadError> {
    let read = |path: &PathBuf| if path.as_os_str() == "-" { standard_input() } else { file(path) };
    paths.iter().map(read).collect()
}

fn standard_input() -> Result<SourceText, ReadError> {
    let failed = |source| ReadError { path: "-".into(), source };
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
    Ok(SourceText { file: "-".into(), text: utf8(bytes).map_err(failed)? })
}

fn directory(path: &Path, sources: &mut Vec<SourceText>) -> Result<(), ReadError> {
    let failed = |source| ReadError { path: path.to_path_buf(), source };
    let entries: Result<Vec<_>, _> = fs::read_dir(path).map_err(failed)?.collect();
    let mut entries = entries.map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries.iter().filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")) {
        let path = entry.path();
        let failed = |source| ReadError { path: path.clone(), source };
        if entry.file_type().map_err(failed)?.is_dir() {
            directory(&path, sources)?;
        } else if is_manifest(&path) && !fs::metadata(&path).map_err(failed)?.is_dir() {
            sources.push(file(&path)?);
        }
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

fn file(path: &Path) -> Result<SourceText, ReadError> {
    let failed = |source| ReadError { path: path.to_path_buf(), source };
    let text = fs::read(path).and_then(utf8).map_err(failed)?;
    Ok(SourceText { file: path.display().to_string().into(), text })
}

fn utf8(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}
