//! The command, run as whoever runs the tests, or as an ordinary user.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const NOBODY: u32 = 65_534;

/// Who runs the command.
pub enum User {
    /// Whoever runs the tests.
    Same,
    /// Nobody in particular, with a copy of the program where it may be read.
    Nobody(TempDir),
}

impl User {
    /// An ordinary user; `None` if the tests are run by one already.
    pub fn nobody() -> Option<User> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let directory = directory();
        fs::copy(env!("CARGO_BIN_EXE_palisade"), directory.path().join("palisade")).unwrap();
        Some(User::Nobody(directory))
    }

    /// The command without arguments, in a directory.
    pub fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new(self.program());
        if let User::Nobody(_) = self {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir(directory).env_remove("NO_COLOR");
        command
    }

    fn program(&self) -> PathBuf {
        match self {
            User::Same => env!("CARGO_BIN_EXE_palisade").into(),
            User::Nobody(directory) => directory.path().join("palisade"),
        }
    }
}

/// A fresh directory that everybody may read.
pub fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Whether a lab can be built at all. If not, says so; a failure with `PALISADE_REQUIRE_KERNEL`.
pub fn namespaces_can_be_had(user: &User) -> bool {
    let directory = directory();
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a}]}}";
    fs::write(directory.path().join("pod.yaml"), pod).unwrap();
    fs::write(directory.path().join("flows"), "default/a -> default/a icmp").unwrap();
    let arguments = ["lab", "-f", "pod.yaml", "--flows", "flows"];
    let output = user.command(directory.path()).args(arguments).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(2) {
        return true;
    }
    assert!(std::env::var_os("PALISADE_REQUIRE_KERNEL").is_none(), "{message}");
    println!("SKIPPED: {message}");
    false
}
