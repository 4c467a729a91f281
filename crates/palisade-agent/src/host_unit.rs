//! The unit on the host that runs `palisade restore` at boot, before the kubelet: installed by the agent, taken away when
//! enforcement is paused.
//!
//! The program is copied beside the state, whose directory has the same path inside and outside of a container. The unit
//! takes effect at the next boot, so that systemd need not be spoken to.
#![expect(clippy::disallowed_methods, reason = "the file that writes the host's unit")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};
use crate::node_state::BootGap;
use crate::report::Obstacle;
use crate::restore::{RESTORED, boot_id};

const UNIT: &str = "palisade-restore.service";
const UNITS: &str = "etc/systemd/system";
/// The target that wants the unit: that of early boot.
const WANTS: &str = "sysinit.target.wants";
const PROGRAM: &str = "palisade";
/// The file in the state directory that holds the identity of the boot at which the unit was installed.
const INSTALLED: &str = "unit-installed-at-boot";
const OURSELVES: &str = "/proc/self/exe";
/// The short name of the obstacle.
pub(crate) const OBSTACLE: &str = "boot-restore";

/// The unit of a host.
#[derive(Clone, Debug)]
pub struct HostUnit {
    /// Where the units of the host are.
    units: PathBuf,
    /// Where the state is, and the program will be.
    state_dir: PathBuf,
}

/// Why it cannot be installed or taken away.
#[derive(Debug, thiserror::Error)]
pub enum HostUnitError {
    /// A file cannot be read, or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There are no units of systemd.
    #[error("there are no units of systemd in {}", .0.display())]
    NoSystemd(PathBuf),
}

impl HostUnit {
    /// The unit of the host whose files are under `host_root`.
    pub fn new(host_root: &Path, state_dir: &Path) -> HostUnit {
        HostUnit { units: host_root.join(UNITS), state_dir: state_dir.to_owned() }
    }

    /// Installs it, or brings it up to date; what is right already is not written again.
    ///
    /// # Errors
    ///
    /// If the host has no systemd, or its files cannot be written.
    pub fn install(&self) -> Result<(), HostUnitError> {
        if !self.has_systemd() {
            return Err(HostUnitError::NoSystemd(self.units.clone()));
        }
        let (program, unit, link) = (self.program(), self.units.join(UNIT), self.link());
        let ourselves = fs::read(OURSELVES).map_err(FileError::of("read", Path::new(OURSELVES)))?;
        replace(&program, &ourselves, 0o755)?;
        replace(&unit, self.text().as_bytes(), 0o644)?;
        let target = Path::new("/").join(UNITS).join(UNIT);
        if fs::read_link(&link).is_ok_and(|found| found == target) {
            return Ok(());
        }
        let wants = self.units.join(WANTS);
        fs::create_dir_all(&wants).map_err(FileError::of("make", &wants))?;
        files::remove(&link)?;
        replace(&self.state_dir.join(INSTALLED), boot_id().as_bytes(), 0o644)?;
        Ok(symlink(&target, &link).map_err(FileError::of("make", &link))?)
    }

    /// Takes it away.
    ///
    /// # Errors
    ///
    /// If its files cannot be removed.
    pub fn uninstall(&self) -> Result<(), HostUnitError> {
        for path in [self.link(), self.units.join(UNIT), self.program(), self.state_dir.join(INSTALLED)] {
            files::remove(&path)?;
        }
        Ok(())
    }

    /// Whether pods are open after a boot, as far as the files and the last boot tell; and what is to be said about it.
    pub fn gap(&self) -> (BootGap, Option<Obstacle>) {
        let installed = self.program().exists() && self.units.join(UNIT).exists() && self.link().is_symlink();
        if !installed {
            return (BootGap::Open, None);
        }
        let boot = boot_id();
        let at = |file| fs::read_to_string(self.state_dir.join(file)).is_ok_and(|found| found.trim() == boot);
        if at(INSTALLED) || at(RESTORED) {
            return (BootGap::Closed, None);
        }
        (BootGap::Open, Some(obstacle(format!("{UNIT} is installed, but did not run when this node booted"))))
    }

    /// Units that somebody enabled, other than ours.
    fn has_systemd(&self) -> bool {
        let entries = fs::read_dir(&self.units).into_iter().flatten().flatten();
        let is_foreign = |name: &std::ffi::OsStr| name != UNIT && name != WANTS;
        entries.map(|entry| entry.file_name()).any(|name| is_foreign(&name))
    }

    fn program(&self) -> PathBuf {
        self.state_dir.join(PROGRAM)
    }

    fn link(&self) -> PathBuf {
        self.units.join(WANTS).join(UNIT)
    }

    /// The unit. It is ordered as nftables.service of the distributions is, and after it: that one may flush the ruleset.
    fn text(&self) -> String {
        let (state_dir, program) = (self.state_dir.display(), self.program());
        let program = program.display();
        format!(
            "\
# Written by palisade agent, which takes it away again on --cleanup.
[Unit]
Description=Palisade: no pod is open before the agent runs
DefaultDependencies=no
Wants=network-pre.target
After=systemd-modules-load.service nftables.service
Before=network-pre.target containerd.service crio.service docker.service kubelet.service k3s.service k3s-agent.service
Before=rke2-server.service rke2-agent.service shutdown.target
Conflicts=shutdown.target
RequiresMountsFor={state_dir}
ConditionPathExists={program}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={program} restore --state-dir {state_dir}
TimeoutStartSec=30
CapabilityBoundingSet=CAP_NET_ADMIN
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={state_dir}
ProtectHome=yes
PrivateDevices=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native

[Install]
WantedBy=sysinit.target
"
        )
    }
}

/// What is to be said where the gap stays open.
pub(crate) fn obstacle(found: String) -> Obstacle {
    Obstacle {
        name: OBSTACLE.to_string(),
        found,
        means: "after a reboot pods are open until the agent has read the cluster".to_string(),
        hint: Some(
            "run 'palisade restore' before the kubelet starts, or see 'systemctl status palisade-restore'".to_string(),
        ),
    }
}

/// Writes a file whole beside the old one, then renames it over that; not at all if it is the same.
fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    if fs::read(path).is_ok_and(|found| found == content) {
        return Ok(());
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    fs::write(&new, content).map_err(FileError::of("write", &new))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).map_err(FileError::of("change the mode of", &new))?;
    fs::rename(&new, path).map_err(FileError::of("replace", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unit: &HostUnit, expected: BootGap, said: bool) {
        let (gap, obstacle) = unit.gap();
        assert_eq!((gap, obstacle.is_some()), (expected, said), "{obstacle:?}");
    }

    #[test]
    fn the_gap_is_closed_by_what_is_installed_and_did_run() {
        let (host, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let unit = HostUnit::new(host.path(), state.path());
        let units = host.path().join(UNITS);
        fs::create_dir_all(&units).unwrap();
        check(&unit, BootGap::Open, false);
        assert!(matches!(unit.install(), Err(HostUnitError::NoSystemd(_))));
        fs::create_dir(units.join("multi-user.target.wants")).unwrap();
        unit.install().unwrap();
        check(&unit, BootGap::Closed, false);
        // At the next boot it is closed if it was restored at that.
        fs::write(state.path().join(INSTALLED), "another boot").unwrap();
        check(&unit, BootGap::Open, true);
        unit.install().unwrap();
        check(&unit, BootGap::Open, true);
        fs::write(state.path().join(RESTORED), boot_id()).unwrap();
        check(&unit, BootGap::Closed, false);
        unit.uninstall().unwrap();
        check(&unit, BootGap::Open, false);
        assert!(!state.path().join(PROGRAM).exists());
    }

    #[test]
    fn the_unit_is_brought_up_to_date_and_else_left_alone() {
        let (host, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let unit = HostUnit::new(host.path(), state.path());
        let units = host.path().join(UNITS);
        fs::create_dir_all(units.join("multi-user.target.wants")).unwrap();
        unit.install().unwrap();
        let modified = || fs::metadata(state.path().join(PROGRAM)).unwrap().modified().unwrap();
        let before = modified();
        fs::write(units.join(UNIT), "old").unwrap();
        unit.install().unwrap();
        assert_eq!(fs::read_to_string(units.join(UNIT)).unwrap(), unit.text());
        assert_eq!(modified(), before, "the same program is not copied again");
        assert_eq!(fs::read(state.path().join(PROGRAM)).unwrap(), fs::read(OURSELVES).unwrap());
    }
}
