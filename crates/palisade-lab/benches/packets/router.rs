//! A node as a namespace, with one link by which packets come in and one by which they leave.
//!
//! ```text
//! ends: send ---- in :router: out ---- sink :ends
//! ```
//!
//! The sink drops what arrives, since it is addressed to another hardware address. So the way of a packet ends there
//! at once, and all of it is spent inside the call that sends it: on the time of the sending thread, softirq included.
#![allow(unsafe_code, reason = "the address of a packet socket, which no safe wrapper knows")]
#![expect(clippy::disallowed_methods, reason = "/proc says how many packets arrived")]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use palisade_core::BanTables;
use palisade_lab::Netns;
use palisade_nft::{Applied, BanHeld, Kernel, Ruleset, Settings, Table, diff, lower_bans};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use tokio::runtime::Runtime;

use crate::Result;
use crate::frame::{ENDS, ROUTER};

const LOOPBACK: u32 = 1;
/// The links by which packets come in and leave, on both sides.
const FIRST_LINK: u32 = 2;
const SECOND_LINK: u32 = 3;
const SINK: &str = "sink";
/// How the router calls the link by which packets come in.
pub(crate) const FIRST_LINK_NAME: &str = "in";

/// The next hop of every route. Nobody has this address, and on a link without address resolution nobody needs to.
const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// A node under test. It is gone with the process.
pub(crate) struct Router {
    pub(crate) kernel: Kernel,
    sources: Kernel,
    guards: Kernel,
    bans: Kernel,
    ends: Netns,
    /// Bound to the link `send`.
    sender: Socket,
    /// Speaks to connection tracking.
    conntrack: OwnedFd,
    _netns: Netns,
}

impl Router {
    /// A router without rules. The calling thread is in its namespace afterwards.
    pub(crate) fn new() -> Result<Router> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let ends = Netns::create("the ends")?;
        // Nothing but our frames shall be on the links. Kernels without IPv6 have no such setting, and no need.
        let _ = ends.set("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
        let ends_handle = open(&runtime)?;
        let netns = Netns::create("the router")?;
        netns.set("/proc/sys/net/ipv4/ip_forward", "1")?;
        for scope in ["all", "default"] {
            netns.set(&format!("/proc/sys/net/ipv4/conf/{scope}/rp_filter"), "0")?;
            let _ = netns.set(&format!("/proc/sys/net/ipv6/conf/{scope}/forwarding"), "1");
            let _ = netns.set(&format!("/proc/sys/net/ipv6/conf/{scope}/accept_dad"), "0");
        }
        let _ = netns.set("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1");
        let handle = open(&runtime)?;
        // With `lo` comes the table of local addresses, without which no route is accepted.
        let loopback = LinkUnspec::new_with_index(LOOPBACK).up().build();
        wait(&runtime, handle.link().change(loopback).execute(), "switch lo on")?;
        for (index, near, far) in [(FIRST_LINK, FIRST_LINK_NAME, "send"), (SECOND_LINK, "out", SINK)] {
            let pair = pair(index, near, far, ends.as_fd().as_raw_fd());
            wait(&runtime, handle.link().add(pair).execute(), "make a link")?;
            let up = LinkUnspec::new_with_index(index).up().build();
            wait(&runtime, ends_handle.link().change(up).execute(), "switch a link on")?;
        }
        for route in routes() {
            wait(&runtime, handle.route().add(route).execute(), "add a route")?;
        }
        let kernel = Kernel::open()?;
        let sources = Kernel::open_table(Table::RoutedSources)?;
        let guards = Kernel::open_table(Table::Host)?;
        let bans = Kernel::open_table(Table::Bans)?;
        let conntrack = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
        bind(&conntrack, &SocketAddrNetlink::new(0, 0))?;
        ends.enter()?;
        let sender = packet_socket(FIRST_LINK)?;
        netns.enter()?;
        Ok(Router { kernel, sources, guards, bans, ends, sender, conntrack, _netns: netns })
    }

    /// Puts a ruleset in the place of whatever rules there are.
    pub(crate) fn enforce(&mut self, ruleset: &Ruleset) -> Result<Applied> {
        let have = self.kernel.read_back()?.unwrap_or_default();
        Ok(self.kernel.apply(&diff(&have, ruleset))?)
    }

    /// Holds links to addresses.
    pub(crate) fn hold(&mut self, sources: &Ruleset) -> Result<Applied> {
        Ok(self.sources.apply(&diff(&Ruleset::nothing(Table::RoutedSources), sources))?)
    }

    /// Guards ports of nodes.
    pub(crate) fn guard(&mut self, guards: &Ruleset) -> Result<Applied> {
        Ok(self.guards.apply(&diff(&Ruleset::nothing(Table::Host), guards))?)
    }

    /// Bans addresses for everybody.
    pub(crate) fn ban(&mut self, bans: &BanTables) -> Result<()> {
        let settings = Settings::default();
        let (first, stages) = BanHeld::stages(bans);
        self.bans.apply(&diff(&Ruleset::nothing(Table::Bans), &lower_bans(&first, &settings)))?;
        let mut held = BanHeld::of(&first, &settings);
        for transaction in stages.into_iter().flat_map(|stage| held.lower_changes(&[stage])) {
            self.bans.apply(&transaction)?;
        }
        Ok(())
    }

    /// Sends a frame through; it has arrived, or was dropped, when this returns.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<()> {
        self.sender.send(frame)?;
        Ok(())
    }

    /// How many packets have arrived at the sink so far.
    pub(crate) fn arrived(&self) -> Result<u64> {
        // On a busy machine the kernel's own thread takes packets over, which arrive a moment later.
        std::thread::sleep(Duration::from_millis(20));
        self.ends.enter()?;
        let devices = std::fs::read_to_string("/proc/thread-self/net/dev")?;
        let line = devices.lines().find_map(|line| line.trim_start().strip_prefix(SINK)?.strip_prefix(':'));
        // Received bytes, then received packets.
        let packets = line.and_then(|line| line.split_whitespace().nth(1)).ok_or("the sink is not in /proc/net/dev")?;
        Ok(packets.parse()?)
    }

    /// Makes connection tracking forget all flows.
    pub(crate) fn forget_flows(&self) -> Result<()> {
        // A netlink header with NLM_F_REQUEST | NLM_F_ACK and an `nfgenmsg`; `IPCTNL_MSG_CT_DELETE` of the subsystem
        // `NFNL_SUBSYS_CTNETLINK` without a tuple deletes all entries of the namespace.
        let (length, kind, flags) = (20_u32, 1_u16 << 8 | 2, 5_u16);
        let message = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 12]].concat();
        send(&self.conntrack, &message, SendFlags::empty())?;
        let mut answer = [0; 256];
        let (received, _) = recv(&self.conntrack, &mut answer[..], RecvFlags::empty())?;
        // After the header of the answer comes the error number, 0 for none.
        match answer.get(16..20).filter(|_| received >= 20) {
            Some([0, 0, 0, 0]) => Ok(()),
            code => Err(format!("connection tracking does not forget its flows: {code:?}").into()),
        }
    }
}

fn open(runtime: &Runtime) -> Result<Handle> {
    let _context = runtime.enter();
    let (connection, handle, _) = rtnetlink::new_connection()?;
    runtime.spawn(connection);
    Ok(handle)
}

fn wait(
    runtime: &Runtime,
    request: impl Future<Output = std::result::Result<(), rtnetlink::Error>>,
    operation: &str,
) -> Result<()> {
    runtime.block_on(request).map_err(|error| format!("cannot {operation}: {error}").into())
}

/// A veth pair whose ends resolve no addresses; a frame that leaves the router is addressed to the router.
fn pair(index: u32, near: &str, far: &str, far_netns: i32) -> rtnetlink::packet_route::link::LinkMessage {
    let far = LinkMessageBuilder::<LinkUnspec>::default()
        .name(far)
        .index(index)
        .address(ENDS.to_vec())
        .arp(false)
        .append_extra_attribute(LinkAttribute::NetNsFd(far_netns))
        .build();
    LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
        .name(near)
        .index(index)
        .address(ROUTER.to_vec())
        .arp(false)
        .up()
        .build()
}

/// All pods of the clusters are behind the second link.
fn routes() -> [RouteMessage; 2] {
    let all4 = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(Ipv4Addr::new(10, 0, 0, 0), 8);
    let all6 = Ipv6Addr::new(0xfd44, 0, 0, 0, 0, 0, 0, 0);
    let all6 = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(all6, 32);
    [
        all4.gateway(GATEWAY4).output_interface(SECOND_LINK).scope(RouteScope::Universe).onlink().build(),
        all6.gateway(GATEWAY6).output_interface(SECOND_LINK).onlink().build(),
    ]
}

/// A socket that sends frames over a link of the namespace of the calling thread, and receives nothing.
fn packet_socket(link: u32) -> Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is one of the kinds of socket address that the storage is made for, and any bytes are one.
    let address: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_ifindex = i32::try_from(link)?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: the storage holds an address of this length.
    let address = unsafe { SockAddr::new(storage, length) };
    socket.bind(&address)?;
    Ok(socket)
}
