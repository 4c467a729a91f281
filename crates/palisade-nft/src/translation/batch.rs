//! The rules and the batches of a translation, as `nf_tables` takes them.

use rustix::io::Errno;

use super::{NFT_META_MARK, TABLE};
use crate::dialogue::Dialogue;
use crate::kernel::KernelError;
use crate::plain_batch::PlainBatch;
use crate::wire::attributes::Writer;
use crate::wire::data::write_value;
use crate::wire::expressions::{Expression, FIRST, register};
use crate::wire::numbers as n;

/// The second register.
const SECOND: u32 = register(4);

// linux/netfilter/nf_tables.h
const NFTA_META_SREG: u16 = 3;
const NFTA_NAT_TYPE: u16 = 1;
const NFTA_NAT_FAMILY: u16 = 2;
const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
const NFTA_NAT_REG_PROTO_MIN: u16 = 5;
const NFT_NAT_SNAT: u32 = 0;
const NFT_NAT_DNAT: u32 = 1;

/// One instruction of a rule.
#[derive(Clone)]
pub enum Instruction {
    /// One that the tables of the product have, too.
    Plain(Expression),
    /// Puts a value into the first register.
    LoadFirst(Vec<u8>),
    /// Puts a value into the second register.
    LoadSecond(Vec<u8>),
    /// Makes the first register the mark of the packet.
    SetMark,
    /// Rewrites the destination to the address in the first register and the port in the second; of this family.
    Destination(u8),
    /// Rewrites the source to the address in the first register.
    Source(u8),
}

impl Instruction {
    fn write(&self, writer: &mut Writer<'_>) {
        if let Instruction::Plain(expression) = self {
            return expression.write(writer, None);
        }
        let element = writer.begin(n::NFTA_LIST_ELEM);
        let name = match self {
            Instruction::LoadFirst(_) | Instruction::LoadSecond(_) => "immediate",
            Instruction::SetMark => "meta",
            _ => "nat",
        };
        writer.string(n::NFTA_EXPR_NAME, name);
        let data = writer.begin(n::NFTA_EXPR_DATA);
        match self {
            Instruction::Plain(_) => {}
            Instruction::LoadFirst(data) => write_load(writer, FIRST, data),
            Instruction::LoadSecond(data) => write_load(writer, SECOND, data),
            Instruction::SetMark => {
                writer.number(n::NFTA_META_KEY, NFT_META_MARK);
                writer.number(NFTA_META_SREG, FIRST);
            }
            Instruction::Destination(family) => {
                write_nat(writer, NFT_NAT_DNAT, *family);
                writer.number(NFTA_NAT_REG_PROTO_MIN, SECOND);
            }
            Instruction::Source(family) => write_nat(writer, NFT_NAT_SNAT, *family),
        }
        writer.end(data);
        writer.end(element);
    }
}

fn write_load(writer: &mut Writer<'_>, to: u32, data: &[u8]) {
    writer.number(n::NFTA_IMMEDIATE_DREG, to);
    write_value(writer, n::NFTA_IMMEDIATE_DATA, data);
}

fn write_nat(writer: &mut Writer<'_>, kind: u32, family: u8) {
    writer.number(NFTA_NAT_TYPE, kind);
    writer.number(NFTA_NAT_FAMILY, family.into());
    writer.number(NFTA_NAT_REG_ADDR_MIN, FIRST);
}

/// Messages that the kernel is to take together.
#[derive(Default)]
pub struct Batch(PlainBatch);

impl Batch {
    /// How many there are.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    pub fn add_table(&mut self) {
        self.message(n::NFT_MSG_NEWTABLE, n::NLM_F_CREATE, |writer| writer.string(n::NFTA_TABLE_NAME, TABLE));
    }

    pub fn delete_table(&mut self) {
        self.message(n::NFT_MSG_DELTABLE, 0, |writer| writer.string(n::NFTA_TABLE_NAME, TABLE));
    }

    fn message(&mut self, kind: u16, flags: u16, write: impl FnOnce(&mut Writer<'_>)) {
        self.0.message(n::NFPROTO_INET, kind, flags, write);
    }

    /// A chain, of the type `nat` with this hook and priority, or of none.
    pub fn add_chain(&mut self, name: &str, hook: Option<(u32, i32)>) {
        self.message(n::NFT_MSG_NEWCHAIN, n::NLM_F_CREATE, |writer| {
            writer.string(n::NFTA_CHAIN_TABLE, TABLE);
            writer.string(n::NFTA_CHAIN_NAME, name);
            if let Some((number, priority)) = hook {
                let open = writer.begin(n::NFTA_CHAIN_HOOK);
                writer.number(n::NFTA_HOOK_HOOKNUM, number);
                writer.number(n::NFTA_HOOK_PRIORITY, priority.cast_unsigned());
                writer.end(open);
                writer.number(n::NFTA_CHAIN_POLICY, n::NF_ACCEPT.cast_unsigned());
                writer.string(n::NFTA_CHAIN_TYPE, "nat");
            }
        });
    }

    pub fn add_rule(&mut self, chain: &str, instructions: &[Instruction]) {
        self.message(n::NFT_MSG_NEWRULE, n::NLM_F_CREATE | n::NLM_F_APPEND, |writer| {
            writer.string(n::NFTA_RULE_TABLE, TABLE);
            writer.string(n::NFTA_RULE_CHAIN, chain);
            let list = writer.begin(n::NFTA_RULE_EXPRESSIONS);
            for instruction in instructions {
                instruction.write(writer);
            }
            writer.end(list);
        });
    }

    /// Has the kernel take all of it, or nothing.
    pub fn commit(self, kernel: &mut Dialogue) -> Result<(), KernelError> {
        self.0.commit(kernel).map_err(|errno| match errno {
            Errno::NOENT | Errno::OPNOTSUPP => KernelError::Absent {
                part: "translation of addresses in nf_tables",
                hint: "load the modules with 'modprobe -a nft_chain_nat nft_nat'",
            },
            errno => KernelError::Io { operation: "write the table that leads Services to their pods", errno },
        })
    }
}
