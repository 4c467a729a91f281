//! Links, addresses and routes, over rtnetlink.
//!
//! Every link is a veth pair whose ends share one hardware address and resolve none (`IFF_NOARP`). Frames then reach
//! the other end whatever next hop a route names, at once: no ARP and no neighbour discovery. IPv6 addresses go without
//! duplicate address detection, too: even where there is nobody to ask, an address is in use only when a worker of the
//! kernel has come to it, seconds later on a busy machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};
use rtnetlink::packet_route::route::{RouteMessage, RouteScope};
use rtnetlink::{AddressMessageBuilder, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};
use tokio::runtime::Runtime;

use crate::error::LabError;

/// The next hop of every route. Nobody has this address, and nobody needs to: see the module.
const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The index of `lo`, the first link of every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// Where the answers of the kernel are waited for.
pub(crate) struct Wire(Runtime);

/// A route socket of one namespace.
#[derive(Clone)]
pub(crate) struct RouteSocket(rtnetlink::Handle);

/// One end of a veth pair.
pub(crate) struct LinkEnd<'a> {
    /// The name of the link in its namespace, at most 15 bytes.
    pub(crate) name: &'a str,
    /// The index it gets there, which must be free.
    pub(crate) index: u32,
}

impl Wire {
    pub(crate) fn new() -> Result<Wire, LabError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime
            .map(Wire)
            .map_err(|source| LabError::Link { operation: "start waiting for netlink answers".to_string(), source })
    }

    /// Opens a route socket in the namespace of the calling thread.
    pub(crate) fn open(&self) -> Result<RouteSocket, LabError> {
        let _context = self.0.enter();
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|source| LabError::Link { operation: "open a route socket".to_string(), source })?;
        self.0.spawn(connection);
        Ok(RouteSocket(handle))
    }

    /// Makes a veth pair: `near`, switched on, in the namespace of the socket; `far`, which can be switched on only
    /// when the pair exists, in another.
    pub(crate) fn connect(
        &self,
        socket: &RouteSocket,
        near: &LinkEnd<'_>,
        far: &LinkEnd<'_>,
        far_netns: BorrowedFd<'_>,
        hardware_address: [u8; 6],
    ) -> Result<(), LabError> {
        let far_message = LinkMessageBuilder::<LinkUnspec>::default()
            .name(far.name)
            .index(far.index)
            .address(hardware_address.to_vec())
            .arp(false)
            .append_extra_attribute(LinkAttribute::NetNsFd(far_netns.as_raw_fd()))
            .build();
        let message = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far_message)))
            .name(near.name)
            .index(near.index)
            .address(hardware_address.to_vec())
            .arp(false)
            .up()
            .build();
        self.wait(socket.0.link().add(message).execute(), || format!("make the veth pair {}/{}", near.name, far.name))
    }

    /// Removes a link, and with it the other end of the pair and every route over either.
    pub(crate) fn disconnect(&self, socket: &RouteSocket, index: u32) -> Result<(), LabError> {
        self.wait(socket.0.link().del(index).execute(), || format!("remove link {index}"))
    }

    /// Switches a link on.
    pub(crate) fn up(&self, socket: &RouteSocket, index: u32) -> Result<(), LabError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.wait(socket.0.link().change(message).execute(), || format!("switch link {index} on"))
    }

    /// Gives a link an address, to be used at once. It stands alone: nothing else is reached directly because of it.
    pub(crate) fn add_address(&self, socket: &RouteSocket, index: u32, address: IpAddr) -> Result<(), LabError> {
        let mut request = socket.0.address().add(index, address, host_prefix(address)).replace();
        request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        self.wait(request.execute(), || format!("add the address {address}"))
    }

    /// Takes an address from a link.
    pub(crate) fn remove_address(&self, socket: &RouteSocket, index: u32, address: IpAddr) -> Result<(), LabError> {
        let message = match address {
            IpAddr::V4(address) => AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, 32).build(),
            IpAddr::V6(address) => AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(address, 128).build(),
        };
        self.wait(socket.0.address().del(message).execute(), || format!("remove the address {address}"))
    }

    /// Leads one address over a link.
    pub(crate) fn add_route(&self, socket: &RouteSocket, address: IpAddr, index: u32) -> Result<(), LabError> {
        let message = route(address, host_prefix(address), index);
        self.wait(socket.0.route().add(message).replace().execute(), || format!("lead {address} over link {index}"))
    }

    /// Forgets where an address was led.
    pub(crate) fn remove_route(&self, socket: &RouteSocket, address: IpAddr, index: u32) -> Result<(), LabError> {
        let message = route(address, host_prefix(address), index);
        self.wait(socket.0.route().del(message).execute(), || format!("remove the route to {address}"))
    }

    /// Leads everything of a family that no other route matches over a link.
    pub(crate) fn add_default_route(
        &self,
        socket: &RouteSocket,
        family: palisade_core::Family,
        index: u32,
    ) -> Result<(), LabError> {
        let any = match family {
            palisade_core::Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            palisade_core::Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        self.wait(socket.0.route().add(route(any, 0, index)).replace().execute(), || {
            format!("set the default route of {family} over link {index}")
        })
    }

    fn wait(
        &self,
        request: impl Future<Output = Result<(), rtnetlink::Error>>,
        operation: impl FnOnce() -> String,
    ) -> Result<(), LabError> {
        self.0.block_on(request).map_err(|error| {
            let source = match error {
                rtnetlink::Error::NetlinkError(message) => message.to_io(),
                other => io::Error::other(other.to_string()),
            };
            LabError::Link { operation: operation(), source }
        })
    }
}

fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn route(address: IpAddr, prefix_length: u8, index: u32) -> RouteMessage {
    match address {
        IpAddr::V4(address) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, prefix_length)
            .gateway(GATEWAY4)
            .output_interface(index)
            .scope(RouteScope::Universe)
            .onlink()
            .build(),
        IpAddr::V6(address) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(address, prefix_length)
            .gateway(GATEWAY6)
            .output_interface(index)
            .onlink()
            .build(),
    }
}
