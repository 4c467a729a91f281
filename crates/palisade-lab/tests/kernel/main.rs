//! The lab itself, with real packets, as root and as an ordinary user.
//!
//! These tests have no harness: its threads would forbid entering a user namespace. Run as root they run once more
//! as nobody. `PALISADE_REQUIRE_KERNEL` makes it a failure if namespaces cannot be had.
#![expect(clippy::disallowed_methods, reason = "tests start processes and look at /proc")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod audited;
mod cluster;
mod denied;
mod host;
mod lifetime;
mod live;
mod node;
mod packets;
mod servers;
mod services;

use std::panic::catch_unwind;
use std::process::{Command, ExitCode};

use palisade_testkit::kernel::{self, Test};

const TESTS: [Test; 27] = [
    ("everybody reaches everybody without policies", packets::everybody_reaches_everybody),
    ("policies silence what they should", packets::policies_silence),
    ("changes of the cluster are followed", packets::changes_are_followed),
    ("every address of a pod or node answers", packets::every_address_answers),
    ("an address of two pods is nobody's", packets::a_contested_address_is_nobodys),
    ("what cannot be sent is skipped with the reason", packets::unsendable_is_skipped),
    ("a change cuts what it forbids and nothing else", live::a_change_cuts_what_it_forbids_and_nothing_else),
    ("a host policy cuts live connections", host::a_host_policy_cuts_live_connections),
    ("a Service leads past no host policy", host::a_service_leads_past_no_host_policy),
    ("a policy of sockets lets NodePorts alone", host::a_policy_of_sockets_lets_node_ports_alone),
    ("live connections through Services are cut", services::live_connections_through_services_are_cut),
    ("servers outside are tried by everybody", servers::servers_are_tried_by_everybody),
    ("a list cuts live connections to its server", servers::a_list_cuts_live_connections),
    ("a server outside that lost its table disagrees", servers::a_server_that_lost_its_table_disagrees),
    ("an unknown pod is denied until it is known", denied::an_unknown_pod_is_denied_until_it_is_known),
    ("neighbour discovery of unknown pods passes", denied::neighbour_discovery_of_unknown_pods_passes),
    ("denied packets are counted", denied::denied_packets_are_counted),
    ("no denied packet passes beside the log", denied::no_denied_packet_passes_beside_the_log),
    ("rejected packets are answered", denied::rejected_packets_are_answered),
    ("live connections are cut or kept", denied::live_connections_are_cut_or_kept),
    ("what audited policies would deny is counted", audited::what_audited_policies_would_deny_is_counted),
    ("what audited policies would deny is logged", audited::what_audited_policies_would_deny_is_logged),
    ("a kernel that drops too much disagrees", lifetime::a_kernel_that_drops_too_much_disagrees),
    ("silence without a control flow is no verdict", lifetime::silence_without_control_is_no_verdict),
    ("commands run in pods", lifetime::commands_run_in_pods),
    ("nothing is left behind", lifetime::nothing_is_left_behind),
    ("every killed process takes the command along", lifetime::killed_processes_take_the_command_along),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["hold", path] => lifetime::hold(path),
        ["try"] => ExitCode::from(u8::from(palisade_lab::become_root().is_err())),
        ["talk", transport, role, address] => live::talk(transport, role, address),
        ["exec", path, end, command @ ..] => lifetime::exec(path, end, command),
        rest => run(kernel::filter(rest)),
    }
}

fn run(filter: &str) -> ExitCode {
    let root = rustix::process::geteuid().is_root();
    if !root && namespaces_can_be_had() {
        lifetime::commands_enter_the_user_namespace();
        println!("as an ordinary user: commands enter the user namespace of the lab ... ok");
    }
    if let Err(error) = palisade_lab::become_root() {
        return kernel::skipped(format!("{error}: {}", error.hint()));
    }
    let user = if root { "root" } else { "an ordinary user" };
    let tests: Vec<Test> = TESTS.into_iter().filter(|(name, _)| name.contains(filter)).collect();
    // All at once: a busy machine must not change the outcome.
    let threads: Vec<_> =
        tests.into_iter().map(|(name, test)| (name, std::thread::spawn(move || catch_unwind(test).is_ok()))).collect();
    let mut ok = true;
    for (name, thread) in threads {
        let passed = thread.join().unwrap_or(false);
        println!("as {user}: {name} ... {}", if passed { "ok" } else { "FAILED" });
        ok &= passed;
    }
    if root {
        ok &= run_as_nobody(filter);
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tries in a child, because there is no way back.
fn namespaces_can_be_had() -> bool {
    Command::new(std::env::current_exe().unwrap()).arg("try").status().unwrap().success()
}

/// Runs this program once more as nobody, from a place where nobody may read it.
fn run_as_nobody(filter: &str) -> bool {
    use std::os::unix::process::CommandExt;

    const NOBODY: u32 = 65_534;
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = directory.path().join("kernel");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let status = Command::new(program).arg(filter).uid(NOBODY).gid(NOBODY).current_dir("/").status();
    status.unwrap().success()
}
