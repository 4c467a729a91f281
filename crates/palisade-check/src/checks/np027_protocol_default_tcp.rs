//! NP027: no `protocol` at a port that usually goes over UDP.

use palisade_core::{PortMatch, Ports, Transport};
use palisade_sources::Form;

use crate::check::Finding;
use crate::subject::{RuleAt, Subject};

/// Ports of protocols over UDP, with their names: those of which TCP would be a surprise.
const OVER_UDP: [(u16, &str); 14] = [
    (53, "DNS"),
    (67, "DHCP"),
    (68, "DHCP"),
    (69, "TFTP"),
    (123, "NTP"),
    (161, "SNMP"),
    (162, "SNMP"),
    (500, "IKE"),
    (514, "syslog"),
    (4500, "IPsec"),
    (4789, "VXLAN"),
    (5353, "mDNS"),
    (8472, "VXLAN"),
    (51820, "WireGuard"),
];

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in subject.rules() {
        let Ports::Listed(ports) = &rule.rule.ports else { continue };
        for (index, port) in ports.iter().enumerate() {
            let at = rule.at.clone().field("ports").item(index);
            let Some((number, protocol)) = over_udp(port) else { continue };
            let is_written = !matches!(subject.form(&at.clone().field("protocol")), Form::Absent | Form::Null);
            // Beside UDP, or where a pod listens for TCP, TCP is meant.
            let is_beside = || ports.iter().any(|other| holds(other, Transport::Udp, number));
            if !is_written && !is_beside() && !is_declared(subject, &rule, number) {
                found.push(Finding {
                    at,
                    message: format!("port {number} without a protocol is TCP, and {protocol} goes over UDP"),
                    reason: "the rule does not allow UDP".to_string(),
                    hint: format!("write '{{protocol: UDP, port: {number}}}', or 'protocol: TCP' if that is meant"),
                });
            }
        }
    }
    found
}

/// Whether a pod that the rule leads to listens there for TCP.
fn is_declared(subject: &Subject<'_>, rule: &RuleAt<'_>, number: u16) -> bool {
    let pods = subject.destinations(rule).unwrap_or_default();
    pods.iter().flat_map(|pod| pod.ports).any(|port| port.transport == Transport::Tcp && port.port.get() == number)
}

/// The number of a TCP port that usually goes over UDP, and for what.
fn over_udp(port: &PortMatch) -> Option<(u16, &'static str)> {
    let PortMatch::Range(Transport::Tcp, range) = port else { return None };
    let number = Some(range.first()).filter(|first| *first == range.last())?.get();
    OVER_UDP.into_iter().find(|(known, _)| *known == number)
}

fn holds(port: &PortMatch, transport: Transport, number: u16) -> bool {
    match port {
        PortMatch::Every(of) => *of == transport,
        PortMatch::Range(of, range) => *of == transport && (range.first().get()..=range.last().get()).contains(&number),
        PortMatch::Named(..) => false,
    }
}
