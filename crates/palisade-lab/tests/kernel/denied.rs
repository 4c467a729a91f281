//! Packets of unknown pods, and what becomes of denied packets.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_compile::UnknownPods;
use palisade_core::{NetworkPolicy, PerDirection, PodName, PolicyName, Port, PortMatch, PortRange};
use palisade_core::{Ports, Rule, Selector, Snapshot, Transport};
use palisade_nft::{Denied, Established, Settings};
use socket2::{Domain, Protocol, Type};

use crate::cluster::pod_peer;
use crate::node::{Fate, Node, PATIENCE, Socket, add, addresses, cluster};

/// How long nothing must happen.
const SILENCE: Duration = Duration::from_millis(300);

/// A pod that nobody told the node about neither sends nor receives, until it is known; all others go on.
pub fn an_unknown_pod_is_denied_until_it_is_known() {
    let settings = Settings { denied: Denied::Reject, log_group: Some(5), ..Settings::default() };
    let mut node = Node::new(cluster(&["a"]), UnknownPods::Drop, settings, &["a", "b", "far"]);
    let [a, b, far, own] = ["a", "b", "far", "node"].map(|end| node.sockets(end, 5000));
    for family in 0..2 {
        let [a, b, far, own] = [&a, &b, &far, &own].map(|sockets| &sockets[family]);
        for other in [a, far] {
            check(&mut node, b, other, &Fate::Denied);
            check(&mut node, other, b, &Fate::Denied);
        }
        for (from, to) in [(a, far), (far, a), (a, own), (own, a), (b, own), (own, b)] {
            check(&mut node, from, to, &Fate::Arrived);
        }
    }
    assert_eq!(node.denials(), ["ingress of b: 4 packets, 184 bytes", "egress of b: 4 packets, 184 bytes"]);
    // The sender is not told, although the node rejects: the address may be forged.
    for family in 0..2 {
        let udp = connected(&node, "b", SocketAddr::new(addresses("far")[family], 81));
        udp.send(b"?").unwrap();
        std::thread::sleep(SILENCE);
        assert_eq!(udp.recv(&mut [0; 8]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    }

    node.enforce(|snapshot| add(snapshot, "b"));
    for family in 0..2 {
        for other in [&a[family], &far[family]] {
            check(&mut node, &b[family], other, &Fate::Arrived);
            check(&mut node, other, &b[family], &Fate::Arrived);
        }
    }
    assert_eq!(node.kernel.cut_flows().unwrap(), 0);

    // Its connections end with it, in both orientations, and are counted once each.
    node.enforce(|snapshot| drop(snapshot.pods.remove(&PodName::new("shop", "b"))));
    for family in 0..2 {
        let [a, b, far] = [&a, &b, &far].map(|sockets| &sockets[family]);
        for (from, to) in [(a, b), (b, a), (b, far), (far, b)] {
            check(&mut node, from, to, &Fate::Denied);
        }
        check(&mut node, a, far, &Fate::Arrived);
    }
    assert_eq!(node.kernel.cut_flows().unwrap(), 4);
}

/// Neighbour solicitations pass from and to unknown pods: without them no address is ever learned.
pub fn neighbour_discovery_of_unknown_pods_passes() {
    // RFC 4861, section 4.3, and an echo request.
    const SOLICITATION: u8 = 135;
    const ECHO: u8 = 128;
    let mut node = Node::new(cluster(&["a"]), UnknownPods::Drop, Settings::default(), &["a", "b", "far"]);
    for (from, to) in [("b", "far"), ("far", "b"), ("b", "a")] {
        let open = || {
            let socket = socket2::Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let (sender, mut receiver) = (node.within(from, open), node.within(to, open));
        let target = SocketAddr::new(addresses(to)[1], 0).into();
        for kind in [ECHO, SOLICITATION] {
            let mut packet = [0; 24];
            packet[0] = kind;
            sender.send_to(&packet, &target).unwrap();
        }
        let start = Instant::now();
        let mut buffer = [0; 64];
        while receiver.read(&mut buffer).is_err() || buffer[0] != SOLICITATION {
            assert!(start.elapsed() < PATIENCE, "{from} -> {to}: no solicitation arrives");
            assert_ne!(buffer[0], ECHO, "{from} -> {to}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(node.denials(), ["ingress of b: 1 packets, 64 bytes", "egress of b: 2 packets, 128 bytes"]);
}

/// Each denied packet counts for the pod that was judged and the direction in which it was, whichever way the packet goes.
pub fn denied_packets_are_counted() {
    let mut snapshot = cluster(&["a", "b"]);
    let from_b = Rule { peers: Some(vec![pod_peer("b")]), ports: udp(5000) };
    let to_all = Rule { peers: None, ports: udp(5001) };
    isolate(&mut snapshot, Some(vec![from_b]), Some(vec![to_all.clone()]));
    let mut node = Node::new(snapshot, UnknownPods::Allow, Settings::default(), &["a", "b", "far"]);
    let [a, b, far] = ["a", "b", "far"].map(|end| [5000, 5001].map(|port| node.sockets(end, port)));
    for family in 0..2 {
        let [a, b, far] = [&a, &b, &far].map(|ports| ports.each_ref().map(|sockets| &sockets[family]));
        for _ in 0..3 {
            check(&mut node, far[0], a[0], &Fate::Denied);
            check(&mut node, far[1], a[1], &Fate::Denied);
        }
        check(&mut node, b[0], a[1], &Fate::Denied);
        check(&mut node, a[0], far[0], &Fate::Denied);
        check(&mut node, a[1], b[0], &Fate::Denied);
        for (from, to) in [(b[0], a[0]), (a[0], b[0]), (a[0], far[1]), (far[1], a[0])] {
            check(&mut node, from, to, &Fate::Arrived);
        }
    }
    assert_eq!(node.denials(), ["ingress of a: 14 packets, 644 bytes", "egress of a: 4 packets, 184 bytes"]);
    assert_eq!(node.kernel.cut_flows().unwrap(), 0);

    // Answers, against the direction of their connections: a took that of b, and opened that to far.
    node.enforce(|snapshot| isolate(snapshot, Some(Vec::new()), Some(vec![to_all])));
    for family in 0..2 {
        check(&mut node, &a[0][family], &b[0][family], &Fate::Denied);
        check(&mut node, &far[1][family], &a[0][family], &Fate::Arrived);
    }
    node.enforce(|snapshot| isolate(snapshot, Some(Vec::new()), Some(Vec::new())));
    for family in 0..2 {
        check(&mut node, &far[1][family], &a[0][family], &Fate::Denied);
        check(&mut node, &far[1][family], &a[0][family], &Fate::Denied);
    }
    assert_eq!(node.denials(), ["ingress of a: 16 packets, 736 bytes", "egress of a: 8 packets, 368 bytes"]);
    assert_eq!(node.kernel.cut_flows().unwrap(), 4);
}

/// However many packets are denied, logged or not: each is counted, and none passes.
pub fn no_denied_packet_passes_beside_the_log() {
    const PACKETS: u32 = 100_000;
    const AT_ONCE: u32 = 200;
    let mut snapshot = cluster(&["a"]);
    isolate(&mut snapshot, Some(Vec::new()), None);
    let settings = Settings { log_group: Some(5), ..Settings::default() };
    let mut node = Node::new(snapshot, UnknownPods::Allow, settings, &["a", "far"]);
    let ([a, _], [far, _]) = (node.sockets("a", 5000), node.sockets("far", 5000));
    let start = Instant::now();
    for sent in (AT_ONCE..=PACKETS).step_by(AT_ONCE as usize) {
        for _ in 0..AT_ONCE {
            far.shout(a.address);
        }
        // What the sender is ahead of the router waits in a queue of limited length.
        while node.denials() != [format!("ingress of a: {sent} packets, {} bytes", 36 * sent)] {
            assert!(start.elapsed() < 3 * PATIENCE, "{sent} packets were sent, and {:?} denied", node.denials());
        }
    }
    assert_eq!(a.received(), [] as [u64; 0]);
}

/// With `reject`, who sends a denied packet is told.
pub fn rejected_packets_are_answered() {
    let mut snapshot = cluster(&["a"]);
    isolate(&mut snapshot, Some(Vec::new()), None);
    let settings = Settings { denied: Denied::Reject, ..Settings::default() };
    let node = Node::new(snapshot, UnknownPods::Drop, settings, &["a", "far"]);
    for (address, unreachable) in
        addresses("a").into_iter().zip([ErrorKind::HostUnreachable, ErrorKind::PermissionDenied])
    {
        let address = SocketAddr::new(address, 81);
        let error = node.within("far", || TcpStream::connect_timeout(&address, PATIENCE).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}");
        let udp = connected(&node, "far", address);
        udp.send(b"?").unwrap();
        let start = Instant::now();
        let error = loop {
            match udp.recv(&mut [0; 8]).unwrap_err().kind() {
                ErrorKind::WouldBlock => assert!(start.elapsed() < PATIENCE, "{address}: no answer"),
                error => break error,
            }
        };
        assert_eq!(error, unreachable, "{address}");
    }
}

/// A change that forbids connections ends them, or does not, as it was chosen.
pub fn live_connections_are_cut_or_kept() {
    for established in [Established::Cut, Established::Keep] {
        let settings = Settings { established, ..Settings::default() };
        let mut node = Node::new(cluster(&["a"]), UnknownPods::Drop, settings, &["a", "far"]);
        let [a, far, late] = [("a", 5000), ("far", 5000), ("far", 5001)].map(|(end, port)| node.sockets(end, port));
        let mut streams = addresses("a").map(|address| connect(&node, address));
        for family in 0..2 {
            check(&mut node, &far[family], &a[family], &Fate::Arrived);
            check(&mut node, &a[family], &far[family], &Fate::Arrived);
        }
        node.enforce(|snapshot| isolate(snapshot, Some(Vec::new()), Some(Vec::new())));
        let expected = if established == Established::Cut { Fate::Denied } else { Fate::Arrived };
        for family in 0..2 {
            check(&mut node, &far[family], &a[family], &expected);
            check(&mut node, &a[family], &far[family], &expected);
            check(&mut node, &late[family], &a[family], &Fate::Denied);
        }
        for [client, server] in &mut streams {
            client.write_all(b"!").unwrap();
            server.set_read_timeout(Some(if expected == Fate::Arrived { PATIENCE } else { SILENCE })).unwrap();
            assert_eq!(server.read_exact(&mut [0]).is_ok(), expected == Fate::Arrived);
        }
        let cut = if established == Established::Cut { 4 } else { 0 };
        assert_eq!(node.kernel.cut_flows().unwrap(), cut);
    }
}

fn check(node: &mut Node, from: &Socket, to: &Socket, expected: &Fate) {
    assert_eq!(node.send(from, to), *expected, "{} -> {}", from.address, to.address);
}

/// Only what these rules say reaches and leaves pod a.
fn isolate(snapshot: &mut Snapshot, ingress: Option<Vec<Rule>>, egress: Option<Vec<Rule>>) {
    let name = PolicyName::new("shop", "a-policy");
    let policy = NetworkPolicy {
        name: name.clone(),
        subjects: Selector::labels([("app", "a")]),
        rules: PerDirection { ingress, egress },
        unreadable: None,
        audit: false,
    };
    snapshot.policies.insert(name, Arc::new(policy));
}

/// A UDP port.
pub fn udp(port: u16) -> Ports {
    Ports::Listed(vec![PortMatch::Range(Transport::Udp, PortRange::single(Port::new(port).unwrap()))])
}

/// A UDP socket that is told of ICMP errors.
fn connected(node: &Node, end: &str, to: SocketAddr) -> UdpSocket {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    node.within(end, || {
        let udp = UdpSocket::bind((any, 0)).unwrap();
        udp.connect(to).unwrap();
        udp.set_nonblocking(true).unwrap();
        udp
    })
}

/// Both ends of a TCP connection from far to pod a.
fn connect(node: &Node, address: IpAddr) -> [TcpStream; 2] {
    let listener = node.within("a", || TcpListener::bind((address, 80)).unwrap());
    let client = node.within("far", || TcpStream::connect((address, 80)).unwrap());
    [client, listener.accept().unwrap().0]
}
