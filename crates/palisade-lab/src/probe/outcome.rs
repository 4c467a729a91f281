//! What became of a packet.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use palisade_core::Verdict;

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The right server answered.
    Answered,
    /// Nobody answered, twice, while the control flows were answered.
    Silent,
    /// Something on the way refused it, while the server answered a control flow.
    Refused,
    /// It cannot be sent; the reason.
    Skipped(String),
    /// It could not be found out; what happened instead.
    Failed(String),
}

impl Outcome {
    /// The kernel's verdict, if there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        match self {
            Outcome::Answered => Some(Verdict::Allow),
            Outcome::Silent | Outcome::Refused => Some(Verdict::Deny),
            Outcome::Skipped(_) | Outcome::Failed(_) => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answered => f.write_str("answered"),
            Outcome::Silent => f.write_str("no answer"),
            Outcome::Refused => f.write_str("refused"),
            Outcome::Skipped(reason) => write!(f, "skipped: {reason}"),
            Outcome::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}

/// How far a run of probes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Packets whose outcome is known.
    pub done: usize,
    /// All packets of the run.
    pub total: usize,
}

/// Why no packet can carry this address through a router, if so.
pub(crate) fn unsendable(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("is the unspecified address"),
        _ if address.is_loopback() => Some("is a loopback address"),
        _ if address.is_multicast() => Some("is a multicast address"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("is the broadcast address"),
        IpAddr::V6(address) if address.is_unicast_link_local() => Some("is link-local: routers do not forward it"),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            Some("is an IPv4-mapped address: no packet carries it")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expected: Option<&str>) {
        let reason = unsendable(address.parse().unwrap());
        assert_eq!(reason.is_some(), expected.is_some(), "{address}: {reason:?}");
        if let (Some(reason), Some(expected)) = (reason, expected) {
            assert!(reason.contains(expected), "{address}: {reason}");
        }
    }

    #[test]
    fn addresses_that_no_packet_can_carry_say_why() {
        check("0.0.0.0", Some("unspecified"));
        check("127.0.0.53", Some("loopback"));
        check("224.0.0.1", Some("multicast"));
        check("255.255.255.255", Some("broadcast"));
        check("::", Some("unspecified"));
        check("::1", Some("loopback"));
        check("ff02::1", Some("multicast"));
        check("fe80::1", Some("link-local"));
        check("::ffff:10.0.0.1", Some("mapped"));
        check("169.254.169.254", None);
        check("240.0.0.1", None);
        check("64:ff9b::1", None);
    }
}
