//! For tests: pods as network namespaces, attached to that of the test by routing or by a bridge.
#![expect(clippy::disallowed_methods, reason = "tests open namespaces and set sysctls")]

use std::fs::{File, write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::dialogue::Dialogue;
use crate::wire::attributes::Writer;
use crate::wire::message;
use crate::wire::numbers as n;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_LOCAL: u16 = 2;
const IFA_ADDRESS: u16 = 1;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const CREATE: u16 = n::NLM_F_CREATE | n::NLM_F_EXCL;

/// A network namespace, and in it what its owner does.
#[derive(Debug)]
pub(crate) struct Namespace(File);

impl Namespace {
    /// A new one, with a loopback interface that is up.
    pub(crate) fn new() -> Namespace {
        on_a_thread(|| {
            crate::socket::enter_new_network_namespace().unwrap();
            up("lo");
            Namespace::current()
        })
    }

    /// That of the calling thread.
    pub(crate) fn current() -> Namespace {
        Namespace(File::open("/proc/thread-self/ns/net").unwrap())
    }

    /// Does something in it.
    pub(crate) fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        on_a_thread(|| {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            action()
        })
    }
}

fn on_a_thread<T: Send>(action: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let name = std::thread::current().name().map(str::to_string).unwrap_or_default();
        let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, action).unwrap();
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A pod: a namespace with `eth0`, whose other end is in the namespace of the test.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: Namespace,
    /// The name of the host end.
    pub(crate) link: String,
    pub(crate) addresses: [IpAddr; 2],
}

/// The addresses of the node, on its bridge or towards each routed pod.
pub(crate) const NODE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 1, 0, 254)), IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0xfe))];

/// The addresses of the pod with this number.
pub(crate) fn pod_addresses(number: u8) -> [IpAddr; 2] {
    [IpAddr::from([10, 1, 0, number]), IpAddr::from([0xfd01, 0, 0, 0, 0, 0, 0, u16::from(number)])]
}

impl Pod {
    /// A pod behind a route of its own.
    pub(crate) fn routed(link: &str, number: u8) -> Pod {
        let pod = Pod::attached(link, number);
        for (family, address) in [(n::NFPROTO_IPV4, NODE[0]), (n::NFPROTO_IPV6, NODE[1])] {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            add_address(link, address, prefix);
            let own = pod.addresses[usize::from(family == n::NFPROTO_IPV6)];
            add_route(Some(own), None, link);
            pod.namespace.run(|| {
                add_address("eth0", own, prefix);
                add_route(Some(address), None, "eth0");
                add_route(None, Some(address), "eth0");
            });
        }
        pod
    }

    /// A pod on a bridge.
    pub(crate) fn bridged(link: &str, number: u8, bridge: &str) -> Pod {
        let pod = Pod::attached(link, number);
        set_master(link, bridge);
        pod.namespace.run(|| {
            add_address("eth0", pod.addresses[0], 24);
            add_address("eth0", pod.addresses[1], 64);
        });
        pod
    }

    fn attached(link: &str, number: u8) -> Pod {
        let namespace = Namespace::new();
        add_veth(link, "eth0", &namespace);
        set_hardware_address(link, hardware::host_end(number));
        // Otherwise the first second has no link-local address, and nobody to ask for neighbours.
        sysctl(&format!("ipv6/conf/{link}/accept_dad"), "0");
        up(link);
        namespace.run(|| {
            set_hardware_address("eth0", hardware::pod(number));
            sysctl("ipv6/conf/eth0/accept_dad", "0");
            up("eth0");
        });
        Pod { namespace, link: link.to_string(), addresses: pod_addresses(number) }
    }

    /// Sends a frame as it is, as only `NET_RAW` allows.
    pub(crate) fn send_frame(&self, frame: &[u8]) {
        self.send_frames(&[frame]);
    }

    /// Sends frames one after the other.
    pub(crate) fn send_frames(&self, frames: &[&[u8]]) {
        self.namespace.run(|| {
            for frame in frames {
                crate::socket::send_frame(index("eth0"), frame).unwrap();
            }
        });
    }

    /// A socket of the pod, on its address of the family of `peer`.
    pub(crate) fn socket(&self, like: IpAddr, port: u16) -> UdpSocket {
        let own = self.addresses[usize::from(like.is_ipv6())];
        self.namespace.run(|| bind(SocketAddr::new(own, port)))
    }
}

/// A socket in the namespace of the calling thread that waits 10 s at most.
pub(crate) fn bind(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// What arrives next at a socket; `None` after its patience.
pub(crate) fn receive(socket: &UdpSocket) -> Option<String> {
    let mut buffer = [0; 2048];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Makes the namespace of the calling thread a router.
pub(crate) fn forward() {
    sysctl("ipv4/ip_forward", "1");
    sysctl("ipv6/conf/all/forwarding", "1");
}

/// Makes a bridge with the node's addresses.
pub(crate) fn add_bridge(name: &str) {
    request(RTM_NEWLINK, CREATE, &[0; 16], |writer| {
        writer.string(IFLA_IFNAME, name);
        writer.bytes(IFLA_ADDRESS, &hardware::BRIDGE);
        let info = writer.begin(IFLA_LINKINFO);
        writer.string(IFLA_INFO_KIND, "bridge");
        writer.end(info);
    })
    .unwrap();
    sysctl(&format!("ipv6/conf/{name}/accept_dad"), "0");
    up(name);
    add_address(name, NODE[0], 24);
    add_address(name, NODE[1], 64);
}

/// Makes a pair of interfaces, the other end of which is in another namespace.
pub(crate) fn add_veth(name: &str, peer: &str, namespace: &Namespace) {
    request(RTM_NEWLINK, CREATE, &[0; 16], |writer| {
        writer.string(IFLA_IFNAME, name);
        let info = writer.begin(IFLA_LINKINFO);
        writer.string(IFLA_INFO_KIND, "veth");
        let data = writer.begin(IFLA_INFO_DATA);
        let other = writer.begin_bytes(VETH_INFO_PEER);
        writer.0.extend_from_slice(&[0; 16]);
        writer.string(IFLA_IFNAME, peer);
        writer.native(IFLA_NET_NS_FD, namespace.0.as_raw_fd().cast_unsigned());
        writer.end(other);
        writer.end(data);
        writer.end(info);
    })
    .unwrap();
}

/// Makes another interface above one, in another namespace.
pub(crate) fn add_macvlan(name: &str, above: &str, namespace: &Namespace) {
    let above = index(above);
    request(RTM_NEWLINK, CREATE, &[0; 16], |writer| {
        writer.string(IFLA_IFNAME, name);
        writer.native(IFLA_LINK, above);
        writer.native(IFLA_NET_NS_FD, namespace.0.as_raw_fd().cast_unsigned());
        let info = writer.begin(IFLA_LINKINFO);
        writer.string(IFLA_INFO_KIND, "macvlan");
        writer.end(info);
    })
    .unwrap();
}

pub(crate) fn remove_link(name: &str) {
    request(RTM_DELLINK, 0, &[0; 16], |writer| writer.string(IFLA_IFNAME, name)).unwrap();
}

pub(crate) fn set_master(name: &str, bridge: &str) {
    let bridge = index(bridge);
    request(RTM_NEWLINK, 0, &[0; 16], |writer| {
        writer.string(IFLA_IFNAME, name);
        writer.native(IFLA_MASTER, bridge);
    })
    .unwrap();
}

/// Hardware addresses that tests know without asking.
pub(crate) mod hardware {
    /// The bridge.
    pub(crate) const BRIDGE: [u8; 6] = [2, 0, 0, 0, 2, 0];
    /// `eth0` of the pod with this number.
    pub(crate) fn pod(number: u8) -> [u8; 6] {
        [2, 0, 0, 0, 0, number]
    }
    /// The host end of it.
    pub(crate) fn host_end(number: u8) -> [u8; 6] {
        [2, 0, 0, 0, 1, number]
    }
}

fn set_hardware_address(name: &str, address: [u8; 6]) {
    request(RTM_NEWLINK, 0, &[0; 16], |writer| {
        writer.string(IFLA_IFNAME, name);
        writer.bytes(IFLA_ADDRESS, &address);
    })
    .unwrap();
}

pub(crate) fn up(name: &str) {
    let mut header = [0; 16];
    // IFF_UP, as value and as mask.
    header[8] = 1;
    header[12] = 1;
    request(RTM_NEWLINK, 0, &header, |writer| writer.string(IFLA_IFNAME, name)).unwrap();
}

/// Adds an address that is valid at once.
pub(crate) fn add_address(name: &str, address: IpAddr, prefix: u8) {
    let scope = match address {
        IpAddr::V6(address) if address.is_unicast_link_local() => 253,
        _ => 0,
    };
    let mut header = vec![family(address), prefix, 0, scope];
    header.extend(index(name).to_ne_bytes());
    request(RTM_NEWADDR, CREATE, &header, |writer| {
        for kind in [IFA_LOCAL, IFA_ADDRESS] {
            writer.bytes(kind, &octets(address));
        }
        if address.is_ipv6() {
            writer.native(IFA_FLAGS, IFA_F_NODAD);
        }
    })
    .unwrap_or_else(|errno| panic!("{address} on {name}: {errno}"));
}

/// Adds a route to one address, or to everything, by a gateway or on the link.
pub(crate) fn add_route(destination: Option<IpAddr>, gateway: Option<IpAddr>, name: &str) {
    let family = destination.or(gateway).map(family).unwrap();
    let bits = destination.map_or(0, |address| if address.is_ipv4() { 32 } else { 128 });
    // The main table, a static unicast route; its scope is the link if there is no gateway.
    let scope = if gateway.is_none() && family == n::NFPROTO_IPV4 { 253 } else { 0 };
    let header = [family, bits, 0, 0, 254, 4, scope, 1, 0, 0, 0, 0];
    let index = index(name);
    request(RTM_NEWROUTE, CREATE, &header, |writer| {
        for (kind, address) in [(RTA_DST, destination), (RTA_GATEWAY, gateway)] {
            if let Some(address) = address {
                writer.bytes(kind, &octets(address));
            }
        }
        writer.native(RTA_OIF, index);
    })
    .unwrap_or_else(|errno| panic!("route to {destination:?} by {gateway:?}: {errno}"));
}

/// Sets a value under /proc/sys/net.
pub(crate) fn sysctl(path: &str, value: &str) {
    write(format!("/proc/sys/net/{path}"), value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

pub(crate) fn index(name: &str) -> u32 {
    let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("0.0.0.0:0")).unwrap();
    name_to_index(&socket, name).unwrap_or_else(|errno| panic!("{name}: {errno}"))
}

fn request(kind: u16, flags: u16, header: &[u8], write: impl FnOnce(&mut Writer<'_>)) -> Result<(), Errno> {
    let request = |sequence| {
        let mut bytes = Vec::new();
        let start = message::begin_with(&mut bytes, kind, flags | n::NLM_F_ACK, sequence, header);
        write(&mut Writer(&mut bytes));
        message::end(&mut bytes, start);
        bytes
    };
    Dialogue::open_route()?.ask(request, |_| {}).map(|_| ())
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { n::NFPROTO_IPV4 } else { n::NFPROTO_IPV6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
