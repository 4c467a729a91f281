//! The agent as a process, and what it says of itself.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use palisade_agent::{BootRestore, Enforce, Settings};
use palisade_compile::UnknownPods;
use palisade_nft::{Denied, Established, Kernel, Table};
use palisade_sources::Limits;
use palisade_testapi::TestApi;
use palisade_testkit::measure::{self, Memory};
use serde::Deserialize;
use tempfile::TempDir;

/// How long it may take until the agent says that something is in force; a bound for failures.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a start finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A kernel without our table.
    Fresh,
    /// What the agent before left in force.
    Kept,
}

/// A running agent.
pub struct Agent {
    process: Child,
    started: Instant,
    lines: Receiver<(Instant, InForce)>,
    _directory: TempDir,
}

/// What the agent says when something is in force. Times are in seconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct InForce {
    /// Operations of the transaction.
    pub operations: u64,
    /// Since the last list was complete.
    #[serde(default)]
    after_lists: Option<f64>,
    /// Since the first of its events arrived.
    #[serde(default)]
    latency: f64,
    /// The longest commit.
    longest_commit: f64,
}

impl InForce {
    /// Since the first of its events arrived at the agent.
    pub fn latency(self) -> Duration {
        Duration::from_secs_f64(self.latency)
    }

    /// The longest commit.
    pub fn longest_commit(self) -> Duration {
        Duration::from_secs_f64(self.longest_commit)
    }
}

/// What a start took.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// From the start of the process until everything was in force.
    pub whole: Duration,
    /// From the end of the last list.
    pub after_lists: Duration,
    pub longest_commit: Duration,
    pub operations: u64,
}

impl Agent {
    /// Starts this program once more, in the namespace of the calling thread.
    pub fn start(api: &TestApi, state: State) -> Agent {
        if state == State::Fresh {
            Kernel::open().unwrap().remove_table().unwrap();
            Kernel::open_table(Table::Bans).unwrap().remove_table().unwrap();
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("kubeconfig"), api.kubeconfig()).unwrap();
        let started = Instant::now();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg("agent")
            .arg(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = process.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let at = Instant::now();
                match serde_json::from_str(&line) {
                    Ok(in_force) => drop(sender.send((at, in_force))),
                    Err(_) => eprintln!("{line}"),
                }
            }
        });
        Agent { process, started, lines, _directory: directory }
    }

    /// Waits until the policies of the cluster are in force for the first time.
    pub fn in_force(&mut self) -> Start {
        loop {
            let (at, said) = self.next(PATIENCE).expect("the agent says that it enforces");
            let Some(after_lists) = said.after_lists else { continue };
            return Start {
                whole: at - self.started,
                after_lists: Duration::from_secs_f64(after_lists),
                longest_commit: said.longest_commit(),
                operations: said.operations,
            };
        }
    }

    /// Waits until nothing more has come into force for a while; how long after the start the last did.
    pub fn at_rest(&mut self, quiet: Duration) -> Duration {
        let mut last = self.in_force().whole;
        while let Some((at, _)) = self.next(quiet) {
            last = at - self.started;
        }
        last
    }

    /// Waits until something more is in force.
    pub fn wait(&mut self) -> (Instant, InForce) {
        self.next(PATIENCE).expect("the agent says that a change is in force")
    }

    /// What the agent has said meanwhile.
    pub fn next(&mut self, patience: Duration) -> Option<(Instant, InForce)> {
        self.lines.recv_timeout(patience).ok()
    }

    /// The processor time so far.
    pub fn processor(&self) -> Duration {
        measure::processor(self.process.id())
    }

    /// Resident memory.
    pub fn memory(&self) -> Memory {
        measure::memory(self.process.id()).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The process of an agent, whose files are in this directory.
pub fn run(directory: &str) -> ExitCode {
    let level = "warn,palisade_agent=debug";
    let filter = tracing_subscriber::EnvFilter::new(level);
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(std::io::stdout).init();
    let directory = PathBuf::from(directory);
    let settings = Settings {
        enforce: Enforce { network_policy: true, host: true, bans: true },
        node: "n1".into(),
        kubeconfig: Some(directory.join("kubeconfig")),
        configs: Vec::new(),
        ban_files: palisade_agent::BAN_FILES.into(),
        standalone: false,
        state_dir: directory,
        unknown_pods: UnknownPods::Drop,
        bind_sources: true,
        pod_cidrs: Vec::new(),
        verdict: Denied::Drop,
        established: Established::Cut,
        log_group: 5,
        listen: None,
        boot_restore: BootRestore::Off,
        host_root: "/".into(),
        limits: Limits::default(),
        elements_per_node: palisade_agent::ELEMENTS_PER_NODE,
        failsafe_sources: Vec::new(),
        protected: Vec::new(),
    };
    match palisade_agent::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => panic!("{error:?}"),
    }
}
