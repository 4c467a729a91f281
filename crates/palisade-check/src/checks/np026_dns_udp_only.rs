//! NP026: DNS over UDP alone.

use palisade_core::{Port, PortMatch, PortRange, Ports, Rule, Transport};

use crate::check::Finding;
use crate::containment::contains;
use crate::subject::{RuleAt, Subject};

const DNS: u16 = 53;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in subject.rules() {
        let Ports::Listed(ports) = &rule.rule.ports else { continue };
        let Some(index) = ports.iter().position(|port| is_dns(port, Transport::Udp)) else { continue };
        // A name may stand for the same port.
        let named = ports.iter().any(|port| matches!(port, PortMatch::Named(Transport::Tcp, _)));
        if !named && !allows_tcp(subject, &rule) {
            found.push(Finding {
                at: rule.at.field("ports").item(index),
                message: "UDP 53 is allowed to these peers, and TCP 53 is not".to_string(),
                reason: "answers that do not fit a packet are asked for again over TCP, and fail".to_string(),
                hint: "add '- {protocol: TCP, port: 53}'".to_string(),
            });
        }
    }
    found
}

fn is_dns(port: &PortMatch, transport: Transport) -> bool {
    matches!(port, PortMatch::Range(of, range)
        if *of == transport && range.first().get() == DNS && range.last().get() == DNS)
}

/// Whether the same pods may exchange TCP 53 with the same peers by a rule of any policy.
fn allows_tcp(subject: &Subject<'_>, udp: &RuleAt<'_>) -> bool {
    let port = Port::new(DNS).map(PortRange::single).map(|range| PortMatch::Range(Transport::Tcp, range));
    let tcp = Rule { peers: udp.rule.peers.clone(), ports: Ports::Listed(port.into_iter().collect()) };
    let own = subject.cluster.labels_of(subject.namespace());
    let mut rules = subject.policies_beside().flat_map(|policy| policy.rules[udp.direction].iter().flatten());
    rules.any(|rule| contains(rule, &tcp, own))
}
