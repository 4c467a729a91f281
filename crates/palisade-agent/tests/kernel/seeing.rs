//! Denied and forged packets as the agent tells of them: by name, and counted to the last.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use palisade_agent::denials::DeniedPacket;
use palisade_compile::UnknownPods;
use palisade_core::{NetworkPolicy, PerDirection, PolicyName, Ports, Rule, Selector};
use serde_json::json;

use crate::agent::Told;
use crate::asking::{Followed, samples, status, until};
use crate::lifetime::{add_pod, add_policy, shop};
use crate::probing::{PORT, spawn, wait_for_line};
use crate::world::World;

/// How many packets each flow has.
const PACKETS: u64 = 20;
/// The last parts of the addresses of pods.
const CLIENT: u8 = 1;
const OPEN: u8 = 2;
const CLOSED: u8 = 3;
const CAGED: u8 = 5;
const BROKEN: u8 = 6;
const STRANGER: u8 = 9;

/// What is expected of a flow: from, to; direction, pod, policies; a part of the reason.
type Expected = (&'static str, &'static str, &'static str, Option<&'static str>, &'static [&'static str], &'static str);

/// Every kind of denied packet, in both families: named rightly, and counted exactly.
pub fn denied_packets_are_named_and_counted() {
    let mut world = world();
    let followed = Followed::start(&world);
    cut_a_flow(&mut world);
    for (pod, to) in
        [("client", CLOSED), ("client", BROKEN), ("caged", CLIENT), ("stranger", CLIENT), ("client", STRANGER)]
    {
        for address in addresses(to) {
            send(&world, pod, &address, PACKETS);
        }
    }
    let both = 2 * PACKETS;
    let label = |direction: &str, policy: &str| {
        let namespace = if policy.is_empty() { "" } else { "shop" };
        format!("direction=\"{direction}\",namespace=\"{namespace}\",policy=\"{policy}\"")
    };
    let mut expected: BTreeMap<String, u64> = [
        ("ingress", "open"),
        ("ingress", "closed"),
        ("ingress", "broken"),
        ("egress", "caged"),
        ("egress", "caged-too"),
        ("egress", ""),
        ("ingress", ""),
    ]
    .map(|(direction, policy)| (label(direction, policy), both))
    .into();
    let counted = || samples(&world, "palisade_denied_packets_total");
    until(|| counted() == expected, || format!("{expected:#?} in {:#?}", counted()));
    assert_eq!(samples(&world, "palisade_cut_flows_total"), [(String::new(), 2)].into());
    let [stranger4, stranger6] = addresses(STRANGER);
    let [unknown, closed]: [&str; 2] = ["is in the pod range of this node, and no known pod has it", "no rule matches"];
    let mut flows: Vec<Expected> = vec![
        ("shop/client", "shop/closed", "ingress", Some("shop/closed"), &["shop/closed"], closed),
        ("shop/client", "shop/broken", "ingress", Some("shop/broken"), &["shop/broken"], "cannot be read"),
        ("shop/client", "shop/open", "ingress", Some("shop/open"), &["shop/open"], closed),
        ("shop/caged", "shop/client", "egress", Some("shop/caged"), &["shop/caged", "shop/caged-too"], closed),
    ];
    for family in [4, 6] {
        for flow in &flows {
            assert_named(&followed, flow, family);
        }
    }
    for (family, stranger) in [(4, &*stranger4), (6, &*stranger6)] {
        let stranger: &'static str = stranger.to_owned().leak();
        flows.push((stranger, "shop/client", "egress", None, &[], unknown));
        flows.push(("shop/client", stranger, "ingress", None, &[], unknown));
        for flow in &flows[flows.len() - 2..] {
            assert_named(&followed, flow, family);
        }
    }
    let told: Vec<DeniedPacket> = followed.all();
    let strange =
        |packet: &&DeniedPacket| !flows.iter().any(|flow| (flow.0, flow.1) == (&*packet.source, &*packet.destination));
    assert_eq!(told.iter().find(strange), None);
    let report = status(&world);
    for pod in &report.pods {
        let denied = (pod.denied.ingress, pod.denied.egress);
        let expected = match pod.pod.as_str() {
            "shop/caged" => (0, both),
            "shop/client" => (0, 0),
            _ => (both, 0),
        };
        assert_eq!(denied, expected, "{pod:?}");
    }
    // Figures go when their policy no longer isolates a pod of this node.
    let mut next = world.snapshot.clone();
    next.policies.remove(&PolicyName::new("shop", "caged-too"));
    world.say(&next);
    expected.remove(&label("egress", "caged-too"));
    let counted = || samples(&world, "palisade_denied_packets_total");
    until(|| counted() == expected, || format!("{expected:#?} in {:#?}", counted()));
}

/// What audited policies would deny is counted, a connection once, and told; what they would allow is told.
pub fn what_audited_policies_would_change_is_told() {
    let mut world = World::start(&shop(), UnknownPods::Drop);
    let followed = Followed::start(&world);
    let mut next = world.snapshot.clone();
    for (name, pod, ingress) in
        [("close", "client", vec![]), ("reopen", "closed", vec![Rule { peers: None, ports: Ports::All }])]
    {
        add_policy(&mut next, name, ingress);
        let policy = Arc::make_mut(next.policies.get_mut(&PolicyName::new("shop", name)).unwrap());
        (policy.subjects, policy.audit) = (Selector::labels([("app", pod)]), true);
    }
    world.say(&next);
    world.settle();
    for (pod, to) in [("open", CLIENT), ("client", CLOSED)] {
        for address in addresses(to) {
            send(&world, pod, &address, PACKETS);
        }
    }
    let label = |policy: &str| format!("direction=\"ingress\",namespace=\"shop\",policy=\"{policy}\"");
    let expected = BTreeMap::from([(label("close"), 2)]);
    let counted = || samples(&world, "palisade_would_deny_packets_total");
    until(|| counted() == expected, || format!("{expected:#?} in {:#?}", counted()));
    assert_eq!(samples(&world, "palisade_denied_packets_total"), [(label("closed"), 2 * PACKETS)].into());
    for family in [4, 6] {
        for packet in followed.of("shop/open", "shop/client", family) {
            assert_eq!((packet.audit.as_deref(), &*packet.policies), (Some("would deny"), &["shop/close".into()][..]));
        }
        for packet in followed.of("shop/client", "shop/closed", family) {
            assert_eq!(
                (packet.audit.as_deref(), &*packet.policies),
                (Some("would allow"), &["shop/closed".into()][..])
            );
        }
    }
    assert_eq!(status(&world).audited, ["shop/close", "shop/reopen"]);
    // Figures go with their policy, and so they do when it is put in force.
    let mut next = world.snapshot.clone();
    add_policy(&mut next, "close", vec![]);
    world.say(&next);
    world.settle();
    let counted = || samples(&world, "palisade_would_deny_packets_total");
    until(|| counted().is_empty(), || format!("{:#?}", counted()));
}

/// The shop, with a pod that may send nothing, one whose policy cannot be read, and one that nobody knows.
fn world() -> World {
    let mut snapshot = shop();
    add_pod(&mut snapshot, "caged", CAGED);
    add_pod(&mut snapshot, "broken", BROKEN);
    for name in ["caged", "caged-too"] {
        add_policy(&mut snapshot, name, vec![]);
        let policy = Arc::make_mut(snapshot.policies.get_mut(&PolicyName::new("shop", name)).unwrap());
        policy.subjects = Selector::labels([("app", "caged")]);
        policy.rules = PerDirection { ingress: None, egress: Some(vec![]) };
    }
    let mut running = snapshot.clone();
    add_pod(&mut running, "stranger", STRANGER);
    let mut world = World::without_agents(&snapshot, UnknownPods::Drop);
    world.lab.enforce(&running).unwrap();
    world.api.put(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "namespace": "shop", "name": "broken" },
        "spec": {
            "podSelector": { "matchLabels": { "app": "broken" } },
            "policyTypes": ["Ingress"], "ingress": [{ "from": [{ "ipBlock": { "cidr": "no" } }] }],
        },
    }));
    let name = PolicyName::new("shop", "broken");
    let broken = NetworkPolicy {
        name: name.clone(),
        subjects: Selector::labels([("app", "broken")]),
        rules: PerDirection { ingress: Some(vec![]), egress: None },
        unreadable: Some("the address block is none".to_owned()),
        audit: false,
    };
    world.snapshot.policies.insert(name, Arc::new(broken));
    // With pods held to their addresses, a pod that nobody knows would be silent before any policy is asked.
    world.start_agent_told(&Told { bind_sources: false, ..world.told("n1") });
    world.settle();
    world
}

/// `open` goes on answering `client` after its policy has changed to let nobody in.
fn cut_a_flow(world: &mut World) {
    let mut servers = addresses(OPEN).map(|address| {
        let mut server = spawn(world.path(), "shop/open", &["push", &address]);
        wait_for_line(&mut server, "ready");
        send(world, "client", &address, 1);
        wait_for_line(&mut server, "asked");
        server
    });
    let before = world.ruleset(&"n1".into()).unwrap().generation();
    let mut next = world.snapshot.clone();
    add_policy(&mut next, "open", vec![]);
    world.say(&next);
    world.settle();
    until(|| world.ruleset(&"n1".into()).unwrap().generation() != before, || "a new generation".to_owned());
    for server in &mut servers {
        server.stdin.take().unwrap().write_all(b"go\n").unwrap();
        assert!(server.wait().unwrap().success());
    }
}

fn addresses(number: u8) -> [String; 2] {
    [format!("10.244.1.{number}"), format!("fd44:0:0:1::{number}")]
}

fn send(world: &World, pod: &str, address: &str, packets: u64) {
    let destination = SocketAddr::new(address.parse().unwrap(), PORT).to_string();
    let mut sender = spawn(world.path(), &format!("shop/{pod}"), &["send", &destination, &packets.to_string()]);
    assert!(sender.wait().unwrap().success());
}

fn assert_named(followed: &Followed, (source, destination, direction, pod, policies, reason): &Expected, family: u8) {
    for packet in followed.of(source, destination, family) {
        assert_eq!((&*packet.protocol, packet.port), ("udp", Some(PORT)), "{packet:?}");
        assert_eq!((&*packet.direction, packet.pod.as_deref()), (*direction, *pod), "{packet:?}");
        assert_eq!(packet.policies, *policies, "{packet:?}");
        assert!(packet.reason.contains(reason), "{packet:?}");
    }
}

/// The process that sends so many datagrams of one flow.
pub fn send_packets(destination: &str, packets: &str) -> ExitCode {
    let destination: SocketAddr = destination.parse().unwrap();
    let any = if destination.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    for _ in 0..packets.parse().unwrap() {
        socket.send_to(b"x", destination).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    ExitCode::SUCCESS
}

/// The process that is asked once, and when it is told to answers again and again.
pub fn push(address: &str) -> ExitCode {
    let address: IpAddr = address.parse().unwrap();
    let socket = UdpSocket::bind((address, PORT)).unwrap();
    println!("ready");
    let (_, client) = socket.recv_from(&mut [0; 64]).unwrap();
    println!("asked");
    BufReader::new(std::io::stdin()).read_line(&mut String::new()).unwrap();
    for _ in 0..PACKETS {
        socket.send_to(b"x", client).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    ExitCode::SUCCESS
}
