//! A server outside of a cluster, with real packets: n1 of a lab is the server, n2 and n3 are nodes of the cluster that an API server for
//! tests tells of.
//!
//! The server's program is a process of its own, so that it can be killed. `PALISADE_REQUIRE_KERNEL` makes it a failure if namespaces
//! cannot be had.
#![expect(clippy::disallowed_methods, reason = "tests start processes and look at files")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod process;
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use palisade_testapi::{Fault, Obstacle};
use palisade_testkit::kernel::{self, Test};
use world::{Seen, World};

const TESTS: &[Test] = &[
    ("nodes join at once and leave after the delay", nodes_join_at_once_and_leave_after_the_delay),
    ("an API server that fails takes nobody away", an_api_server_that_fails_takes_nobody_away),
    ("what others change is repaired", what_others_change_is_repaired),
    ("once is enough for a moment", once_is_enough_for_a_moment),
];

/// Both families.
const YES: Seen = [true; 2];
const NO: Seen = [false; 2];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["host", directory, once] => process::run(directory, *once == "once"),
        ["export", directory] => process::export(directory),
        ["exec", path, end, command @ ..] => process::exec(path, end, command),
        rest => run(kernel::filter(rest)),
    }
}

fn run(filter: &str) -> ExitCode {
    match palisade_lab::become_root() {
        Ok(()) => kernel::run(TESTS, filter),
        Err(error) => kernel::skipped(format!("{error}: {}", error.hint())),
    }
}

fn nodes_join_at_once_and_leave_after_the_delay() {
    let mut world = World::new("removeDelaySeconds: 3");
    assert_eq!([world.reaches("n2"), world.reaches("n3")], [YES, YES]);
    world.put("n2");
    world.start();
    world.becomes("n3", NO);
    world.becomes("n2", YES);
    let start = Instant::now();
    world.put("n3");
    world.becomes("n3", YES);
    let took = start.elapsed();
    println!("  a node was admitted after {} ms", took.as_millis());
    assert!(took < Duration::from_secs(1), "{took:?}");
    let start = Instant::now();
    world.delete("n3");
    world.is_for_a_while("n3", YES, Duration::from_secs(2));
    world.becomes("n3", NO);
    assert!(start.elapsed() >= Duration::from_secs(3));
    assert_eq!(world.reaches("n2"), YES);
}

fn an_api_server_that_fails_takes_nobody_away() {
    let mut world = World::new("removeDelaySeconds: 0");
    world.put("n2");
    world.start();
    world.becomes("n3", NO);
    world.becomes("n2", YES);
    // Neither rights that are missing, nor a server that is gone.
    world.api.faults().add(Fault::request("nodes", Obstacle::Forbidden).always());
    world.api.faults().break_watches();
    world.tells("nodes is forbidden");
    world.is_for_a_while("n2", YES, Duration::from_secs(1));
    world.api.faults().clear();
    world.api.stop();
    world.is_for_a_while("n2", YES, Duration::from_secs(1));
    // Nor a start without one: the state is from the disk.
    world.kill();
    world.lose_the_table();
    assert_eq!(world.reaches("n3"), YES);
    world.start();
    world.becomes("n3", NO);
    assert_eq!(world.reaches("n2"), YES);
    // Nor a list with nobody on it, until others are there in place of those that it lacks.
    world.delete("n2");
    world.api.resume();
    world.tells("the list lacks 1 of 1 nodes, which stay admitted: minNodes is 1");
    world.is_for_a_while("n2", YES, Duration::from_secs(1));
    world.put("n3");
    world.becomes("n3", YES);
    world.becomes("n2", NO);
}

fn what_others_change_is_repaired() {
    let mut world = World::new("removeDelaySeconds: 0");
    world.put("n2");
    world.start();
    world.becomes("n3", NO);
    for _ in 0..3 {
        world.lose_the_table();
        world.becomes("n3", NO);
        world.becomes("n2", YES);
    }
}

fn once_is_enough_for_a_moment() {
    let world = World::new("removeDelaySeconds: 0");
    world.put("n2");
    assert_eq!(world.exported().unwrap(), ["10.99.0.2", "fd99::2"]);
    assert!(world.once());
    assert_eq!([world.reaches("n2"), world.reaches("n3")], [YES, NO]);
    world.api.stop();
    assert!(!world.once());
    assert_eq!(world.exported(), None);
    assert_eq!([world.reaches("n2"), world.reaches("n3")], [YES, NO]);
}
