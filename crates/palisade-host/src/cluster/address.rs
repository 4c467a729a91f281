//! Which addresses of nodes can be those of a node.

use std::net::IpAddr;

use ipnet::IpNet;

/// What no node has, whoever says so: unspecified, loopback, multicast and broadcast addresses.
const NEVER: [(IpAddr, u8); 7] = [
    (v4([0, 0, 0, 0]), 8),
    (v4([127, 0, 0, 0]), 8),
    (v4([224, 0, 0, 0]), 4),
    (v4([255, 255, 255, 255]), 32),
    (v6(0, 0), 128),
    (v6(0, 1), 128),
    (v6(0xff00, 0), 8),
];

const fn v4(octets: [u8; 4]) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]))
}

const fn v6(first: u16, last: u16) -> IpAddr {
    IpAddr::V6(std::net::Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last))
}

/// An address, or a block of them, as an API server writes it; or why it is not admitted.
pub fn judge(text: &str, within: &[IpNet]) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
    let Some(net) = address().or_else(|| text.parse::<IpNet>().ok()) else {
        return Err("it is neither an address nor a block of addresses".to_string());
    };
    let net = net.trunc();
    if matches!(net.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
        return Err("an IPv4 block within IPv6 is ambiguous".to_string());
    }
    let never = NEVER.iter().filter_map(|(address, length)| IpNet::new(*address, *length).ok());
    if never.into_iter().any(|never| never.contains(&net) || net.contains(&never)) {
        return Err("no node has an unspecified, loopback, multicast or broadcast address".to_string());
    }
    if !within.is_empty() && !within.iter().any(|within| within.contains(&net)) {
        return Err("it is outside of spec.safety.within".to_string());
    }
    Ok(net)
}

/// As people write it: one address without its length.
pub fn shown(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// A type of addresses by its name.
pub mod type_name {
    use palisade_sources::node_allowlist::AddressType;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    pub fn serialize<S: Serializer>(kind: &AddressType, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(kind.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AddressType, D::Error> {
        let text = String::deserialize(deserializer)?;
        AddressType::named(&text).ok_or_else(|| de::Error::custom(format!("{text} is no type of addresses")))
    }
}
