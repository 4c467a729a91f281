//! What the agent tells of its state: not ready, ready, paused, and what is in the kernel then.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use palisade_agent::cleanup::{cleanup, emergency_stop, resume};
use palisade_agent::report::Phase;
use palisade_compile::UnknownPods;
use palisade_core::NodeName;
use palisade_nft::{Kernel, Table};

use crate::asking::{get, samples, status, until};
use crate::bans::banned;
use crate::forged::PACKETS;
use crate::hosts::guarded;
use crate::lifetime::{add_pod, shop};
use crate::probing::spawn;
use crate::world::World;

/// The pod that is attached to a bridge of the node; the lab knows nothing of it.
const BRIDGED: u8 = 7;
const BRIDGED_NAME: &str = "shop/bridged";

/// Before the lists, when they are complete, when pods forge: status, probes and figures are right.
pub fn what_is_in_force_is_told() {
    let mut world = World::without_agents(&shop(), UnknownPods::Drop);
    world.api.stop();
    world.start_agent(&"n1".into());
    until(|| get(&world, "/readyz").is_some(), || "an answer".to_owned());
    let (code, waits) = get(&world, "/readyz").unwrap();
    assert_eq!((code, waits.lines().count()), (503, 6), "{waits}");
    assert!(waits.contains("the list of NetworkPolicy is not complete"), "{waits}");
    assert_eq!(get(&world, "/healthz").unwrap().0, 200);
    assert_eq!(status(&world).phase, Phase::Listing);
    world.api.resume();
    world.settle();
    until(|| get(&world, "/readyz").unwrap().0 == 200, || "ready".to_owned());
    let report = status(&world);
    assert_eq!((report.phase, report.pods.len(), report.policies), (Phase::InForce, 3, 2));
    for pod in &report.pods {
        let isolator = match pod.pod.as_str() {
            "shop/client" => None,
            name => Some(vec![name.to_owned()]),
        };
        assert_eq!((&pod.ingress, &pod.egress), (&isolator, &None), "{pod:?}");
        assert!(pod.since.is_some() && pod.interface.is_some(), "{pod:?}");
    }
    let second = Command::new(std::env::current_exe().unwrap())
        .args(["exec".as_ref(), world.path().as_os_str(), "node/n1".as_ref()])
        .arg(std::env::current_exe().unwrap())
        .args(["agent", &serde_json::to_string(&world.told("n1")).unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("Taken"), "{said}");
    // It took nothing from the first.
    assert_eq!(status(&world).phase, Phase::InForce);
    for (forged, destination) in [("10.244.1.2", "10.244.1.3"), ("fd44:0:0:1::2", "fd44:0:0:1::3")] {
        let mut forger = spawn(world.path(), "shop/client", &["forge", forged, destination]);
        assert!(forger.wait().unwrap().success());
    }
    let expected = [("attached=\"routed\"".to_owned(), 2 * PACKETS as u64)].into();
    let counted = || samples(&world, "palisade_forged_packets_total");
    until(|| counted() == expected, || format!("{expected:?} in {:?}", counted()));
    // Nothing is counted again when it is asked for again.
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(counted(), expected);
    let forged = status(&world).forged_sources;
    assert_eq!((forged.dropped, forged.packets), (true, 2 * PACKETS as u64));
    assert_eq!(samples(&world, "palisade_denied_packets_total"), [].into());
}

/// A pause takes every table out of the kernel, also one made without an agent, and lasts until it is ended.
pub fn paused_is_without_rules() {
    let mut snapshot = banned();
    let mut world = World::start(&snapshot, UnknownPods::Drop);
    let node: NodeName = "n1".into();
    add_pod(&mut snapshot, "bridged", BRIDGED);
    world.say(&snapshot);
    let _bridged = Bridged::start(&world);
    let all = [true; Table::ALL.len()];
    let none = [false; Table::ALL.len()];
    until(|| tables(&world) == all, || format!("all tables, but {:?}", tables(&world)));
    let bound = |world: &World| {
        let pods = status(world).pods;
        pods.iter().find(|pod| pod.pod == BRIDGED_NAME).is_some_and(|pod| pod.interface.as_deref() == Some("far0"))
    };
    until(|| bound(&world), || "the interface of the bridged pod".to_owned());
    let directory = world.state_dir("n1");
    cleanup(&directory).unwrap();
    assert_eq!(tables(&world), none);
    let paused = |world: &World| {
        let (code, waits) = get(world, "/readyz").unwrap();
        assert!(code == 503 && waits.contains("paused"), "{code} {waits}");
        assert_eq!(status(world).phase, Phase::Paused);
        assert_eq!(tables(world), none);
    };
    paused(&world);
    world.agents.remove(&node).unwrap().terminate();
    world.start_agent(&node);
    until(|| get(&world, "/readyz").is_some(), || "an answer".to_owned());
    // Its lists come, and change nothing.
    until(|| status(&world).watches.values().all(|watch| watch.complete), || "the lists".to_owned());
    paused(&world);
    resume(&directory).unwrap();
    world.settle();
    until(|| tables(&world) == all, || format!("all tables, but {:?}", tables(&world)));
    world.agrees_on(&["shop/client -> shop/open udp 5300", "shop/client -> shop/closed udp 5300"]);
    // Without an agent, what it left is in force until it is taken out.
    world.agents.remove(&node).unwrap().kill();
    assert_eq!(tables(&world), all);
    world.lab.inside(&node, move || cleanup(&directory).unwrap()).unwrap();
    assert_eq!(tables(&world), none);
    world.start_agent(&node);
    until(|| get(&world, "/readyz").is_some(), || "an answer".to_owned());
    paused(&world);
}

/// An emergency stop does not rely on the agent: one that hangs finds out when it goes on, and stands by.
pub fn an_emergency_stop_waits_for_nobody() {
    let mut world = World::start(&guarded(), UnknownPods::Drop);
    let node: NodeName = "n1".into();
    let none = [false; Table::ALL.len()];
    let directory = world.state_dir("n1");
    world.agents[&node].hang(true);
    let stopped = directory.clone();
    world.lab.inside(&node, move || emergency_stop(&stopped).unwrap()).unwrap();
    assert_eq!(tables(&world), none);
    // What happens meanwhile is not brought into force either.
    let mut next = world.snapshot.clone();
    next.host_policies.clear();
    world.say(&next);
    world.agents[&node].hang(false);
    let is_paused = |world: &World| get(world, "/readyz").is_some_and(|(_, waits)| waits.contains("paused"));
    until(|| is_paused(&world), || "the agent to stand by".to_owned());
    assert_eq!((status(&world).phase, tables(&world)), (Phase::Paused, none));
    resume(&directory).unwrap();
    world.settle();
    world.agrees_on(&["shop/client -> shop/open udp 5300", "shop/client -> shop/closed udp 5300"]);
    // One that cannot be asked at all finds the marker before it repairs anything.
    std::fs::remove_file(directory.join("agent.sock")).unwrap();
    world.lab.inside(&node, move || emergency_stop(&directory).unwrap()).unwrap();
    until(|| is_paused(&world), || "the agent to stand by".to_owned());
    assert_eq!(tables(&world), none);
    world.agents.remove(&node).unwrap().terminate();
    world.start_agent(&node);
    until(|| get(&world, "/readyz").is_some(), || "an answer".to_owned());
    assert_eq!((status(&world).phase, tables(&world)), (Phase::Paused, none));
}

/// Which of our tables the kernel of the node holds.
pub fn tables(world: &World) -> [bool; Table::ALL.len()] {
    let is_there = |table| Kernel::open_table(table).unwrap().read_back().unwrap().is_some();
    world.lab.inside(&"n1".into(), move || Table::ALL.map(is_there)).unwrap()
}

/// A pod on a bridge of the node, for as long as this lives.
struct Bridged(Child);

impl Bridged {
    fn start(world: &World) -> Bridged {
        let start = || {
            let mut pod = Command::new("unshare");
            let mut pod =
                pod.args(["-n", "sh", "-c", "echo made; exec sleep 600"]).stdout(Stdio::piped()).spawn().unwrap();
            BufReader::new(pod.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
            let id = pod.id();
            let script = format!(
                "ip link add bridge0 type bridge && ip link set bridge0 up &&
                 ip link add far0 type veth peer name eth0 netns {id} && ip link set far0 master bridge0 up &&
                 nsenter -t {id} -n ip address add 10.244.1.{BRIDGED}/24 dev eth0 && nsenter -t {id} -n ip link set eth0 up"
            );
            assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
            Bridged(pod)
        };
        world.lab.inside(&"n1".into(), start).unwrap()
    }
}

impl Drop for Bridged {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
