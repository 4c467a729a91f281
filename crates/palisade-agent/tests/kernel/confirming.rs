//! Changes that take the way to the API server away, on a node that reaches it by another: confirmed, or taken back.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_agent::cleanup::{emergency_stop, resume};
use palisade_agent::report::Obstacle;
use palisade_agent::wait::{Standing, Subject};
use palisade_compile::{Compiler, UnknownPods};
use palisade_core::{HostPolicy, HostPolicyName, NodeName, Snapshot};
use palisade_nft::{lower_bans, lower_host};
use palisade_testapi::{Disturbance, Fault};
use serde_json::json;

use crate::agent::Told;
use crate::asking::{get, samples, status, until};
use crate::bans::list;
use crate::hosts::{guarded, ready, remove, saved};
use crate::probing::{spawn, wait_for_line};
use crate::telling::wait;
use crate::world::World;

/// What the agent knows as the API server. No list bans it; what it leads to is another matter.
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)), 6443);
/// Where the way to the API server begins.
const DOOR: u16 = 9000;
/// The ban of what is behind [`SERVER`] in [`behind_a_service`]: the addresses that the lab has for itself.
const BEHIND: &str = "255.254.0.0/16";
/// How long the agent looks before it takes something back, and a little more.
const LOST: std::ops::RangeInclusive<u64> = 4_900..=7_500;

/// An open door to the API server; it closes with this value.
struct Door(Child);

impl Door {
    fn open(world: &World, end: &str) -> Door {
        let socket = world.told("n1").api;
        let mut child = spawn(world.path(), end, &["door", &format!("0.0.0.0:{DOOR}"), socket.to_str().unwrap()]);
        wait_for_line(&mut child, "ready");
        Door(child)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first node reaches the API server by an address that leads to the second one, as that of a Service does.
fn behind_a_service(snapshot: &Snapshot) -> (World, Door) {
    let mut world = World::without_agents(snapshot, UnknownPods::Drop);
    world.define_node_states();
    let door = Door::open(&world, "node/n2");
    let control = world.lab.inside(&"n2".into(), control_address).unwrap();
    let leads = format!("ip daddr {} tcp dport {} dnat to {control}:{DOOR};", SERVER.ip(), SERVER.port());
    nft(&world, "n1", &format!("table ip t {{ chain out {{ type nat hook output priority -100; {leads} }} }}"));
    start(&mut world);
    (world, door)
}

fn start(world: &mut World) {
    world.start_agent_told(&Told { protected: Vec::new(), server: Some(SERVER), ..world.told("n1") });
    until(|| get(world, "/readyz").is_some(), || "an answer".to_owned());
}

/// The address that the lab has given a node for itself.
fn control_address() -> Ipv4Addr {
    let routes = std::fs::read_to_string("/proc/thread-self/net/fib_trie").unwrap();
    let address = |line: &str| line.split_whitespace().find(|word| word.starts_with("255.254."))?.parse().ok();
    routes.lines().find_map(address).unwrap()
}

pub fn nft(world: &World, node: &str, rules: &str) {
    let rules = rules.replace('}', "\n}");
    let apply = move || {
        let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success());
    };
    world.lab.inside(&node.into(), apply).unwrap();
}

fn with(snapshot: &Snapshot, lists: &[(&str, &str)]) -> Snapshot {
    let lists = lists.iter().map(|(name, cidr)| ((*name).into(), Arc::new(list(name, &[cidr]))));
    Snapshot { ban_lists: lists.collect(), ..snapshot.clone() }
}

/// Whether the kernel of the first node holds the bans and the guards of this cluster.
fn holds(world: &World, snapshot: &Snapshot) -> bool {
    let n1: NodeName = "n1".into();
    let mut compiler = Compiler::new(n1.clone());
    compiler.update(&Snapshot::default().changes_to(snapshot));
    let settings = palisade_nft::Settings { log_group: Some(5), ..palisade_nft::Settings::default() };
    let bans = palisade_nft::diff(&world.bans_ruleset(&n1), &lower_bans(&compiler.tables().bans, &settings));
    let host = palisade_nft::diff(&world.host_ruleset(&n1), &lower_host(&compiler.tables().host, &settings));
    bans.operations().is_empty() && host.operations().is_empty()
}

fn obstacle(world: &World, name: &str) -> Option<Obstacle> {
    status(world).preflight.into_iter().find(|obstacle| obstacle.name == name)
}

/// Changes the cluster, sees the change in force, and then what was before again; returns what is said of it.
fn is_taken_back(world: &mut World, next: &Snapshot, name: &str) -> String {
    let before = world.snapshot.clone();
    // What is in force, and not confirmed yet, would be taken back as well.
    std::thread::sleep(Duration::from_millis(500));
    world.say(next);
    let since = Instant::now();
    until(|| holds(world, next), || "the change".to_owned());
    let in_force = since.elapsed();
    assert!(in_force < Duration::from_millis(500), "{in_force:?}");
    until(|| obstacle(world, name).is_some(), || "what was rolled back".to_owned());
    let took = since.elapsed().as_millis();
    assert!(LOST.contains(&u64::try_from(took).unwrap()), "after {took} ms");
    until(
        || holds(world, &before),
        || format!("what was before; {:?}, {}", status(world), world.host_ruleset(&"n1".into())),
    );
    obstacle(world, name).unwrap().found
}

/// The address of the API server is never banned; what it leads to, a list does not know. The agent does without the list until it is
/// another one, also after it starts anew, and goes on with the rest.
pub fn a_ban_that_cuts_the_api_server_off_is_taken_back() {
    let harmless = with(&guarded(), &[("abuse", "203.0.113.0/24")]);
    let (mut world, _door) = behind_a_service(&harmless);
    ready(&world);
    assert!(holds(&world, &harmless) && obstacle(&world, "unconfirmed").is_none());
    let state = saved(&world, "203.0.113.0");

    let cuts = with(&guarded(), &[("abuse", "203.0.113.0/24"), ("cuts", BEHIND)]);
    let found = is_taken_back(&mut world, &cuts, "rolled-back-ban-lists");
    assert_eq!(found, "rolled back: with the change of BanList cuts the node lost the API server");
    assert_eq!(samples(&world, "palisade_rollbacks_total"), [(String::new(), 1)].into());
    let (code, waits) = get(&world, "/readyz").unwrap();
    assert!(code == 503 && waits.contains(&found), "{code} {waits}");
    // It is connected again, and says so to the cluster.
    let says = |world: &World| wait(world, Subject::BanList, "cuts", Duration::from_millis(100)).unwrap();
    until(
        || says(&world).nodes.iter().any(|node| node.why.as_deref().is_some_and(|why| why.contains("rolled back"))),
        || format!("the word of n1: {:?}", says(&world)),
    );
    assert!(says(&world).nodes.iter().all(|node| node.standing != Standing::InForce));
    // Policies of pods are followed, and nothing is tried again by itself.
    world.say(&Snapshot { policies: [].into(), ..cuts.clone() });
    until(|| status(&world).policies == 0, || "no policy".to_owned());
    // Nor by a new list that says the same.
    world.api.faults().add(Fault::event("banlists.palisade.dev", Disturbance::Gone));
    let mut same = world.api.get("banlists", "", "cuts").unwrap();
    same["metadata"]["labels"] = json!({ "a": "b" });
    world.api.put(same);
    until(|| world.api.faults().pending() == 0, || "a new list".to_owned());
    std::thread::sleep(Duration::from_secs(3));
    assert!(holds(&world, &harmless) && obstacle(&world, "rolled-back-ban-lists").is_some());
    let text = std::fs::read_to_string(&state).unwrap();
    assert!(text.contains("203.0.113.0") && !text.contains("255.254."), "what was taken back is in the state file");

    // A new agent tries once more.
    world.agents.remove(&NodeName::from("n1")).unwrap().kill();
    start(&mut world);
    until(|| holds(&world, &cuts), || "the list".to_owned());
    until(|| obstacle(&world, "rolled-back-ban-lists").is_some(), || "what was rolled back".to_owned());
    until(|| holds(&world, &harmless), || "what was before".to_owned());
    // A list that is another is tried, and what is right stays.
    let right = with(&guarded(), &[("abuse", "203.0.113.0/24"), ("cuts", "198.51.100.0/24")]);
    world.say(&right);
    until(|| holds(&world, &right), || "the list".to_owned());
    ready(&world);
    assert_eq!(obstacle(&world, "rolled-back-ban-lists"), None);
    saved(&world, "198.51.100.0");
}

/// A balancer that leads back to the node itself is somebody who comes to its port.
pub fn a_guard_that_cuts_the_api_server_off_is_taken_back() {
    let open = Snapshot { host_policies: [].into(), ..guarded() };
    let mut world = World::without_agents(&open, UnknownPods::Drop);
    let _door = Door::open(&world, "node/n1");
    nft(
        &world,
        "n2",
        &format!(
            "table ip t {{ chain p {{ type nat hook prerouting priority -100; tcp dport {} dnat to 10.99.0.1:{DOOR}; }}
             chain q {{ type nat hook postrouting priority 100; tcp dport {DOOR} snat to 10.99.0.2; }} }}",
            SERVER.port()
        ),
    );
    let server = SocketAddr::new("10.99.0.2".parse().unwrap(), SERVER.port());
    world.start_agent_told(&Told { server: Some(server), ..world.told("n1") });
    ready(&world);
    let n2_admitted = guarded();
    world.say(&n2_admitted);
    until(|| holds(&world, &n2_admitted), || "the guard".to_owned());
    ready(&world);
    let guard = &n2_admitted.host_policies[&HostPolicyName::from("guard")];
    let nobody = Arc::new(HostPolicy { from: Vec::new(), ..(**guard).clone() });
    let cuts = Snapshot { host_policies: [(nobody.name.clone(), nobody)].into(), ..guarded() };
    let found = is_taken_back(&mut world, &cuts, "rolled-back-host-policies");
    assert_eq!(found, "rolled back: with the change of HostPolicy guard the node lost the API server");
    // After a pause what is to hold is tried again, and nothing is what to go back to.
    let directory = world.state_dir("n1");
    let stopped = directory.clone();
    world.lab.inside(&"n1".into(), move || emergency_stop(&stopped).unwrap()).unwrap();
    until(|| obstacle(&world, "rolled-back-host-policies").is_none(), || "a pause".to_owned());
    resume(&directory).unwrap();
    until(|| holds(&world, &cuts), || "the guard".to_owned());
    until(|| obstacle(&world, "rolled-back-host-policies").is_some(), || "what was rolled back".to_owned());
    until(|| holds(&world, &open), || "no guard".to_owned());
}

/// Where no connection worked before, nobody can tell what a change does: it stays.
pub fn without_an_api_server_a_change_is_unconfirmed() {
    let snapshot = Snapshot { host_policies: [].into(), ..guarded() };
    let mut world = World::without_agents(&snapshot, UnknownPods::Drop);
    let door = Door::open(&world, "node/n2");
    let server = SocketAddr::new("10.99.0.2".parse().unwrap(), DOOR);
    let file = world.path().join("config.yaml");
    let text = |port| format!("ipChain: A\nrestrictedPorts: [{port}]\nallowedNetworks: [192.0.2.0/24]\n");
    std::fs::write(&file, text(9100)).unwrap();
    world.start_agent_told(&Told { server: Some(server), configs: vec![file.clone()], ..world.told("n1") });
    ready(&world);
    let guards = |port: u16| status(&world).host.unwrap().guarded == [format!("tcp {port} (sockets)")];
    until(|| guards(9100), || "the first port".to_owned());
    drop(door);
    // What was seen within a second before would still count.
    std::thread::sleep(Duration::from_millis(1_100));
    std::fs::write(&file, text(9101)).unwrap();
    until(|| guards(9101), || "the second port".to_owned());
    until(|| obstacle(&world, "unconfirmed").is_some(), || "what is unconfirmed".to_owned());
    std::thread::sleep(Duration::from_secs(6));
    let found = obstacle(&world, "unconfirmed").unwrap().found;
    assert!(guards(9101) && found.contains("ipChain A"), "{found}");
    saved(&world, "9101");
    let _door = Door::open(&world, "node/n2");
    until(|| obstacle(&world, "unconfirmed").is_none(), || "a connection".to_owned());
    assert!(guards(9101) && samples(&world, "palisade_rollbacks_total").is_empty());
}

/// An API server that goes with a change, and does not come back without it, was not taken away by it.
pub fn an_api_server_that_goes_by_itself_takes_no_ban_along() {
    let harmless = with(&guarded(), &[("abuse", "203.0.113.0/24")]);
    let (mut world, door) = behind_a_service(&harmless);
    ready(&world);
    let state = saved(&world, "203.0.113.0");
    let cuts = with(&guarded(), &[("abuse", "203.0.113.0/24"), ("cuts", BEHIND)]);
    world.say(&cuts);
    until(|| holds(&world, &cuts), || "the ban".to_owned());
    drop(door);
    // A reboot by now would have to bring back what is known to be good.
    std::thread::sleep(Duration::from_millis(2_500));
    assert!(holds(&world, &cuts) && !std::fs::read_to_string(&state).unwrap().contains("255.254."));
    until(|| obstacle(&world, "rolled-back-ban-lists").is_some(), || "what was rolled back".to_owned());
    until(|| holds(&world, &harmless), || "what was before".to_owned());
    until(|| holds(&world, &cuts), || "the ban again".to_owned());
    until(|| obstacle(&world, "unconfirmed").is_some(), || "what is unconfirmed".to_owned());
    assert_eq!(obstacle(&world, "rolled-back-ban-lists"), None);
    remove(&world, palisade_nft::Table::Bans);
    until(|| holds(&world, &cuts), || "the repair".to_owned());
}
