//! An agent as a process inside the namespace of its node.
//!
//! The API server listens in the namespace of the test: connections to the agent's loopback are carried there.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use ipnet::IpNet;
use palisade_agent::{Enforce, Settings};
use palisade_compile::UnknownPods;
use palisade_nft::{Denied, Established};
use palisade_sources::Limits;
use palisade_testapi::{carry, kubeconfig as kubeconfig_of};
use serde::{Deserialize, Serialize};

/// Where it serves metrics and probes, in the namespace of its node.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9469);

/// What an agent of a test is told.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    pub node: String,
    pub state_dir: PathBuf,
    /// The unix socket that leads to the API server.
    pub api: PathBuf,
    pub unknown_pods: bool,
    pub keep: bool,
    pub bind_sources: bool,
    pub elements_per_node: usize,
    /// Policies of pods, those of hosts, and bans.
    pub enforce: [bool; 3],
    pub failsafe_sources: Vec<IpNet>,
    pub protected: Vec<IpNet>,
    /// That of the context of its kubeconfig: one of the agents of a namespace writes the status of policies.
    pub namespace: Option<String>,
    pub configs: Vec<PathBuf>,
    pub standalone: bool,
    pub ban_files: PathBuf,
    /// What its kubeconfig names, if connections are not to be carried from its own loopback.
    pub server: Option<SocketAddr>,
}

/// A running agent.
pub struct Agent {
    process: Child,
    told: String,
}

impl Agent {
    /// Starts this program once more, inside a node of the lab that was opened for these paths.
    pub fn start(lab: &Path, told: &Told) -> Agent {
        let program = std::env::current_exe().unwrap();
        let told_text = serde_json::to_string(told).unwrap();
        let process = Command::new(&program)
            .arg("exec")
            .arg(lab)
            .arg(format!("node/{}", told.node))
            .arg(&program)
            .args(["agent", &told_text])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Agent { process, told: told_text }
    }

    /// Waits until it says that it runs.
    pub fn ready(&mut self) {
        let mut line = String::new();
        BufReader::new(self.process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
    }

    /// The most memory that it has had, in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(self.process().join("status")).unwrap();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        most.trim_matches([' ', '\t', 'k', 'B']).parse::<u64>().unwrap() << 10
    }

    /// Makes it hang, or lets it go on.
    pub fn hang(&self, hangs: bool) {
        use rustix::process::{Signal, kill_process};

        kill_process(self.pid(), if hangs { Signal::STOP } else { Signal::CONT }).unwrap();
    }

    fn pid(&self) -> rustix::process::Pid {
        let number = self.process().file_name().unwrap().to_str().unwrap().parse().unwrap();
        rustix::process::Pid::from_raw(number).unwrap()
    }

    /// Where the kernel tells of the process: a grandchild, known by what it was told.
    fn process(&self) -> PathBuf {
        let wanted = format!("\0agent\0{}\0", self.told);
        let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        let is_wanted = |path: &PathBuf| {
            let command = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
            command.ends_with(&wanted) && !command.contains("\0exec\0")
        };
        processes.into_iter().find(is_wanted).unwrap()
    }

    /// Ends it as a kubelet would. Whoever runs it in the namespace ends when it has, with what it ended with.
    pub fn terminate(mut self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }

    /// Ends it as a crash would, and waits until it is gone. The command goes with whoever runs it in the namespace, a moment later.
    pub fn kill(mut self) {
        use rustix::event::{PollFd, PollFlags, poll};
        use rustix::process::{PidfdFlags, pidfd_open};

        let agent = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        poll(&mut [PollFd::new(&agent, PollFlags::IN)], None).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The process of an agent.
pub fn run(told: &str) -> ExitCode {
    let told: Told = serde_json::from_str(told).unwrap();
    let server = told.server.unwrap_or_else(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let api = told.api.clone();
        std::thread::spawn(move || carry(&listener, &api));
        server
    });
    let kubeconfig = told.state_dir.join("kubeconfig");
    std::fs::create_dir_all(&told.state_dir).unwrap();
    std::fs::write(&kubeconfig, kubeconfig_of(server, told.namespace.as_deref())).unwrap();
    println!("ready");
    match palisade_agent::run(settings(told, Some(kubeconfig))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => panic!("{error:?}"),
    }
}

/// What an agent is told that has this kubeconfig.
pub fn settings(told: Told, kubeconfig: Option<PathBuf>) -> Settings {
    let [network_policy, host, bans] = told.enforce;
    Settings {
        enforce: Enforce { network_policy, host, bans },
        node: told.node.as_str().into(),
        kubeconfig,
        configs: told.configs,
        standalone: told.standalone,
        ban_files: told.ban_files,
        state_dir: told.state_dir,
        unknown_pods: if told.unknown_pods && network_policy { UnknownPods::Drop } else { UnknownPods::Allow },
        pod_cidrs: Vec::new(),
        failsafe_sources: told.failsafe_sources,
        protected: told.protected,
        bind_sources: told.bind_sources && network_policy,
        verdict: Denied::Drop,
        established: if told.keep { Established::Keep } else { Established::Cut },
        log_group: 5,
        listen: Some(LISTEN),
        boot_restore: palisade_agent::BootRestore::Off,
        host_root: "/".into(),
        limits: Limits::default(),
        elements_per_node: told.elements_per_node,
    }
}

/// Runs a command inside a node or pod.
pub fn exec(path: &str, end: &str, command: &[&str]) -> ExitCode {
    let command: Vec<OsString> = command.iter().map(OsString::from).collect();
    match palisade_lab::exec::exec(&[PathBuf::from(path)], end, &command) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        // A process of a test that is over.
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The process that carries connections to an address into a unix socket, for as long as it runs.
pub fn door(address: &str, socket: &str) -> ExitCode {
    let listener = TcpListener::bind(address).unwrap();
    println!("ready");
    carry(&listener, Path::new(socket));
    ExitCode::SUCCESS
}
