//! Address families, transports, ports, and the traffic of one flow.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

/// A port, 1-65535; port 0 is not valid in the Kubernetes API and never on the wire of a service.
pub type Port = NonZeroU16;

/// An address family; IPv4 and IPv6 are judged apart, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// `4` or `6`, as users name it.
    pub fn digit(self) -> &'static str {
        match self {
            Family::V4 => "4",
            Family::V6 => "6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// A protocol with ports, as `NetworkPolicyPort.protocol` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP (protocol number 6).
    Tcp,
    /// UDP (17).
    Udp,
    /// SCTP (132).
    Sctp,
}

impl Transport {
    /// Every transport, in the order of their protocol numbers.
    pub const ALL: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::Sctp];

    /// The IANA protocol number.
    pub fn number(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
            Transport::Sctp => 132,
        }
    }

    /// The name in lower case, as in a flow and in nft.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: Port,
    last: Port,
}

impl PortRange {
    /// Every port there is.
    pub const EVERY: PortRange = PortRange { first: Port::MIN, last: Port::MAX };

    /// A range; `None` if it would end before it begins.
    pub fn new(first: Port, last: Port) -> Option<PortRange> {
        (first <= last).then_some(PortRange { first, last })
    }

    /// A range known when this is compiled; of what is no port, or would end before it begins, every port.
    pub(crate) const fn constant(first: u16, last: u16) -> PortRange {
        match (Port::new(first), Port::new(last)) {
            (Some(from), Some(to)) if first <= last => PortRange { first: from, last: to },
            _ => PortRange::EVERY,
        }
    }

    /// A single port.
    pub fn single(port: Port) -> PortRange {
        PortRange { first: port, last: port }
    }

    /// The lowest port.
    pub fn first(self) -> Port {
        self.first
    }

    /// The highest port.
    pub fn last(self) -> Port {
        self.last
    }

    /// Whether the port lies in the range.
    pub fn contains(self, port: Port) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// What a flow carries: a transport and its destination port, or an ICMP echo request
/// (`ICMPv6` in IPv6), which stands for every protocol without ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Traffic {
    /// A new connection to this port.
    Port(Transport, Port),
    /// An echo request.
    Icmp,
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Traffic::Port(transport, port) => write!(f, "{transport} {port}"),
            Traffic::Icmp => f.write_str("icmp"),
        }
    }
}

impl FromStr for Transport {
    type Err = ();

    /// Reads `tcp`, `UDP` and the like, in any case.
    fn from_str(text: &str) -> Result<Self, ()> {
        Transport::ALL.into_iter().find(|transport| transport.name().eq_ignore_ascii_case(text)).ok_or(())
    }
}
