//! A kernel ipset, for rules of iptables, filled with addresses. It is neither made nor deleted here.
//!
//! The protocol is that of `linux/netfilter/ipset/ip_set.h`: a message an element. An ipset has no transactions: what comes is added
//! before what goes is deleted, so that nobody is shut out meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;
use palisade_core::{AddressSet, Family};
use rustix::io::Errno;

use super::SetError;
use crate::kernel::KernelError;
use crate::socket::Socket;
use crate::wire::attributes::{Attributes, Writer};
use crate::wire::data::octets;
use crate::wire::message::{self, Answer, Message, Messages};
use crate::wire::numbers as n;

/// The longest message that the kernel sends.
const RECEIVE_BYTES: usize = 256 << 10;
/// How many elements are changed before their answers are read.
const AT_ONCE: usize = 100;
/// As of Linux 2.6.39; later ones speak it, too.
const PROTOCOL: u8 = 6;

// linux/netfilter/nfnetlink.h
const NFNL_SUBSYS_IPSET: u16 = 6;
// linux/netfilter/ipset/ip_set.h
const IPSET_CMD_LIST: u16 = 7;
const IPSET_CMD_ADD: u16 = 9;
const IPSET_CMD_DEL: u16 = 10;
const IPSET_ATTR_PROTOCOL: u16 = 1;
const IPSET_ATTR_SETNAME: u16 = 2;
const IPSET_ATTR_TYPENAME: u16 = 3;
const IPSET_ATTR_FAMILY: u16 = 5;
const IPSET_ATTR_DATA: u16 = 7;
const IPSET_ATTR_ADT: u16 = 8;
const IPSET_ATTR_IP: u16 = 1;
const IPSET_ATTR_CIDR: u16 = 3;
const IPSET_ATTR_TIMEOUT: u16 = 6;
const IPSET_ATTR_CADT_FLAGS: u16 = 8;
const IPSET_ATTR_NETMASK: u16 = 20;
const IPSET_ATTR_IPADDR_IPV4: u16 = 1;
const IPSET_ATTR_IPADDR_IPV6: u16 = 2;
const IPSET_FLAG_NOMATCH: u32 = 1 << 2;
const IPSET_ERR_HASH_FULL: i32 = 4352;
/// From here on errors are ipset's own, and no errno.
const IPSET_ERR_PRIVATE: i32 = 4096;
// linux/netlink.h
const NLA_F_NET_BYTEORDER: u16 = 0x4000;

/// A set of the kernel's ipset that holds addresses of one family.
#[derive(Debug)]
pub struct Ipset {
    name: String,
    family: Family,
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// What an ipset is, and what it holds: each element with whether it excludes.
#[derive(Default)]
struct Held {
    type_name: String,
    family: Option<u8>,
    /// Its elements are gone after a while, or are cut to networks.
    is_special: bool,
    elements: BTreeMap<IpNet, bool>,
}

impl Ipset {
    /// In the network namespace of the calling thread. Whether it is there shows when it is filled.
    ///
    /// # Errors
    ///
    /// If the process may not use netlink.
    pub fn open(name: &str, family: Family) -> Result<Ipset, KernelError> {
        let socket = Socket::open(0).map_err(|errno| KernelError::of("open a netlink socket", errno))?;
        Ok(Ipset { name: name.to_string(), family, socket, sequence: 0, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Makes it hold the addresses of its family, and nothing else; whether anything had to be changed.
    ///
    /// # Errors
    ///
    /// If it is not there, cannot hold them, or the kernel refuses; some may be changed then.
    pub fn fill<'a>(&mut self, wanted: impl IntoIterator<Item = &'a IpNet>) -> Result<bool, SetError> {
        let held = self.held()?;
        let wanted = self.blocks(&held, wanted)?;
        let is_wanted = |net: &IpNet| wanted.contains(net);
        let excluding: Vec<IpNet> =
            held.elements.iter().filter(|(net, excludes)| **excludes && is_wanted(net)).map(|(net, _)| *net).collect();
        let kept = |net: &IpNet| held.elements.get(net) == Some(&false);
        let come: Vec<IpNet> = wanted.iter().filter(|net| !kept(net)).copied().collect();
        let gone: Vec<IpNet> = held.elements.keys().filter(|net| !is_wanted(net)).copied().collect();
        self.change(IPSET_CMD_DEL, &excluding)?;
        self.change(IPSET_CMD_ADD, &come)?;
        self.change(IPSET_CMD_DEL, &gone)?;
        Ok(!come.is_empty() || !gone.is_empty())
    }

    /// The addresses that it holds.
    ///
    /// # Errors
    ///
    /// As [`Ipset::fill`].
    pub fn content(&mut self) -> Result<BTreeSet<IpNet>, SetError> {
        let elements = self.held()?.elements;
        Ok(elements.into_iter().filter(|(_, excludes)| !excludes).map(|(net, _)| net).collect())
    }

    /// The addresses as the set holds them.
    fn blocks<'a>(&self, held: &Held, wanted: impl IntoIterator<Item = &'a IpNet>) -> Result<Vec<IpNet>, SetError> {
        let wanted = wanted.into_iter().filter(|net| Family::of(net.addr()) == self.family);
        let found = |found: String| SetError::Unfit { set: self.to_string(), found, make: self.make() };
        let is_of_family = held.family == Some(family_number(self.family));
        let holds_blocks = match held.type_name.as_str() {
            _ if held.is_special => return Err(found("one with timeouts or a netmask".to_string())),
            "hash:net" if is_of_family => true,
            "hash:ip" if is_of_family => false,
            "hash:net" | "hash:ip" => return Err(found("one of the other family".to_string())),
            other => return Err(found(format!("of the type {other}"))),
        };
        if holds_blocks {
            let ranges: AddressSet = wanted.collect();
            return Ok(ranges.iter().flat_map(palisade_core::AddressRange::blocks).flat_map(halves_of_all).collect());
        }
        wanted
            .map(|net| if net.prefix_len() == net.max_prefix_len() { Ok(*net) } else { Err(net) })
            .collect::<Result<_, _>>()
            .map_err(|block| SetError::NoBlocks { set: self.to_string(), block: block.to_string(), make: self.make() })
    }

    fn held(&mut self) -> Result<Held, SetError> {
        let mut held = Held::default();
        let family = self.family;
        let request = self.message(IPSET_CMD_LIST, n::NLM_F_DUMP, |_| {});
        let answer = self.ask(&request, |message| held.read(family, message.attributes()));
        match answer? {
            Some(Answer { errno, .. }) if errno == Errno::NOENT.raw_os_error() => {
                Err(SetError::Missing { set: self.to_string(), make: self.make() })
            }
            Some(answer) => Err(self.refused("read", answer.errno)),
            None => Ok(held),
        }
    }

    /// Adds or deletes elements. Those that are there already, or gone, are passed over.
    fn change(&mut self, command: u16, nets: &[IpNet]) -> Result<(), SetError> {
        for some in nets.chunks(AT_ONCE) {
            let mut bytes = Vec::new();
            for net in some {
                bytes.extend(self.message(command, n::NLM_F_ACK, |writer| write_element(writer, *net)));
            }
            match self.ask(&bytes, |_| {})? {
                None => {}
                Some(answer) if answer.errno == IPSET_ERR_HASH_FULL => {
                    return Err(SetError::Full { set: self.to_string(), limit: "maxelem" });
                }
                Some(answer) => return Err(self.refused("fill", answer.errno)),
            }
        }
        Ok(())
    }

    /// A message about the set.
    fn message(&mut self, command: u16, flags: u16, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(64);
        let kind = NFNL_SUBSYS_IPSET << 8 | command;
        let start = message::begin(&mut bytes, kind, flags, self.sequence, n::NFPROTO_IPV4, 0);
        let mut writer = Writer(&mut bytes);
        writer.bytes(IPSET_ATTR_PROTOCOL, &[PROTOCOL]);
        writer.string(IPSET_ATTR_SETNAME, &self.name);
        write(&mut writer);
        message::end(&mut bytes, start);
        bytes
    }

    /// Sends messages and hands on what comes back; the first refusal, if there is one.
    fn ask(&mut self, bytes: &[u8], mut each: impl FnMut(Message<'_>)) -> Result<Option<Answer>, SetError> {
        let set = self.to_string();
        let failed = |errno| SetError::Refused {
            operation: "ask the kernel about",
            set: set.clone(),
            source: KernelError::of("use a netlink socket", errno),
        };
        self.socket.send(bytes).map_err(failed)?;
        let mut refusal = None;
        while let Some(bytes) = self.socket.receive(&mut self.buffer).map_err(failed)? {
            for message in Messages(bytes) {
                match message.answer() {
                    Some(answer) if answer.errno != 0 => drop(refusal.get_or_insert(answer)),
                    Some(_) => {}
                    None if message.kind == n::NLMSG_DONE => {}
                    None => each(message),
                }
            }
        }
        Ok(refusal)
    }

    fn refused(&self, operation: &'static str, errno: i32) -> SetError {
        if errno >= IPSET_ERR_PRIVATE {
            let found = format!("of a type that takes no such element (error {errno} of ipset)");
            return SetError::Unfit { set: self.to_string(), found, make: self.make() };
        }
        let source = match Errno::from_raw_os_error(errno) {
            Errno::PERM => KernelError::NotPermitted,
            Errno::INVAL | Errno::OPNOTSUPP => KernelError::Absent {
                part: "ipset",
                hint: "load the modules with 'modprobe -a ip_set ip_set_hash_net ip_set_hash_ip'",
            },
            errno => KernelError::Io { operation, errno },
        };
        SetError::Refused { operation, set: self.to_string(), source }
    }

    /// How a fitting set is made.
    fn make(&self) -> String {
        let family = match self.family {
            Family::V4 => "inet",
            Family::V6 => "inet6",
        };
        format!("ipset create {} hash:net family {family}", self.name)
    }
}

impl fmt::Display for Ipset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of ipset", self.name)
    }
}

impl Held {
    /// Takes in a part of what the kernel lists.
    fn read(&mut self, family: Family, attributes: Attributes<'_>) {
        if let Some(type_name) = attributes.find_string(IPSET_ATTR_TYPENAME) {
            self.type_name = type_name.to_string();
            self.family = attributes.find(IPSET_ATTR_FAMILY).and_then(|found| found.value.first().copied());
        }
        if let Some(head) = attributes.find_nested(IPSET_ATTR_DATA) {
            let is_there = |kind| head.find(kind).is_some();
            self.is_special |= is_there(IPSET_ATTR_TIMEOUT) || is_there(IPSET_ATTR_NETMASK);
        }
        let elements = attributes.find_nested(IPSET_ATTR_ADT);
        for element in elements.into_iter().flatten() {
            let flags = element.nested().find_number(IPSET_ATTR_CADT_FLAGS).unwrap_or(0);
            if let Some(net) = net(family, element.nested()) {
                self.elements.insert(net, flags & IPSET_FLAG_NOMATCH != 0);
            }
        }
    }
}

/// A block as `hash:net` takes it: that of every address, which it refuses, as its two halves.
fn halves_of_all(net: IpNet) -> impl Iterator<Item = IpNet> {
    let length = net.prefix_len().max(1);
    net.subnets(length).into_iter().flatten()
}

fn net(family: Family, element: Attributes<'_>) -> Option<IpNet> {
    let address = element.find_nested(IPSET_ATTR_IP)?;
    let (address, most): (std::net::IpAddr, u8) = match family {
        Family::V4 => (<[u8; 4]>::try_from(address.find(IPSET_ATTR_IPADDR_IPV4)?.value).ok()?.into(), 32),
        Family::V6 => (<[u8; 16]>::try_from(address.find(IPSET_ATTR_IPADDR_IPV6)?.value).ok()?.into(), 128),
    };
    let length = element.find(IPSET_ATTR_CIDR).and_then(|length| length.value.first().copied());
    IpNet::new(address, length.unwrap_or(most)).ok()
}

fn write_element(writer: &mut Writer<'_>, net: IpNet) {
    let data = writer.begin(IPSET_ATTR_DATA);
    let address = writer.begin(IPSET_ATTR_IP);
    let kind = match net {
        IpNet::V4(_) => IPSET_ATTR_IPADDR_IPV4,
        IpNet::V6(_) => IPSET_ATTR_IPADDR_IPV6,
    };
    writer.bytes(kind | NLA_F_NET_BYTEORDER, &octets(net.addr()));
    writer.end(address);
    if net.prefix_len() < net.max_prefix_len() {
        writer.bytes(IPSET_ATTR_CIDR, &[net.prefix_len()]);
    }
    writer.end(data);
}

fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => n::NFPROTO_IPV4,
        Family::V6 => n::NFPROTO_IPV6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{in_new_namespace, tool};

    fn nets(text: &[&str]) -> Vec<IpNet> {
        text.iter().map(|net| net.parse().unwrap()).collect()
    }

    /// What the tool shows of the elements of a set.
    fn shown(name: &str) -> Vec<String> {
        let text = tool("ipset", &["list", "-sorted", name], "").unwrap();
        text.lines().skip_while(|line| *line != "Members:").skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn a_set_holds_what_it_is_filled_with() {
        in_new_namespace(|| {
            let sets = "create nodes hash:net\nadd nodes 192.0.2.0/24\nadd nodes 10.0.0.4/32 nomatch\n\
                        create nodes6 hash:net family inet6\ncreate single hash:ip\n";
            let Some(_) = tool("ipset", &["restore"], sets) else { return };
            let wanted =
                nets(&["10.0.0.4/32", "10.0.0.5/32", "10.0.0.5/32", "10.1.0.0/16", "fd00::1/128", "fd01::/64"]);
            let mut set = Ipset::open("nodes", Family::V4).unwrap();
            assert!(set.fill(&wanted).unwrap());
            assert_eq!(shown("nodes"), ["10.0.0.4/31", "10.1.0.0/16"]);
            let held = nets(&["10.0.0.4/31", "10.1.0.0/16"]);
            assert_eq!(set.content().unwrap().into_iter().collect::<Vec<IpNet>>(), held);
            assert!(!set.fill(&wanted).unwrap());
            assert!(set.fill(&nets(&["10.0.0.5/32"])).unwrap());
            assert_eq!(shown("nodes"), ["10.0.0.5"]);
            let mut six = Ipset::open("nodes6", Family::V6).unwrap();
            assert!(six.fill(&wanted).unwrap());
            assert_eq!(shown("nodes6"), ["fd00::1", "fd01::/64"]);
            let mut single = Ipset::open("single", Family::V4).unwrap();
            let error = single.fill(&wanted).unwrap_err().to_string();
            assert!(
                error.starts_with("set single of ipset holds single addresses, and 10.1.0.0/16 is a block"),
                "{error}"
            );
            assert!(single.fill(&nets(&["10.0.0.4/32", "10.0.0.5/32"])).unwrap());
            assert!(single.fill(&nets(&["10.0.0.5/32"])).unwrap());
            assert_eq!(shown("single"), ["10.0.0.5"]);
            // An element that excludes shuts out whom it should let in.
            tool("ipset", &["restore"], "del nodes 10.0.0.5\nadd nodes 10.0.0.5 nomatch\n").unwrap();
            assert!(set.fill(&nets(&["10.0.0.5/32"])).unwrap());
            assert_eq!(shown("nodes"), ["10.0.0.5"]);
            // It holds no block of length 0.
            assert!(set.fill(&nets(&["0.0.0.0/0"])).unwrap());
            assert_eq!(shown("nodes"), ["0.0.0.0/1", "128.0.0.0/1"]);
            assert!(!set.fill(&nets(&["0.0.0.0/0"])).unwrap());
            assert!(set.fill(&[]).unwrap());
            assert!(shown("nodes").is_empty());
        });
    }

    #[test]
    fn what_cannot_be_filled_is_told() {
        in_new_namespace(|| {
            let sets = "create gone hash:ip timeout 60\ncreate six hash:net family inet6\ncreate ports hash:ip,port\n\
                        create short hash:ip maxelem 2\ncreate single hash:ip\n";
            let Some(_) = tool("ipset", &["restore"], sets) else { return };
            let fill = |name: &str| {
                let wanted = nets(&["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32", "10.0.0.4/32"]);
                Ipset::open(name, Family::V4).unwrap().fill(&wanted).unwrap_err().to_string()
            };
            let make = |name: &str| format!("ipset create {name} hash:net family inet");
            let unfit = |name: &str, found: &str| {
                format!("set {name} of ipset is {found}\nhint: what can be filled is made by: {}", make(name))
            };
            let named = "hint: it is not made for you, since your rules have to name it";
            assert_eq!(fill("none"), format!("there is no set none of ipset\n{named}: {}", make("none")));
            assert_eq!(fill("gone"), unfit("gone", "one with timeouts or a netmask"));
            assert_eq!(fill("six"), unfit("six", "one of the other family"));
            assert_eq!(fill("ports"), unfit("ports", "of the type hash:ip,port"));
            let mut single = Ipset::open("single", Family::V4).unwrap();
            let error = single.fill(&nets(&["0.0.0.0/32"])).unwrap_err().to_string();
            assert_eq!(error, unfit("single", "of a type that takes no such element (error 4353 of ipset)"));
            assert_eq!(fill("short"), "set short of ipset is full\nhint: make it with a greater maxelem");
        });
    }

    #[test]
    fn many_addresses_are_filled_in() {
        in_new_namespace(|| {
            let Some(_) = tool("ipset", &["create", "nodes", "hash:net"], "") else { return };
            let wanted: Vec<IpNet> = (0..20_000_u32)
                .map(|number| std::net::IpAddr::from((0x0a00_0000 + 2 * number).to_be_bytes()).into())
                .collect();
            let mut set = Ipset::open("nodes", Family::V4).unwrap();
            assert!(set.fill(&wanted).unwrap());
            assert!(!set.fill(&wanted).unwrap());
            assert_eq!(shown("nodes").len(), wanted.len());
        });
    }
}
