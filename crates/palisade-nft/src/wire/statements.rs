//! Statements to expressions, exactly as nft 1.0.6 writes them (so that nft lists our table cleanly), and back.
//!
//! A header field of one family, or of one transport, comes with a check of the family or transport before it.

use palisade_core::{Family, Transport};

use super::expressions::{Expression, FIRST, register};
use super::numbers::{
    NFPROTO_IPV4, NFPROTO_IPV6, NFT_CMP_EQ, NFT_CMP_NEQ, NFT_CT_DIRECTION, NFT_CT_MARK, NFT_CT_STATE, NFT_META_L4PROTO,
    NFT_META_NFPROTO, NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER,
};
use crate::ruleset::{CtState, Field, Rule, Side, Statement};

/// The protocol number of `ICMPv6`.
const ICMPV6: u8 = 58;
/// `IP_CT_DIR_REPLY`
const REPLY: u8 = 1;
/// The TCP flags fin, syn, rst and ack (RFC 9293, section 3.1).
const OPENING_FLAGS: u8 = 0x17;
/// The TCP flag syn.
const SYN: u8 = 0x02;
/// Where the flags are in the TCP header.
const FLAGS_OFFSET: u32 = 13;
/// Where the type of the first chunk is in an SCTP packet.
const CHUNK_OFFSET: u32 = 12;
/// The chunk that opens an association.
const INIT: u8 = 1;

/// The expressions of a rule; `None` if it has a statement that came from somebody else's rule.
pub(crate) fn expressions(rule: &[Statement]) -> Option<Vec<Expression>> {
    let mut expressions = Vec::new();
    for statement in rule {
        write(statement, &mut expressions)?;
    }
    Some(expressions)
}

/// The rule that these expressions are. What no statement of ours is becomes one unknown statement.
pub(crate) fn rule(mut expressions: &[Expression]) -> Rule {
    let mut rule = Rule::new();
    while !expressions.is_empty() {
        // Reading looks only at what tells statements apart; that nothing else is there is seen by writing it again.
        let known = read(expressions).filter(|(statement, length)| {
            let mut again = Vec::new();
            write(statement, &mut again).is_some() && expressions.get(..*length) == Some(&again[..])
        });
        if let Some((statement, length)) = known {
            rule.push(statement);
            expressions = &expressions[length..];
        } else {
            rule.push(Statement::Unknown(format!("{expressions:?}")));
            break;
        }
    }
    rule
}

fn write(statement: &Statement, to: &mut Vec<Expression>) -> Option<()> {
    match statement {
        Statement::In(fields, set) => {
            load(fields, to);
            to.push(Expression::Lookup { set: set.clone(), verdict: false });
        }
        Statement::VerdictMap(fields, set) => {
            load(fields, to);
            to.push(Expression::Lookup { set: set.clone(), verdict: true });
        }
        Statement::StateIs(state) => {
            to.push(Expression::Connection { key: NFT_CT_STATE, to: FIRST });
            to.push(mask(*state as u32, 0));
            to.push(Expression::Compare { comparison: NFT_CMP_NEQ, data: vec![0; 4] });
        }
        Statement::StateIsNot(state) => {
            to.push(Expression::Connection { key: NFT_CT_STATE, to: FIRST });
            let data = (*state as u32).to_ne_bytes().to_vec();
            to.push(Expression::Compare { comparison: NFT_CMP_NEQ, data });
        }
        Statement::IsReply => {
            to.push(Expression::Connection { key: NFT_CT_DIRECTION, to: FIRST });
            to.push(equals(REPLY));
        }
        Statement::MarkIs { mask: bits, value } => {
            to.push(Expression::Connection { key: NFT_CT_MARK, to: FIRST });
            to.push(mask(*bits, 0));
            to.push(Expression::Compare { comparison: NFT_CMP_EQ, data: value.to_ne_bytes().to_vec() });
        }
        Statement::SetMark { mask: bits, value } => {
            to.push(Expression::Connection { key: NFT_CT_MARK, to: FIRST });
            to.push(mask(!bits, *value));
            to.push(Expression::SetConnection { key: NFT_CT_MARK, from: FIRST });
        }
        Statement::NotOpeningTcp => {
            require(NFT_META_L4PROTO, Transport::Tcp.number(), to);
            to.push(transport_header(FLAGS_OFFSET, 1, FIRST));
            to.push(Expression::Bitwise { mask: vec![OPENING_FLAGS], flip: vec![0] });
            to.push(Expression::Compare { comparison: NFT_CMP_NEQ, data: vec![SYN] });
        }
        Statement::NotOpeningSctp => {
            require(NFT_META_L4PROTO, Transport::Sctp.number(), to);
            to.push(transport_header(CHUNK_OFFSET, 1, FIRST));
            to.push(Expression::Compare { comparison: NFT_CMP_NEQ, data: vec![INIT] });
        }
        Statement::Verdict(verdict) => to.push(Expression::Verdict(verdict.clone())),
        Statement::Unknown(_) => return None,
    }
    Some(())
}

/// Loads fields into the registers, one after the other.
fn load(fields: &[Field], to: &mut Vec<Expression>) {
    let mut word = 0;
    for field in fields {
        let target = register(word);
        match *field {
            Field::Address(family, side) => {
                require(NFT_META_NFPROTO, family_number(family), to);
                let (offset, length) = address_place(family, side);
                to.push(Expression::Payload { base: NFT_PAYLOAD_NETWORK_HEADER, offset, length, to: target });
            }
            Field::Protocol => to.push(Expression::Meta { key: NFT_META_L4PROTO, to: target }),
            Field::Port(side) => to.push(transport_header(port_offset(side), 2, target)),
            Field::TransportPort(transport, side) => {
                require(NFT_META_L4PROTO, transport.number(), to);
                to.push(transport_header(port_offset(side), 2, target));
            }
            Field::State => to.push(Expression::Connection { key: NFT_CT_STATE, to: target }),
            Field::Icmpv6Type => {
                require(NFT_META_NFPROTO, NFPROTO_IPV6, to);
                require(NFT_META_L4PROTO, ICMPV6, to);
                to.push(transport_header(0, 1, target));
            }
        }
        word += u32::try_from(field.value_type().bytes().div_ceil(4)).unwrap_or(u32::MAX);
    }
}

/// Goes on only with packets of this family or transport.
fn require(key: u32, number: u8, to: &mut Vec<Expression>) {
    to.push(Expression::Meta { key, to: FIRST });
    to.push(equals(number));
}

fn equals(number: u8) -> Expression {
    Expression::Compare { comparison: NFT_CMP_EQ, data: vec![number] }
}

fn mask(mask: u32, flip: u32) -> Expression {
    Expression::Bitwise { mask: mask.to_ne_bytes().to_vec(), flip: flip.to_ne_bytes().to_vec() }
}

fn transport_header(offset: u32, length: u32, to: u32) -> Expression {
    Expression::Payload { base: NFT_PAYLOAD_TRANSPORT_HEADER, offset, length, to }
}

fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => NFPROTO_IPV4,
        Family::V6 => NFPROTO_IPV6,
    }
}

/// Offset and length of an address in its header (RFC 791, section 3.1; RFC 8200, section 3).
fn address_place(family: Family, side: Side) -> (u32, u32) {
    match (family, side) {
        (Family::V4, Side::Source) => (12, 4),
        (Family::V4, Side::Destination) => (16, 4),
        (Family::V6, Side::Source) => (8, 16),
        (Family::V6, Side::Destination) => (24, 16),
    }
}

/// Where TCP, UDP and SCTP have their ports.
fn port_offset(side: Side) -> u32 {
    match side {
        Side::Source => 0,
        Side::Destination => 2,
    }
}

/// The statement at the front, and how many expressions it takes, if it is one of ours and nothing strange is in it.
fn read(expressions: &[Expression]) -> Option<(Statement, usize)> {
    use Expression::{Bitwise, Compare, Connection, Lookup, Meta, Payload, SetConnection, Verdict};
    match expressions {
        [Verdict(verdict), ..] => Some((Statement::Verdict(verdict.clone()), 1)),
        [Connection { key: NFT_CT_MARK, .. }, Bitwise { mask, flip }, SetConnection { .. }, ..] => {
            Some((Statement::SetMark { mask: !number(mask)?, value: number(flip)? }, 3))
        }
        [Connection { key: NFT_CT_MARK, .. }, Bitwise { mask, .. }, Compare { data, .. }, ..] => {
            Some((Statement::MarkIs { mask: number(mask)?, value: number(data)? }, 3))
        }
        [Connection { key: NFT_CT_DIRECTION, .. }, Compare { .. }, ..] => Some((Statement::IsReply, 2)),
        [Connection { key: NFT_CT_STATE, .. }, Bitwise { mask, .. }, Compare { .. }, ..] => {
            Some((Statement::StateIs(state(mask)?), 3))
        }
        [Connection { key: NFT_CT_STATE, .. }, Compare { data, .. }, ..] => {
            Some((Statement::StateIsNot(state(data)?), 2))
        }
        [Meta { .. }, Compare { .. }, Payload { offset: FLAGS_OFFSET, .. }, Bitwise { .. }, Compare { .. }, ..] => {
            Some((Statement::NotOpeningTcp, 5))
        }
        [Meta { .. }, Compare { .. }, Payload { offset: CHUNK_OFFSET, .. }, Compare { .. }, ..] => {
            Some((Statement::NotOpeningSctp, 4))
        }
        _ => {
            let at = expressions.iter().position(|expression| matches!(expression, Lookup { .. }))?;
            let fields = fields(&expressions[..at])?;
            let Lookup { set, verdict } = &expressions[at] else { return None };
            let statement = if *verdict { Statement::VerdictMap } else { Statement::In };
            Some((statement(fields, set.clone()), at + 1))
        }
    }
}

/// The fields that these expressions load.
fn fields(mut expressions: &[Expression]) -> Option<Vec<Field>> {
    use Expression::{Compare, Connection, Meta, Payload};
    let mut fields = Vec::new();
    let mut transport = None;
    loop {
        match expressions {
            [] => return Some(fields),
            [Meta { key, .. }, Compare { data, .. }, rest @ ..] => {
                if *key == NFT_META_L4PROTO {
                    transport = Transport::ALL.into_iter().find(|known| *data == [known.number()]);
                }
                expressions = rest;
            }
            [first, rest @ ..] => {
                fields.push(match first {
                    Meta { key: NFT_META_L4PROTO, .. } => Field::Protocol,
                    Connection { key: NFT_CT_STATE, .. } => Field::State,
                    Payload { base: NFT_PAYLOAD_NETWORK_HEADER, offset, length, .. } => address(*offset, *length)?,
                    Payload { base: NFT_PAYLOAD_TRANSPORT_HEADER, length: 1, .. } => Field::Icmpv6Type,
                    Payload { base: NFT_PAYLOAD_TRANSPORT_HEADER, offset, .. } => {
                        let side =
                            [Side::Source, Side::Destination].into_iter().find(|side| port_offset(*side) == *offset)?;
                        transport.map_or(Field::Port(side), |transport| Field::TransportPort(transport, side))
                    }
                    _ => return None,
                });
                expressions = rest;
            }
        }
    }
}

fn address(offset: u32, length: u32) -> Option<Field> {
    Family::ALL
        .into_iter()
        .flat_map(|family| [(family, Side::Source), (family, Side::Destination)])
        .find(|(family, side)| address_place(*family, *side) == (offset, length))
        .map(|(family, side)| Field::Address(family, side))
}

/// The one state that these bits say.
fn state(bits: &[u8]) -> Option<CtState> {
    let bits = number(bits)?;
    CtState::ALL.into_iter().find(|state| *state as u32 == bits)
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}
