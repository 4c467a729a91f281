//! Values, keys and verdicts as the kernel's registers hold them.
//!
//! Addresses, ports and the like are in network byte order, what the kernel computes (connection states and marks)
//! in that of the machine. In a concatenation each value is padded to four bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::attributes::{Attributes, Writer};
use super::numbers::{
    NF_ACCEPT, NF_DROP, NFT_GOTO, NFT_JUMP, NFT_RETURN, NFTA_DATA_VALUE, NFTA_DATA_VERDICT, NFTA_VERDICT_CHAIN,
    NFTA_VERDICT_CODE,
};
use crate::ruleset::{CtState, InterfaceName, Value, ValueType, Verdict};

/// How many bits nft gives to each type in the type of a concatenation (`TYPE_BITS` in its `datatype.h`).
const TYPE_BITS: u32 = 6;

impl ValueType {
    const ALL: [ValueType; 7] = [
        ValueType::Ipv4,
        ValueType::Ipv6,
        ValueType::Protocol,
        ValueType::Port,
        ValueType::State,
        ValueType::Icmpv6Type,
        ValueType::Interface,
    ];

    /// nft's number for the type (`enum datatypes`); the kernel keeps it without looking at it.
    fn number(self) -> u32 {
        match self {
            ValueType::Ipv4 => 7,
            ValueType::Ipv6 => 8,
            ValueType::Protocol => 12,
            ValueType::Port => 13,
            ValueType::State => 26,
            ValueType::Icmpv6Type => 29,
            ValueType::Interface => 41,
        }
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            ValueType::Ipv4 | ValueType::State => 4,
            ValueType::Ipv6 => 16,
            ValueType::Interface => InterfaceName::BYTES,
            ValueType::Protocol | ValueType::Icmpv6Type => 1,
            ValueType::Port => 2,
        }
    }

    /// nft's number for the byte order of the type: host, or network.
    pub(crate) fn byte_order(self) -> u32 {
        match self {
            ValueType::State | ValueType::Protocol | ValueType::Interface => 1,
            _ => 2,
        }
    }
}

/// nft's number for the type of a key.
pub(crate) fn key_type_number(key: &[ValueType]) -> u32 {
    key.iter().fold(0, |number, part| number << TYPE_BITS | part.number())
}

/// The type of a key by nft's number for it.
pub(crate) fn key_type(mut number: u32) -> Option<Vec<ValueType>> {
    let mut key = Vec::new();
    while number != 0 {
        let part = number & ((1 << TYPE_BITS) - 1);
        key.push(ValueType::ALL.into_iter().find(|known| known.number() == part)?);
        number >>= TYPE_BITS;
    }
    key.reverse();
    (!key.is_empty()).then_some(key)
}

/// How many bytes a key has.
pub(crate) fn key_bytes(key: &[ValueType]) -> usize {
    match key {
        [single] => single.bytes(),
        several => several.iter().map(|part| part.bytes().next_multiple_of(4)).sum(),
    }
}

/// An attribute with a key as data.
pub(crate) fn write_key(writer: &mut Writer<'_>, kind: u16, values: &[Value]) {
    let data = writer.begin(kind);
    let inner = writer.begin_bytes(NFTA_DATA_VALUE);
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            writer.pad();
        }
        write_bytes(writer.0, *value);
    }
    if values.len() > 1 {
        writer.pad();
    }
    writer.end(inner);
    writer.pad();
    writer.end(data);
}

fn write_bytes(bytes: &mut Vec<u8>, value: Value) {
    match value {
        Value::Ipv4(address) => bytes.extend_from_slice(&address.octets()),
        Value::Ipv6(address) => bytes.extend_from_slice(&address.octets()),
        Value::Protocol(number) | Value::Icmpv6Type(number) => bytes.push(number),
        Value::Port(number) => bytes.extend_from_slice(&number.to_be_bytes()),
        Value::State(state) => bytes.extend_from_slice(&(state as u32).to_ne_bytes()),
        Value::Interface(name) => bytes.extend_from_slice(name.bytes()),
    }
}

/// An address as packets have it.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The value after this one; `None` after the last. Interval sets end where the next interval could begin.
pub(crate) fn successor(value: Value) -> Option<Value> {
    match value {
        Value::Ipv4(address) => address.to_bits().checked_add(1).map(|bits| Value::Ipv4(Ipv4Addr::from_bits(bits))),
        Value::Ipv6(address) => address.to_bits().checked_add(1).map(|bits| Value::Ipv6(Ipv6Addr::from_bits(bits))),
        Value::Port(number) => number.checked_add(1).map(Value::Port),
        Value::Protocol(number) => number.checked_add(1).map(Value::Protocol),
        Value::Icmpv6Type(number) => number.checked_add(1).map(Value::Icmpv6Type),
        Value::State(_) | Value::Interface(_) => None,
    }
}

/// The value before this one; `None` before the first.
pub(crate) fn predecessor(value: Value) -> Option<Value> {
    match value {
        Value::Ipv4(address) => address.to_bits().checked_sub(1).map(|bits| Value::Ipv4(Ipv4Addr::from_bits(bits))),
        Value::Ipv6(address) => address.to_bits().checked_sub(1).map(|bits| Value::Ipv6(Ipv6Addr::from_bits(bits))),
        Value::Port(number) => number.checked_sub(1).map(Value::Port),
        Value::Protocol(number) => number.checked_sub(1).map(Value::Protocol),
        Value::Icmpv6Type(number) => number.checked_sub(1).map(Value::Icmpv6Type),
        Value::State(_) | Value::Interface(_) => None,
    }
}

/// The highest value of a type that has an order.
pub(crate) fn highest(kind: ValueType) -> Option<Value> {
    match kind {
        ValueType::Ipv4 => Some(Value::Ipv4(Ipv4Addr::BROADCAST)),
        ValueType::Ipv6 => Some(Value::Ipv6(Ipv6Addr::from_bits(u128::MAX))),
        ValueType::Port => Some(Value::Port(u16::MAX)),
        ValueType::Protocol => Some(Value::Protocol(u8::MAX)),
        ValueType::Icmpv6Type => Some(Value::Icmpv6Type(u8::MAX)),
        ValueType::State | ValueType::Interface => None,
    }
}

/// The value that these bytes are.
pub(crate) fn value(kind: ValueType, bytes: &[u8]) -> Option<Value> {
    let bytes = bytes.get(..kind.bytes())?;
    Some(match kind {
        ValueType::Ipv4 => Value::Ipv4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        ValueType::Ipv6 => Value::Ipv6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        ValueType::Protocol => Value::Protocol(bytes[0]),
        ValueType::Icmpv6Type => Value::Icmpv6Type(bytes[0]),
        ValueType::Port => Value::Port(u16::from_be_bytes(bytes.try_into().ok()?)),
        ValueType::Interface => {
            let name = bytes.split(|byte| *byte == 0).next()?;
            Value::Interface(InterfaceName::new(str::from_utf8(name).ok()?)?)
        }
        ValueType::State => {
            let bits = u32::from_ne_bytes(bytes.try_into().ok()?);
            Value::State(CtState::ALL.into_iter().find(|state| *state as u32 == bits)?)
        }
    })
}

/// An attribute with a value as data.
pub(crate) fn write_value(writer: &mut Writer<'_>, kind: u16, value: &[u8]) {
    let open = writer.begin(kind);
    writer.bytes(NFTA_DATA_VALUE, value);
    writer.end(open);
}

/// An attribute with a verdict as data.
pub(crate) fn write_verdict(writer: &mut Writer<'_>, kind: u16, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Drop => (NF_DROP, None),
        Verdict::Accept => (NF_ACCEPT, None),
        Verdict::Return => (NFT_RETURN, None),
        Verdict::Jump(chain) => (NFT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (NFT_GOTO, Some(chain)),
    };
    let data = writer.begin(kind);
    let inner = writer.begin(NFTA_DATA_VERDICT);
    writer.number(NFTA_VERDICT_CODE, code.cast_unsigned());
    if let Some(chain) = chain {
        writer.string(NFTA_VERDICT_CHAIN, chain);
    }
    writer.end(inner);
    writer.end(data);
}

/// The value in the data attribute.
pub(crate) fn read_value(data: Attributes<'_>) -> Option<&[u8]> {
    data.find(NFTA_DATA_VALUE).map(|attribute| attribute.value)
}

/// The verdict in the data attribute.
pub(crate) fn read_verdict(data: Attributes<'_>) -> Option<Verdict> {
    let verdict = data.find_nested(NFTA_DATA_VERDICT)?;
    let chain = || verdict.find_string(NFTA_VERDICT_CHAIN).map(Into::into);
    match verdict.find_number(NFTA_VERDICT_CODE)?.cast_signed() {
        NF_DROP => Some(Verdict::Drop),
        NF_ACCEPT => Some(Verdict::Accept),
        NFT_RETURN => Some(Verdict::Return),
        NFT_JUMP => Some(Verdict::Jump(chain()?)),
        NFT_GOTO => Some(Verdict::Goto(chain()?)),
        _ => None,
    }
}
