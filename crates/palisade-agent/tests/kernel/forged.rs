//! A pod that sends under the address of another, to get past the policies.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Command, ExitCode};
use std::time::Duration;

use palisade_compile::UnknownPods;
use palisade_core::{NodeName, Peer, PortMatch, PortRange, Ports, Rule, Selector, Snapshot, Transport};
use palisade_nft::{Kernel, Table};

use crate::agent::Told;
use crate::lifetime::{add_pod, add_policy, shop, wait_for};
use crate::probing::{PORT, Probing, Server, spawn, wait_for_line};
use crate::world::World;

/// How many packets are forged.
pub const PACKETS: usize = 50;

/// The addresses of `open`, each with that of `closed`.
const FORGED: [(&str, &str); 2] = [("10.244.1.2", "10.244.1.3"), ("fd44:0:0:1::2", "fd44:0:0:1::3")];

/// `closed` admits `open`. `client`, which it does not admit, takes the address of `open`.
pub fn a_pod_sends_under_its_own_address_or_not_at_all() {
    let snapshot = open_reaches_closed();
    for bind_sources in [false, true] {
        let world = start(&snapshot, bind_sources);
        for (source, destination) in FORGED {
            let heard = heard(&world, "shop/client", source, destination);
            // Without the binding it gets through, or the test would show nothing.
            assert_eq!(heard > 0, !bind_sources, "{heard} as {source}");
        }
        world.agrees_on(&["shop/client -> shop/closed udp 5300", "shop/open -> shop/closed udp 5300"]);
    }
}

/// The same by a pod that comes while no agent runs, so that nothing is known of its interface. It is silent to other pods
/// as any new one is, answers its node, and is one of the others as soon as an agent knows it.
pub fn nobody_takes_a_known_address_while_no_agent_runs() {
    let snapshot = open_reaches_closed();
    let node: NodeName = "n1".into();
    for bind_sources in [false, true] {
        let mut world = start(&snapshot, bind_sources);
        world.agents.remove(&node).unwrap().kill();
        let mut with_late = snapshot.clone();
        add_pod(&mut with_late, "late", 4);
        world.lab.enforce(&with_late).unwrap();
        for (source, destination) in FORGED {
            let heard = heard(&world, "shop/late", source, destination);
            assert_eq!(heard > 0, !bind_sources, "{heard} as {source}");
        }
        let server = Server::start(world.path(), "shop/late");
        for address in ["10.244.1.4", "fd44:0:0:1::4"] {
            let nobody = if address.contains(':') { "fd44:0:0:1::99" } else { "10.244.1.99" };
            let probe = Probing::start(world.path(), "node/n1", address, nobody);
            std::thread::sleep(Duration::from_millis(300));
            let counts = probe.stop();
            assert!(counts.allowed > 100 && counts.allowed_answered == counts.allowed, "{address}: {counts:?}");
        }
        drop(server);
        world.say(&with_late);
        world.start_agent_told(&Told { bind_sources, ..world.told("n1") });
        world.settle();
        wait_until_bound(&world, bind_sources);
        world.agrees_on(&["shop/client -> shop/late udp 5300", "shop/late -> shop/client udp 5300"]);
    }
}

fn open_reaches_closed() -> Snapshot {
    let mut snapshot = shop();
    let from_open = Rule {
        peers: Some(vec![Peer::Pods { namespaces: None, pods: Selector::labels([("app", "open")]) }]),
        ports: Ports::Listed(vec![PortMatch::Range(Transport::Udp, PortRange::single(PORT.try_into().unwrap()))]),
    };
    add_policy(&mut snapshot, "closed", vec![from_open]);
    snapshot
}

fn start(snapshot: &Snapshot, bind_sources: bool) -> World {
    let mut world = World::without_agents(snapshot, UnknownPods::Drop);
    world.start_agent_told(&Told { bind_sources, ..world.told("n1") });
    world.settle();
    wait_until_bound(&world, bind_sources);
    world
}

/// Until the interfaces of all pods are bound, if they are to be.
fn wait_until_bound(world: &World, bind_sources: bool) {
    let pods = if bind_sources { world.snapshot.pods.len() } else { 0 };
    let bound = || -> usize {
        let read = || Kernel::open_table(Table::RoutedSources).unwrap().read_back().unwrap();
        let held = world.lab.inside(&"n1".into(), read).unwrap();
        held.map_or(0, |held| held.sets["addresses4"].elements.len())
    };
    wait_for(|| bound() == pods, "the binding of all pods");
}

/// How many packets arrive at `closed` that a pod sends under this address.
fn heard(world: &World, forger: &str, source: &str, destination: &str) -> usize {
    let mut server = spawn(world.path(), "shop/closed", &["hear"]);
    wait_for_line(&mut server, "ready");
    let mut forger = spawn(world.path(), forger, &["forge", source, destination]);
    assert!(forger.wait().unwrap().success());
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    server.wait().unwrap();
    line.trim_end().parse().unwrap()
}

/// The process that counts what arrives until nothing more does.
pub fn hear() -> ExitCode {
    let socket = UdpSocket::bind(("::", PORT)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    println!("ready");
    let mut count = 0;
    while socket.recv(&mut [0; 64]).is_ok() {
        count += 1;
    }
    println!("{count}");
    ExitCode::SUCCESS
}

/// The process that forges.
pub fn forge(source: &str, destination: &str) -> ExitCode {
    // An address on `lo` is as good as a raw socket: it is not the one that the pod was given.
    assert!(Command::new("ip").args(["address", "add", source, "dev", "lo"]).status().unwrap().success());
    let source: std::net::IpAddr = source.parse().unwrap();
    let destination: std::net::IpAddr = destination.parse().unwrap();
    // The kernel makes an IPv6 address usable a moment later.
    let mut tries = 0..1_000;
    let socket = loop {
        match UdpSocket::bind((source, 0)) {
            Ok(socket) => break socket,
            Err(error) => assert!(tries.next().is_some(), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    for _ in 0..PACKETS {
        socket.send_to(b"x", (destination, PORT)).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    ExitCode::SUCCESS
}
