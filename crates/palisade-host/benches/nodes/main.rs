//! What it costs to follow ten clusters of 500 nodes each: how soon a node is admitted, processor time, memory.
//!
//! `cargo bench -p palisade-host --bench nodes` takes about three minutes. The program is a process of its own in a network namespace of a lab, told by
//! API servers for tests, which run in this process, without TLS. An ordinary user may run it. Whether something is in force is asked with packets: a
//! datagram under the address of a node arrives, or it does not. Times are those of this machine, and of what else it does: compare the
//! figures of one run.
#![expect(clippy::disallowed_methods, reason = "a benchmark starts processes and looks into /proc")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

mod host;
mod objects;
mod report;
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use palisade_testkit::measure;

use host::{Host, State};
use objects::{CLUSTERS, NODES, NodeNumber};
use world::World;

/// How many starts of each kind.
const STARTS: usize = 3;
/// How many nodes join.
const JOINS: usize = 500;
/// After a start, so that what was taken in is let go.
const REST: Duration = Duration::from_secs(4);
const IDLE: Duration = Duration::from_secs(30);
/// So often a kubelet writes the status of its Node though nothing has changed.
const HEARTBEAT: Duration = Duration::from_mins(5);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, directory] = arguments.as_slice()
        && first == "host"
    {
        return host::run(directory);
    }
    if let Err(error) = palisade_lab::become_root() {
        eprintln!("error: {error}\nhint: {}", error.hint());
        return ExitCode::FAILURE;
    }
    measure::machine();
    let world = World::start();
    println!("\n{CLUSTERS} clusters, {NODES} nodes each, a Node of {} bytes", objects::size());
    starts(&world);
    let host = Host::start(&world, State::None);
    world.in_force();
    std::thread::sleep(REST);
    report::memory("memory at rest after a start", host.memory());
    let idle = host.processor_in(|| std::thread::sleep(IDLE));
    report::share("processor while nothing happens", idle);
    report::share("processor while kubelets tell of themselves", host.processor_in(|| heartbeats(&world)));
    report::latencies("a node joins", &joins(&world));
    report::memory("memory afterwards", host.memory());
    ExitCode::SUCCESS
}

/// With every list to be read, and with what the one before left on disk.
fn starts(world: &World) {
    let (mut lists, mut disk) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        lists.push(start(world, State::None));
        world.stop_api_servers();
        disk.push(start(world, State::Kept));
        world.resume_api_servers();
    }
    report::starts("start, until all lists are in force", &lists);
    report::starts("start without API servers, from the disk", &disk);
}

/// How long it takes until all nodes are admitted, and nobody else.
fn start(world: &World, state: State) -> Duration {
    world.lose_the_table();
    let start = Instant::now();
    let _host = Host::start(world, state);
    world.in_force();
    let took = start.elapsed();
    // It is written down after it is in force.
    std::thread::sleep(REST);
    took
}

/// Every kubelet once in [`HEARTBEAT`], of all clusters in turn.
fn heartbeats(world: &World) {
    let (start, pace) = (Instant::now(), HEARTBEAT / u32::try_from(CLUSTERS * NODES).unwrap());
    for (beat, number) in objects::all().enumerate() {
        let due = start + pace * u32::try_from(beat).unwrap();
        if due > start + IDLE {
            return;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        world.put_at(number, beat);
    }
}

/// How long each new node waits until it is admitted, with both addresses; one after the other, of all clusters in turn.
fn joins(world: &World) -> Vec<Duration> {
    let join = |number: usize| {
        let node = NodeNumber { cluster: number % CLUSTERS, node: NODES + number / CLUSTERS };
        assert!(!world.passes(node), "a node is admitted that nobody knows");
        let start = Instant::now();
        world.put(node);
        world.until_it_passes(node);
        let took = start.elapsed();
        std::thread::sleep(Duration::from_millis(5));
        took
    };
    (0..JOINS).map(join).collect()
}
