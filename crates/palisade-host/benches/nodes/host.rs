//! The program as a process, and what the kernel says of it.

use std::path::Path;
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

use palisade_host::Settings;
use palisade_sources::SourceText;
use palisade_sources::node_allowlist::NodeAllowlist;
use palisade_testkit::measure::{self, Memory};

use crate::world::World;

/// The list.
pub const LIST: &str = "list.yaml";
/// The state directory.
const STATE: &str = "state";

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
        measure::processor(self.0.id())
    }

    /// Resident memory.
    pub fn memory(&self) -> Memory {
        measure::memory(self.0.id()).unwrap()
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
