//! Sets of traffic: what one end may send to another.

use std::fmt;

use palisade_core::{Port, PortRange, Traffic, Transport};

use crate::port_set::PortSet;

/// Ports of each transport, and whether everything without ports is in it. What holds the same traffic is equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrafficSet {
    ports: [PortSet; 3],
    /// Every protocol without ports, ICMP for one.
    other: bool,
}

impl TrafficSet {
    /// Everything.
    pub fn all() -> TrafficSet {
        TrafficSet { ports: [PortSet::every(), PortSet::every(), PortSet::every()], other: true }
    }

    /// These ports of one transport.
    pub fn of_ports(transport: Transport, range: PortRange) -> TrafficSet {
        let mut set = TrafficSet::default();
        set.ports[index(transport)] = [range].into_iter().collect();
        set
    }

    /// Every protocol without ports.
    pub fn without_ports() -> TrafficSet {
        TrafficSet { other: true, ..TrafficSet::default() }
    }

    /// The ports of a transport.
    pub fn ports(&self, transport: Transport) -> &PortSet {
        &self.ports[index(transport)]
    }

    /// Whether every protocol without ports is in it.
    pub fn has_other(&self) -> bool {
        self.other
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        !self.other && self.ports.iter().all(PortSet::is_empty)
    }

    /// Whether it holds what a flow carries.
    pub fn contains(&self, traffic: Traffic) -> bool {
        match traffic {
            Traffic::Port(transport, port) => self.ports(transport).contains(port),
            Traffic::Icmp => self.other,
        }
    }

    /// What is in one of the two.
    #[must_use]
    pub fn union(&self, other: &TrafficSet) -> TrafficSet {
        let ports = Transport::ALL.map(|transport| self.ports(transport).union(other.ports(transport)));
        TrafficSet { ports, other: self.other || other.other }
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &TrafficSet) -> TrafficSet {
        let ports = Transport::ALL.map(|transport| self.ports(transport).intersection(other.ports(transport)));
        TrafficSet { ports, other: self.other && other.other }
    }
}

fn index(transport: Transport) -> usize {
    match transport {
        Transport::Tcp => 0,
        Transport::Udp => 1,
        Transport::Sctp => 2,
    }
}

impl fmt::Display for TrafficSet {
    /// `all`, `nothing`, or as in `tcp 80, tcp 8000-8010, udp, icmp and others`; a transport by itself is all of its ports.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        for transport in Transport::ALL {
            let ports = self.ports(transport);
            if ports.is_every() {
                parts.push(transport.to_string());
            } else {
                parts.extend(ports.ranges().iter().map(|range| format!("{transport} {range}")));
            }
        }
        if self.other {
            parts.push("icmp and others".to_string());
        }
        match parts.len() {
            0 => f.write_str("nothing"),
            _ if *self == TrafficSet::all() => f.write_str("all"),
            _ => f.write_str(&parts.join(", ")),
        }
    }
}

/// Text that names no traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficError(String);

impl fmt::Display for TrafficError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected tcp/80, udp/5000-5010, sctp or icmp, found '{}'", self.0)
    }
}

impl std::error::Error for TrafficError {}

impl std::str::FromStr for TrafficSet {
    type Err = TrafficError;

    /// Reads `tcp/80`, `tcp/8000-8010`, `tcp` (every port of it) and `icmp` (every protocol without ports).
    fn from_str(text: &str) -> Result<TrafficSet, TrafficError> {
        if text.eq_ignore_ascii_case("icmp") {
            return Ok(TrafficSet::without_ports());
        }
        let (protocol, ports) = text.split_once('/').unwrap_or((text, "1-65535"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let range = first.parse::<Port>().ok().zip(last.parse::<Port>().ok());
        let range = range.and_then(|(first, last)| PortRange::new(first, last));
        let transport = protocol.parse::<Transport>().ok();
        let set = transport.zip(range).map(|(transport, range)| TrafficSet::of_ports(transport, range));
        set.ok_or_else(|| TrafficError(text.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(parts: &[&str]) -> TrafficSet {
        parts.iter().fold(TrafficSet::default(), |set, part| set.union(&part.parse().unwrap()))
    }

    #[test]
    fn a_set_says_what_it_holds() {
        assert_eq!(TrafficSet::all().to_string(), "all");
        assert_eq!(TrafficSet::default().to_string(), "nothing");
        assert_eq!(set(&["tcp", "udp", "sctp"]).to_string(), "tcp, udp, sctp");
        assert_eq!(set(&["tcp", "udp", "sctp", "icmp"]), TrafficSet::all());
        let text = "tcp 80, tcp 8000-8010, udp 53, icmp and others";
        assert_eq!(set(&["icmp", "udp/53", "tcp/8000-8010", "tcp/80"]).to_string(), text);
    }

    #[test]
    fn transports_are_apart() {
        let both = set(&["tcp/80", "udp/53"]).intersection(&set(&["tcp/53-80", "udp/54", "icmp"]));
        assert_eq!(both, set(&["tcp/80"]));
        assert!(set(&["tcp/80"]).intersection(&set(&["udp/80"])).is_empty());
    }

    #[test]
    fn what_is_no_traffic_says_so() {
        for text in ["tcp/0", "tcp/80-79", "tcp/", "gre", "icmp/8", "80"] {
            assert!(text.parse::<TrafficSet>().unwrap_err().to_string().contains(text), "{text}");
        }
    }
}
