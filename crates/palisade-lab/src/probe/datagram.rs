//! Datagrams together with the address they were sent to, so that a server with many addresses answers from the
//! right one (`IP_PKTINFO` in ip(7), `IPV6_PKTINFO` in RFC 3542).

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_core::Family;
use socket2::{MaybeUninitSlice, MsgHdr, MsgHdrMut, SockAddr, Socket};

use crate::sys;

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
pub(crate) fn receive(socket: &Socket, family: Family, buffer: &mut [u8; 2048]) -> io::Result<Arrived> {
    let mut uninit = [MaybeUninit::uninit(); 2048];
    let mut control = [MaybeUninit::uninit(); 128];
    let mut peer = any_peer();
    let mut slices = [MaybeUninitSlice::new(&mut uninit)];
    let mut message =
        MsgHdrMut::new().with_addr(&mut peer).with_buffers(&mut slices).with_control(&mut control);
    let length = socket.recvmsg(&mut message, 0)?;
    let control_length = message.control_len();
    copy_out(&uninit[..length], buffer);
    let mut information = [0; 128];
    copy_out(&control[..control_length], &mut information);
    let local = destination(&information[..control_length], family)
        .ok_or_else(|| io::Error::other("the kernel did not say where the datagram was sent to"))?;
    Ok(Arrived { length, peer, local })
}

/// Sends a datagram from one of the addresses of this namespace.
pub(crate) fn send_from(socket: &Socket, local: IpAddr, peer: &SockAddr, bytes: &[u8]) -> io::Result<()> {
    let control = source(local);
    let slices = [IoSlice::new(bytes)];
    let message = MsgHdr::new().with_addr(peer).with_buffers(&slices).with_control(&control);
    socket.sendmsg(&message, libc::MSG_NOSIGNAL)?;
    Ok(())
}
