//! One attempt at one packet: a socket of its own, from a port that this flow has not used before, so that
//! connection tracking sees a new flow each time.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use palisade_core::{Family, Traffic, Transport};
use palisade_nft::Share;
use socket2::{Protocol, SockAddr, Socket, Type};

use super::Shot;
use super::sctp::{self, Chunk};
use super::server::{domain, without_ip_header};
use crate::topology::Place;

/// Source ports are taken in turn from the range that Linux uses for clients.
const FIRST_PORT: u16 = 32_768;
const LAST_PORT: u16 = 60_999;

/// A packet on its way.
pub(crate) struct Attempt {
    pub(crate) socket: Socket,
    family: Family,
    awaited: Awaited,
}

/// What an answer looks like.
enum Awaited {
    /// A line with the server's name, over a connection or in a datagram.
    Line,
    /// An echo reply; the kernel hands it only to the socket that asked.
    Echo,
    /// A packet to this port; its verification tag is the port too.
    Sctp { port: u16, server: u16 },
}

/// What an attempt has come to.
pub(crate) enum Reply {
    /// An answer; the name of who sent it, if answers of this kind carry one.
    From(Option<String>),
    /// A refusal: a reset, or an ICMP error.
    Refused,
    /// Something that should not happen.
    Broken(String),
}

/// The next source port of each place and protocol.
#[derive(Default)]
pub(crate) struct SourcePorts(HashMap<(Place, u8), u16>);

impl SourcePorts {
    /// The next one, of those in the share.
    fn next(&mut self, place: &Place, protocol: u8, share: Share) -> u16 {
        let port = self.0.entry((place.clone(), protocol)).or_insert(LAST_PORT);
        for _ in FIRST_PORT..=LAST_PORT {
            *port = if *port == LAST_PORT { FIRST_PORT } else { *port + 1 };
            if share.takes(*port) {
                break;
            }
        }
        *port
    }
}

/// Sends a packet out of the namespace of the calling thread.
pub(crate) fn send(shot: &Shot, ports: &mut SourcePorts) -> io::Result<Attempt> {
    let family = shot.family();
    let (destination, traffic) = shot.sent_to();
    let (kind, protocol) = match (traffic, family) {
        (Traffic::Port(Transport::Tcp, _), _) => (Type::STREAM, libc::IPPROTO_TCP),
        (Traffic::Port(Transport::Udp, _), _) => (Type::DGRAM, libc::IPPROTO_UDP),
        (Traffic::Port(Transport::Sctp, _), _) => (Type::RAW, libc::IPPROTO_SCTP),
        (Traffic::Icmp, Family::V4) => (Type::DGRAM, libc::IPPROTO_ICMP),
        (Traffic::Icmp, Family::V6) => (Type::DGRAM, libc::IPPROTO_ICMPV6),
    };
    let socket = Socket::new(domain(family), kind.nonblocking(), Some(Protocol::from(protocol)))?;
    let key = u8::try_from(protocol).unwrap_or_default();
    match traffic {
        Traffic::Port(Transport::Tcp, port) => {
            // Closing then resets the connection at once, and nothing of it lingers.
            socket.set_linger(Some(Duration::ZERO))?;
            socket.set_reuse_address(true)?;
            bind_fresh(&socket, shot, ports, key)?;
            match socket.connect(&SocketAddr::new(destination, port.get()).into()) {
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
                other => other?,
            }
            Ok(Attempt { socket, family, awaited: Awaited::Line })
        }
        Traffic::Port(Transport::Udp, port) => {
            bind_fresh(&socket, shot, ports, key)?;
            socket.connect(&SocketAddr::new(destination, port.get()).into())?;
            socket.send(b"who are you?\n")?;
            Ok(Attempt { socket, family, awaited: Awaited::Line })
        }
        Traffic::Port(Transport::Sctp, server) => {
            socket.bind(&SocketAddr::new(shot.source, 0).into())?;
            socket.connect(&SocketAddr::new(destination, 0).into())?;
            let port = ports.next(&shot.from, key, shot.share());
            socket.send(&sctp::init(port, server.get(), u32::from(port)))?;
            Ok(Attempt { socket, family, awaited: Awaited::Sctp { port, server: server.get() } })
        }
        Traffic::Icmp => {
            // The port of an echo socket is the identifier in its requests.
            bind_fresh(&socket, shot, ports, key)?;
            socket.connect(&SocketAddr::new(destination, 0).into())?;
            let request = if family == Family::V4 { 8 } else { 128 };
            // Type, code, checksum and identifier (both filled in by the kernel), sequence number.
            socket.send(&[request, 0, 0, 0, 0, 0, 0, 1])?;
            Ok(Attempt { socket, family, awaited: Awaited::Echo })
        }
    }
}

fn bind_fresh(socket: &Socket, shot: &Shot, ports: &mut SourcePorts, protocol: u8) -> io::Result<()> {
    let mut last = None;
    // A port may be taken by a server, or by somebody who looks around in the lab.
    for _ in 0..64 {
        let address: SockAddr = SocketAddr::new(shot.source, ports.next(&shot.from, protocol, shot.share())).into();
        match socket.bind(&address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(error),
            other => return other,
        }
    }
    last.map_or(Ok(()), Err)
}

impl Attempt {
    /// Looks whether there is an answer; `None` if not yet.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let mut buffer = [0; 2048];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(length) => {
                    if let Some(reply) = self.understand(&buffer[..length]) {
                        return Some(reply);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(refusal(&error)),
            }
        }
    }

    /// Reads what has arrived; `None` if it is not meant for this attempt.
    fn understand(&self, bytes: &[u8]) -> Option<Reply> {
        match self.awaited {
            Awaited::Line if bytes.is_empty() => Some(Reply::Broken("the server hung up without a word".to_string())),
            Awaited::Line => Some(Reply::From(Some(name(bytes)))),
            Awaited::Echo => Some(Reply::From(None)),
            Awaited::Sctp { port, server } => {
                let segment = sctp::parse(without_ip_header(bytes, self.family))?;
                let mine = segment.destination_port == port
                    && segment.source_port == server
                    && segment.verification_tag == u32::from(port);
                match segment.chunk {
                    Chunk::InitAck { cookie } if mine => Some(Reply::From(Some(name(cookie)))),
                    // A kernel with SCTP sockets aborts what no socket of its own wants: the packet arrived.
                    Chunk::Abort if mine => Some(Reply::From(None)),
                    _ => None,
                }
            }
        }
    }
}

/// What a socket error says about the packet.
pub(crate) fn refusal(error: &io::Error) -> Reply {
    match error.raw_os_error() {
        // A rule of the sender's own namespace that drops makes the call fail with EPERM.
        Some(
            libc::ECONNREFUSED
            | libc::ECONNRESET
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EACCES
            | libc::EPERM
            | libc::ENOPROTOOPT
            | libc::EPROTO,
        ) => Reply::Refused,
        _ => Reply::Broken(error.to_string()),
    }
}

fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_port_comes_back_only_after_all_others() {
        let mut ports = SourcePorts::default();
        let first = ports.next(&Place::Outside, 6, Share::ALL);
        let rest: std::collections::BTreeSet<u16> =
            (FIRST_PORT..LAST_PORT).map(|_| ports.next(&Place::Outside, 6, Share::ALL)).collect();
        assert_eq!(rest.len(), usize::from(LAST_PORT - FIRST_PORT));
        assert!(!rest.contains(&first));
        assert_eq!(ports.next(&Place::Outside, 6, Share::ALL), first);
        assert_eq!(ports.next(&Place::Outside, 17, Share::ALL), first, "each protocol counts for itself");
    }
    #[test]
    fn a_share_has_its_own_source_ports() {
        let mut ports = SourcePorts::default();
        let share = Share { mask: 3, number: 2 };
        let taken: std::collections::BTreeSet<u16> = (0..100).map(|_| ports.next(&Place::Outside, 6, share)).collect();
        assert_eq!(taken.len(), 100);
        assert!(taken.iter().all(|port| port % 4 == 2), "{taken:?}");
    }
}
