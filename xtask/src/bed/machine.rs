//! What the machine must have before a bed can be made on it.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// The programs, and the Debian package of each.
const PROGRAMS: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setsid", "util-linux"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
];

/// Where distributions put CNI plugins.
const PLUGIN_DIRECTORIES: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// The directory of the CNI plugins.
    pub(super) plugins: PathBuf,
    /// The program that starts containers.
    pub(super) runc: PathBuf,
}

impl Machine {
    /// Looks for everything, so that one error names all that is missing.
    pub(super) fn examined() -> anyhow::Result<Machine> {
        if !rustix::process::geteuid().is_root() {
            bail!("the bed needs root\nhint: containers and their mounts are made by real components");
        }
        let missing = PROGRAMS.iter().filter(|(name, _)| found(name).is_none());
        let mut missing: Vec<(&str, &str)> = missing.copied().collect();
        let plugins = PLUGIN_DIRECTORIES.iter().map(Path::new).find(|directory| directory.join("bridge").exists());
        if plugins.is_none() {
            missing.push(("the CNI plugin bridge", "containernetworking-plugins"));
        }
        let (Some(plugins), Some(runc), true) = (plugins, found("runc"), missing.is_empty()) else {
            let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
            let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
            packages.dedup();
            bail!("the bed misses {}\nhint: on Debian: apt-get install {}", names.join(", "), packages.join(" "));
        };
        Ok(Machine { plugins: plugins.to_path_buf(), runc })
    }
}

/// A program in `PATH` or where the system's own are.
pub(super) fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories =
        std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/local/go/bin"].map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|file| file.is_file())
}
