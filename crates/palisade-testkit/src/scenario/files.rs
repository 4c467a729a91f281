//! The scenario files of the repository: the one place of this crate that reads files.
#![expect(clippy::disallowed_methods, reason = "scenarios are files")]

use std::path::{Path, PathBuf};

use super::{Error, Scenario, parse};

/// Every scenario in `scenarios/`, in the order of their names.
///
/// # Errors
///
/// A file that cannot be read, or is no scenario.
pub fn all() -> Result<Vec<Scenario>, Error> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|error| Error { file: "scenarios".into(), line: 1, message: format!("cannot be listed: {error}") })?;
    paths.retain(|path| {
        path.extension().is_some_and(|extension| extension == "md")
            && path.file_name().is_some_and(|name| name != "README.md")
    });
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let name = format!("scenarios/{}", path.file_name().unwrap_or_default().to_string_lossy());
            let text = std::fs::read_to_string(path).map_err(|error| Error {
                file: name.as_str().into(),
                line: 1,
                message: format!("cannot be read: {error}"),
            })?;
            parse(&name, &text)
        })
        .collect()
}
