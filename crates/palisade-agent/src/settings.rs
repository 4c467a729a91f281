//! What the agent is told to do.

use std::net::SocketAddr;
use std::path::PathBuf;

use palisade_compile::UnknownPods;
use palisade_core::NodeName;
use palisade_nft::{Denied, Established};
use palisade_sources::Limits;
use palisade_sources::live::Kind;

use ipnet::IpNet;

/// The settings of one agent; the flags of `palisade agent` by the same names.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--node`: the Node whose pods are enforced.
    pub node: NodeName,
    /// `--kubeconfig`; `None` inside a pod, where the service account is used.
    pub kubeconfig: Option<PathBuf>,
    /// `--config`: config files of kube-restrict-ip.
    pub configs: Vec<PathBuf>,
    /// `--ban-files`: the directory of files that ban lists name as their source; without an API server the lists themselves are there, too.
    pub ban_files: PathBuf,
    /// `--standalone`: there is no API server, and nothing but config files and ban lists in files is enforced.
    pub standalone: bool,
    /// `--state-dir`: the state file, the marker of a pause, the socket.
    pub state_dir: PathBuf,
    /// `--enforce`: which policies are enforced.
    pub enforce: Enforce,
    /// `--unknown-pods`: what becomes of addresses in the node's pod range that belong to no known pod.
    pub unknown_pods: UnknownPods,
    /// `--pod-cidr`: pod ranges of this node besides `spec.podCIDRs` of its Node.
    pub pod_cidrs: Vec<IpNet>,
    /// `--forged-sources=drop`: whether pods are bound to the addresses they have.
    pub bind_sources: bool,
    /// `--failsafe-source`: who reaches guarded ports of this node whatever host policies say.
    pub failsafe_sources: Vec<IpNet>,
    /// `--protect`: what no list bans on this node.
    pub protected: Vec<IpNet>,
    /// `--verdict`: what the sender of a denied packet notices.
    pub verdict: Denied,
    /// `--established`: what becomes of live connections that a change forbids.
    pub established: Established,
    /// `--log-group`: the NFLOG group that denied packets go to.
    pub log_group: u16,
    /// `--listen`: where metrics and probes are served; `None` serves none.
    pub listen: Option<SocketAddr>,
    /// `--boot-restore`: whether the agent looks after the unit on the host that closes the gap at boot.
    pub boot_restore: BootRestore,
    /// `--host-root`: where directories of the host are mounted; `/` for a process on the host itself.
    pub host_root: PathBuf,
    /// How much of a namespace's policies is read.
    pub limits: Limits,
    /// `--elements-per-node`: the most elements that the node's tables may come to.
    pub elements_per_node: usize,
}

/// Which policies an agent enforces. What it does not enforce it does not follow, and takes out of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enforce {
    /// `network-policy`: those of pods.
    pub network_policy: bool,
    /// `host`: those of ports of nodes.
    pub host: bool,
    /// `bans`: lists of addresses with which nobody may speak.
    pub bans: bool,
}

impl Settings {
    /// The kinds that the API server is asked for.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.enforce.kinds().filter(|_| !self.standalone)
    }
}

impl Enforce {
    /// `network-policy`.
    pub const NETWORK_POLICY: &'static str = "network-policy";
    /// `host`.
    pub const HOST: &'static str = "host";
    /// `bans`.
    pub const BANS: &'static str = "bans";

    /// What is enforced, as the flag names it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named =
            [(self.network_policy, Enforce::NETWORK_POLICY), (self.host, Enforce::HOST), (self.bans, Enforce::BANS)];
        named.into_iter().filter(|(is_enforced, _)| *is_enforced).map(|(_, name)| name)
    }

    /// The kinds that it takes.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| match kind {
            Kind::NetworkPolicy => self.network_policy,
            Kind::HostPolicy => self.host,
            Kind::BanList => self.bans,
            Kind::Namespace | Kind::Node | Kind::Pod => true,
        })
    }
}

/// The directory of ban lists that are files, and of their sources, unless another is named.
pub const BAN_FILES: &str = "/etc/palisade/bans";

/// The most elements of a node's tables, unless another number is named.
pub const ELEMENTS_PER_NODE: usize = 2_000_000;

/// Whether the agent looks after the unit on the host that runs `palisade restore` at boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootRestore {
    /// It leaves the host alone.
    #[default]
    Off,
    /// It installs the unit and keeps it up to date.
    Install,
}

/// The state directory of a node's agent, if no other is named; one for each node, so that agents of several nodes can share
/// a file system.
pub fn state_directory(node: &str) -> PathBuf {
    PathBuf::from("/var/lib/palisade").join(node)
}
