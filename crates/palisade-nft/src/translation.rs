//! Addresses that lead to others, as kube-proxy makes them: what a laboratory needs beside the tables of the product.
//!
//! ```text
//! table inet palisade_lab
//! prerouting (dstnat)    from outside the node: from_outside; from its pods: from_pods; then from_anybody
//! output (dstnat)        from the node itself: from_node; then from_anybody
//! from_…                 address, transport, port [, low bits of the source port]: mark what is to be hidden; the address and port that it leads to
//! postrouting (srcnat)   what is marked leaves under the address of the node
//! ```
//!
//! The table is written anew as a whole, in several transactions if it is large: it is no one's protection. Nothing reads it back.

mod batch;

use std::collections::BTreeMap;
use std::net::IpAddr;

use palisade_core::{Family, Port, Transport};

use batch::{Batch, Instruction};

use crate::dialogue::Dialogue;
use crate::kernel::KernelError;
use crate::ruleset::{Side, Verdict};
use crate::wire::data::octets;
use crate::wire::expressions::{Expression, FIRST};
use crate::wire::numbers as n;
use crate::wire::statements::{address_place, family_number};

const TABLE: &str = "palisade_lab";
/// The bit of the packet mark that kube-proxy takes for the same.
const MARK: u32 = 0x4000;
/// Before and after everything that is asked of translated packets (`NF_IP_PRI_NAT_DST`, `NF_IP_PRI_NAT_SRC`).
const PRIORITY_DSTNAT: i32 = -100;
const PRIORITY_SRCNAT: i32 = 100;
/// About how many bytes of rules go into one transaction.
const BATCH_BYTES: usize = 64 << 10;

// linux/netfilter/nf_tables.h
const NFT_META_MARK: u32 = 3;
const NFT_META_IIF: u32 = 4;

/// What a node translates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// The index of the interface by which packets come that are not of the node's own pods.
    pub uplink: u32,
    /// Under which address packets leave that hide their source; one of each family.
    pub own: Vec<IpAddr>,
    /// Where packets are led, by whom they come from. The first lead that takes a packet counts.
    pub leads: BTreeMap<Origin, Vec<Lead>>,
}

/// From where packets come to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// From beyond its uplink.
    Outside,
    /// From its own pods.
    Pods,
    /// From the node itself.
    Node,
    /// From wherever.
    Anybody,
}

/// Where one address and port leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Where packets are sent to.
    pub address: IpAddr,
    /// The protocol.
    pub transport: Transport,
    /// The port that they are sent to.
    pub port: Port,
    /// Which of them it takes.
    pub share: Share,
    /// Where they go, an address of the same family; `None` drops them.
    pub to: Option<(IpAddr, Port)>,
    /// Whether the node hides the source. Who is led back to itself is hidden anyway.
    pub masquerade: bool,
}

/// The packets whose source port has this number in the low bits that the mask covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// One less than a power of two.
    pub mask: u16,
    /// At most the mask.
    pub number: u16,
}

impl Share {
    /// Every packet.
    pub const ALL: Share = Share { mask: 0, number: 0 };

    /// Whether it has packets from this port.
    pub fn takes(self, source_port: u16) -> bool {
        source_port & self.mask == self.number
    }
}

impl Origin {
    const ALL: [Origin; 4] = [Origin::Outside, Origin::Pods, Origin::Node, Origin::Anybody];

    fn chain(self) -> &'static str {
        match self {
            Origin::Outside => "from_outside",
            Origin::Pods => "from_pods",
            Origin::Node => "from_node",
            Origin::Anybody => "from_anybody",
        }
    }
}

impl Translation {
    /// Whether nothing is translated.
    pub fn is_nothing(&self) -> bool {
        self.leads.values().all(Vec::is_empty)
    }

    /// Puts it in force in the network namespace of the calling thread, in place of what was there.
    ///
    /// # Errors
    ///
    /// If the kernel has no `nf_tables` or cannot translate addresses, or the process may not have it do so.
    pub fn put_in_force(&self) -> Result<(), KernelError> {
        let mut kernel = Dialogue::open().map_err(|errno| KernelError::of("open a netlink socket", errno))?;
        let mut batch = Batch::default();
        // What may not be there is made first, so that it can be deleted.
        batch.add_table();
        batch.delete_table();
        if self.is_nothing() {
            return batch.commit(&mut kernel);
        }
        batch.add_table();
        for origin in Origin::ALL {
            batch.add_chain(origin.chain(), None);
            for lead in self.leads.get(&origin).into_iter().flatten() {
                for rule in lead.rules() {
                    batch.add_rule(origin.chain(), &rule);
                }
                if batch.bytes() > BATCH_BYTES {
                    std::mem::take(&mut batch).commit(&mut kernel)?;
                }
            }
        }
        self.hooks(&mut batch);
        batch.commit(&mut kernel)
    }

    fn hooks(&self, batch: &mut Batch) {
        let jump = |origin: Origin| vec![plain(Expression::Verdict(Verdict::Jump(origin.chain().into())))];
        let uplink = |comparison| {
            let data = self.uplink.to_ne_bytes().to_vec();
            vec![
                plain(Expression::Meta { key: NFT_META_IIF, to: FIRST }),
                plain(Expression::Compare { comparison, data }),
            ]
        };
        batch.add_chain("prerouting", Some((n::NF_INET_PRE_ROUTING, PRIORITY_DSTNAT)));
        batch.add_rule("prerouting", &[uplink(n::NFT_CMP_EQ), jump(Origin::Outside)].concat());
        batch.add_rule("prerouting", &[uplink(n::NFT_CMP_NEQ), jump(Origin::Pods)].concat());
        batch.add_rule("prerouting", &jump(Origin::Anybody));
        batch.add_chain("output", Some((n::NF_INET_LOCAL_OUT, PRIORITY_DSTNAT)));
        batch.add_rule("output", &jump(Origin::Node));
        batch.add_rule("output", &jump(Origin::Anybody));
        batch.add_chain("postrouting", Some((n::NF_INET_POST_ROUTING, PRIORITY_SRCNAT)));
        for own in &self.own {
            let marked = [
                plain(Expression::Meta { key: NFT_META_MARK, to: FIRST }),
                plain(Expression::Compare { comparison: n::NFT_CMP_EQ, data: MARK.to_ne_bytes().to_vec() }),
            ];
            let to = [Instruction::LoadFirst(octets(*own)), Instruction::Source(number_of_family(*own))];
            batch.add_rule("postrouting", &[is_of(*own).to_vec(), marked.to_vec(), to.to_vec()].concat());
        }
    }
}

impl Lead {
    /// One rule that marks what is to be hidden, if anything is, and one that leads.
    fn rules(&self) -> Vec<Vec<Instruction>> {
        let taken = self.taken();
        let Some((address, port)) = self.to else {
            return vec![[taken, vec![plain(Expression::Verdict(Verdict::Drop))]].concat()];
        };
        let marks = vec![Instruction::LoadFirst(MARK.to_ne_bytes().to_vec()), Instruction::SetMark];
        let hidden = if self.masquerade { Vec::new() } else { is_address(address, Side::Source) };
        let leads = vec![
            Instruction::LoadFirst(octets(address)),
            Instruction::LoadSecond(port.get().to_be_bytes().to_vec()),
            Instruction::Destination(number_of_family(address)),
        ];
        vec![[taken.clone(), hidden, marks].concat(), [taken, leads].concat()]
    }

    /// What tells the packets that it takes from others.
    fn taken(&self) -> Vec<Instruction> {
        let equal = |data: Vec<u8>| plain(Expression::Compare { comparison: n::NFT_CMP_EQ, data });
        let port = |offset| {
            let base = n::NFT_PAYLOAD_TRANSPORT_HEADER;
            plain(Expression::Payload { base, offset, length: 2, to: FIRST })
        };
        let mut taken = is_of(self.address).to_vec();
        taken.extend(is_address(self.address, Side::Destination));
        taken.push(plain(Expression::Meta { key: n::NFT_META_L4PROTO, to: FIRST }));
        taken.push(equal(vec![self.transport.number()]));
        taken.extend([port(2), equal(self.port.get().to_be_bytes().to_vec())]);
        let Share { mask, number } = self.share;
        if self.share != Share::ALL {
            let bits = Expression::Bitwise { mask: mask.to_be_bytes().to_vec(), flip: vec![0, 0] };
            taken.extend([port(0), plain(bits), equal(number.to_be_bytes().to_vec())]);
        }
        taken
    }
}

fn plain(expression: Expression) -> Instruction {
    Instruction::Plain(expression)
}

fn number_of_family(address: IpAddr) -> u8 {
    family_number(Family::of(address))
}

fn is_of(address: IpAddr) -> [Instruction; 2] {
    let data = vec![number_of_family(address)];
    [
        plain(Expression::Meta { key: n::NFT_META_NFPROTO, to: FIRST }),
        plain(Expression::Compare { comparison: n::NFT_CMP_EQ, data }),
    ]
}

/// Whether the packet has the address on this side.
fn is_address(address: IpAddr, side: Side) -> Vec<Instruction> {
    let (offset, length) = address_place(Family::of(address), side);
    vec![
        plain(Expression::Payload { base: n::NFT_PAYLOAD_NETWORK_HEADER, offset, length, to: FIRST }),
        plain(Expression::Compare { comparison: n::NFT_CMP_EQ, data: octets(address) }),
    ]
}

#[cfg(test)]
mod tests;
