//! Datagrams together with the address they were sent to, so that a server with many addresses answers from the
//! right one (`IP_PKTINFO` in ip(7), `IPV6_PKTINFO` in RFC 3542).

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use palisade_core::Family;
use socket2::{MaybeUninitSlice, MsgHdr, MsgHdrMut, SockAddr, Socket};

use crate::sys;

/// The header of a control message: its length, level and type (cmsg(3)).
const HEADER: usize = size_of::<usize>() + 8;

/// A datagram that arrived.
pub(crate) struct Arrived {
    pub(crate) length: usize,
    pub(crate) peer: SockAddr,
    /// The address it was sent to.
    pub(crate) local: IpAddr,
}

/// Makes the kernel tell where datagrams were sent to.
pub(crate) fn ask_for_destination(socket: &Socket, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => sys::set_int_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        Family::V6 => sys::set_int_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    }
}

/// Takes one datagram.
pub(crate) fn receive(socket: &Socket, family: Family, buffer: &mut [u8]) -> io::Result<Arrived> {
    let unspecified: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut peer = SockAddr::from(SocketAddr::new(unspecified, 0));
    let mut control = [0; 128];
    let mut slices = [MaybeUninitSlice::new(sys::as_uninit(buffer))];
    let mut message =
        MsgHdrMut::new().with_addr(&mut peer).with_buffers(&mut slices).with_control(sys::as_uninit(&mut control));
    let length = socket.recvmsg(&mut message, 0)?;
    let local = destination(&control, family)
        .ok_or_else(|| io::Error::other("the kernel did not say where the datagram was sent to"))?;
    Ok(Arrived { length, peer, local })
}

/// Sends a datagram from one of the addresses of the socket's namespace.
pub(crate) fn send_from(socket: &Socket, local: IpAddr, peer: &SockAddr, bytes: &[u8]) -> io::Result<()> {
    let control = source(local);
    let slices = [IoSlice::new(bytes)];
    let message = MsgHdr::new().with_addr(peer).with_buffers(&slices).with_control(&control);
    socket.sendmsg(&message, libc::MSG_NOSIGNAL)?;
    Ok(())
}

/// Reads `in_pktinfo.ipi_addr` or `in6_pktinfo.ipi6_addr`, the only control message that is asked for.
fn destination(control: &[u8], family: Family) -> Option<IpAddr> {
    match family {
        Family::V4 => {
            let bytes: [u8; 4] = control.get(HEADER + 8..HEADER + 12)?.try_into().ok()?;
            Some(Ipv4Addr::from(bytes).into())
        }
        Family::V6 => {
            let bytes: [u8; 16] = control.get(HEADER..HEADER + 16)?.try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
    }
}

/// Writes the control message that sets the source address.
fn source(local: IpAddr) -> Vec<u8> {
    let (level, kind, information) = match local {
        // ipi_ifindex 0 (any link), ipi_spec_dst (the source), ipi_addr (unused).
        IpAddr::V4(local) => (libc::IPPROTO_IP, libc::IP_PKTINFO, [[0; 4], local.octets(), [0; 4]].concat()),
        // ipi6_addr, ipi6_ifindex 0.
        IpAddr::V6(local) => (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, [&local.octets()[..], &[0; 4]].concat()),
    };
    let mut control = (HEADER + information.len()).to_ne_bytes().to_vec();
    control.extend(level.to_ne_bytes());
    control.extend(kind.to_ne_bytes());
    control.extend(information);
    control.resize(control.len().next_multiple_of(size_of::<usize>()), 0);
    control
}
