//! Statements to expressions, exactly as nft 1.0.6 writes them (so that nft lists our table cleanly), and back.
//!
//! A header field of one family, or of one transport, comes with a check of the family or transport before it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use palisade_core::{Family, Transport};

use super::data::octets;
use super::expressions::{Expression, FIRST, register};
use super::numbers as n;
use crate::ruleset::{CtState, Field, InterfaceName, Loopback, Rule, Side, Statement, Table, Tag};

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

/// Where the type of the content is in an Ethernet header.
const ETHER_TYPE_OFFSET: u32 = 12;
/// Where a tag is in an Ethernet header: behind the number that says that there is one.
const TAG_OFFSET: u32 = 14;
/// The bits of a tag that say which VLAN it is.
const VLAN_MASK: u16 = 0x0fff;
/// Where an ARP packet about Ethernet and IPv4 has the address of its sender (RFC 826).
const ARP_SENDER_OFFSET: u32 = 14;

/// The kind of interface that a veth pair is made of, filled up with zeros to `IFNAMSIZ` bytes.
const VETH: &[u8; InterfaceName::BYTES] = b"veth\0\0\0\0\0\0\0\0\0\0\0\0";

/// The expressions of a rule in a table; `None` if it has a statement that came from somebody else's rule.
pub(crate) fn expressions(table: Table, rule: &[Statement]) -> Option<Vec<Expression>> {
    let mut expressions = Vec::new();
    for statement in rule {
        write(table, statement, &mut expressions)?;
    }
    Some(expressions)
}

/// The rule that these expressions are. What no statement of ours is becomes one unknown statement.
pub(crate) fn rule(table: Table, mut expressions: &[Expression]) -> Rule {
    let mut rule = Rule::new();
    while !expressions.is_empty() {
        // Reading looks only at what tells statements apart; that nothing else is there is seen by writing it again.
        let known = read(expressions).filter(|(statement, length)| {
            let mut again = Vec::new();
            write(table, statement, &mut again).is_some() && expressions.get(..*length) == Some(&again[..])
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

fn write(table: Table, statement: &Statement, to: &mut Vec<Expression>) -> Option<()> {
    match statement {
        Statement::In(fields, set) => {
            load(table, fields, to);
            to.push(Expression::Lookup { set: set.clone(), verdict: false });
        }
        Statement::VerdictMap(fields, set) => {
            load(table, fields, to);
            to.push(Expression::Lookup { set: set.clone(), verdict: true });
        }
        Statement::InNetwork(side, network) => in_network(table, *side, *network, to),
        Statement::FromVeth => {
            to.push(Expression::Meta { key: n::NFT_META_IIFKIND, to: FIRST });
            to.push(Expression::Compare { comparison: n::NFT_CMP_EQ, data: VETH.to_vec() });
        }
        Statement::Tagged(tag) => require_ether_type(*tag as u16, to),
        Statement::PriorityTagged => {
            require_ether_type(Tag::Customer as u16, to);
            let base = n::NFT_PAYLOAD_LL_HEADER;
            to.push(Expression::Payload { base, offset: TAG_OFFSET, length: 2, to: FIRST });
            to.push(Expression::Bitwise { mask: VLAN_MASK.to_be_bytes().to_vec(), flip: vec![0; 2] });
            to.push(Expression::Compare { comparison: n::NFT_CMP_EQ, data: vec![0; 2] });
        }
        Statement::ArpFromNobody => {
            load(table, &[Field::ArpSender], to);
            to.push(Expression::Compare { comparison: n::NFT_CMP_EQ, data: vec![0; 4] });
        }
        Statement::StateIs(state) => {
            to.push(Expression::Connection { key: n::NFT_CT_STATE, to: FIRST });
            to.push(mask(*state as u32, 0));
            to.push(Expression::Compare { comparison: n::NFT_CMP_NEQ, data: vec![0; 4] });
        }
        Statement::StateIsNot(state) => {
            to.push(Expression::Connection { key: n::NFT_CT_STATE, to: FIRST });
            let data = (*state as u32).to_ne_bytes().to_vec();
            to.push(Expression::Compare { comparison: n::NFT_CMP_NEQ, data });
        }
        Statement::IsReply => {
            to.push(Expression::Connection { key: n::NFT_CT_DIRECTION, to: FIRST });
            to.push(equals(REPLY));
        }
        Statement::IsTranslated => {
            to.push(Expression::Connection { key: n::NFT_CT_STATUS, to: FIRST });
            to.push(mask(n::IPS_DST_NAT, 0));
            to.push(Expression::Compare { comparison: n::NFT_CMP_NEQ, data: vec![0; 4] });
        }
        Statement::IsLocal(side) => {
            to.push(Expression::AddressType { flags: fib_flags(*side), to: FIRST });
            to.push(Expression::Compare { comparison: n::NFT_CMP_EQ, data: n::RTN_LOCAL.to_ne_bytes().to_vec() });
        }
        Statement::Over(loopback) => {
            to.push(Expression::Meta { key: interface_type(*loopback), to: FIRST });
            let data = n::ARPHRD_LOOPBACK.to_ne_bytes().to_vec();
            to.push(Expression::Compare { comparison: n::NFT_CMP_EQ, data });
        }
        Statement::MarkIs { mask: bits, value } => {
            to.push(Expression::Connection { key: n::NFT_CT_MARK, to: FIRST });
            to.push(mask(*bits, 0));
            to.push(Expression::Compare { comparison: n::NFT_CMP_EQ, data: value.to_ne_bytes().to_vec() });
        }
        Statement::MarkIsNot { mask: bits, value } => {
            to.push(Expression::Connection { key: n::NFT_CT_MARK, to: FIRST });
            to.push(mask(*bits, 0));
            to.push(Expression::Compare { comparison: n::NFT_CMP_NEQ, data: value.to_ne_bytes().to_vec() });
        }
        Statement::SetMark { mask: bits, value } => {
            to.push(Expression::Connection { key: n::NFT_CT_MARK, to: FIRST });
            to.push(mask(!bits, *value));
            to.push(Expression::SetConnection { key: n::NFT_CT_MARK, from: FIRST });
        }
        Statement::NotOpeningTcp => {
            require(n::NFT_META_L4PROTO, Transport::Tcp.number(), to);
            to.push(transport_header(FLAGS_OFFSET, 1, FIRST));
            to.push(Expression::Bitwise { mask: vec![OPENING_FLAGS], flip: vec![0] });
            to.push(Expression::Compare { comparison: n::NFT_CMP_NEQ, data: vec![SYN] });
        }
        Statement::NotOpeningSctp => {
            require(n::NFT_META_L4PROTO, Transport::Sctp.number(), to);
            to.push(transport_header(CHUNK_OFFSET, 1, FIRST));
            to.push(Expression::Compare { comparison: n::NFT_CMP_NEQ, data: vec![INIT] });
        }
        Statement::Count(counter) => to.push(Expression::Count { counter: counter.clone() }),
        Statement::Update(field, set, stateful) => {
            load(table, &[*field], to);
            to.push(Expression::Update { set: set.clone(), stateful: *stateful });
        }
        Statement::Log { prefix, group, bytes } => {
            to.push(Expression::Log { prefix: prefix.to_string(), group: *group, bytes: *bytes });
        }
        Statement::ResetTcp => {
            require(n::NFT_META_L4PROTO, Transport::Tcp.number(), to);
            to.push(Expression::Reject { kind: n::NFT_REJECT_TCP_RST, code: 0 });
        }
        Statement::Prohibit => {
            let code = n::NFT_REJECT_ICMPX_ADMIN_PROHIBITED;
            to.push(Expression::Reject { kind: n::NFT_REJECT_ICMPX_UNREACH, code });
        }
        Statement::Verdict(verdict) => to.push(Expression::Verdict(verdict.clone())),
        Statement::Unknown(_) => return None,
    }
    Some(())
}

/// Compares an address with a network. nft loads no more than the bytes of the prefix where it ends at a byte.
fn in_network(table: Table, side: Side, network: IpNet, to: &mut Vec<Expression>) {
    let family = Family::of(network.network());
    let (offset, length) = address_place(family, side);
    require_family(table, family, to);
    let mut data = octets(network.network());
    let prefix = u32::from(network.prefix_len());
    let whole = (prefix > 0 && prefix.is_multiple_of(8)).then_some(prefix / 8);
    let length = whole.unwrap_or(length);
    to.push(Expression::Payload { base: n::NFT_PAYLOAD_NETWORK_HEADER, offset, length, to: FIRST });
    if whole.is_some() {
        data.truncate(usize::from(network.prefix_len()) / 8);
    } else {
        to.push(Expression::Bitwise { mask: octets(network.netmask()), flip: vec![0; data.len()] });
    }
    to.push(Expression::Compare { comparison: n::NFT_CMP_EQ, data });
}

/// Loads fields into the registers, one after the other. What they require is asked before, as that takes the first register.
fn load(table: Table, fields: &[Field], to: &mut Vec<Expression>) {
    for field in fields {
        match *field {
            Field::Address(family, _) => require_family(table, family, to),
            Field::TransportPort(transport, _) => require(n::NFT_META_L4PROTO, transport.number(), to),
            Field::Icmpv6Type => {
                // nft asks the frame itself where there is one and the question is not about an IP header.
                if table.is_of_bridges() {
                    require_ether_type(n::ETH_P_IPV6, to);
                } else {
                    require_family(table, Family::V6, to);
                }
                require(n::NFT_META_L4PROTO, ICMPV6, to);
            }
            Field::ArpSender => require_ether_type(n::ETH_P_ARP, to),
            Field::Protocol | Field::Port(_) | Field::State | Field::Interface => {}
        }
    }
    let mut word = 0;
    for field in fields {
        let target = register(word);
        let network_header = |(offset, length)| {
            let base = n::NFT_PAYLOAD_NETWORK_HEADER;
            Expression::Payload { base, offset, length, to: target }
        };
        to.push(match *field {
            Field::Address(family, side) => network_header(address_place(family, side)),
            Field::ArpSender => network_header((ARP_SENDER_OFFSET, 4)),
            Field::Protocol => Expression::Meta { key: n::NFT_META_L4PROTO, to: target },
            Field::Interface => Expression::Meta { key: n::NFT_META_IIFNAME, to: target },
            Field::Port(side) | Field::TransportPort(_, side) => transport_header(port_offset(side), 2, target),
            Field::State => Expression::Connection { key: n::NFT_CT_STATE, to: target },
            Field::Icmpv6Type => transport_header(0, 1, target),
        });
        word += u32::try_from(field.value_type().bytes().div_ceil(4)).unwrap_or(u32::MAX);
    }
}

/// Goes on only with packets of this family. Bridges see frames, which nft asks for their content.
fn require_family(table: Table, family: Family, to: &mut Vec<Expression>) {
    if table.is_of_bridges() {
        to.push(Expression::Meta { key: n::NFT_META_PROTOCOL, to: FIRST });
        let data = ether_type(family).to_be_bytes().to_vec();
        to.push(Expression::Compare { comparison: n::NFT_CMP_EQ, data });
    } else {
        require(n::NFT_META_NFPROTO, family_number(family), to);
    }
}

/// Goes on only with frames of this content.
fn require_ether_type(number: u16, to: &mut Vec<Expression>) {
    let base = n::NFT_PAYLOAD_LL_HEADER;
    to.push(Expression::Payload { base, offset: ETHER_TYPE_OFFSET, length: 2, to: FIRST });
    to.push(Expression::Compare { comparison: n::NFT_CMP_EQ, data: number.to_be_bytes().to_vec() });
}

/// Goes on only with packets of which the kernel knows this.
fn require(key: u32, number: u8, to: &mut Vec<Expression>) {
    to.push(Expression::Meta { key, to: FIRST });
    to.push(equals(number));
}

fn equals(number: u8) -> Expression {
    Expression::Compare { comparison: n::NFT_CMP_EQ, data: vec![number] }
}

fn mask(mask: u32, flip: u32) -> Expression {
    Expression::Bitwise { mask: mask.to_ne_bytes().to_vec(), flip: flip.to_ne_bytes().to_vec() }
}

fn transport_header(offset: u32, length: u32, to: u32) -> Expression {
    Expression::Payload { base: n::NFT_PAYLOAD_TRANSPORT_HEADER, offset, length, to }
}

fn fib_flags(side: Side) -> u32 {
    match side {
        Side::Source => n::NFTA_FIB_F_SADDR,
        Side::Destination => n::NFTA_FIB_F_DADDR,
    }
}

fn interface_type(loopback: Loopback) -> u32 {
    match loopback {
        Loopback::In => n::NFT_META_IIFTYPE,
        Loopback::Out => n::NFT_META_OIFTYPE,
    }
}

/// The number of a family (`NFPROTO_*`).
pub(crate) fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => n::NFPROTO_IPV4,
        Family::V6 => n::NFPROTO_IPV6,
    }
}

fn ether_type(family: Family) -> u16 {
    match family {
        Family::V4 => n::ETH_P_IP,
        Family::V6 => n::ETH_P_IPV6,
    }
}

/// The family that is required by a comparison with this; no transport of ours has such a number.
fn family_of(data: &[u8]) -> Option<Family> {
    Family::ALL.into_iter().find(|family| data == [family_number(*family)] || data == ether_type(*family).to_be_bytes())
}

/// The tag that is required by a comparison with this.
fn tag(data: &[u8]) -> Option<Tag> {
    Tag::ALL.into_iter().find(|tag| data == (*tag as u16).to_be_bytes())
}

/// Offset and length of an address in its header (RFC 791, section 3.1; RFC 8200, section 3).
pub(crate) fn address_place(family: Family, side: Side) -> (u32, u32) {
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
    use Expression::{
        AddressType, Bitwise, Compare, Connection, Count, Log, Lookup, Meta, Payload, Reject, SetConnection, Update,
        Verdict,
    };
    match expressions {
        [Verdict(verdict), ..] => Some((Statement::Verdict(verdict.clone()), 1)),
        [Meta { key: n::NFT_META_IIFKIND, .. }, Compare { .. }, ..] => Some((Statement::FromVeth, 2)),
        [Connection { key: n::NFT_CT_MARK, .. }, Bitwise { mask, flip }, SetConnection { .. }, ..] => {
            Some((Statement::SetMark { mask: !number(mask)?, value: number(flip)? }, 3))
        }
        [Connection { key: n::NFT_CT_MARK, .. }, Bitwise { mask, .. }, Compare { comparison, data }, ..] => {
            let (mask, value) = (number(mask)?, number(data)?);
            let is_equal = *comparison == n::NFT_CMP_EQ;
            Some((if is_equal { Statement::MarkIs { mask, value } } else { Statement::MarkIsNot { mask, value } }, 3))
        }
        [Connection { key: n::NFT_CT_DIRECTION, .. }, Compare { .. }, ..] => Some((Statement::IsReply, 2)),
        [Connection { key: n::NFT_CT_STATUS, .. }, Bitwise { .. }, Compare { .. }, ..] => {
            Some((Statement::IsTranslated, 3))
        }
        [AddressType { flags, .. }, Compare { .. }, ..] => {
            let side = Side::ALL.into_iter().find(|side| fib_flags(*side) == *flags)?;
            Some((Statement::IsLocal(side), 2))
        }
        [Meta { key: n::NFT_META_IIFTYPE, .. }, Compare { .. }, ..] => Some((Statement::Over(Loopback::In), 2)),
        [Meta { key: n::NFT_META_OIFTYPE, .. }, Compare { .. }, ..] => Some((Statement::Over(Loopback::Out), 2)),
        [Connection { key: n::NFT_CT_STATE, .. }, Bitwise { mask, .. }, Compare { .. }, ..] => {
            Some((Statement::StateIs(state(mask)?), 3))
        }
        [Connection { key: n::NFT_CT_STATE, .. }, Compare { data, .. }, ..] => {
            Some((Statement::StateIsNot(state(data)?), 2))
        }
        [Count { counter }, ..] => Some((Statement::Count(counter.clone()), 1)),
        [Log { prefix, group, bytes }, ..] => {
            Some((Statement::Log { prefix: prefix.as_str().into(), group: *group, bytes: *bytes }, 1))
        }
        [Payload { .. }, Compare { .. }, Payload { offset: TAG_OFFSET, .. }, Bitwise { .. }, Compare { .. }, ..] => {
            Some((Statement::PriorityTagged, 5))
        }
        [Payload { base: n::NFT_PAYLOAD_LL_HEADER, .. }, Compare { data, .. }, ..] if tag(data).is_some() => {
            Some((Statement::Tagged(tag(data)?), 2))
        }
        [Payload { .. }, Compare { .. }, Payload { offset: ARP_SENDER_OFFSET, .. }, Compare { .. }, ..] => {
            Some((Statement::ArpFromNobody, 4))
        }
        [Reject { .. }, ..] => Some((Statement::Prohibit, 1)),
        [Meta { .. }, Compare { .. }, Reject { .. }, ..] => Some((Statement::ResetTcp, 3)),
        [Meta { .. }, Compare { data: family, .. }, Payload { offset, .. }, Compare { data, .. }, ..]
            if family_of(family).is_some() =>
        {
            Some((network(family, *offset, data, 8 * data.len())?, 4))
        }
        [
            Meta { .. },
            Compare { data: family, .. },
            Payload { offset, .. },
            Bitwise { mask, .. },
            Compare { data, .. },
            ..,
        ] if family_of(family).is_some() => {
            let length = mask.iter().map(|byte| byte.count_ones() as usize).sum();
            Some((network(family, *offset, data, length)?, 5))
        }
        [Meta { .. }, Compare { .. }, Payload { offset: FLAGS_OFFSET, .. }, Bitwise { .. }, Compare { .. }, ..] => {
            Some((Statement::NotOpeningTcp, 5))
        }
        [Meta { .. }, Compare { .. }, Payload { offset: CHUNK_OFFSET, .. }, Compare { .. }, ..] => {
            Some((Statement::NotOpeningSctp, 4))
        }
        _ => {
            let at = expressions.iter().position(|expression| matches!(expression, Lookup { .. } | Update { .. }))?;
            let fields = fields(&expressions[..at])?;
            let statement = match &expressions[at] {
                Lookup { set, verdict: true } => Statement::VerdictMap(fields, set.clone()),
                Lookup { set, verdict: false } => Statement::In(fields, set.clone()),
                Update { set, stateful } => Statement::Update(*fields.first()?, set.clone(), *stateful),
                _ => return None,
            };
            Some((statement, at + 1))
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
                if *key == n::NFT_META_L4PROTO {
                    transport = Transport::ALL.into_iter().find(|known| *data == [known.number()]);
                }
                expressions = rest;
            }
            [Payload { base: n::NFT_PAYLOAD_LL_HEADER, .. }, Compare { .. }, rest @ ..] => expressions = rest,
            [first, rest @ ..] => {
                fields.push(match first {
                    Meta { key: n::NFT_META_IIFNAME, .. } => Field::Interface,
                    Payload { base: n::NFT_PAYLOAD_NETWORK_HEADER, offset: ARP_SENDER_OFFSET, .. } => Field::ArpSender,
                    Meta { key: n::NFT_META_L4PROTO, .. } => Field::Protocol,
                    Connection { key: n::NFT_CT_STATE, .. } => Field::State,
                    Payload { base: n::NFT_PAYLOAD_NETWORK_HEADER, offset, length, .. } => address(*offset, *length)?,
                    Payload { base: n::NFT_PAYLOAD_TRANSPORT_HEADER, length: 1, .. } => Field::Icmpv6Type,
                    Payload { base: n::NFT_PAYLOAD_TRANSPORT_HEADER, offset, .. } => {
                        let side = Side::ALL.into_iter().find(|side| port_offset(*side) == *offset)?;
                        transport.map_or(Field::Port(side), |transport| Field::TransportPort(transport, side))
                    }
                    _ => return None,
                });
                expressions = rest;
            }
        }
    }
}

/// The comparison of the address at an offset with the first bits of another.
fn network(family: &[u8], offset: u32, bytes: &[u8], length: usize) -> Option<Statement> {
    let family = family_of(family)?;
    let side = Side::ALL.into_iter().find(|side| address_place(family, *side).0 == offset)?;
    let mut octets = [0; 16];
    octets.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let address = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(*octets.first_chunk::<4>()?)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(octets)),
    };
    Some(Statement::InNetwork(side, IpNet::new(address, u8::try_from(length).ok()?).ok()?))
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
