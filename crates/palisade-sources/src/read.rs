//! Files, directories and standard input: the only I/O of this crate.
#![expect(clippy::disallowed_methods, reason = "reading the manifests that the user names is what this file is for")]

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most that is read of one file: beyond it no manifest was meant, and memory has an end.
const BYTES_MAX: u64 = 512 << 20;

/// The text of one file, or of a list of an API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// The file.
    pub file: SourceFile,
    /// Its content.
    pub text: String,
}

/// The file that a text stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceFile {
    /// As the user named it; `-` is standard input.
    Named(Arc<str>),
    /// None: an API server listed the objects. What is told of them has no place, and objects of files replace them.
    Listed,
}

impl SourceFile {
    /// Its name, if it is one.
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            SourceFile::Named(name) => Some(name),
            SourceFile::Listed => None,
        }
    }
}

impl<N: Into<Arc<str>>> From<N> for SourceFile {
    fn from(name: N) -> SourceFile {
        SourceFile::Named(name.into())
    }
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
/// A path that is not there or may not be read, what is no regular file, more than 512 MiB, text that is not UTF-8, a directory
/// without any manifest.
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
/// As [`read_text`].
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<SourceText>, ReadError> {
    paths.iter().map(|path| if path.as_os_str() == "-" { standard_input() } else { file(path) }).collect()
}

/// The text of a file, or of `-`, standard input.
///
/// # Errors
/// A path that is not there, may not be read or is no regular file; more than 512 MiB; text that is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    if path.as_os_str() == "-" {
        return text(io::stdin().lock());
    }
    let metadata = fs::metadata(path)?;
    // Whoever opens a pipe that nobody writes to waits for ever. Those under /dev are what shells make of `<(…)`.
    let is_of_shell = path.starts_with("/dev") || path.starts_with("/proc");
    if !metadata.is_file() && !metadata.is_dir() && !is_of_shell {
        return Err(invalid("it is no regular file\nhint: name - and write to standard input"));
    }
    if metadata.len() > BYTES_MAX {
        return Err(too_large());
    }
    text(File::open(path)?)
}

fn standard_input() -> Result<SourceText, ReadError> {
    let text = read_text(Path::new("-")).map_err(|source| ReadError { path: "-".into(), source })?;
    Ok(SourceText { file: "-".into(), text })
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
    let text = read_text(path).map_err(|source| ReadError { path: path.to_path_buf(), source })?;
    Ok(SourceText { file: path.display().to_string().into(), text })
}

fn text(from: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    if from.take(BYTES_MAX + 1).read_to_end(&mut bytes)? as u64 > BYTES_MAX {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

fn too_large() -> io::Error {
    invalid("it has more than 512 MiB\nhint: write the objects to several files, and name their directory")
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
