//! Servers that answer every probe with the name of the place they are in, so that a packet that ends up in the
//! wrong pod is noticed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use palisade_core::{Family, Port, Transport};
use rustix::event::epoll;
use socket2::{Domain, Protocol, Socket, Type};

use super::datagram;
use super::sctp::{self, Chunk};
use crate::error::LabError;
use crate::topology::{Place, Topology};

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Service {
    pub(crate) place: Place,
    pub(crate) family: Family,
    pub(crate) kind: ServiceKind,
}

/// The protocol of a server. One raw socket answers SCTP on every port; echo requests are answered by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ServiceKind {
    Tcp(Port),
    Udp(Port),
    Sctp,
}

impl ServiceKind {
    pub(crate) fn of(transport: Transport, port: Port) -> ServiceKind {
        match transport {
            Transport::Tcp => ServiceKind::Tcp(port),
            Transport::Udp => ServiceKind::Udp(port),
            Transport::Sctp => ServiceKind::Sctp,
        }
    }
}

/// All open servers.
#[derive(Default)]
pub(crate) struct Servers {
    by_key: HashMap<u64, Server>,
    keys: BTreeMap<Service, u64>,
}

struct Server {
    socket: Socket,
    family: Family,
    kind: ServiceKind,
    /// The line it answers with.
    greeting: Vec<u8>,
}

impl Servers {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Opens what is missing of `services`. Others stay open for people who look around in the lab, unless there
    /// would be more than `most`.
    pub(crate) fn ensure(
        &mut self,
        topology: &Topology,
        events: &rustix::fd::OwnedFd,
        services: &BTreeSet<Service>,
        most: usize,
        mut next_key: impl FnMut() -> u64,
    ) -> Result<(), LabError> {
        let missing: Vec<&Service> = services.iter().filter(|service| !self.keys.contains_key(service)).collect();
        if self.len() + missing.len() > most {
            self.close(|service| !services.contains(service));
        }
        for service in missing {
            let Some(member) = topology.member(&service.place) else { continue };
            member.netns.enter()?;
            let failed = |source| LabError::Probe { operation: format!("serve {service:?}"), source };
            let socket = match listen(service.family, service.kind) {
                // Somebody who looks around in the lab has taken the port; who answers there will be seen.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                other => other.map_err(failed)?,
            };
            let key = next_key();
            epoll::add(events, &socket, epoll::EventData::new_u64(key), epoll::EventFlags::IN)
                .map_err(|errno| failed(errno.into()))?;
            let greeting = format!("{}\n", service.place).into_bytes();
            self.by_key.insert(key, Server { socket, family: service.family, kind: service.kind, greeting });
            self.keys.insert(service.clone(), key);
        }
        Ok(())
    }

    /// Closes the servers of places that are gone.
    pub(crate) fn forget(&mut self, gone: &[Place]) {
        self.close(|service| gone.contains(&service.place));
    }

    /// Answers whoever waits at the server with this key; `false` if there is no such server.
    pub(crate) fn serve(&self, key: u64) -> bool {
        let Some(server) = self.by_key.get(&key) else { return false };
        // The kernel says again if more are waiting, so that one busy server does not starve the rest.
        for _ in 0..64 {
            match server.answer_one() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A peer that is gone already is its own business; the socket goes on.
                _ => {}
            }
        }
        true
    }

    fn close(&mut self, unwanted: impl Fn(&Service) -> bool) {
        let by_key = &mut self.by_key;
        self.keys.retain(|service, key| {
            let keep = !unwanted(service);
            if !keep {
                by_key.remove(key);
            }
            keep
        });
    }
}

impl Server {
    fn answer_one(&self) -> io::Result<()> {
        match self.kind {
            ServiceKind::Tcp(_) => {
                let (mut connection, _) = self.socket.accept()?;
                connection.set_nonblocking(true)?;
                connection.send_with_flags(&self.greeting, libc::MSG_NOSIGNAL)?;
                // Unread input would turn the close into a reset that overtakes the greeting.
                let _ = connection.read(&mut [0; 512]);
                Ok(())
            }
            ServiceKind::Udp(_) => {
                let mut buffer = [0; 2048];
                let arrived = datagram::receive(&self.socket, self.family, &mut buffer)?;
                datagram::send_from(&self.socket, arrived.local, &arrived.peer, &self.greeting)
            }
            ServiceKind::Sctp => {
                let mut buffer = [0; 2048];
                let arrived = datagram::receive(&self.socket, self.family, &mut buffer)?;
                let Some(asked) = sctp::parse(without_ip_header(&buffer[..arrived.length], self.family)) else {
                    return Ok(());
                };
                let Chunk::Init { tag } = asked.chunk else { return Ok(()) };
                let answer = sctp::init_ack(&asked, tag, &self.greeting);
                datagram::send_from(&self.socket, arrived.local, &arrived.peer, &answer)
            }
        }
    }
}

/// A raw IPv4 socket delivers the IP header too (raw(7)), a raw IPv6 socket does not (RFC 3542 section 3).
pub(crate) fn without_ip_header(bytes: &[u8], family: Family) -> &[u8] {
    let header = match (family, bytes.first()) {
        (Family::V4, Some(first)) => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    bytes.get(header..).unwrap_or_default()
}

pub(crate) fn domain(family: Family) -> Domain {
    match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    }
}

/// Opens a server in the namespace of the calling thread.
fn listen(family: Family, kind: ServiceKind) -> io::Result<Socket> {
    let any: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let (kind, protocol, port) = match kind {
        ServiceKind::Tcp(port) => (Type::STREAM, Protocol::TCP, port.get()),
        ServiceKind::Udp(port) => (Type::DGRAM, Protocol::UDP, port.get()),
        ServiceKind::Sctp => (Type::RAW, Protocol::from(libc::IPPROTO_SCTP), 0),
    };
    let socket = Socket::new(domain(family), kind.nonblocking(), Some(protocol))?;
    if family == Family::V6 && kind != Type::RAW {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    } else {
        datagram::ask_for_destination(&socket, family)?;
    }
    if kind != Type::RAW {
        socket.bind(&SocketAddr::new(any, port).into())?;
    }
    if kind == Type::STREAM {
        socket.listen(1024)?;
    }
    Ok(socket)
}
