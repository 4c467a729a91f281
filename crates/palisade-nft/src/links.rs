//! The interfaces by which pods are attached to the node (rtnetlink), and what addresses are behind them.
//!
//! Numbers are those of `linux/rtnetlink.h`, `linux/if_link.h` and `linux/if_addr.h`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::dialogue::{Dialogue, Reading};
use crate::kernel::KernelError;
use crate::socket::Socket;
use crate::wire::attributes::{Attributes, Writer};
use crate::wire::message::{self, Message};
use crate::wire::numbers as n;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTNLGRP_LINK: u32 = 1;

/// `struct ifinfomsg`.
const LINK_HEADER_BYTES: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

/// `struct ifaddrmsg`.
const ADDRESS_HEADER_BYTES: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_TARGET_NETNSID: u16 = 10;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;

/// How often links are listed again because some came or went meanwhile. Then the last list is taken: of what is
/// missing in it there will be news.
const TRIES: usize = 5;
/// The longest message that the kernel sends.
const RECEIVE_BYTES: usize = 256 << 10;

/// The interfaces of the network namespace in which this was opened.
#[derive(Debug)]
pub struct Links {
    list: Dialogue,
    news: Socket,
    buffer: Vec<u8>,
}

/// What the interfaces of a node lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// Those that lead to pods, in the order of their names.
    pub pods: Vec<PodLink>,
    /// Both ends of each veth pair that has both on the node, in order: what comes by one, the node itself has sent.
    pub passages: Vec<String>,
    /// The addresses, valid beyond the link, that the bridges have that pods are ports of.
    pub bridges: BTreeMap<String, Vec<IpAddr>>,
}

/// An interface that leads out of the namespace of the node: the host end of a veth pair whose other end is in another
/// network namespace, which is a pod's nearly always.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodLink {
    /// The name of the host end.
    pub name: String,
    /// The index of the host end.
    pub index: u32,
    /// The node's number of the network namespace where the other end is: the same for all interfaces of one pod.
    pub namespace: u32,
    /// What the host end is a port of.
    pub master: Master,
    /// The addresses of the other end, in order: those that are valid beyond the link.
    ///
    /// They are what the pod itself says: one with `CAP_NET_ADMIN` can give itself any.
    pub addresses: Vec<IpAddr>,
    /// The IPv6 addresses of the other end that are valid on the link alone.
    pub link_local: Vec<Ipv6Addr>,
}

/// Where packets from an interface go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Master {
    /// To the node's routing.
    None,
    /// To other ports of a bridge, or to the node; the name of the bridge.
    Bridge(String),
    /// To something else, such as a VRF or Open vSwitch; its name.
    Other(String),
}

impl Links {
    /// Looks at the interfaces of the network namespace of the calling thread, and listens to changes from now on.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the sockets.
    pub fn open() -> Result<Links, KernelError> {
        let failed = |errno| error("open a netlink socket", errno);
        let news = Socket::open_route(1 << (RTNLGRP_LINK - 1)).map_err(failed)?;
        let list = Dialogue::open_route().map_err(failed)?;
        Ok(Links { list, news, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// The interfaces that lead to pods, in the order of their names.
    ///
    /// # Errors
    ///
    /// Those of [`Links::look`].
    pub fn pods(&mut self) -> Result<Vec<PodLink>, KernelError> {
        self.look().map(|interfaces| interfaces.pods)
    }

    /// Looks where all interfaces lead.
    ///
    /// An interface whose other end vanishes while it is looked at is left out: there will be news of it.
    ///
    /// # Errors
    ///
    /// If the kernel refuses. To look into another namespace the process needs `CAP_NET_ADMIN` there, which root
    /// has in those of all pods.
    pub fn look(&mut self) -> Result<Interfaces, KernelError> {
        let links = self.links()?;
        let mut found = Interfaces::default();
        for (index, link) in links.iter().filter(|(_, link)| link.kind == "veth") {
            let (peer, namespace) = match (link.peer, link.far) {
                (Some(peer), Far::Namespace(namespace)) => (peer, namespace),
                (_, Far::Here) => {
                    found.passages.push(link.name.clone());
                    continue;
                }
                _ => continue,
            };
            let Some((addresses, link_local)) = self.addresses(peer, Some(namespace))? else { continue };
            let master = match link.master.and_then(|master| links.get(&master)) {
                None => Master::None,
                Some(master) if master.kind == "bridge" => Master::Bridge(master.name.clone()),
                Some(master) => Master::Other(master.name.clone()),
            };
            found.pods.push(PodLink {
                name: link.name.clone(),
                index: *index,
                namespace,
                master,
                addresses,
                link_local,
            });
        }
        for (index, bridge) in links.iter().filter(|(_, link)| link.kind == "bridge") {
            let is_master = |pod: &PodLink| matches!(&pod.master, Master::Bridge(name) if *name == bridge.name);
            if found.pods.iter().any(is_master) {
                let (addresses, _) = self.addresses(*index, None)?.unwrap_or_default();
                found.bridges.insert(bridge.name.clone(), addresses);
            }
        }
        found.pods.sort_unstable();
        found.passages.sort_unstable();
        Ok(found)
    }

    /// Whether interfaces came, went or changed since this was last asked; waits at most so long for it.
    ///
    /// An address that a pod gets later is no change of an interface here.
    ///
    /// # Errors
    ///
    /// If the socket fails.
    pub fn changed(&mut self, patience: Duration) -> Result<bool, KernelError> {
        let end = Instant::now() + patience;
        loop {
            let mut changed = false;
            loop {
                match self.news.receive(&mut self.buffer) {
                    Ok(None) => break,
                    // Or more happened than there was room for.
                    Ok(Some(_)) | Err(Errno::NOBUFS | Errno::MSGSIZE) => changed = true,
                    Err(errno) => return Err(error("read news of interfaces", errno)),
                }
            }
            if changed || !self.news.wait_until(end, "wait for news of interfaces")? {
                return Ok(changed);
            }
        }
    }

    /// All interfaces by their index.
    fn links(&mut self) -> Result<BTreeMap<u32, Link>, KernelError> {
        let mut links = BTreeMap::new();
        for _ in 0..TRIES {
            links.clear();
            let asked = self.list.ask(list_links, |message| links.extend(Link::read(message)));
            match asked.map_err(|errno| error("list the interfaces", errno))? {
                Reading::Steady => break,
                Reading::Interrupted => {}
            }
        }
        Ok(links)
    }

    /// The addresses of an interface in this namespace or another, in order: those of global scope and the IPv6 ones of
    /// the link; `None` if the namespace or the interface is gone.
    fn addresses(&mut self, index: u32, namespace: Option<u32>) -> Result<Option<Addresses>, KernelError> {
        for _ in 0..TRIES {
            let (mut global, mut link_local) = (Vec::new(), Vec::new());
            let asked = self.list.ask(
                |sequence| list_addresses(sequence, index, namespace),
                |message| match read_address(message) {
                    Some((RT_SCOPE_LINK, IpAddr::V6(address))) => link_local.push(address),
                    Some((RT_SCOPE_UNIVERSE, address)) => global.push(address),
                    _ => {}
                },
            );
            match asked {
                Ok(Reading::Steady) => {
                    global.sort_unstable();
                    link_local.sort_unstable();
                    return Ok(Some((global, link_local)));
                }
                Ok(Reading::Interrupted) => {}
                // The number of the namespace is not given any more, or the index is not.
                Err(Errno::INVAL | Errno::NODEV) => return Ok(None),
                Err(errno) => return Err(error("list the addresses of a pod's interface", errno)),
            }
        }
        Ok(None)
    }
}

impl AsFd for Links {
    /// Readable when [`Links::changed`] has something to tell.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

type Addresses = (Vec<IpAddr>, Vec<Ipv6Addr>);

/// An interface as it is listed.
#[derive(Debug)]
struct Link {
    name: String,
    kind: String,
    master: Option<u32>,
    /// The index of the other end, in the namespace where it is.
    peer: Option<u32>,
    far: Far,
}

/// Where the other end of an interface is.
#[derive(Clone, Copy, Debug)]
enum Far {
    /// In this namespace.
    Here,
    /// In the namespace that has this number here.
    Namespace(u32),
    /// In one that has no number here, and cannot be asked.
    Unknown,
}

impl Link {
    fn read(message: Message<'_>) -> Option<(u32, Link)> {
        if message.kind != RTM_NEWLINK {
            return None;
        }
        let (header, attributes) = message.split::<LINK_HEADER_BYTES>()?;
        let index = u32::from_ne_bytes(*header[4..].first_chunk()?);
        let kind = attributes.find_nested(IFLA_LINKINFO).and_then(|info| info.find_string(IFLA_INFO_KIND));
        let link = Link {
            name: attributes.find_string(IFLA_IFNAME)?.to_string(),
            kind: kind.unwrap_or_default().to_string(),
            master: attributes.find_native(IFLA_MASTER),
            peer: attributes.find_native(IFLA_LINK),
            far: match attributes.find_native(IFLA_LINK_NETNSID) {
                None => Far::Here,
                // A number below zero is none.
                Some(number) if number.cast_signed() < 0 => Far::Unknown,
                Some(number) => Far::Namespace(number),
            },
        };
        Some((index, link))
    }
}

fn list_links(sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    let start = message::begin_with(&mut bytes, RTM_GETLINK, n::NLM_F_DUMP, sequence, &[0; LINK_HEADER_BYTES]);
    Writer(&mut bytes).native(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    message::end(&mut bytes, start);
    bytes
}

fn list_addresses(sequence: u32, index: u32, namespace: Option<u32>) -> Vec<u8> {
    let mut header = [0; ADDRESS_HEADER_BYTES];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let mut bytes = Vec::with_capacity(64);
    let start = message::begin_with(&mut bytes, RTM_GETADDR, n::NLM_F_DUMP, sequence, &header);
    if let Some(namespace) = namespace {
        Writer(&mut bytes).native(IFA_TARGET_NETNSID, namespace);
    }
    message::end(&mut bytes, start);
    bytes
}

/// The scope and the address.
fn read_address(message: Message<'_>) -> Option<(u8, IpAddr)> {
    if message.kind != RTM_NEWADDR {
        return None;
    }
    let (header, attributes) = message.split::<ADDRESS_HEADER_BYTES>()?;
    Some((header[3], address(attributes)?))
}

/// Where both are there, the first is the interface's own and the other that of the far end.
fn address(attributes: Attributes<'_>) -> Option<IpAddr> {
    let value = attributes.find(IFA_LOCAL).or_else(|| attributes.find(IFA_ADDRESS))?.value;
    if let Ok(bytes) = <[u8; 4]>::try_from(value) {
        return Some(IpAddr::V4(Ipv4Addr::from(bytes)));
    }
    <[u8; 16]>::try_from(value).ok().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)))
}

fn error(operation: &'static str, errno: Errno) -> KernelError {
    match errno {
        Errno::PERM | Errno::ACCESS => KernelError::NotPermitted,
        errno => KernelError::Io { operation, errno },
    }
}

#[cfg(test)]
mod tests;
