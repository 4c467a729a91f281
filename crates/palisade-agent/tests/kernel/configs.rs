//! Config files of kube-restrict-ip: followed as they change, and never lost by accident.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_compile::UnknownPods;
use palisade_core::{HostPolicyName, NodeName, Snapshot};
use palisade_nft::{Kernel, Table};
use palisade_sources::SourceText;
use palisade_sources::restrict_ip::RestrictIp;

use crate::agent::Told;
use crate::asking::{get, samples, status, until};
use crate::hosts::guarded;
use crate::world::World;

/// The pods on n1 whose last octet is 1, and the other node.
const CLIENT: &str = "[10.244.1.1, \"fd44:0:0:1::1\", 10.99.0.2, \"fd99::2\"]";
/// All pods, and no node.
const PODS: &str = "[10.244.0.0/16, \"fd44::/48\"]";
const FLOWS: [&str; 5] = [
    "shop/client -> node/n1 tcp 9100",
    "shop/open -> node/n1 tcp 9100",
    "node/n2 -> node/n1 tcp 9100",
    "shop/open -> node/n1 tcp 9101",
    "shop/open -> node/n1 udp 9100",
];

fn config(chain: &str, networks: &str) -> String {
    format!("ipChain: {chain}\nrestrictedPorts: [9100]\nallowedNetworks: {networks}\ncheckInterval: 1h\n")
}

/// A cluster with an agent on n1 that follows these files, which are in a directory of the world.
fn start(files: &[&str], standalone: bool) -> World {
    let mut snapshot = Snapshot { host_policies: [].into(), ..guarded() };
    if standalone {
        snapshot.policies.clear();
    }
    let mut world = World::without_agents(&snapshot, UnknownPods::Drop);
    std::fs::create_dir(world.path().join("etc")).unwrap();
    start_agent(&mut world, files, standalone);
    world
}

fn start_agent(world: &mut World, files: &[&str], standalone: bool) {
    let configs = files.iter().map(|name| path(world, name)).collect();
    // As the flag has it.
    let enforce = [!standalone, true, !standalone];
    world.start_agent_told(&Told { enforce, configs, standalone, ..world.told("n1") });
    until(|| get(world, "/healthz").is_some(), || "an answer".to_owned());
}

fn path(world: &World, name: &str) -> PathBuf {
    world.path().join("etc").join(name)
}

/// As editors do: written beside it, and renamed over it.
fn write(world: &World, name: &str, text: &str) {
    let (new, path) = (path(world, ".new"), path(world, name));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// What is to hold: these texts and no others.
fn hold(world: &mut World, texts: &[&str]) {
    world.snapshot.host_policies.retain(|name, _| name.object().is_some());
    for text in texts {
        let policy = RestrictIp::parse(&SourceText { file: "config.yaml".into(), text: (*text).to_string() }).policy;
        world.snapshot.host_policies.insert(policy.name.clone(), Arc::new(policy));
    }
    world.settle();
    world.agrees_on(&FLOWS);
}

/// The conditions of the files, as status tells them.
fn conditions(world: &World) -> Vec<String> {
    status(world).host.unwrap().config_files.into_iter().map(|file| file.condition).collect()
}

fn becomes(world: &World, condition: &str) {
    until(|| conditions(world) == [condition], || format!("{condition}, but {:?}", conditions(world)));
    let label = format!("condition=\"{condition}\"");
    assert_eq!(samples(world, "palisade_config_files"), [(label, 1)].into());
}

/// A file is waited for, guards its port, is reloaded at once when it changes; what it said holds while it is broken, after it is gone,
/// and for the next agent.
pub fn a_config_file_is_followed() {
    let mut world = start(&["config.yaml"], false);
    becomes(&world, "waited-for");
    hold(&mut world, &[]);
    let (first, second) = (config("METRICS", CLIENT), config("METRICS", PODS));
    write(&world, "config.yaml", &first);
    hold(&mut world, &[&first]);
    becomes(&world, "in-force");
    write(&world, "config.yaml", &second);
    hold(&mut world, &[&second]);
    let findings = status(&world).findings;
    assert!(
        findings[0].object.contains("METRICS") && findings[0].findings[0].contains("node n1 (10.99.0.1)"),
        "{findings:?}"
    );
    // Another name is another group, and the one before is gone.
    let renamed = config("OTHER", CLIENT);
    write(&world, "config.yaml", &renamed);
    hold(&mut world, &[&renamed]);

    write(&world, "config.yaml", "restrictedPorts: [9100]\nallowedNetworks: [10.0.0.300]\n");
    becomes(&world, "unreadable");
    hold(&mut world, &[&renamed]);
    let obstacles = status(&world).preflight;
    let obstacle = obstacles.iter().find(|obstacle| obstacle.name == "config-file").unwrap();
    assert!(
        obstacle.found.contains("config.yaml:2:19: allowedNetworks[0]: ") && obstacle.found.contains("10.0.0.300"),
        "{obstacle:?}"
    );
    assert_eq!(obstacle.means, "what it said last holds on");

    std::fs::remove_file(path(&world, "config.yaml")).unwrap();
    becomes(&world, "gone");
    hold(&mut world, &[&renamed]);
    // The next agent knows it, from a copy and where the kernel lost it.
    world.agents.remove(&NodeName::from("n1")).unwrap().terminate();
    let remove = || assert!(Kernel::open_table(Table::Host).unwrap().remove_table().unwrap());
    world.lab.inside(&"n1".into(), remove).unwrap();
    start_agent(&mut world, &["config.yaml"], false);
    becomes(&world, "gone");
    hold(&mut world, &[&renamed]);
    // An agent that is not told of it knows it no more, and neither does the one after.
    for (files, condition) in [(&[][..], &[][..]), (&["config.yaml"], &["waited-for"])] {
        world.agents.remove(&NodeName::from("n1")).unwrap().terminate();
        start_agent(&mut world, files, false);
        until(|| conditions(&world) == condition, || format!("{condition:?}, but {:?}", conditions(&world)));
        hold(&mut world, &[]);
    }
    write(&world, "config.yaml", &first);
    hold(&mut world, &[&first]);
    becomes(&world, "in-force");
}

/// A file that nobody could ever read admits nobody to the ports that can be, and says where it is wrong.
pub fn a_config_file_that_was_never_read_closes_its_ports() {
    let mut world = start(&["config.yaml"], false);
    let broken = "restrictedPorts: [9100, 22]\nallowedNetworks: []\n";
    write(&world, "config.yaml", broken);
    becomes(&world, "unreadable");
    hold(&mut world, &[broken]);
    assert_eq!(samples(&world, "palisade_unreadable_policies").len(), 1);
}

/// The kubelet swaps a link above the file when the `ConfigMap` changes, and the file is never written.
pub fn a_mounted_config_map_is_followed() {
    let mut world = start(&["config.yaml"], false);
    let (first, second) = (config("METRICS", CLIENT), config("METRICS", PODS));
    let etc = world.path().join("etc");
    for (version, text) in [("..1", &first), ("..2", &second)] {
        std::fs::create_dir(etc.join(version)).unwrap();
        std::fs::write(etc.join(version).join("config.yaml"), text).unwrap();
    }
    symlink("..data/config.yaml", etc.join("config.yaml")).unwrap();
    swap(&etc, "..1");
    hold(&mut world, &[&first]);
    swap(&etc, "..2");
    hold(&mut world, &[&second]);
}

fn swap(etc: &Path, version: &str) {
    symlink(version, etc.join("..data_tmp")).unwrap();
    std::fs::rename(etc.join("..data_tmp"), etc.join("..data")).unwrap();
}

/// Each file is a group, and so are all HostPolicies: who is to reach the port must be admitted by each.
pub fn every_config_file_has_to_admit() {
    let mut world = start(&["a.yaml", "b.yaml"], false);
    let (pods, client) = (config("A", PODS), config("B", CLIENT));
    write(&world, "a.yaml", &pods);
    hold(&mut world, &[&pods]);
    write(&world, "b.yaml", &client);
    hold(&mut world, &[&pods, &client]);
    // A policy of the API server that admits the other node alone leaves nobody.
    let mut with_policy = world.snapshot.clone();
    let mut policy = (*guarded().host_policies[&"guard".into()]).clone();
    policy.ports = policy.ports.iter().map(|port| palisade_core::HostPort { range: single(9100), ..*port }).collect();
    with_policy.host_policies.insert(policy.name.clone(), Arc::new(policy));
    world.say(&with_policy);
    hold(&mut world, &[&pods, &client]);
    // One name for two files is two groups all the same.
    let same = config("A", CLIENT);
    write(&world, "b.yaml", &same);
    world.snapshot.host_policies.retain(|name, _| name.to_string() != "B");
    let mut second = RestrictIp::parse(&SourceText { file: "b.yaml".into(), text: same }).policy;
    second.name = HostPolicyName::File("A-2".into());
    world.snapshot.host_policies.insert(second.name.clone(), Arc::new(second));
    world.settle();
    world.agrees_on(&FLOWS);
}

fn single(port: u16) -> palisade_core::PortRange {
    palisade_core::PortRange::single(port.try_into().unwrap())
}

/// Where the kind `HostPolicy` is not installed, files guard ports all the same.
pub fn config_files_need_no_host_kind() {
    let mut world = start(&["config.yaml"], false);
    let first = config("METRICS", CLIENT);
    write(&world, "config.yaml", &first);
    hold(&mut world, &[&first]);
    world.agents.remove(&NodeName::from("n1")).unwrap().terminate();
    assert!(world.api.delete("customresourcedefinitions", "", "hostpolicies.palisade.dev"));
    let second = config("METRICS", PODS);
    write(&world, "config.yaml", &second);
    start_agent(&mut world, &["config.yaml"], false);
    hold(&mut world, &[&second]);
}

/// Without an API server a file is in force all the same, whatever is loopback's own; an agent that starts again finds it so.
pub fn a_config_file_needs_no_api_server() {
    let mut world = start(&["config.yaml"], true);
    world.api.stop();
    becomes(&world, "waited-for");
    let (first, second) = (config("METRICS", CLIENT), config("METRICS", PODS));
    for text in [&first, &second] {
        write(&world, "config.yaml", text);
        stands_alone(&mut world, text);
    }
    becomes(&world, "in-force");
    assert!(get(&world, "/readyz").is_some_and(|(code, _)| code == 200));
    assert!(status(&world).watches.is_empty());
    // What others take away comes back, by the agent and by the next one.
    let remove = || assert!(Kernel::open_table(Table::Host).unwrap().remove_table().unwrap());
    world.lab.inside(&"n1".into(), remove).unwrap();
    stands_alone(&mut world, &second);
    world.agents.remove(&NodeName::from("n1")).unwrap().kill();
    world.lab.inside(&"n1".into(), remove).unwrap();
    start_agent(&mut world, &["config.yaml"], true);
    stands_alone(&mut world, &second);
    assert!(world.ruleset(&"n1".into()).is_none(), "policies of pods are not enforced");
}

/// Waits until the text is in force on n1, of which alone the agent knows, and holds packets against the oracle.
fn stands_alone(world: &mut World, text: &str) {
    let policy = RestrictIp::parse(&SourceText { file: "config.yaml".into(), text: text.to_string() }).policy;
    let blocks: Vec<String> = policy.from.iter().map(ToString::to_string).collect();
    let holds = |world: &World| {
        let ruleset = world.host_ruleset(&"n1".into()).to_string();
        blocks.iter().all(|block| ruleset.contains(block.trim_end_matches("/32").trim_end_matches("/128")))
    };
    until(|| holds(world), || format!("{blocks:?} in {}", world.host_ruleset(&"n1".into())));
    world.snapshot.host_policies = [(policy.name.clone(), Arc::new(policy))].into();
    world.agrees_on(&FLOWS);
}
