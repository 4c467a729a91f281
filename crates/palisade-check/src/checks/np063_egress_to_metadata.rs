//! NP063: the address where clouds hand out credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_core::{Direction, Peer, Port, PortMatch, Ports, Transport};

use crate::check::Finding;
use crate::passing::holds;
use crate::subject::Subject;

/// The metadata services of clouds: all of them in IPv4, that of AWS in IPv6.
const METADATA: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254))];

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in subject.rules() {
        if rule.direction == Direction::Ingress || !allows_http(&rule.rule.ports) {
            continue;
        }
        for (peer, at) in rule.peers() {
            let Peer::Block { cidr, .. } = peer else { continue };
            let Some(address) = METADATA.into_iter().find(|address| holds(peer, *address)) else { continue };
            let length = if address.is_ipv4() { 32 } else { 128 };
            found.push(Finding {
                at: at.field("ipBlock"),
                message: format!("{cidr} holds {address}, where clouds hand out credentials"),
                reason: "whoever makes the pod ask there, by a link that it follows, has those of its machine"
                    .to_string(),
                hint: format!("add '{address}/{length}' to except, or name the addresses that are needed"),
            });
        }
    }
    found
}

/// Metadata are told by HTTP.
fn allows_http(ports: &Ports) -> bool {
    let Ports::Listed(ports) = ports else { return true };
    ports.iter().any(|port| match port {
        PortMatch::Every(transport) => *transport == Transport::Tcp,
        PortMatch::Range(transport, range) => {
            *transport == Transport::Tcp && Port::new(80).is_some_and(|http| range.contains(http))
        }
        // A name is one of a pod.
        PortMatch::Named(..) => false,
    })
}
