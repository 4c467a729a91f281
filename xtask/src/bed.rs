//! A real Kubernetes of several nodes on this one machine, for tests: API server, etcd, controllers, scheduler, and on
//! each node containerd, kubelet, a bridge for pods, and kube-proxy; all dual stack. See `docs/testbed.md`.

mod api;
mod binaries;
mod component;
pub(crate) mod files;
mod guest;
mod host;
mod images;
mod leftovers;
mod machine;
mod netns;
mod network;
mod pki;
pub(crate) mod program;
mod setup;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

pub use api::ApiServer;
pub use binaries::{Binaries, version};
pub use component::Component;
pub use guest::Guest;
pub use host::Host;
pub use images::{AGNHOST, PAUSE};
pub use netns::Network;
use program::{program, run, run_with_input};

/// Who is told of progress: a line at a time.
pub type Say<'a> = &'a dyn Fn(&str);

/// The most nodes a bed can have.
pub const NODES_MAX: u8 = 9;

/// What a bed is to be like.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// How many nodes, at most [`NODES_MAX`]; they are named `node1`, `node2` and so on.
    pub nodes: u8,
    /// With what kube-proxy makes Services work.
    pub proxy_mode: ProxyMode,
    /// Whether connections of pods to other nodes and beyond have their node's address as source.
    pub ip_masq: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { nodes: 2, proxy_mode: ProxyMode::Nftables, ip_masq: false }
    }
}

/// The modes of kube-proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum ProxyMode {
    /// A table of its own in nftables.
    Nftables,
    /// Chains of iptables.
    Iptables,
}

/// A node of the cluster.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its host.
    pub host: Host,
    /// Its `spec.podCIDRs`.
    pub pod_cidrs: Vec<String>,
    number: u8,
}

impl Node {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> [String; 2] {
        network::addresses(network::place(self.number))
    }
}

/// A bed that is up. It ends when it is dropped, unless it is kept.
#[derive(Debug)]
pub struct Bed {
    options: Options,
    binaries: Binaries,
    control: Host,
    outside: Host,
    nodes: Vec<Node>,
    /// Held as long as the bed ends with this value.
    lock: Option<File>,
}

/// What is kept of a bed beside its processes.
#[derive(Serialize, Deserialize)]
struct Kept {
    options: Options,
    pod_cidrs: Vec<Vec<String>>,
}

impl Bed {
    /// Brings up a bed with all nodes ready. What is left of another one is removed before; one that a living process
    /// uses is waited for.
    ///
    /// # Errors
    ///
    /// The machine lacks something, or a component does not start; then the error holds the end of its log.
    pub fn up(options: Options, say: Say<'_>) -> anyhow::Result<Bed> {
        setup::up(options, say)
    }

    /// The bed that `cargo xtask bed up` left running. It goes on when the value is dropped.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn running() -> anyhow::Result<Bed> {
        const NONE: &str = "no bed is up\nhint: cargo xtask bed up";
        let kept = files::read(&directory().join("bed.json")).ok().filter(|_| leftovers::is_any()).context(NONE)?;
        let kept: Kept = serde_json::from_str(&kept).context("bed.json")?;
        let mut bed = Bed::of(kept.options, Binaries::found()?.context(NONE)?);
        for (node, pod_cidrs) in bed.nodes.iter_mut().zip(kept.pod_cidrs) {
            node.pod_cidrs = pod_cidrs;
        }
        Ok(bed)
    }

    /// Ends whatever bed there is.
    ///
    /// # Errors
    ///
    /// Something of it cannot be ended or removed.
    pub fn down(say: Say<'_>) -> anyhow::Result<()> {
        let _lock = leftovers::lock(say)?;
        leftovers::clear(&directory())
    }

    /// Lets the bed go on without this process, until [`Bed::down`].
    ///
    /// # Errors
    ///
    /// It cannot be written down what the bed is like.
    pub fn keep(mut self) -> anyhow::Result<()> {
        let pod_cidrs = self.nodes.iter().map(|node| node.pod_cidrs.clone()).collect();
        let kept = Kept { options: self.options.clone(), pod_cidrs };
        files::write(&directory().join("bed.json"), serde_json::to_string(&kept)?)?;
        self.lock = None;
        Ok(())
    }

    fn of(options: Options, binaries: Binaries) -> Bed {
        let host = |name: &str| Host::new(name, &directory());
        let node = |number| Node { host: host(&format!("node{number}")), pod_cidrs: Vec::new(), number };
        let nodes = (1..=options.nodes).map(node).collect();
        Bed { options, binaries, control: host("control"), outside: host("outside"), nodes, lock: None }
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by its name.
    ///
    /// # Errors
    ///
    /// There is none of that name.
    pub fn node(&self, name: &str) -> anyhow::Result<&Node> {
        self.nodes.iter().find(|node| node.host.name() == name).with_context(|| format!("the bed has no node {name}"))
    }

    /// The host of the control plane.
    pub fn control(&self) -> &Host {
        &self.control
    }

    /// The host outside the cluster, on the same segment as its nodes; it knows the way to pods, not to Services.
    pub fn outside(&self) -> &Host {
        &self.outside
    }

    /// Boots a further host that is not of the cluster, on the same segment, with nothing on it. `number` tells those apart that are
    /// there at the same time.
    ///
    /// # Errors
    ///
    /// It does not boot.
    pub fn guest(&self, name: &str, number: u8) -> anyhow::Result<Guest> {
        Guest::boot(self, Host::new(name, &directory()), network::GUESTS + number)
    }

    /// The network of a pod that runs, given by its `metadata.uid`.
    ///
    /// # Errors
    ///
    /// No process of the pod is found.
    pub fn pod_network(&self, uid: &str) -> anyhow::Result<Network> {
        host::network_of_cgroup(uid).with_context(|| format!("no process is in a cgroup of pod {uid}"))?
    }

    /// The programs of the bed.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The file that leads a client on the control plane's network to the API server, as administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        directory().join("pki/admin.kubeconfig")
    }

    /// `kubectl` as the cluster's administrator, still without arguments. It sees the machine's files.
    pub fn kubectl_command(&self) -> Command {
        let mut command = self.on_control_network(&self.binaries.program("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig()).arg("--cache-dir").arg(directory().join("kubectl"));
        command
    }

    /// A program that sees the machine's files and the network of the control plane.
    pub fn on_control_network(&self, file: &Path) -> Command {
        let mut command = program("nsenter");
        command.arg(format!("--net={}/{}", host::NAMESPACES, self.control.namespace())).arg(file);
        command
    }

    /// Runs `kubectl`, and gives what it wrote to its standard output.
    ///
    /// # Errors
    ///
    /// It fails.
    pub fn kubectl(&self, words: &[&str]) -> anyhow::Result<String> {
        run(self.kubectl_command().args(words))
    }

    /// Applies a manifest, given as its text.
    ///
    /// # Errors
    ///
    /// The API server does not accept it.
    pub fn apply(&self, manifest: &str) -> anyhow::Result<()> {
        run_with_input(self.kubectl_command().args(["apply", "-f", "-"]), manifest)?;
        Ok(())
    }

    /// Applies a manifest whose objects have no namespace of their own in the one that is given.
    ///
    /// # Errors
    ///
    /// The API server does not accept it.
    pub fn apply_in(&self, namespace: &str, manifest: &str) -> anyhow::Result<()> {
        run_with_input(self.kubectl_command().args(["apply", "--namespace", namespace, "-f", "-"]), manifest)?;
        Ok(())
    }

    /// Loads an image, a tar as `docker save` writes it, on every node.
    ///
    /// # Errors
    ///
    /// A node cannot take it.
    pub fn load(&self, image: &Path) -> anyhow::Result<()> {
        in_parallel(&self.nodes, |node| setup::load(self, node, image))
    }

    /// Kills a component of a node, as SIGKILL does. Containers go on.
    ///
    /// # Errors
    ///
    /// There is no such node, or the component does not end.
    pub fn stop(&self, node: &str, component: Component) -> anyhow::Result<()> {
        self.node(node)?.host.kill(component.program())
    }

    /// Starts a component of a node that was stopped or whose node was booted.
    ///
    /// # Errors
    ///
    /// There is no such node, or the component does not start.
    pub fn start(&self, node: &str, component: Component) -> anyhow::Result<()> {
        setup::start_on_node(self, self.node(node)?, component)
    }

    /// Kills everything on a node at once, pods included, as losing power does. What it had in its kernel, such as
    /// links and nftables, and in `/run` is gone; its `/etc` and `/var` are kept.
    ///
    /// # Errors
    ///
    /// There is no such node, or it does not end.
    pub fn kill_node(&self, name: &str) -> anyhow::Result<()> {
        let node = self.node(name)?;
        network::unplug(&self.outside, &node.host)?;
        node.host.end()
    }

    /// Boots a node that was killed, with its network, but without any component: see [`Bed::start`].
    ///
    /// # Errors
    ///
    /// There is no such node, or it does not boot.
    pub fn boot_node(&self, name: &str) -> anyhow::Result<()> {
        setup::boot_node(self, self.node(name)?)
    }

    /// Kills the API server.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub fn stop_api_server(&self) -> anyhow::Result<()> {
        self.control.kill(Component::ApiServer.program())
    }

    /// Starts the API server, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start_api_server(&self) -> anyhow::Result<()> {
        self.start_api_server_with(&[])
    }

    /// As [`Bed::start_api_server`], with arguments besides its usual ones.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start_api_server_with(&self, arguments: &[&str]) -> anyhow::Result<()> {
        setup::start_api_server(self, arguments)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if self.lock.is_some()
            && let Err(error) = leftovers::clear(&directory())
        {
            eprintln!("warning: the bed does not end: {error:#}");
        }
    }
}

/// Looks whether the machine has what a bed needs, beside the programs that are built.
///
/// # Errors
///
/// It lacks something; the error says what, and what to install.
pub fn examine() -> anyhow::Result<()> {
    machine::Machine::examined().map(drop)
}

/// Where the files of the bed are while it is up.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).join("target/bed")
}

/// Tries until `condition` holds; `None` if it does not within `patience`.
///
/// # Errors
///
/// The condition fails to be asked for.
pub fn wait(patience: Duration, mut condition: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<Option<()>> {
    let end = Instant::now() + patience;
    loop {
        if condition()? {
            return Ok(Some(()));
        }
        if Instant::now() > end {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn in_parallel(nodes: &[Node], work: impl Fn(&Node) -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = nodes.iter().map(|node| scope.spawn(|| work(node))).collect();
        let mut outcome = Ok(());
        for worker in workers {
            let ended = worker.join();
            outcome = outcome.and(match ended {
                Ok(done) => done,
                Err(_) => bail!("a thread of the bed panicked"),
            });
        }
        outcome
    })
}
