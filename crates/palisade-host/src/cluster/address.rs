//! Which addresses of nodes can be those of a node.

use std::net::IpAddr;

use ipnet::IpNet;
use palisade_compile::admissible;

/// An address, or a block of them, as an API server writes it; or why it is not admitted.
pub fn judge(text: &str, within: &[IpNet]) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
    let Some(net) = address().or_else(|| text.parse::<IpNet>().ok()) else {
        return Err("it is neither an address nor a block of addresses".to_string());
    };
    admissible(net, within).map_err(str::to_string)
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
