//! The end of a bed: its own, or that of one whose process was killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::host::{NAMESPACE_PREFIX, NAMESPACES, end};
use super::{Say, files, wait};

/// The cgroup, in every hierarchy of the machine, under which all containers of the bed are.
const CGROUP: &str = "palisade-bed";
const CGROUPS: &str = "/sys/fs/cgroup";
/// Namespaces have their names from the machine, so there is one bed at a time.
const LOCK: &str = "/run/palisade-bed.lock";

/// Waits until nobody else uses a bed. Released with the file.
pub(super) fn lock(say: Say<'_>) -> anyhow::Result<File> {
    let file = files::create(Path::new(LOCK))?;
    if file.try_lock().is_err() {
        say("waiting for another process to be done with its bed");
        file.lock().with_context(|| format!("cannot lock {LOCK}"))?;
    }
    Ok(file)
}

/// Ends all processes of a bed, and removes its namespaces, cgroups and files.
pub(super) fn clear(directory: &Path) -> anyhow::Result<()> {
    for name in namespaces()? {
        end(&name)?;
    }
    for cgroup in cgroups()?.into_iter().filter(|cgroup| cgroup.is_dir()) {
        // What was killed leaves its cgroup a moment after its end.
        let removed = wait(Duration::from_secs(5), || Ok(remove_cgroup(&cgroup).is_ok()))?;
        removed.with_context(|| format!("cannot remove the cgroup {}", cgroup.display()))?;
    }
    files::remove_directory(directory)
}

/// Whether a bed has hosts.
pub(super) fn is_any() -> bool {
    namespaces().is_ok_and(|names| !names.is_empty())
}

/// The network namespaces of beds.
fn namespaces() -> anyhow::Result<Vec<String>> {
    let names = files::names(Path::new(NAMESPACES))?.into_iter().filter_map(|name| name.into_string().ok());
    Ok(names.filter(|name| name.starts_with(NAMESPACE_PREFIX)).collect())
}

/// Makes the cgroup under which the containers of a host are, and gives its name.
pub(super) fn make_cgroup(host: &str) -> anyhow::Result<String> {
    for cgroup in cgroups()? {
        files::make_directory(&cgroup.join(host))?;
    }
    Ok(format!("/{CGROUP}/{host}"))
}

/// The cgroup of the bed in the one hierarchy of version 2, or in each of version 1.
fn cgroups() -> anyhow::Result<Vec<PathBuf>> {
    let base = Path::new(CGROUPS);
    if base.join("cgroup.controllers").exists() {
        return Ok(vec![base.join(CGROUP)]);
    }
    // Some names are links to others.
    let hierarchies = files::names(base)?.into_iter().map(|name| base.join(name)).filter(|path| !path.is_symlink());
    Ok(hierarchies.filter(|path| path.is_dir()).map(|path| path.join(CGROUP)).collect())
}

/// A cgroup is removed as an empty directory, though it shows files.
fn remove_cgroup(cgroup: &Path) -> std::io::Result<()> {
    for name in files::names(cgroup).unwrap_or_default() {
        let inner = cgroup.join(name);
        if inner.is_dir() {
            remove_cgroup(&inner)?;
        }
    }
    match fs::remove_dir(cgroup) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
