//! The program as a process, and what the kernel says of it.

use std::path::Path;
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

use palisade_host::Settings;
use palisade_sources::SourceText;
use palisade_sources::node_allowlist::NodeAllowlist;

use crate::world::World;

/// The list.
pub const LIST: &str = "list.yaml";
/// The state directory.
const STATE: &str = "state";
/// What Linux counts processor time in, for programs: `USER_HZ`.
const TICKS_PER_SECOND: u32 = 100;

/// What a start finds on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    None,
    /// What the one before left.
    Kept,
}

/// A running program.
pub struct Host(Child);

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub now: u64,
    pub most: u64,
}

/// Processor time, and the time in which it was used.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    pub processor: Duration,
    pub of: Duration,
}

impl Host {
    /// Starts this program once more, on the server.
    pub fn start(world: &World, state: State) -> Host {
        if state == State::None {
            let _ = std::fs::remove_dir_all(world.directory().join(STATE));
        }
        Host(world.spawn(&["host"]))
    }

    /// The processor time that it uses while something is done.
    pub fn processor_in(&self, work: impl FnOnce()) -> Used {
        let (start, before) = (Instant::now(), self.processor());
        work();
        Used { processor: self.processor().saturating_sub(before), of: start.elapsed() }
    }

    /// The processor time so far.
    fn processor(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // The name of the program, which may hold spaces, is in parentheses; utime and stime are fields 14 and 15.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_secs(ticks) / TICKS_PER_SECOND
    }

    /// Resident memory.
    pub fn memory(&self) -> Memory {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().unwrap() * 1024
        };
        Memory { now: field("VmRSS"), most: field("VmHWM") }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process, whose files are in this directory.
pub fn run(directory: &str) -> ExitCode {
    let directory = Path::new(directory);
    let text = std::fs::read_to_string(directory.join(LIST)).unwrap();
    let (list, found) = NodeAllowlist::parse(&SourceText { file: LIST.into(), text });
    assert!(found.is_empty(), "{found:?}");
    let settings =
        Settings { list: list.unwrap(), state_dir: directory.join(STATE), once: false, confirm: None, listen: None };
    match palisade_host::run(settings) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => panic!("{error:?}"),
    }
}
