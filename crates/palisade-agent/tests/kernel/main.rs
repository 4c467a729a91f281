//! Agents on the nodes of a lab, told by an API server for tests: real packets, and the kernel read back.
//!
//! Each agent is a process of its own, so that it can be killed. `PALISADE_REQUIRE_KERNEL` makes it a failure if namespaces cannot
//! be had.
#![expect(clippy::disallowed_methods, reason = "tests start processes and look at files")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agent;
mod asking;
mod bans;
mod changes;
mod configs;
mod confirming;
mod feeds;
mod forged;
mod hostile;
mod hosts;
mod lifetime;
mod objects;
mod paused;
mod pods;
mod probing;
mod random;
mod seeing;
mod statuses;
mod telling;
mod world;

use std::process::ExitCode;

use palisade_testkit::kernel::{self, Test};

const TESTS: &[Test] = &[
    ("policies of the API server are in force", changes::policies_are_in_force),
    ("changes are followed", changes::changes_are_followed),
    ("a new pod is silent until its policies are in force", pods::a_new_pod_is_silent_until_its_policies_are_in_force),
    ("no packet is early", pods::no_packet_is_early),
    ("live connections are cut or kept", pods::live_connections_are_cut_or_kept),
    ("a pod sends under its own address or not at all", forged::a_pod_sends_under_its_own_address_or_not_at_all),
    ("nobody takes a known address while no agent runs", forged::nobody_takes_a_known_address_while_no_agent_runs),
    ("a hostile namespace stays by itself", hostile::a_hostile_namespace_stays_by_itself),
    ("names and addresses are reused", pods::names_and_addresses_are_reused),
    ("host policies are followed", hosts::host_policies_are_followed),
    ("what wait says of host policies is true", hosts::what_wait_says_of_host_policies_is_true),
    ("ports stay guarded", hosts::ports_stay_guarded),
    ("policies of pods need no host kind", hosts::policies_of_pods_need_no_host_kind),
    ("what is not enforced is taken out", hosts::what_is_not_enforced_is_taken_out),
    ("an unreadable host policy closes its ports", hosts::an_unreadable_host_policy_closes_its_ports),
    ("half a list opens nothing", hosts::half_a_list_opens_nothing),
    ("guards of another cluster are forgotten", hosts::guards_of_another_cluster_are_forgotten),
    ("what is refused of hosts holds up no pod", hosts::what_is_refused_of_hosts_holds_up_no_pod),
    ("after a reboot ports are guarded", hosts::after_a_reboot_ports_are_guarded),
    ("failsafe sources are let in", hosts::failsafe_sources_are_let_in),
    ("denied packets to ports are told", hosts::denied_packets_to_ports_are_told),
    ("a firewall that drops by default is told", hosts::a_firewall_that_drops_by_default_is_told),
    ("bans are followed", bans::bans_are_followed),
    ("what is banned stays banned", bans::what_is_banned_stays_banned),
    ("an entry ends when it expires", bans::an_entry_ends_when_it_expires),
    ("what is protected is spared", bans::what_is_protected_is_spared),
    ("banned packets are told", bans::banned_packets_are_told),
    ("what wait says of bans is true", bans::what_wait_says_of_bans_is_true),
    ("a file is a source", feeds::a_file_is_a_source),
    ("a ConfigMap is a source", feeds::a_config_map_is_a_source),
    ("one agent fetches a feed for all", feeds::one_agent_fetches_a_feed_for_all),
    ("ban lists need no API server", feeds::ban_lists_need_no_api_server),
    ("a ban that cuts the API server off is taken back", confirming::a_ban_that_cuts_the_api_server_off_is_taken_back),
    (
        "a guard that cuts the API server off is taken back",
        confirming::a_guard_that_cuts_the_api_server_off_is_taken_back,
    ),
    ("without an API server a change is unconfirmed", confirming::without_an_api_server_a_change_is_unconfirmed),
    (
        "an API server that goes by itself takes no ban along",
        confirming::an_api_server_that_goes_by_itself_takes_no_ban_along,
    ),
    ("a host policy says where it is in force", statuses::a_host_policy_says_where_it_is_in_force),
    ("what is wrong with a host policy is said", statuses::what_is_wrong_with_a_host_policy_is_said),
    ("a ban list says where it is in force", statuses::a_ban_list_says_where_it_is_in_force),
    ("a node whose agent is gone is named", statuses::a_node_whose_agent_is_gone_is_named),
    ("another agent goes on with the status", statuses::another_agent_goes_on_with_the_status),
    ("policies are enforced without a Lease", statuses::policies_are_enforced_without_a_lease),
    ("a config file is followed", configs::a_config_file_is_followed),
    ("a config file that was never read closes its ports", configs::a_config_file_that_was_never_read_closes_its_ports),
    ("a mounted ConfigMap is followed", configs::a_mounted_config_map_is_followed),
    ("every config file has to admit", configs::every_config_file_has_to_admit),
    ("config files need no host kind", configs::config_files_need_no_host_kind),
    ("a config file needs no API server", configs::a_config_file_needs_no_api_server),
    ("every sequence of events ends as a fresh compile", random::every_sequence_ends_as_a_fresh_compile),
    ("what others change is repaired", lifetime::what_others_change_is_repaired),
    ("a cut outlives the agent", lifetime::a_cut_outlives_the_agent),
    ("a taken port is no reason not to enforce", lifetime::a_taken_port_is_no_reason_not_to_enforce),
    ("one agent enforces in a network namespace", lifetime::one_agent_enforces_in_a_network_namespace),
    ("pod ranges outlive the Node object", lifetime::pod_ranges_outlive_the_node_object),
    ("a state that cannot be written is told", lifetime::a_state_that_cannot_be_written_is_told),
    ("the state file brings the rules back", lifetime::the_state_file_brings_the_rules_back),
    ("denied packets are named and counted", seeing::denied_packets_are_named_and_counted),
    ("what audited policies would change is told", seeing::what_audited_policies_would_change_is_told),
    ("what is in force is told", paused::what_is_in_force_is_told),
    ("paused is without rules", paused::paused_is_without_rules),
    ("an emergency stop waits for nobody", paused::an_emergency_stop_waits_for_nobody),
    ("what wait says is true", telling::what_wait_says_is_true),
    ("what a new list lacks is told", telling::what_a_new_list_lacks_is_told),
    ("policies are enforced without the kind", telling::policies_are_enforced_without_the_kind),
    ("a moment without rights is waited out", telling::a_moment_without_rights_is_waited_out),
    ("an unreadable policy has one event", telling::an_unreadable_policy_has_one_event),
    ("nothing opens or closes while agents come and go", lifetime::nothing_opens_or_closes_while_agents_come_and_go),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["agent", settings] => agent::run(settings),
        ["probe", allowed, denied, ports] => probing::probe(allowed, denied, ports),
        ["hear"] => forged::hear(),
        ["forge", source, destination] => forged::forge(source, destination),
        ["send", destination, packets] => seeing::send_packets(destination, packets),
        ["push", address] => seeing::push(address),
        ["door", address, socket] => agent::door(address, socket),
        ["answer"] => probing::answer(),
        ["exec", path, end, command @ ..] => agent::exec(path, end, command),
        rest => run(kernel::filter(rest)),
    }
}

fn run(filter: &str) -> ExitCode {
    match palisade_lab::become_root() {
        Ok(()) => kernel::run(TESTS, filter),
        Err(error) => kernel::skipped(format!("{error}: {}", error.hint())),
    }
}
