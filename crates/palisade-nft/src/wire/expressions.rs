//! The expressions of `nf_tables`' virtual machine, as far as our statements need them.

use super::attributes::{Attributes, Writer};
use super::data::{read_value, read_verdict, write_value, write_verdict};
use super::numbers::{
    NFT_BITWISE_MASK_XOR, NFT_REG_VERDICT, NFTA_BITWISE_DREG, NFTA_BITWISE_LEN, NFTA_BITWISE_MASK, NFTA_BITWISE_OP,
    NFTA_BITWISE_SREG, NFTA_BITWISE_XOR, NFTA_CMP_DATA, NFTA_CMP_OP, NFTA_CMP_SREG, NFTA_CT_DREG, NFTA_CT_KEY,
    NFTA_CT_SREG, NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_IMMEDIATE_DATA, NFTA_IMMEDIATE_DREG, NFTA_LIST_ELEM,
    NFTA_LOOKUP_DREG, NFTA_LOOKUP_FLAGS, NFTA_LOOKUP_SET, NFTA_LOOKUP_SET_ID, NFTA_LOOKUP_SREG, NFTA_META_DREG,
    NFTA_META_KEY, NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_DREG, NFTA_PAYLOAD_LEN, NFTA_PAYLOAD_OFFSET,
};
use crate::ruleset::{Lookup, Verdict};

/// The number of the register that begins at this 32-bit word: nft and the kernel name the four registers of
/// 16 bytes by 1 to 4, and what lies between by 8 and up.
pub(crate) const fn register(word: u32) -> u32 {
    if word.is_multiple_of(4) { 1 + word / 4 } else { 8 + word }
}

/// The first register.
pub(crate) const FIRST: u32 = register(0);

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Loads something the kernel knows about a packet.
    Meta { key: u32, to: u32 },
    /// Loads a part of the packet.
    Payload { base: u32, offset: u32, length: u32, to: u32 },
    /// Loads something of the packet's connection.
    Connection { key: u32, to: u32 },
    /// Changes something of the packet's connection.
    SetConnection { key: u32, from: u32 },
    /// Masks the first register, then flips bits.
    Bitwise { mask: Vec<u8>, flip: Vec<u8> },
    /// Compares the first register; ends the rule if the comparison fails.
    Compare { comparison: u32, data: Vec<u8> },
    /// Looks the registers from the first on up in a set; in a map it takes the verdict.
    Lookup { set: Lookup, verdict: bool },
    /// Gives a verdict.
    Verdict(Verdict),
    /// Anything else.
    Unknown(String),
}

impl Expression {
    /// Appends the expression as an element of a rule's list. A literal set is `(name, id)` in this batch.
    pub(crate) fn write(&self, writer: &mut Writer<'_>, literal: Option<(&str, u32)>) {
        let element = writer.begin(NFTA_LIST_ELEM);
        writer.string(NFTA_EXPR_NAME, self.name());
        let data = writer.begin(NFTA_EXPR_DATA);
        match self {
            Expression::Meta { key, to } => {
                writer.number(NFTA_META_KEY, *key);
                writer.number(NFTA_META_DREG, *to);
            }
            Expression::Payload { base, offset, length, to } => {
                writer.number(NFTA_PAYLOAD_DREG, *to);
                writer.number(NFTA_PAYLOAD_BASE, *base);
                writer.number(NFTA_PAYLOAD_OFFSET, *offset);
                writer.number(NFTA_PAYLOAD_LEN, *length);
            }
            Expression::Connection { key, to } => {
                writer.number(NFTA_CT_KEY, *key);
                writer.number(NFTA_CT_DREG, *to);
            }
            Expression::SetConnection { key, from } => {
                writer.number(NFTA_CT_KEY, *key);
                writer.number(NFTA_CT_SREG, *from);
            }
            Expression::Bitwise { mask, flip } => {
                writer.number(NFTA_BITWISE_SREG, FIRST);
                writer.number(NFTA_BITWISE_DREG, FIRST);
                writer.number(NFTA_BITWISE_LEN, u32::try_from(mask.len()).unwrap_or(u32::MAX));
                write_value(writer, NFTA_BITWISE_MASK, mask);
                write_value(writer, NFTA_BITWISE_XOR, flip);
            }
            Expression::Compare { comparison, data } => {
                writer.number(NFTA_CMP_SREG, FIRST);
                writer.number(NFTA_CMP_OP, *comparison);
                write_value(writer, NFTA_CMP_DATA, data);
            }
            Expression::Lookup { set, verdict } => {
                match (set, literal) {
                    (Lookup::Literal(_), Some((name, id))) => {
                        writer.string(NFTA_LOOKUP_SET, name);
                        writer.number(NFTA_LOOKUP_SET_ID, id);
                    }
                    (Lookup::Named(name), _) => writer.string(NFTA_LOOKUP_SET, name),
                    (Lookup::Literal(_), None) => {}
                }
                writer.number(NFTA_LOOKUP_SREG, FIRST);
                if *verdict {
                    writer.number(NFTA_LOOKUP_DREG, NFT_REG_VERDICT);
                }
            }
            Expression::Verdict(verdict) => {
                writer.number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
                write_verdict(writer, NFTA_IMMEDIATE_DATA, verdict);
            }
            Expression::Unknown(_) => {}
        }
        writer.end(data);
        writer.end(element);
    }

    /// The kernel's name for the kind of expression.
    fn name(&self) -> &str {
        match self {
            Expression::Meta { .. } => "meta",
            Expression::Payload { .. } => "payload",
            Expression::Connection { .. } | Expression::SetConnection { .. } => "ct",
            Expression::Bitwise { .. } => "bitwise",
            Expression::Compare { .. } => "cmp",
            Expression::Lookup { .. } => "lookup",
            Expression::Verdict(_) => "immediate",
            Expression::Unknown(name) => name,
        }
    }

    /// Reads an element of a rule's list. A lookup names the set as the kernel does.
    pub(crate) fn read(element: Attributes<'_>) -> Expression {
        let name = element.find_string(NFTA_EXPR_NAME).unwrap_or("?");
        let data = element.find_nested(NFTA_EXPR_DATA).unwrap_or(Attributes(&[]));
        let read = match name {
            "meta" => only(data, &[NFTA_META_KEY, NFTA_META_DREG]).and_then(read_meta),
            "payload" => only(data, &[NFTA_PAYLOAD_DREG, NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_LEN])
                .and_then(read_payload),
            "ct" => only(data, &[NFTA_CT_KEY, NFTA_CT_DREG, NFTA_CT_SREG]).and_then(read_connection),
            "bitwise" => read_bitwise(data),
            "cmp" => read_compare(data),
            "lookup" => read_lookup(data),
            "immediate" => read_immediate(data),
            _ => None,
        };
        read.unwrap_or_else(|| Expression::Unknown(name.to_string()))
    }
}

/// The attributes, if there are none but these.
fn only<'a>(data: Attributes<'a>, known: &[u16]) -> Option<Attributes<'a>> {
    data.into_iter().all(|attribute| known.contains(&attribute.kind)).then_some(data)
}

fn read_meta(data: Attributes<'_>) -> Option<Expression> {
    Some(Expression::Meta { key: data.find_number(NFTA_META_KEY)?, to: data.find_number(NFTA_META_DREG)? })
}

fn read_payload(data: Attributes<'_>) -> Option<Expression> {
    Some(Expression::Payload {
        base: data.find_number(NFTA_PAYLOAD_BASE)?,
        offset: data.find_number(NFTA_PAYLOAD_OFFSET)?,
        length: data.find_number(NFTA_PAYLOAD_LEN)?,
        to: data.find_number(NFTA_PAYLOAD_DREG)?,
    })
}

fn read_connection(data: Attributes<'_>) -> Option<Expression> {
    let key = data.find_number(NFTA_CT_KEY)?;
    match (data.find_number(NFTA_CT_DREG), data.find_number(NFTA_CT_SREG)) {
        (Some(to), None) => Some(Expression::Connection { key, to }),
        (None, Some(from)) => Some(Expression::SetConnection { key, from }),
        _ => None,
    }
}

fn read_bitwise(data: Attributes<'_>) -> Option<Expression> {
    let in_place = data.find_number(NFTA_BITWISE_SREG)? == FIRST && data.find_number(NFTA_BITWISE_DREG)? == FIRST;
    let mask_and_flip = data.find_number(NFTA_BITWISE_OP).unwrap_or(NFT_BITWISE_MASK_XOR) == NFT_BITWISE_MASK_XOR;
    (in_place && mask_and_flip).then_some(())?;
    Some(Expression::Bitwise {
        mask: read_value(data.find_nested(NFTA_BITWISE_MASK)?)?.to_vec(),
        flip: read_value(data.find_nested(NFTA_BITWISE_XOR)?)?.to_vec(),
    })
}

fn read_compare(data: Attributes<'_>) -> Option<Expression> {
    (data.find_number(NFTA_CMP_SREG)? == FIRST).then_some(())?;
    Some(Expression::Compare {
        comparison: data.find_number(NFTA_CMP_OP)?,
        data: read_value(data.find_nested(NFTA_CMP_DATA)?)?.to_vec(),
    })
}

fn read_lookup(data: Attributes<'_>) -> Option<Expression> {
    let plain = data.find_number(NFTA_LOOKUP_FLAGS).unwrap_or(0) == 0;
    (plain && data.find_number(NFTA_LOOKUP_SREG)? == FIRST).then_some(())?;
    let verdict = match data.find_number(NFTA_LOOKUP_DREG) {
        None => false,
        Some(NFT_REG_VERDICT) => true,
        Some(_) => return None,
    };
    Some(Expression::Lookup { set: Lookup::Named(data.find_string(NFTA_LOOKUP_SET)?.into()), verdict })
}

fn read_immediate(data: Attributes<'_>) -> Option<Expression> {
    (data.find_number(NFTA_IMMEDIATE_DREG)? == NFT_REG_VERDICT).then_some(())?;
    read_verdict(data.find_nested(NFTA_IMMEDIATE_DATA)?).map(Expression::Verdict)
}
