//! The expressions of `nf_tables`' virtual machine, as far as our statements need them.

use super::attributes::{Attributes, Writer};
use super::data::{read_value, read_verdict, write_value, write_verdict};
use super::numbers as n;
use crate::ruleset::{Lookup, Name, Stateful, Verdict};

/// The number of the register that begins at this 32-bit word: nft and the kernel name the four registers of
/// 16 bytes by 1 to 4, and what lies between by 8 and up.
pub(crate) const fn register(word: u32) -> u32 {
    if word.is_multiple_of(4) { 1 + word / 4 } else { 8 + word }
}

/// The first register.
pub(crate) const FIRST: u32 = register(0);

/// After how many packets the kernel sends a report.
const LOG_AT_ONCE: u16 = 1;
/// The time to which the rate of a limit refers, in seconds.
const SECOND: u64 = 1;

/// The kernel's names for what elements have of their own.
pub(crate) const COUNTER: &str = "counter";
const LIMIT: &str = "limit";

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Loads something the kernel knows about a packet.
    Meta { key: u32, to: u32 },
    /// Loads a part of the packet.
    Payload { base: u32, offset: u32, length: u32, to: u32 },
    /// Loads something of the packet's connection.
    Connection { key: u32, to: u32 },
    /// Asks the routing table for the type of an address.
    AddressType { flags: u32, to: u32 },
    /// Changes something of the packet's connection.
    SetConnection { key: u32, from: u32 },
    /// Masks the first register, then flips bits.
    Bitwise { mask: Vec<u8>, flip: Vec<u8> },
    /// Compares the first register; ends the rule if the comparison fails.
    Compare { comparison: u32, data: Vec<u8> },
    /// Looks the registers from the first on up in a set; in a map it takes the verdict.
    Lookup { set: Lookup, verdict: bool },
    /// Makes or finds the element of the first register in a dynamic set.
    Update { set: Name, stateful: Stateful },
    /// Counts with a named counter.
    Count { counter: Name },
    /// Reports the packet to an NFLOG group, at once.
    Log { prefix: String, group: u16, bytes: u32 },
    /// Ends the packet with an answer.
    Reject { kind: u32, code: u8 },
    /// Gives a verdict.
    Verdict(Verdict),
    /// Anything else.
    Unknown(String),
}

impl Expression {
    /// Appends the expression as an element of a rule's list. A literal set is `(name, id)` in this batch.
    pub(crate) fn write(&self, writer: &mut Writer<'_>, literal: Option<(&str, u32)>) {
        let element = writer.begin(n::NFTA_LIST_ELEM);
        writer.string(n::NFTA_EXPR_NAME, self.name());
        let data = writer.begin(n::NFTA_EXPR_DATA);
        match self {
            Expression::Meta { key, to } => {
                writer.number(n::NFTA_META_KEY, *key);
                writer.number(n::NFTA_META_DREG, *to);
            }
            Expression::Payload { base, offset, length, to } => {
                writer.number(n::NFTA_PAYLOAD_DREG, *to);
                writer.number(n::NFTA_PAYLOAD_BASE, *base);
                writer.number(n::NFTA_PAYLOAD_OFFSET, *offset);
                writer.number(n::NFTA_PAYLOAD_LEN, *length);
            }
            Expression::Connection { key, to } => {
                writer.number(n::NFTA_CT_KEY, *key);
                writer.number(n::NFTA_CT_DREG, *to);
            }
            Expression::AddressType { flags, to } => {
                writer.number(n::NFTA_FIB_FLAGS, *flags);
                writer.number(n::NFTA_FIB_RESULT, n::NFT_FIB_RESULT_ADDRTYPE);
                writer.number(n::NFTA_FIB_DREG, *to);
            }
            Expression::SetConnection { key, from } => {
                writer.number(n::NFTA_CT_KEY, *key);
                writer.number(n::NFTA_CT_SREG, *from);
            }
            Expression::Bitwise { mask, flip } => {
                writer.number(n::NFTA_BITWISE_SREG, FIRST);
                writer.number(n::NFTA_BITWISE_DREG, FIRST);
                writer.number(n::NFTA_BITWISE_LEN, u32::try_from(mask.len()).unwrap_or(u32::MAX));
                write_value(writer, n::NFTA_BITWISE_MASK, mask);
                write_value(writer, n::NFTA_BITWISE_XOR, flip);
            }
            Expression::Compare { comparison, data } => {
                writer.number(n::NFTA_CMP_SREG, FIRST);
                writer.number(n::NFTA_CMP_OP, *comparison);
                write_value(writer, n::NFTA_CMP_DATA, data);
            }
            Expression::Lookup { set, verdict } => {
                match (set, literal) {
                    (Lookup::Literal(_), Some((name, id))) => {
                        writer.string(n::NFTA_LOOKUP_SET, name);
                        writer.number(n::NFTA_LOOKUP_SET_ID, id);
                    }
                    (Lookup::Named(name), _) => writer.string(n::NFTA_LOOKUP_SET, name),
                    (Lookup::Literal(_), None) => {}
                }
                writer.number(n::NFTA_LOOKUP_SREG, FIRST);
                if *verdict {
                    writer.number(n::NFTA_LOOKUP_DREG, n::NFT_REG_VERDICT);
                }
            }
            Expression::Update { set, stateful } => {
                writer.string(n::NFTA_DYNSET_SET_NAME, set);
                writer.number(n::NFTA_DYNSET_OP, n::NFT_DYNSET_OP_UPDATE);
                writer.number(n::NFTA_DYNSET_SREG_KEY, FIRST);
                write_stateful(writer, *stateful);
            }
            Expression::Count { counter } => {
                writer.number(n::NFTA_OBJREF_IMM_TYPE, n::NFT_OBJECT_COUNTER);
                writer.string(n::NFTA_OBJREF_IMM_NAME, counter);
            }
            Expression::Log { prefix, group, bytes } => {
                writer.bytes(n::NFTA_LOG_GROUP, &group.to_be_bytes());
                writer.string(n::NFTA_LOG_PREFIX, prefix);
                writer.number(n::NFTA_LOG_SNAPLEN, *bytes);
                writer.bytes(n::NFTA_LOG_QTHRESHOLD, &LOG_AT_ONCE.to_be_bytes());
            }
            Expression::Reject { kind, code } => {
                writer.number(n::NFTA_REJECT_TYPE, *kind);
                writer.bytes(n::NFTA_REJECT_ICMP_CODE, &[*code]);
            }
            Expression::Verdict(verdict) => {
                writer.number(n::NFTA_IMMEDIATE_DREG, n::NFT_REG_VERDICT);
                write_verdict(writer, n::NFTA_IMMEDIATE_DATA, verdict);
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
            Expression::AddressType { .. } => "fib",
            Expression::Bitwise { .. } => "bitwise",
            Expression::Compare { .. } => "cmp",
            Expression::Lookup { .. } => "lookup",
            Expression::Update { .. } => "dynset",
            Expression::Count { .. } => "objref",
            Expression::Log { .. } => "log",
            Expression::Reject { .. } => "reject",
            Expression::Verdict(_) => "immediate",
            Expression::Unknown(name) => name,
        }
    }

    /// Reads an element of a rule's list. A lookup names the set as the kernel does.
    pub(crate) fn read(element: Attributes<'_>) -> Expression {
        let name = element.find_string(n::NFTA_EXPR_NAME).unwrap_or("?");
        let data = element.find_nested(n::NFTA_EXPR_DATA).unwrap_or(Attributes(&[]));
        let read = match name {
            "meta" => only(data, &[n::NFTA_META_KEY, n::NFTA_META_DREG]).and_then(read_meta),
            "payload" => {
                only(data, &[n::NFTA_PAYLOAD_DREG, n::NFTA_PAYLOAD_BASE, n::NFTA_PAYLOAD_OFFSET, n::NFTA_PAYLOAD_LEN])
                    .and_then(read_payload)
            }
            "ct" => only(data, &[n::NFTA_CT_KEY, n::NFTA_CT_DREG, n::NFTA_CT_SREG]).and_then(read_connection),
            "fib" => only(data, &[n::NFTA_FIB_DREG, n::NFTA_FIB_RESULT, n::NFTA_FIB_FLAGS]).and_then(read_address_type),
            "bitwise" => read_bitwise(data),
            "cmp" => read_compare(data),
            "lookup" => read_lookup(data),
            "dynset" => read_update(data),
            "objref" => only(data, &[n::NFTA_OBJREF_IMM_TYPE, n::NFTA_OBJREF_IMM_NAME]).and_then(read_count),
            "log" => only(data, &[n::NFTA_LOG_GROUP, n::NFTA_LOG_PREFIX, n::NFTA_LOG_SNAPLEN, n::NFTA_LOG_QTHRESHOLD])
                .and_then(read_log),
            "reject" => only(data, &[n::NFTA_REJECT_TYPE, n::NFTA_REJECT_ICMP_CODE]).and_then(read_reject),
            "immediate" => read_immediate(data),
            _ => None,
        };
        read.unwrap_or_else(|| Expression::Unknown(name.to_string()))
    }
}

/// A counter that stands at zero.
pub(crate) fn write_zeros(writer: &mut Writer<'_>) {
    writer.long_number(n::NFTA_COUNTER_BYTES, 0);
    writer.long_number(n::NFTA_COUNTER_PACKETS, 0);
}

fn write_stateful(writer: &mut Writer<'_>, stateful: Stateful) {
    let expression = writer.begin(n::NFTA_DYNSET_EXPR);
    writer.string(
        n::NFTA_EXPR_NAME,
        match stateful {
            Stateful::Counter => COUNTER,
            Stateful::Limit { .. } => LIMIT,
        },
    );
    let data = writer.begin(n::NFTA_EXPR_DATA);
    match stateful {
        Stateful::Counter => write_zeros(writer),
        Stateful::Limit { per_second, burst } => {
            writer.long_number(n::NFTA_LIMIT_RATE, per_second.into());
            writer.long_number(n::NFTA_LIMIT_UNIT, SECOND);
            writer.number(n::NFTA_LIMIT_BURST, burst);
            writer.number(n::NFTA_LIMIT_TYPE, n::NFT_LIMIT_PKTS);
            writer.number(n::NFTA_LIMIT_FLAGS, 0);
        }
    }
    writer.end(data);
    writer.end(expression);
}

/// The attributes, if there are none but these.
fn only<'a>(data: Attributes<'a>, known: &[u16]) -> Option<Attributes<'a>> {
    data.into_iter().all(|attribute| known.contains(&attribute.kind)).then_some(data)
}

fn read_meta(data: Attributes<'_>) -> Option<Expression> {
    Some(Expression::Meta { key: data.find_number(n::NFTA_META_KEY)?, to: data.find_number(n::NFTA_META_DREG)? })
}

fn read_payload(data: Attributes<'_>) -> Option<Expression> {
    Some(Expression::Payload {
        base: data.find_number(n::NFTA_PAYLOAD_BASE)?,
        offset: data.find_number(n::NFTA_PAYLOAD_OFFSET)?,
        length: data.find_number(n::NFTA_PAYLOAD_LEN)?,
        to: data.find_number(n::NFTA_PAYLOAD_DREG)?,
    })
}

fn read_connection(data: Attributes<'_>) -> Option<Expression> {
    let key = data.find_number(n::NFTA_CT_KEY)?;
    match (data.find_number(n::NFTA_CT_DREG), data.find_number(n::NFTA_CT_SREG)) {
        (Some(to), None) => Some(Expression::Connection { key, to }),
        (None, Some(from)) => Some(Expression::SetConnection { key, from }),
        _ => None,
    }
}

fn read_address_type(data: Attributes<'_>) -> Option<Expression> {
    (data.find_number(n::NFTA_FIB_RESULT)? == n::NFT_FIB_RESULT_ADDRTYPE).then_some(())?;
    Some(Expression::AddressType {
        flags: data.find_number(n::NFTA_FIB_FLAGS)?,
        to: data.find_number(n::NFTA_FIB_DREG)?,
    })
}

fn read_bitwise(data: Attributes<'_>) -> Option<Expression> {
    let in_place = data.find_number(n::NFTA_BITWISE_SREG)? == FIRST && data.find_number(n::NFTA_BITWISE_DREG)? == FIRST;
    let mask_and_flip =
        data.find_number(n::NFTA_BITWISE_OP).unwrap_or(n::NFT_BITWISE_MASK_XOR) == n::NFT_BITWISE_MASK_XOR;
    (in_place && mask_and_flip).then_some(())?;
    Some(Expression::Bitwise {
        mask: read_value(data.find_nested(n::NFTA_BITWISE_MASK)?)?.to_vec(),
        flip: read_value(data.find_nested(n::NFTA_BITWISE_XOR)?)?.to_vec(),
    })
}

fn read_compare(data: Attributes<'_>) -> Option<Expression> {
    (data.find_number(n::NFTA_CMP_SREG)? == FIRST).then_some(())?;
    Some(Expression::Compare {
        comparison: data.find_number(n::NFTA_CMP_OP)?,
        data: read_value(data.find_nested(n::NFTA_CMP_DATA)?)?.to_vec(),
    })
}

fn read_lookup(data: Attributes<'_>) -> Option<Expression> {
    let plain = data.find_number(n::NFTA_LOOKUP_FLAGS).unwrap_or(0) == 0;
    (plain && data.find_number(n::NFTA_LOOKUP_SREG)? == FIRST).then_some(())?;
    let verdict = match data.find_number(n::NFTA_LOOKUP_DREG) {
        None => false,
        Some(n::NFT_REG_VERDICT) => true,
        Some(_) => return None,
    };
    Some(Expression::Lookup { set: Lookup::Named(data.find_string(n::NFTA_LOOKUP_SET)?.into()), verdict })
}

fn read_immediate(data: Attributes<'_>) -> Option<Expression> {
    (data.find_number(n::NFTA_IMMEDIATE_DREG)? == n::NFT_REG_VERDICT).then_some(())?;
    read_verdict(data.find_nested(n::NFTA_IMMEDIATE_DATA)?).map(Expression::Verdict)
}

fn read_update(data: Attributes<'_>) -> Option<Expression> {
    let known = [
        n::NFTA_DYNSET_SET_NAME,
        n::NFTA_DYNSET_OP,
        n::NFTA_DYNSET_SREG_KEY,
        n::NFTA_DYNSET_TIMEOUT,
        n::NFTA_DYNSET_EXPR,
        n::NFTA_DYNSET_PAD,
        n::NFTA_DYNSET_FLAGS,
    ];
    let data = only(data, &known)?;
    let plain = data.find_number(n::NFTA_DYNSET_OP)? == n::NFT_DYNSET_OP_UPDATE
        && data.find_number(n::NFTA_DYNSET_SREG_KEY)? == FIRST
        && data.find_long_number(n::NFTA_DYNSET_TIMEOUT).unwrap_or(0) == 0
        && data.find_number(n::NFTA_DYNSET_FLAGS).unwrap_or(0) == 0;
    plain.then_some(())?;
    let expression = data.find_nested(n::NFTA_DYNSET_EXPR)?;
    let inner = expression.find_nested(n::NFTA_EXPR_DATA)?;
    let stateful = match expression.find_string(n::NFTA_EXPR_NAME)? {
        COUNTER => Stateful::Counter,
        LIMIT => read_limit(inner)?,
        _ => return None,
    };
    Some(Expression::Update { set: data.find_string(n::NFTA_DYNSET_SET_NAME)?.into(), stateful })
}

fn read_limit(data: Attributes<'_>) -> Option<Stateful> {
    let plain = data.find_long_number(n::NFTA_LIMIT_UNIT)? == SECOND
        && data.find_number(n::NFTA_LIMIT_TYPE)? == n::NFT_LIMIT_PKTS
        && data.find_number(n::NFTA_LIMIT_FLAGS)? == 0;
    plain.then_some(())?;
    let per_second = u32::try_from(data.find_long_number(n::NFTA_LIMIT_RATE)?).ok()?;
    Some(Stateful::Limit { per_second, burst: data.find_number(n::NFTA_LIMIT_BURST)? })
}

fn read_count(data: Attributes<'_>) -> Option<Expression> {
    (data.find_number(n::NFTA_OBJREF_IMM_TYPE)? == n::NFT_OBJECT_COUNTER).then_some(())?;
    Some(Expression::Count { counter: data.find_string(n::NFTA_OBJREF_IMM_NAME)?.into() })
}

fn read_log(data: Attributes<'_>) -> Option<Expression> {
    let short = |kind| Some(u16::from_be_bytes(data.find(kind)?.value.try_into().ok()?));
    (short(n::NFTA_LOG_QTHRESHOLD)? == LOG_AT_ONCE).then_some(())?;
    Some(Expression::Log {
        prefix: data.find_string(n::NFTA_LOG_PREFIX)?.to_string(),
        group: short(n::NFTA_LOG_GROUP)?,
        bytes: data.find_number(n::NFTA_LOG_SNAPLEN)?,
    })
}

fn read_reject(data: Attributes<'_>) -> Option<Expression> {
    // Resets have no code, and the kernel tells none.
    let code = data.find(n::NFTA_REJECT_ICMP_CODE).and_then(|attribute| attribute.value.first().copied());
    Some(Expression::Reject { kind: data.find_number(n::NFTA_REJECT_TYPE)?, code: code.unwrap_or(0) })
}
