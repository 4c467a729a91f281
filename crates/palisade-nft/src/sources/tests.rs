use std::net::{Ipv4Addr, UdpSocket};

use super::*;
use crate::testing::frames::{self, advertisement, arp_request, ethernet, icmp, packet, udp};
use crate::testing::net::{NODE, Pod, add_bridge, bind, forward, hardware, pod_addresses, receive};
use crate::testing::{in_new_namespace, nft};
use crate::transaction::Counts;
use crate::{Kernel, diff};

const LINK_LOCAL: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99));
const ALL_NODES: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
const UNSPECIFIED: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

fn name(name: &str) -> InterfaceName {
    InterfaceName::new(name).unwrap()
}

/// Each pod under the addresses of the pod with the number.
fn sources(pods: &[(&str, u8)]) -> Sources {
    let interfaces = pods.iter().map(|(link, number)| (name(link), pod_addresses(*number).into())).collect();
    let taken = pods.iter().flat_map(|(_, number)| pod_addresses(*number)).collect();
    Sources { interfaces, taken, ..Sources::default() }
}

/// The table in the kernel, and what is in it.
struct Held {
    attached: Attached,
    kernel: Kernel,
    ruleset: Ruleset,
    counted: u64,
}

impl Held {
    fn open(attached: Attached) -> Held {
        let kernel = Kernel::open_table(attached.table()).unwrap();
        Held { attached, kernel, ruleset: Ruleset::nothing(attached.table()), counted: 0 }
    }

    /// Brings the kernel to these sources, by what differs.
    fn hold(&mut self, sources: &Sources) -> Counts {
        let wanted = lower_sources(self.attached, sources);
        let transaction = diff(&self.ruleset, &wanted);
        self.kernel.apply(&transaction).unwrap();
        let have = self.kernel.read_back().unwrap().unwrap_or(Ruleset::nothing(self.attached.table()));
        assert_eq!(have.to_string(), wanted.to_string());
        assert!(have == wanted);
        self.ruleset = wanted;
        transaction.counts()
    }

    /// How many packets were dropped since last asked.
    fn forged(&mut self) -> u64 {
        let now = self.kernel.forged().unwrap();
        now - std::mem::replace(&mut self.counted, now)
    }
}

/// Waits for something that is bound to happen, but not how soon; `false` if it does not.
fn happens(mut what: impl FnMut() -> bool) -> bool {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        if what() {
            return true;
        }
        if std::time::Instant::now() > end {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// A pod that may send anything, and one that receives.
struct Pair {
    attached: Attached,
    one: Pod,
    other: Pod,
}

impl Pair {
    /// The name of the first pod's interface begins that of the other's.
    fn new(attached: Attached) -> Pair {
        let pod = |link, number| match attached {
            Attached::Bridged => Pod::bridged(link, number, "cni0"),
            Attached::Routed => Pod::routed(link, number),
        };
        forward();
        if attached == Attached::Bridged {
            add_bridge("cni0");
        }
        let pair = Pair { attached, one: pod("veth1", 1), other: pod("veth10", 10) };
        pair.connect();
        pair
    }

    /// Waits until frames pass: a port of a bridge forwards some time after it was switched on.
    fn connect(&self) {
        let ([own, _], [other, _]) = (self.one.addresses, self.other.addresses);
        let socket = self.other.socket(other, 8);
        socket.set_nonblocking(true).unwrap();
        let passes = || {
            self.send(&udp(own, other, (1000, 8), "first"));
            receive(&socket).is_some()
        };
        assert!(happens(passes), "no frame passes");
    }

    /// The hardware address to which the first pod sends what is for the other.
    fn next_hop(&self) -> [u8; 6] {
        match self.attached {
            Attached::Bridged => hardware::pod(10),
            Attached::Routed => hardware::host_end(1),
        }
    }

    /// Sends a packet from the first pod, as it is.
    fn send(&self, bytes: &[u8]) {
        self.one.send_frame(&packet(self.next_hop(), hardware::pod(1), bytes));
    }

    /// Sends a datagram from the first pod under this address; the result is the socket to which it goes.
    fn send_from(&self, source: IpAddr) -> UdpSocket {
        let destination = self.other.addresses[usize::from(source.is_ipv6())];
        let socket = self.other.socket(destination, 9);
        self.send(&udp(source, destination, (1000, 9), "hello"));
        socket
    }

    /// What the first pod sends under this address reaches the other.
    fn passes(&self, source: IpAddr) {
        assert!(receive(&self.send_from(source)).is_some(), "{source}");
    }

    /// It does not, and is counted.
    fn is_dropped(&self, held: &mut Held, source: IpAddr) {
        let socket = self.send_from(source);
        assert!(happens(|| held.forged() == 1), "{source}");
        socket.set_nonblocking(true).unwrap();
        assert_eq!(receive(&socket), None, "{source}");
    }

    /// How many packets are dropped when the first pod sends this frame.
    fn dropped_of(&self, held: &mut Held, frame: &[u8]) -> u64 {
        let [own, _] = self.one.addresses;
        let [other, _] = self.other.addresses;
        let socket = self.other.socket(other, 9);
        let last = packet(self.next_hop(), hardware::pod(1), &udp(own, other, (1000, 9), "last"));
        // Frames keep their order: once the second is there, the first is through or dropped.
        self.one.send_frames(&[frame, &last]);
        while receive(&socket).expect("the last frame passes") != "last" {}
        held.forged()
    }

    /// Both pods speak under their own addresses, and find one another for it.
    fn talk(&self) {
        for (one, other) in self.one.addresses.into_iter().zip(self.other.addresses) {
            let (client, server) = (self.one.socket(one, 1111), self.other.socket(other, 2222));
            client.send_to(b"question", (other, 2222)).unwrap();
            assert_eq!(receive(&server).as_deref(), Some("question"), "{one} -> {other}");
            server.send_to(b"answer", (one, 1111)).unwrap();
            assert_eq!(receive(&client).as_deref(), Some("answer"), "{other} -> {one}");
        }
    }
}

/// The same for both kinds: what is sent under the address of another pod does not arrive.
fn only_own_addresses_pass(attached: Attached) {
    in_new_namespace(|| {
        let pair = Pair::new(attached);
        let own = pod_addresses(1);
        let (neighbour, stranger) = (pod_addresses(3), ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        // Without the table they all arrive, or else the test would see nothing.
        for source in [own, neighbour, stranger].into_iter().flatten() {
            pair.passes(source);
        }
        let mut held = Held::open(attached);
        held.hold(&sources(&[("veth1", 1), ("veth10", 10), ("veth3", 3), ("veth", 3)]));
        pair.talk();
        for source in own {
            pair.passes(source);
        }
        assert_eq!(held.forged(), 0);
        for source in [neighbour, stranger, pair.other.addresses].into_iter().flatten() {
            pair.is_dropped(&mut held, source);
        }

        // The name is another pod's now.
        let counts = held.hold(&sources(&[("veth1", 3), ("veth10", 10), ("veth3", 1), ("veth", 3)]));
        assert_eq!((counts.elements_added, counts.elements_deleted, counts.rules_added), (4, 4, 0));
        for source in neighbour {
            pair.passes(source);
        }
        for source in own {
            pair.is_dropped(&mut held, source);
        }
        // Without an address of its own it may say nothing; once it is no pod's, anything.
        held.hold(&Sources { interfaces: [(name("veth1"), BTreeSet::new())].into(), ..Sources::default() });
        for source in neighbour {
            pair.is_dropped(&mut held, source);
        }
        held.hold(&sources(&[("veth10", 10)]));
        for source in neighbour {
            pair.passes(source);
        }
        for source in pair.other.addresses {
            pair.is_dropped(&mut held, source);
        }
        let counts = held.hold(&Sources::default());
        assert_eq!(counts.objects_deleted, 1);
        assert_eq!(held.kernel.read_back().unwrap(), None);
    });
}

#[test]
fn only_own_addresses_pass_a_bridge() {
    only_own_addresses_pass(Attached::Bridged);
}

#[test]
fn only_own_addresses_pass_a_router() {
    only_own_addresses_pass(Attached::Routed);
}

/// An interface of which nothing is known sends as it likes, but under no address of a known pod.
fn what_is_taken_comes_by_no_other_interface(attached: Attached) {
    in_new_namespace(|| {
        let pair = Pair::new(attached);
        let (neighbour, strangers) = (pod_addresses(3), ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        let mut held = Held::open(attached);
        let known = sources(&[("veth10", 10), ("veth3", 3)]);
        held.hold(&known);
        for source in neighbour {
            pair.is_dropped(&mut held, source);
        }
        // The pod itself is not harmed: the node asks it, and it answers; so it does other pods, as far as this table goes.
        pair.talk();
        for (node, pod) in NODE.into_iter().zip(pair.one.addresses) {
            let (prober, server) = (bind((node, 3333).into()), pair.one.socket(pod, 4444));
            prober.send_to(b"alive?", (pod, 4444)).unwrap();
            assert_eq!(receive(&server).as_deref(), Some("alive?"), "{node} -> {pod}");
            server.send_to(b"alive", (node, 3333)).unwrap();
            assert_eq!(receive(&prober).as_deref(), Some("alive"), "{pod} -> {node}");
        }
        for source in [pair.one.addresses, strangers].into_iter().flatten() {
            pair.passes(source);
        }
        assert_eq!(held.forged(), 0);

        // Another interface of the pod that has the address, and one that leads to the node itself.
        let besides = [(name("veth1"), neighbour.into())].into();
        held.hold(&Sources { besides, ..known.clone() });
        for source in neighbour {
            pair.passes(source);
        }
        pair.is_dropped(&mut held, pair.other.addresses[0]);
        held.hold(&Sources { passages: [name("veth1")].into(), ..known.clone() });
        for source in neighbour {
            pair.passes(source);
        }
        assert_eq!(held.forged(), 0);

        // The address goes from one interface to the other: at once, by what differs.
        let counts = held.hold(&known);
        assert_eq!((counts.elements_added, counts.elements_deleted, counts.rules_added), (0, 1, 0));
        let counts = held.hold(&sources(&[("veth10", 10), ("veth1", 3)]));
        assert_eq!((counts.elements_added, counts.elements_deleted, counts.rules_added), (3, 3, 0));
        for source in neighbour {
            pair.passes(source);
        }
    });
}

#[test]
fn what_is_taken_comes_by_no_other_port_of_a_bridge() {
    what_is_taken_comes_by_no_other_interface(Attached::Bridged);
}

#[test]
fn what_is_taken_comes_by_no_other_route() {
    what_is_taken_comes_by_no_other_interface(Attached::Routed);
}

/// What comes by a bridge is held there, and by the other table not once more: it is no veth pair to which it came.
#[test]
fn other_kinds_of_interfaces_are_left_alone() {
    in_new_namespace(|| {
        let pair = Pair::new(Attached::Bridged);
        let elsewhere = Pod::routed("veth4", 4);
        let mut held = Held::open(Attached::Routed);
        held.hold(&sources(&[("veth4", 4), ("veth3", 3)]));
        for (own, destination) in pair.one.addresses.into_iter().zip(elsewhere.addresses) {
            let source = pod_addresses(3)[usize::from(own.is_ipv6())];
            let socket = elsewhere.socket(destination, 9);
            pair.one.send_frame(&packet(
                hardware::BRIDGE,
                hardware::pod(1),
                &udp(source, destination, (1, 9), "hello"),
            ));
            assert_eq!(receive(&socket).as_deref(), Some("hello"), "{source}");
        }
        assert_eq!(held.forged(), 0);
    });
}

/// The frames by which neighbours are found, by an interface of which nothing is known.
#[test]
fn discovery_does_not_take_what_is_taken() {
    in_new_namespace(|| {
        let pair = Pair::new(Attached::Bridged);
        let [IpAddr::V4(own), own6] = pair.one.addresses else { unreachable!("the first is IPv4") };
        let [IpAddr::V4(neighbour), neighbour6] = pod_addresses(3) else { unreachable!("the first is IPv4") };
        let [IpAddr::V4(bridge), bridge6] = NODE else { unreachable!("the first is IPv4") };
        let [IpAddr::V4(target), _] = pair.other.addresses else { unreachable!("the first is IPv4") };
        let mut held = Held::open(Attached::Bridged);
        let mut known = sources(&[("veth10", 10), ("veth3", 3)]);
        known.taken.extend(NODE);
        held.hold(&known);
        let to_all = |kind, content: &[u8]| ethernet([0xff; 6], hardware::pod(1), kind, content);
        let arp = |sender| to_all(frames::ARP, &arp_request(hardware::pod(1), sender, target));
        let solicitation = |source| to_all(frames::IPV6, &icmp(source, ALL_NODES, 135, &[0; 16]));
        let tag = |kind, vlan, content: &[u8]| to_all(kind, &[&[0, vlan], &content[12..]].concat());
        let datagram = |source: Ipv4Addr| to_all(frames::IPV4, &udp(source.into(), target.into(), (1000, 9), "hello"));
        for (passes, what, frame) in [
            (true, "ARP", arp(own)),
            (true, "ARP probe", arp(Ipv4Addr::UNSPECIFIED)),
            (true, "solicitation", solicitation(own6)),
            (true, "solicitation from the link", solicitation(LINK_LOCAL)),
            (true, "solicitation from none", solicitation(UNSPECIFIED)),
            (true, "LLDP", to_all(0x88cc, &[0; 46])),
            (false, "ARP of a neighbour", arp(neighbour)),
            (true, "a datagram within a VLAN", tag(0x8100, 5, &datagram(own))),
            (false, "a neighbour's datagram within a VLAN", tag(0x8100, 5, &datagram(neighbour))),
            (false, "a datagram with a priority", tag(0x8100, 0, &datagram(own))),
            (false, "a datagram with a priority of a provider", tag(0x88a8, 0, &datagram(own))),
            (false, "ARP of a neighbour with a priority", tag(0x8100, 0, &arp(neighbour))),
            (false, "ARP of the bridge", arp(bridge)),
            (false, "solicitation of a neighbour", solicitation(neighbour6)),
            (false, "solicitation of the bridge", solicitation(bridge6)),
        ] {
            assert_eq!(pair.dropped_of(&mut held, &frame), u64::from(!passes), "{what}");
        }
    });
}

/// From and to addresses of the link pods find their neighbours, and do nothing else.
fn the_link_carries_discovery_alone(attached: Attached) {
    in_new_namespace(|| {
        let pair = Pair::new(attached);
        let mut held = Held::open(attached);
        held.hold(&sources(&[("veth1", 1), ("veth10", 10)]));
        pair.talk();
        let [_, own] = pair.one.addresses;
        let [_, forged] = pod_addresses(3);
        let solicitation = |source| icmp(source, LINK_LOCAL, 135, &[0; 16]);
        let datagram = |source, destination| udp(source, destination, (1000, 9), "hello");
        let other_link_local = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x10));
        for (passes, what, bytes) in [
            (true, "solicitation", solicitation(own)),
            (true, "solicitation from the link", solicitation(LINK_LOCAL)),
            (true, "solicitation from none", icmp(UNSPECIFIED, ALL_NODES, 135, &[0; 16])),
            (true, "advertisement", advertisement(own, LINK_LOCAL, own, hardware::pod(1))),
            (true, "router solicitation", icmp(LINK_LOCAL, ALL_NODES, 133, &[])),
            (true, "listener report", icmp(UNSPECIFIED, ALL_NODES, 143, &[])),
            (false, "forged solicitation", solicitation(forged)),
            (false, "router advertisement", icmp(LINK_LOCAL, ALL_NODES, 134, &[0; 8])),
            (false, "redirect", icmp(LINK_LOCAL, own, 137, &[0; 32])),
            (false, "listener query", icmp(LINK_LOCAL, ALL_NODES, 130, &[0; 16])),
            (false, "echo request from the link", icmp(LINK_LOCAL, ALL_NODES, 128, &[])),
            (false, "datagram from the link", datagram(LINK_LOCAL, ALL_NODES)),
            (false, "datagram from none", datagram(UNSPECIFIED, ALL_NODES)),
            (false, "datagram to the link", datagram(own, other_link_local)),
            (false, "datagram within the link", datagram(LINK_LOCAL, other_link_local)),
        ] {
            let frame = packet(pair.next_hop(), hardware::pod(1), &bytes);
            assert_eq!(pair.dropped_of(&mut held, &frame), u64::from(!passes), "{what}");
        }
    });
}

#[test]
fn the_link_of_a_bridge_carries_discovery_alone() {
    the_link_carries_discovery_alone(Attached::Bridged);
}

#[test]
fn the_link_of_a_routed_pod_carries_discovery_alone() {
    the_link_carries_discovery_alone(Attached::Routed);
}

/// Frames that are not plain IP.
#[test]
fn other_frames_do_not_go_around() {
    in_new_namespace(|| {
        let pair = Pair::new(Attached::Bridged);
        let [IpAddr::V4(own), _] = pair.one.addresses else { unreachable!("the first is IPv4") };
        let [IpAddr::V4(neighbour), _] = pod_addresses(3) else { unreachable!("the first is IPv4") };
        let [other @ IpAddr::V4(target), _] = pair.other.addresses else { unreachable!("the first is IPv4") };
        let to_all = |kind, content: &[u8]| ethernet([0xff; 6], hardware::pod(1), kind, content);
        let arp = |sender| to_all(frames::ARP, &arp_request(hardware::pod(1), sender, target));
        // Whether the other pod now takes this address to be at the first pod.
        let believed = |address: Ipv4Addr| pair.other.namespace.run(|| neighbours().contains(&format!("{address} ")));
        pair.one.send_frame(&arp(neighbour));
        assert!(happens(|| believed(neighbour)), "without the table the other pod believes it");

        let mut held = Held::open(Attached::Bridged);
        held.hold(&sources(&[("veth1", 1), ("veth10", 10)]));
        let tag = |kind: u16, content: &[u8]| [&[0, 0][..], &kind.to_be_bytes(), content].concat();
        let datagram = |source: Ipv4Addr| udp(source.into(), other, (1000, 9), "hello");
        let fresh = Ipv4Addr::new(10, 1, 0, 4);
        for (passes, what, frame) in [
            (true, "ARP", arp(own)),
            (true, "ARP probe", arp(Ipv4Addr::UNSPECIFIED)),
            (false, "forged ARP", arp(fresh)),
            (false, "a datagram in a frame with a priority", to_all(0x8100, &tag(frames::IPV4, &datagram(own)))),
            (false, "the same of a provider", to_all(0x88a8, &tag(frames::IPV4, &datagram(own)))),
            (false, "forged, in a frame with a priority", to_all(0x8100, &tag(frames::IPV4, &datagram(fresh)))),
            (false, "ARP in a frame with a priority", to_all(0x8100, &tag(frames::ARP, &arp(fresh)[14..]))),
            (false, "two tags", to_all(0x88a8, &tag(0x8100, &tag(frames::IPV4, &datagram(fresh))))),
            (false, "a datagram that says it is IPv6", to_all(frames::IPV6, &datagram(own))),
            (false, "LLDP", to_all(0x88cc, &[0; 46])),
            (false, "a bridge's own protocol", to_all(0x0026, &[0x42; 46])),
        ] {
            assert_eq!(pair.dropped_of(&mut held, &frame), u64::from(!passes), "{what}");
        }
        assert!(!believed(fresh));
        pair.talk();
    });
}

/// What the pod knows of its neighbours.
#[expect(clippy::disallowed_methods, reason = "reads what the kernel prints")]
fn neighbours() -> String {
    std::fs::read_to_string("/proc/thread-self/net/arp").unwrap()
}

/// The text, loaded by nft itself, is what is written; and what nft lists, it loads.
#[test]
fn the_text_is_what_the_kernel_holds() {
    for attached in Attached::ALL {
        in_new_namespace(|| {
            let wanted = lower_sources(attached, &example());
            if nft(&["-f", "-"], &wanted.to_string()).is_none() {
                return;
            }
            let mut kernel = Kernel::open_table(attached.table()).unwrap();
            let have = kernel.read_back().unwrap().unwrap();
            assert_eq!(have.to_string(), wanted.to_string());
            assert!(have == wanted);
            // nft lists the chains in the order in which they were made, which means nothing.
            let listing = || nft(&["list", "ruleset"], "").unwrap();
            let sorted = |text: &str| text.lines().map(str::to_string).collect::<BTreeSet<_>>();
            let theirs = listing();
            assert!(kernel.remove_table().unwrap());
            kernel.apply(&diff(&Ruleset::nothing(attached.table()), &wanted)).unwrap();
            assert_eq!(sorted(&listing()), sorted(&theirs));
            nft(&["-c", "-f", "-"], &listing()).unwrap();
        });
    }
}

/// The three tables are apart: what is done to one is not done to the others.
#[test]
fn each_table_is_changed_by_its_own_connection() {
    in_new_namespace(|| {
        let wanted = sources(&[("veth1", 1)]);
        let transaction = |attached: Attached| diff(&Ruleset::default(), &lower_sources(attached, &wanted));
        let error = Kernel::open().unwrap().apply(&transaction(Attached::Bridged)).unwrap_err().to_string();
        assert_eq!(error, "a transaction for table bridge palisade cannot be applied to table inet palisade");
        for attached in Attached::ALL {
            let mut kernel = Kernel::open_table(attached.table()).unwrap();
            let [mut monitor, mut own] = [None, Some(&kernel)].map(|ours| crate::Monitor::open(ours).unwrap());
            let ours = |monitor: &mut crate::Monitor| match monitor.next(std::time::Duration::from_secs(10)).unwrap() {
                Some(crate::Event::Commit { ours, touched, .. }) => (ours, touched),
                other => panic!("{other:?}"),
            };
            kernel.apply(&transaction(attached)).unwrap();
            assert!(kernel.remove_table().unwrap());
            for _ in 0..2 {
                assert_eq!(ours(&mut monitor), (false, true));
                assert_eq!(ours(&mut own), (true, true));
            }
        }
        assert_eq!(Kernel::open().unwrap().read_back().unwrap(), None);
    });
}

/// A pod with a second interface, on a bridge, and two bridges that are joined.
fn example() -> Sources {
    let mut example = sources(&[("veth1", 7)]);
    example.besides.insert(name("veth2"), pod_addresses(7).into());
    example.passages.extend(["joint0", "joint1"].map(name));
    example.taken.extend(NODE);
    example
}

#[test]
fn the_layout_is_the_one_that_is_written_down() {
    let text = Attached::ALL.map(|attached| lower_sources(attached, &example()).to_string()).join("\n");
    assert_eq!(text, include_str!("example.nft"), "\n{text}");
}

#[test]
fn names_are_those_that_interfaces_can_have() {
    for good in ["e", "veth0123456789a", "cali1.2-3_4", "\u{e9}th"] {
        assert_eq!(name(good).as_str(), good);
    }
    for bad in ["", ".", "..", "a/b", "a b", "a:b", "a\tb", "a\0", "veth0123456789ab"] {
        assert_eq!(InterfaceName::new(bad), None, "{bad}");
    }
}
