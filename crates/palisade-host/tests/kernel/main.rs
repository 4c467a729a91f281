//! A server outside of a cluster, with real packets: n1 of a lab is the server, n2 and n3 are nodes of the cluster that an API server for
//! tests tells of.
//!
//! The server's program is a process of its own, so that it can be killed. `PALISADE_REQUIRE_KERNEL` makes it a failure if namespaces
//! cannot be had.
#![expect(clippy::disallowed_methods, reason = "tests start processes and look at files")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod modes;
mod nodes;
mod people;
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
    ("a firewall that drops by default is told", a_firewall_that_drops_by_default_is_told),
    ("sets of nft are filled and nothing else is touched", modes::sets_of_nft_are_filled_and_nothing_else_is_touched),
    ("ipsets are filled", modes::ipsets_are_filled),
    ("a set that is missing is told and waited for", modes::a_set_that_is_missing_is_told_and_waited_for),
    ("files are kept and commands run", modes::files_are_kept_and_commands_run),
    ("pods single out nodes", nodes::pods_single_out_nodes),
    ("two clusters are apart", nodes::two_clusters_are_apart),
    ("nodes come and go by the hundred", nodes::nodes_come_and_go_by_the_hundred),
    ("hostile nodes admit nobody", nodes::hostile_nodes_admit_nobody),
    ("an address that changes is followed", nodes::an_address_that_changes_is_followed),
    ("what an annotation names is admitted", nodes::what_an_annotation_names_is_admitted),
    ("every fault of an API server is survived", nodes::every_fault_of_an_api_server_is_survived),
    ("credentials come from a program", nodes::credentials_come_from_a_program),
    ("accept lets go what is kept", people::accept_lets_go_what_is_kept),
    ("what nobody confirms is taken back", people::what_nobody_confirms_is_taken_back),
    ("what is confirmed stays", people::what_is_confirmed_stays),
    ("sets that nobody confirms are as before", people::sets_that_nobody_confirms_are_as_before),
    ("metrics and probes are served", people::metrics_and_probes_are_served),
    ("systemd is told", people::systemd_is_told),
];

/// Both families.
const YES: Seen = [true; 2];
const NO: Seen = [false; 2];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["host", directory, words @ ..] => process::run(directory, words),
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
    // What is known is printed all the same; where nothing is, nothing is.
    assert_eq!(world.exported().unwrap(), ["10.99.0.2", "fd99::2"]);
    assert_eq!([world.reaches("n2"), world.reaches("n3")], [YES, NO]);
    std::fs::remove_dir_all(world.path("state")).unwrap();
    assert_eq!(world.exported(), None);
}

fn a_firewall_that_drops_by_default_is_told() {
    let mut world = World::new("removeDelaySeconds: 0");
    world.put("n2");
    let rules = "table inet fw {\n chain in { type filter hook input priority 0; policy drop; iif lo accept; }\n}\n";
    world.tool("nft", &["-f", "-"], rules);
    world.start();
    world.tells("chain in of table inet fw drops what its rules do not name");
    assert_eq!(world.reaches("n2"), NO);
    // What is to be added, as it is said.
    let state = world.state();
    let (_, rule) = state.split_once("add there, too: nft ").unwrap();
    let rule = rule.split_once('"').unwrap().0;
    let neighbours = "add rule inet fw in icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n";
    world.tool("nft", &["-f", "-"], &format!("{rule}\n{neighbours}"));
    world.becomes("n2", YES);
    assert_eq!(world.reaches("n3"), NO);
}
