//! Becoming root without being root: a user namespace in which an ordinary user owns the network namespaces.

use std::fmt;
use std::io;

use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::netns::{read_setting, write_setting};
use crate::sys;

/// Gives this process what it needs to make network namespaces.
///
/// A process that may already do so (root with `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`) stays as it is. Any other moves
/// into a new user namespace, where it is root; files keep being read and written as the user who started it.
///
/// Call it first in `main`: the kernel lets only a process with a single thread change its user namespace.
///
/// # Errors
///
/// Where user namespaces are refused; the error names the setting that refuses them, if one can be found.
pub fn become_root() -> Result<(), RootlessError> {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    let capabilities = rustix::thread::capabilities(None)
        .map_err(|errno| RootlessError::new("read the capabilities of this process", errno.into()))?;
    if capabilities.effective.contains(needed) {
        return Ok(());
    }
    let (user, group) = (geteuid(), getegid());
    sys::unshare(UnshareFlags::NEWUSER).map_err(|source| RootlessError::new("create a user namespace", source))?;
    // Without "deny" an ordinary user may not map a group (user_namespaces(7)).
    let maps = [
        ("/proc/self/setgroups", "deny".to_string()),
        ("/proc/self/uid_map", format!("0 {} 1", user.as_raw())),
        ("/proc/self/gid_map", format!("0 {} 1", group.as_raw())),
    ];
    for (path, line) in maps {
        write_setting(path, &line).map_err(|source| RootlessError::new("become root in a user namespace", source))?;
    }
    Ok(())
}

/// Why this machine does not let an ordinary process have namespaces.
#[derive(Debug)]
pub struct RootlessError {
    operation: &'static str,
    source: io::Error,
}

impl RootlessError {
    fn new(operation: &'static str, source: io::Error) -> RootlessError {
        RootlessError { operation, source }
    }

    /// Which setting refuses it, and what to do.
    pub fn hint(&self) -> String {
        if self.source.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) {
            return "this process has several threads already; only a single one can change its user namespace"
                .to_string();
        }
        why_namespaces_are_refused()
    }
}

impl fmt::Display for RootlessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.operation)
    }
}

impl std::error::Error for RootlessError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The settings that switch user namespaces off: file, the value that does, and what to do about it.
const SWITCHES: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "user namespaces are switched off by user.max_user_namespaces = 0: run as root, or \
         'sysctl user.max_user_namespaces=10000'",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "user namespaces are switched off by kernel.unprivileged_userns_clone = 0: run as root, or \
         'sysctl kernel.unprivileged_userns_clone=1'",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns = 1): run as root, or \
         'sysctl kernel.apparmor_restrict_unprivileged_userns=0', or add an AppArmor profile with 'userns,' for \
         this program",
    ),
];

/// Names the setting that forbids namespaces, as far as the machine tells.
pub(crate) fn why_namespaces_are_refused() -> String {
    why(|path| read_setting(path).ok())
}

fn why(read: impl Fn(&str) -> Option<String>) -> String {
    for (path, off, hint) in SWITCHES {
        if read(path).is_some_and(|value| value.trim() == off) {
            return hint.to_string();
        }
    }
    // `Seccomp: 2` in proc(5) is a filter, such as the one containers start with.
    let filtered = read("/proc/self/status")
        .is_some_and(|status| status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])));
    if filtered {
        "a seccomp filter, as containers have one, forbids namespaces: run the container with \
         '--security-opt seccomp=unconfined', or with CAP_SYS_ADMIN and CAP_NET_ADMIN"
            .to_string()
    } else {
        "the kernel refuses namespaces to this user: run as root".to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for the hint on a machine where these files read so.
    fn check(files: &[(&str, &str)], expected: &str) {
        let hint = why(|path| files.iter().find(|(name, _)| *name == path).map(|(_, content)| (*content).to_string()));
        assert!(hint.contains(expected), "{hint}");
    }

    #[test]
    fn the_setting_that_forbids_namespaces_is_named() {
        let on = ("/proc/sys/user/max_user_namespaces", "96343\n");
        check(&[("/proc/sys/user/max_user_namespaces", "0\n")], "user.max_user_namespaces = 0");
        check(&[on, ("/proc/sys/kernel/unprivileged_userns_clone", "0\n")], "kernel.unprivileged_userns_clone = 0");
        check(&[on, ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n")], "AppArmor");
        check(&[on, ("/proc/self/status", "Name:\tx\nSeccomp:\t2\n")], "seccomp");
        check(&[on, ("/proc/self/status", "Name:\tx\nSeccomp:\t0\n")], "run as root");
    }
}
