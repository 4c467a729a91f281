//! A set of somebody else's table, filled with addresses. Nothing but its elements is touched.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_core::{AddressRange, AddressSet, Family};
use rustix::io::Errno;

use super::ForeignName;
use crate::dialogue::{Dialogue, Reading};
use crate::kernel::KernelError;
use crate::plain_batch::PlainBatch;
use crate::ruleset::{Key, SetDefinition, Value, ValueType};
use crate::wire::attributes::Writer;
use crate::wire::batch::{ELEMENT_BYTES_MAX, write_element};
use crate::wire::decode::{RawElement, definition, elements};
use crate::wire::message::{self, nf_tables};
use crate::wire::numbers as n;

/// How often it is read and written anew because somebody else changed it meanwhile.
const TRIES: usize = 20;

/// A set in a table of another program, which holds addresses of one family.
#[derive(Debug)]
pub struct ForeignSet {
    table: ForeignName,
    name: String,
    family: Family,
    dialogue: Dialogue,
}

/// Why a set of somebody else does not hold what it should. What it held stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// It is not there.
    #[error("there is no set {set}\nhint: it is not made for you, since your rules have to name it: {make}")]
    Missing {
        /// The set, as its tool names it.
        set: String,
        /// How it is made.
        make: String,
    },
    /// It is there, and of another kind.
    #[error("set {set} is {found}\nhint: what can be filled is made by: {make}")]
    Unfit {
        /// The set.
        set: String,
        /// What it is.
        found: String,
        /// How a fitting one is made.
        make: String,
    },
    /// It takes single addresses only.
    #[error(
        "set {set} holds single addresses, and {block} is a block of them\nhint: what can hold blocks is made by: {make}"
    )]
    NoBlocks {
        /// The set.
        set: String,
        /// The block, or the range.
        block: String,
        /// How a fitting one is made.
        make: String,
    },
    /// It has no room.
    #[error("set {set} is full\nhint: make it with a greater {limit}")]
    Full {
        /// The set.
        set: String,
        /// What bounds it.
        limit: &'static str,
    },
    /// The kernel refuses.
    #[error("cannot {operation} set {set}")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// The set.
        set: String,
        /// Why not.
        #[source]
        source: KernelError,
    },
}

impl ForeignSet {
    /// In the network namespace of the calling thread. Whether the set is there shows when it is filled.
    ///
    /// # Errors
    ///
    /// If the kernel has no `nf_tables`, or the process may not use it.
    pub fn open(table: ForeignName, name: &str, family: Family) -> Result<ForeignSet, KernelError> {
        let dialogue = Dialogue::open().map_err(|errno| KernelError::of("open a netlink socket", errno))?;
        Ok(ForeignSet { table, name: name.to_string(), family, dialogue })
    }

    /// Makes it hold the addresses of its family, and nothing else, in one transaction of what differs; whether anything did.
    ///
    /// # Errors
    ///
    /// If it is not there, cannot hold them, or the kernel refuses.
    pub fn fill(&mut self, wanted: &BTreeSet<IpNet>) -> Result<bool, SetError> {
        for _ in 0..TRIES {
            let definition = self.definition()?;
            let wanted = self.keys(&definition, wanted)?;
            let Some(held) = self.held(&definition)? else { continue };
            let mut batch = PlainBatch::default();
            self.write(&mut batch, n::NFT_MSG_DELSETELEM, held.difference(&wanted));
            self.write(&mut batch, n::NFT_MSG_NEWSETELEM, wanted.difference(&held));
            if batch.bytes() == 0 {
                return Ok(false);
            }
            match batch.commit(&mut self.dialogue) {
                Ok(()) => return Ok(true),
                // Others were faster.
                Err(Errno::NOENT | Errno::EXIST | Errno::BUSY) => {}
                Err(Errno::NFILE) => return Err(SetError::Full { set: self.to_string(), limit: "size" }),
                Err(errno) => return Err(self.refused("fill", errno)),
            }
        }
        Err(SetError::Refused { operation: "fill", set: self.to_string(), source: KernelError::Unsteady })
    }

    /// The addresses that it holds.
    ///
    /// # Errors
    ///
    /// As [`ForeignSet::fill`].
    pub fn content(&mut self) -> Result<BTreeSet<IpNet>, SetError> {
        for _ in 0..TRIES {
            let definition = self.definition()?;
            if let Some(held) = self.held(&definition)? {
                return Ok(held.iter().filter_map(range).flat_map(AddressRange::blocks).collect());
            }
        }
        Err(SetError::Refused { operation: "read", set: self.to_string(), source: KernelError::Unsteady })
    }

    /// What the set is.
    fn definition(&mut self) -> Result<SetDefinition, SetError> {
        let mut found = None;
        let request = self.request(n::NFT_MSG_GETSET, 0);
        let asked = self.dialogue.ask(request, |message| {
            let flags = message.attributes().find_number(n::NFTA_SET_FLAGS).unwrap_or(0);
            found = Some(definition(message.attributes(), flags));
        });
        match asked {
            Err(Errno::NOENT) => Err(SetError::Missing { set: self.to_string(), make: self.make() }),
            Err(errno) => Err(self.refused("look for", errno)),
            Ok(_) => match found.flatten() {
                Some(definition) if !definition.verdicts && definition.key == [self.value_type()] => Ok(definition),
                _ => {
                    let found = format!("no plain set of {}", type_name(self.family));
                    Err(SetError::Unfit { set: self.to_string(), found, make: self.make() })
                }
            },
        }
    }

    /// The addresses as the set holds them.
    fn keys(&self, definition: &SetDefinition, wanted: &BTreeSet<IpNet>) -> Result<BTreeSet<Key>, SetError> {
        let mut wanted = wanted.iter().filter(|net| Family::of(net.addr()) == self.family);
        if definition.interval {
            // In the kernel ranges may not overlap.
            let ranges: AddressSet = wanted.collect();
            return Ok(ranges.iter().map(|range| Key::Range(range.first.into(), range.last.into())).collect());
        }
        let keys = wanted.try_fold(BTreeSet::new(), |mut keys, net| {
            keys.insert(Key::Single(net.addr().into()));
            if net.prefix_len() == net.max_prefix_len() { Ok(keys) } else { Err(net) }
        });
        keys.map_err(|block| SetError::NoBlocks { set: self.to_string(), block: block.to_string(), make: self.make() })
    }

    /// What the set holds; `None` if it changed meanwhile.
    fn held(&mut self, definition: &SetDefinition) -> Result<Option<BTreeSet<Key>>, SetError> {
        let mut raw = Vec::new();
        let request = self.request(n::NFT_MSG_GETSETELEM, n::NLM_F_DUMP);
        let asked = self.dialogue.ask(request, |message| {
            let list = message.attributes().find_nested(n::NFTA_SET_ELEM_LIST_ELEMENTS);
            raw.extend(list.into_iter().flatten().map(RawElement::read));
        });
        match asked {
            Ok(Reading::Interrupted) | Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.refused("read", errno)),
            Ok(Reading::Steady) => {}
        }
        let Some(elements) = elements(definition, raw) else {
            let found = "one whose elements have timeouts or counters".to_string();
            return Err(SetError::Unfit { set: self.to_string(), found, make: self.make() });
        };
        Ok(Some(elements.into_keys().collect()))
    }

    /// Appends the messages that add or delete elements.
    fn write<'a>(&self, batch: &mut PlainBatch, kind: u16, keys: impl Iterator<Item = &'a Key>) {
        let mut rest = keys.peekable();
        let flags = if kind == n::NFT_MSG_NEWSETELEM { n::NLM_F_CREATE } else { 0 };
        while rest.peek().is_some() {
            batch.message(self.table.family, kind, flags, |writer| {
                write_names(writer, &self.table.name, &self.name);
                let bytes_before = writer.0.len();
                let list = writer.begin(n::NFTA_SET_ELEM_LIST_ELEMENTS);
                while writer.0.len() - bytes_before < ELEMENT_BYTES_MAX {
                    let Some(key) = rest.next() else { break };
                    write_element(writer, key, None);
                }
                writer.end(list);
            });
        }
    }

    /// A request about the set.
    fn request(&self, kind: u16, flags: u16) -> impl FnOnce(u32) -> Vec<u8> + use<> {
        let (family, table, name) = (self.table.family, self.table.name.clone(), self.name.clone());
        move |sequence| {
            let mut bytes = Vec::with_capacity(64);
            let start = message::begin(&mut bytes, nf_tables(kind), flags, sequence, family, 0);
            write_names(&mut Writer(&mut bytes), &table, &name);
            message::end(&mut bytes, start);
            bytes
        }
    }

    fn refused(&self, operation: &'static str, errno: Errno) -> SetError {
        SetError::Refused { operation, set: self.to_string(), source: KernelError::of(operation, errno) }
    }

    fn value_type(&self) -> ValueType {
        match self.family {
            Family::V4 => ValueType::Ipv4,
            Family::V6 => ValueType::Ipv6,
        }
    }

    /// How a fitting set is made.
    fn make(&self) -> String {
        format!("nft add set {self} '{{ type {}; flags interval; }}'", type_name(self.family))
    }
}

impl fmt::Display for ForeignSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.name)
    }
}

/// The addresses of an element.
fn range(key: &Key) -> Option<AddressRange> {
    let address = |value: Value| match value {
        Value::Ipv4(address) => Some(IpAddr::from(address)),
        Value::Ipv6(address) => Some(IpAddr::from(address)),
        _ => None,
    };
    let (first, last) = match key {
        Key::Single(value) => (*value, *value),
        Key::Range(first, last) => (*first, *last),
        Key::Concat(_) => return None,
    };
    Some(AddressRange { first: address(first)?, last: address(last)? })
}

/// The names have the same numbers in messages about a set and about its elements.
fn write_names(writer: &mut Writer<'_>, table: &str, set: &str) {
    writer.string(n::NFTA_SET_ELEM_LIST_TABLE, table);
    writer.string(n::NFTA_SET_ELEM_LIST_SET, set);
}

/// As `nft` writes it.
fn type_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{in_new_namespace, nft};

    fn nets(text: &[&str]) -> BTreeSet<IpNet> {
        text.iter().map(|net| net.parse().unwrap()).collect()
    }

    /// What nft shows of the elements of a set.
    fn shown(set: &str) -> Option<String> {
        let words: Vec<&str> = ["list", "set"].into_iter().chain(set.split(' ')).collect();
        let text = nft(&words, "")?;
        let (_, rest) = text.split_once("elements = { ").unwrap_or(("", "}"));
        let elements = rest.split_once('}').unwrap().0;
        Some(elements.split_whitespace().collect::<Vec<&str>>().join(" "))
    }

    #[test]
    fn a_set_holds_what_it_is_filled_with_and_the_rest_of_the_table_stays() {
        in_new_namespace(|| {
            let rules = "table ip fw {\n\
                         set nodes { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }\n\
                         set single { type ipv4_addr; }\n\
                         chain input { type filter hook input priority 0; policy drop; ip saddr @nodes accept; }\n}\n\
                         table inet fw {\n set nodes { typeof ip6 saddr; flags interval; auto-merge; }\n}\n";
            let Some(_) = nft(&["-f", "-"], rules) else { return };
            let open = |table: &str, name: &str, family| {
                ForeignSet::open(ForeignName::new(table, "fw").unwrap(), name, family).unwrap()
            };
            let wanted = nets(&[
                "10.0.0.1/32",
                "10.0.0.2/32",
                "10.1.0.0/16",
                "10.1.2.0/24",
                "255.255.255.255/32",
                "fd00::1/128",
            ]);
            let mut set = open("ip", "nodes", Family::V4);
            assert!(set.fill(&wanted).unwrap());
            assert_eq!(shown("ip fw nodes").unwrap(), "10.0.0.1-10.0.0.2, 10.1.0.0/16, 255.255.255.255");
            assert!(!set.fill(&wanted).unwrap());
            let held = nets(&["10.0.0.1/32", "10.0.0.2/32", "10.1.0.0/16", "255.255.255.255/32"]);
            assert_eq!(set.content().unwrap(), held);
            assert!(set.fill(&nets(&["10.0.0.2/32", "10.0.0.3/32"])).unwrap());
            assert_eq!(shown("ip fw nodes").unwrap(), "10.0.0.2/31");
            let mut six = open("inet", "nodes", Family::V6);
            assert!(six.fill(&wanted).unwrap());
            assert_eq!(shown("inet fw nodes").unwrap(), "fd00::1");
            let mut single = open("ip", "single", Family::V4);
            let error = single.fill(&wanted).unwrap_err().to_string();
            assert!(
                error.starts_with("set ip fw single holds single addresses, and 10.1.0.0/16 is a block"),
                "{error}"
            );
            assert!(single.fill(&nets(&["10.0.0.1/32", "10.0.0.2/32"])).unwrap());
            assert!(single.fill(&nets(&["10.0.0.2/32"])).unwrap());
            assert_eq!(shown("ip fw single").unwrap(), "10.0.0.2");
            assert!(set.fill(&BTreeSet::new()).unwrap());
            assert_eq!(shown("ip fw nodes").unwrap(), "");
            assert!(nft(&["list", "table", "ip", "fw"], "").unwrap().contains("ip saddr @nodes accept"));
        });
    }

    #[test]
    fn what_cannot_be_filled_is_told() {
        in_new_namespace(|| {
            let rules = "table inet fw {\n\
                         set six { type ipv6_addr; }\n\
                         set gone { type ipv4_addr; flags timeout; timeout 1h; }\n\
                         set short { type ipv4_addr; size 2; }\n\
                         map m { type ipv4_addr : verdict; }\n}\n";
            let Some(_) = nft(&["-f", "-"], rules) else { return };
            let fill = |set: &str| {
                let table = ForeignName::new("inet", "fw").unwrap();
                let wanted = nets(&["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"]);
                ForeignSet::open(table, set, Family::V4).unwrap().fill(&wanted).unwrap_err().to_string()
            };
            assert_eq!(
                fill("none"),
                "there is no set inet fw none\nhint: it is not made for you, since your rules have to name it: \
                 nft add set inet fw none '{ type ipv4_addr; flags interval; }'"
            );
            for set in ["six", "gone", "m"] {
                assert!(
                    fill(set).starts_with(&format!("set inet fw {set} is no plain set of ipv4_addr\nhint: ")),
                    "{}",
                    fill(set)
                );
            }
            assert_eq!(fill("short"), "set inet fw short is full\nhint: make it with a greater size");
            // All of it, or nothing.
            assert_eq!(shown("inet fw short").unwrap(), "");
        });
    }

    #[test]
    fn many_addresses_take_one_transaction() {
        in_new_namespace(|| {
            let Some(_) = nft(&["-f", "-"], "table inet fw {\n set nodes { type ipv4_addr; flags interval; }\n}\n")
            else {
                return;
            };
            let wanted: BTreeSet<IpNet> = (0..20_000_u32)
                .map(|number| IpNet::from(std::net::IpAddr::from((0x0a00_0000 + 2 * number).to_be_bytes())))
                .collect();
            let mut set = ForeignSet::open(ForeignName::new("inet", "fw").unwrap(), "nodes", Family::V4).unwrap();
            assert!(set.fill(&wanted).unwrap());
            assert!(!set.fill(&wanted).unwrap());
            assert_eq!(shown("inet fw nodes").unwrap().split(", ").count(), wanted.len());
        });
    }
}
