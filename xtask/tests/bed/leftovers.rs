//! What a bed could leave behind, found by other means than those by which it is removed.
#![expect(clippy::disallowed_methods, reason = "looks at the machine")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use xtask::bed::{Bed, directory};

/// What there is of a bed that is up, to see that each kind is found at all.
pub struct Traces {
    programs: PathBuf,
    namespaces: BTreeSet<String>,
    processes: BTreeSet<String>,
    cgroups: BTreeSet<PathBuf>,
    mounts: Vec<String>,
}

impl Traces {
    pub fn found(bed: &Bed) -> anyhow::Result<Traces> {
        let kubelet = bed.binaries().program("kubelet");
        Traces::of(kubelet.parent().context("the programs have no directory")?)
    }

    fn of(programs: &Path) -> anyhow::Result<Traces> {
        let listed = Command::new("ip").args(["netns", "list"]).output()?.stdout;
        let names = String::from_utf8(listed)?;
        let mounts = fs::read_to_string("/proc/mounts")?;
        let place = directory().display().to_string();
        Ok(Traces {
            programs: programs.to_path_buf(),
            namespaces: names.lines().filter(|line| line.starts_with("bed-")).map(str::to_string).collect(),
            processes: processes(programs)?,
            cgroups: cgroups(Path::new("/sys/fs/cgroup"), 2),
            mounts: mounts
                .lines()
                .filter(|line| line.contains("/bed-") || line.contains(&place))
                .map(str::to_string)
                .collect(),
        })
    }
}

/// Checks that of all that there was of a bed nothing is there any more.
pub fn nothing_is_left(before: &Traces) -> anyhow::Result<()> {
    ensure!(before.namespaces.len() == 4, "two nodes, control and outside are {:?}", before.namespaces);
    ensure!(before.processes.len() >= 7, "of a bed that is up only {:?} was found", before.processes);
    ensure!(!before.cgroups.is_empty(), "of a bed that is up no cgroup was found");
    // Its namespaces are mounts, and those of its hosts are not seen from here.
    ensure!(before.mounts.len() == before.namespaces.len(), "the machine has the mounts {:?}", before.mounts);

    let after = Traces::of(&before.programs)?;
    ensure!(after.namespaces.is_empty(), "network namespaces are left: {:?}", after.namespaces);
    ensure!(after.processes.is_empty(), "processes are left: {:?}", after.processes);
    ensure!(after.cgroups.is_empty(), "cgroups are left: {:?}", after.cgroups);
    ensure!(after.mounts.is_empty(), "mounts are left: {:?}", after.mounts);
    ensure!(!directory().exists(), "{} is left", directory().display());
    Ok(())
}

/// Processes whose program is of the bed, or that are in one of its cgroups: containers are.
fn processes(programs: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?.path();
        let is_program = fs::read_link(entry.join("exe")).is_ok_and(|exe| exe.starts_with(programs));
        let is_contained = fs::read_to_string(entry.join("cgroup")).is_ok_and(|text| text.contains("palisade-bed"));
        if is_program || is_contained {
            found.insert(fs::read_to_string(entry.join("comm")).unwrap_or_default().trim().to_string());
        }
    }
    Ok(found)
}

fn cgroups(directory: &Path, depth: usize) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let directories = entries.filter(|path| path.is_dir() && !path.is_symlink());
    let mut found = BTreeSet::new();
    for path in directories {
        if path.ends_with("palisade-bed") {
            found.insert(path);
        } else if depth > 1 {
            found.extend(cgroups(&path, depth - 1));
        }
    }
    found
}
