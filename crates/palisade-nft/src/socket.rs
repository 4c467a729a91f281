//! A netlink socket: everything that this crate asks of the kernel goes through here.
#![allow(unsafe_code, reason = "three socket options of netlink that rustix does not know")]

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, Protocol, RecvAncillaryBuffer, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname,
    recvmsg, send, socket_with, sockopt,
};

use crate::kernel::KernelError;

/// What we ask for; the kernel takes it as a limit and allocates nothing. Enough for any table of one node.
const SEND_BYTES_WANTED: usize = 256 << 20;
/// Room for the answers to a batch that fails all over, or for the news of a big foreign one.
const RECEIVE_BYTES_WANTED: usize = 16 << 20;
/// The kernel's own share of a send buffer (`netlink_sendmsg` refuses `len > sk_sndbuf - 32`).
const SEND_BYTES_RESERVED: usize = 32;

/// A socket with a port of its own.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    port: u32,
}

impl Socket {
    /// Opens a socket to nfnetlink that listens to these multicast groups (a bit each).
    pub(crate) fn open(groups: u32) -> Result<Socket, Errno> {
        Socket::open_protocol(Some(NETFILTER), groups)
    }

    /// Opens a socket to rtnetlink that listens to these multicast groups (a bit each). The kernel takes each field
    /// of a request at its word, or refuses it: without that it ignores filters that it does not know.
    pub(crate) fn open_route(groups: u32) -> Result<Socket, Errno> {
        // NETLINK_ROUTE is number 0, for which rustix has no name.
        let socket = Socket::open_protocol(None, groups)?;
        set_netlink_option(socket.as_fd(), libc::NETLINK_GET_STRICT_CHK)?;
        Ok(socket)
    }

    fn open_protocol(protocol: Option<Protocol>, groups: u32) -> Result<Socket, Errno> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        let port = SocketAddrNetlink::try_from(getsockname(&fd)?)?.pid();
        // Beyond the limits of the machine only with CAP_NET_ADMIN in the initial user namespace; else up to
        // net.core.wmem_max and rmem_max, whatever they are.
        sockopt::set_socket_send_buffer_size_force(&fd, SEND_BYTES_WANTED)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&fd, SEND_BYTES_WANTED))?;
        sockopt::set_socket_recv_buffer_size_force(&fd, RECEIVE_BYTES_WANTED)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&fd, RECEIVE_BYTES_WANTED))?;
        // Say which attribute was refused, and do not send the refused message back.
        set_netlink_option(fd.as_fd(), libc::NETLINK_EXT_ACK)?;
        set_netlink_option(fd.as_fd(), libc::NETLINK_CAP_ACK)?;
        Ok(Socket { fd, port })
    }

    /// The port under which the kernel knows the socket.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// The most bytes that can be sent at once.
    pub(crate) fn send_bytes_max(&self) -> Result<usize, Errno> {
        Ok(sockopt::socket_send_buffer_size(&self.fd)?.saturating_sub(SEND_BYTES_RESERVED))
    }

    /// Sends messages. The kernel has dealt with them, and its answers are there, when this returns.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        loop {
            match send(&self.fd, bytes, SendFlags::empty()) {
                Err(Errno::INTR) => {}
                result => return result.map(|_| ()),
            }
        }
    }

    /// Receives what is there, without waiting; `None` if there is nothing. A message that does not fit into
    /// the buffer is [`Errno::MSGSIZE`].
    pub(crate) fn receive<'a>(&self, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>, Errno> {
        loop {
            let mut ancillary = RecvAncillaryBuffer::default();
            let received = recvmsg(&self.fd, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::DONTWAIT);
            match received {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(errno),
                Ok(received) if received.flags.contains(rustix::net::ReturnFlags::TRUNC) => {
                    return Err(Errno::MSGSIZE);
                }
                Ok(received) => return Ok(Some(&buffer[..received.bytes])),
            }
        }
    }

    /// Waits until there may be something to receive; `false` if it is past that time already. `operation` says in an error what
    /// is waited for.
    pub(crate) fn wait_until(&self, end: Instant, operation: &'static str) -> Result<bool, KernelError> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // A time that the kernel cannot express is for ever.
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(self, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(true),
            Err(errno) => Err(KernelError::Io { operation, errno }),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn set_netlink_option(fd: BorrowedFd<'_>, option: libc::c_int) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer is to a c_int that outlives the call, and four bytes are the length of a c_int.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), 4) };
    if result == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
}

/// Moves the calling thread into a new network namespace.
#[cfg(test)]
pub(crate) fn enter_new_network_namespace() -> Result<(), Errno> {
    // SAFETY: only the network namespace is left, the thread goes on sharing its file descriptors.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
}

/// Sends an Ethernet frame as it is by an interface of the calling thread's network namespace.
#[cfg(test)]
pub(crate) fn send_frame(interface: u32, frame: &[u8]) -> Result<(), Errno> {
    let fd = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let to = libc::sockaddr_ll {
        sll_family: AddressFamily::PACKET.as_raw(),
        sll_protocol: 0,
        sll_ifindex: interface.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let to_bytes = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(|_| Errno::INVAL)?;
    // SAFETY: both pointers are to values that outlive the call, and the lengths are theirs.
    let sent = unsafe {
        libc::sendto(fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, (&raw const to).cast(), to_bytes)
    };
    if sent >= 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
}
