//! One node by hand, with settings that the lab does not offer: a router between namespaces, whose rules follow a cluster.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_compile::{Compiler, UnknownPods};
use palisade_core::{Change, Direction, Pod, PodName, Snapshot, Tables, TablesChange};
use palisade_lab::Netns;
use palisade_nft::{Denials, Generation, Held, Kernel, Settings, diff, lower};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};
use tokio::runtime::Runtime;

const LOOPBACK: u32 = 1;
/// The link of every end; in the router, the first of them.
const LINK: u32 = 2;
/// Every link has it: none resolves addresses.
const HARDWARE: [u8; 6] = [0x02, 0x50, 0, 0, 0, 3];
/// How long something may take that happens; TCP waits longer and longer between its tries.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The node `n1`. Its namespaces are gone with it.
pub struct Node {
    pub kernel: Kernel,
    router: Netns,
    ends: BTreeMap<&'static str, Netns>,
    compiler: Compiler,
    pub snapshot: Snapshot,
    held: Held,
    settings: Settings,
    generation: Generation,
    next: Cell<u64>,
}

/// A UDP socket of an end.
pub struct Socket {
    udp: UdpSocket,
    pub address: SocketAddr,
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    Arrived,
    Denied,
}

impl Node {
    /// The node of a cluster with an end for each of these names, all of them there before any of them is known.
    pub fn new(snapshot: Snapshot, unknown_pods: UnknownPods, settings: Settings, ends: &[&'static str]) -> Node {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let router = Netns::create("the router").unwrap();
        router.set("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        prepare(&router);
        router.set("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        let handle = open(&runtime);
        up(&runtime, &handle, LOOPBACK);
        for address in addresses("node") {
            add_address(&runtime, &handle, LOOPBACK, address);
        }
        let mut netns = BTreeMap::new();
        for (index, name) in (LINK..).zip(ends) {
            let end = Netns::create(name).unwrap();
            prepare(&end);
            let end_handle = open(&runtime);
            up(&runtime, &end_handle, LOOPBACK);
            router.enter().unwrap();
            let pair = pair(index, &end);
            runtime.block_on(handle.link().add(pair).execute()).unwrap();
            up(&runtime, &end_handle, LINK);
            for address in addresses(name) {
                add_address(&runtime, &end_handle, LINK, address);
                let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                runtime.block_on(end_handle.route().add(route(any, 0, LINK)).execute()).unwrap();
                runtime.block_on(handle.route().add(route(address, host_prefix(address), index)).execute()).unwrap();
            }
            netns.insert(*name, end);
        }
        let compile = palisade_compile::Settings { unknown_pods, ..palisade_compile::Settings::default() };
        let mut node = Node {
            kernel: Kernel::open().unwrap(),
            router,
            ends: netns,
            compiler: Compiler::with("n1".into(), compile),
            snapshot: Snapshot::default(),
            held: Held::of(&Tables::default(), &settings, Generation::FIRST),
            settings,
            generation: Generation::FIRST,
            next: Cell::new(0),
        };
        node.compiler.update(&node.snapshot.changes_to(&snapshot));
        node.snapshot = snapshot;
        let ruleset = lower(node.compiler.tables(), &settings, node.generation);
        node.kernel.apply(&diff(&palisade_nft::Ruleset::default(), &ruleset)).unwrap();
        node.held = Held::of(node.compiler.tables(), &settings, node.generation);
        for name in ends {
            node.wait_for(name);
        }
        node
    }

    /// Waits until packets pass between the node and an end: links and addresses come into use some time after they are made.
    fn wait_for(&self, end: &str) {
        let start = Instant::now();
        for (own, far) in self.sockets("node", 9).into_iter().zip(self.sockets(end, 9)) {
            for (from, to) in [(&own, &far), (&far, &own)] {
                while to.received().is_empty() {
                    assert!(start.elapsed() < PATIENCE, "{} -> {} does not pass", from.address, to.address);
                    from.shout(to.address);
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    /// Moves to another state of the cluster, with what it takes and no more.
    pub fn enforce(&mut self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = self.snapshot.clone();
        change(&mut snapshot);
        let changes: Vec<Change> = self.snapshot.changes_to(&snapshot);
        self.snapshot = snapshot;
        let steps = self.compiler.update(&changes);
        let may_deny = steps.iter().any(TablesChange::may_deny);
        if may_deny {
            self.generation = self.generation.next();
        }
        let transaction = self.held.lower_changes(&steps, may_deny.then_some(self.generation));
        self.kernel.apply(&transaction).unwrap();
        let wanted = lower(self.compiler.tables(), &self.settings, self.generation);
        assert!(self.kernel.read_back().unwrap() == Some(wanted), "the kernel does not hold what it should");
    }

    /// Does something in the namespace of an end, or of the node itself.
    pub fn within<T>(&self, end: &str, work: impl FnOnce() -> T) -> T {
        self.ends.get(end).unwrap_or(&self.router).enter().unwrap();
        let result = work();
        self.router.enter().unwrap();
        result
    }

    /// The UDP sockets of an end with this port, one for each family.
    pub fn sockets(&self, end: &str, port: u16) -> [Socket; 2] {
        self.within(end, || {
            addresses(end).map(|address| {
                let address = SocketAddr::new(address, port);
                let start = Instant::now();
                // Whom another test has just started has a copy of sockets that we closed, until it is another program.
                let udp = loop {
                    match UdpSocket::bind(address) {
                        Ok(udp) => break udp,
                        Err(error) => assert!(start.elapsed() < PATIENCE, "cannot bind {address}: {error}"),
                    }
                };
                udp.set_nonblocking(true).unwrap();
                Socket { udp, address }
            })
        })
    }

    /// Sends a packet; it arrives or is denied, and nothing else happens to it.
    pub fn send(&mut self, from: &Socket, to: &Socket) -> Fate {
        let number = self.next.get();
        self.next.set(number + 1);
        let before = self.denied();
        // The answer to a packet before, where the node rejects: not to this one.
        while from.udp.send_to(&number.to_ne_bytes(), to.address).is_err() {}
        let start = Instant::now();
        loop {
            let denied = self.denied();
            if to.received().contains(&number) {
                assert_eq!(denied, before, "{} -> {} arrived and was denied", from.address, to.address);
                return Fate::Arrived;
            }
            if denied > before {
                return Fate::Denied;
            }
            assert!(start.elapsed() < PATIENCE, "{} -> {} neither arrived nor was denied", from.address, to.address);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How many packets were denied so far.
    fn denied(&mut self) -> u64 {
        self.kernel.denials().unwrap().iter().map(|denials| denials.packets).sum()
    }

    /// What was denied, as `DIRECTION of NAME: PACKETS packets, BYTES bytes`, both families of an end together.
    pub fn denials(&mut self) -> Vec<String> {
        let denials = self.kernel.denials().unwrap();
        self.in_words(denials)
    }

    /// What passed and would be denied with audited policies in force, in the same words.
    pub fn would_deny(&mut self) -> Vec<String> {
        let denials = self.kernel.would_deny().unwrap();
        self.in_words(denials)
    }

    fn in_words(&self, denials: Vec<Denials>) -> Vec<String> {
        let mut counts: BTreeMap<(Direction, &str), (u64, u64)> = BTreeMap::new();
        for Denials { direction, subject, packets, bytes } in denials {
            let owner = self.ends.keys().find(|name| addresses(name).contains(&subject)).copied().unwrap_or("?");
            let count = counts.entry((direction, owner)).or_default();
            *count = (count.0 + packets, count.1 + bytes);
        }
        let lines = counts.into_iter();
        lines
            .map(|((direction, name), (packets, bytes))| {
                format!("{direction} of {name}: {packets} packets, {bytes} bytes")
            })
            .collect()
    }
}

impl Socket {
    /// Sends without looking what becomes of it.
    pub fn shout(&self, to: SocketAddr) {
        let _ = self.udp.send_to(&u64::MAX.to_ne_bytes(), to);
    }

    /// The numbers of the packets that have arrived since the last look.
    pub fn received(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        let mut buffer = [0; 8];
        loop {
            match self.udp.recv_from(&mut buffer) {
                Ok(_) => numbers.push(u64::from_ne_bytes(buffer)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return numbers,
                // An ICMP error about something that was sent before.
                Err(_) => {}
            }
        }
    }
}

/// The addresses of an end, one for each family: `a` to `z` are pods of the node.
pub fn addresses(end: &str) -> [IpAddr; 2] {
    match end {
        "node" => ["10.99.0.1".parse().unwrap(), "fd99::1".parse().unwrap()],
        "far" => ["192.0.2.9".parse().unwrap(), "2001:db8::9".parse().unwrap()],
        pod => {
            let number = pod.as_bytes()[0] - b'a' + 1;
            [IpAddr::from([10, 244, 1, number]), IpAddr::from([0xfd44, 0, 0, 1, 0, 0, 0, u16::from(number)])]
        }
    }
}

/// A cluster of this node, with ranges for its pods, and these pods on it.
pub fn cluster(pods: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.namespaces.insert("shop".into(), Arc::default());
    let node = palisade_core::Node {
        addresses: addresses("node").to_vec(),
        pod_cidrs: vec!["10.244.1.0/24".parse().unwrap(), "fd44:0:0:1::/64".parse().unwrap()],
        ..palisade_core::Node::default()
    };
    snapshot.nodes.insert("n1".into(), Arc::new(node));
    for name in pods {
        add(&mut snapshot, name);
    }
    snapshot
}

/// Adds the pod with the label `app` set to its name.
pub fn add(snapshot: &mut Snapshot, name: &str) {
    let pod = Pod {
        labels: Arc::new([("app".into(), name.into())].into()),
        node: Some("n1".into()),
        addresses: addresses(name).to_vec(),
        ..Pod::default()
    };
    snapshot.pods.insert(PodName::new("shop", name), Arc::new(pod));
}

/// Neither checks where packets come from nor makes link-local addresses.
fn prepare(netns: &Netns) {
    for scope in ["all", "default"] {
        netns.set(&format!("/proc/sys/net/ipv4/conf/{scope}/rp_filter"), "0").unwrap();
    }
    netns.set("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1").unwrap();
}

fn open(runtime: &Runtime) -> Handle {
    let _context = runtime.enter();
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    runtime.spawn(connection);
    handle
}

fn up(runtime: &Runtime, handle: &Handle, link: u32) {
    let message = LinkUnspec::new_with_index(link).up().build();
    runtime.block_on(handle.link().change(message).execute()).unwrap();
}

/// Gives a link an address that is in use at once.
fn add_address(runtime: &Runtime, handle: &Handle, link: u32, address: IpAddr) {
    let mut request = handle.address().add(link, address, host_prefix(address));
    request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    runtime.block_on(request.execute()).unwrap();
}

fn pair(index: u32, end: &Netns) -> rtnetlink::packet_route::link::LinkMessage {
    let far = LinkMessageBuilder::<LinkUnspec>::default()
        .name("eth0")
        .index(LINK)
        .address(HARDWARE.to_vec())
        .arp(false)
        .append_extra_attribute(LinkAttribute::NetNsFd(end.as_fd().as_raw_fd()))
        .build();
    LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
        .name(format!("end{index}"))
        .index(index)
        .address(HARDWARE.to_vec())
        .arp(false)
        .up()
        .build()
}

fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Nobody has the address of the next hop, and on links without address resolution nobody needs to.
fn route(address: IpAddr, prefix_length: u8, link: u32) -> RouteMessage {
    match address {
        IpAddr::V4(address) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, prefix_length)
            .gateway(Ipv4Addr::new(169, 254, 1, 1))
            .output_interface(link)
            .scope(RouteScope::Universe)
            .onlink()
            .build(),
        IpAddr::V6(address) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(address, prefix_length)
            .gateway("fe80::1".parse().unwrap())
            .output_interface(link)
            .onlink()
            .build(),
    }
}
