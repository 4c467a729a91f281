//! NP065: ports by which much is lost, open to all namespaces.

use palisade_core::{Direction, Operator, Peer, PortMatch, Ports, Requirement, Selector, Transport};
use palisade_sources::FieldPath;

use crate::check::Finding;
use crate::matching::NAMESPACE_NAME;
use crate::passing::ranges;
use crate::subject::{RuleAt, Subject};

/// TCP ports of what rules a machine or holds the data of others.
const SENSITIVE: [(u16, &str); 5] =
    [(22, "SSH"), (2379, "etcd"), (3306, "MySQL"), (5432, "PostgreSQL"), (6379, "Redis")];

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in subject.rules().into_iter().filter(|rule| rule.direction == Direction::Ingress) {
        if !is_for_everybody(&rule) {
            continue;
        }
        let Some((at, number, what)) = sensitive(subject, &rule) else { continue };
        found.push(Finding {
            at,
            message: format!("TCP {number}, {what}, is open to the pods of all namespaces"),
            reason: "one pod that is taken over anywhere is enough to try it".to_string(),
            hint: "name the pods and namespaces that need it in 'from'".to_string(),
        });
    }
    found
}

/// Whether a rule lets in all pods of all namespaces.
fn is_for_everybody(rule: &RuleAt<'_>) -> bool {
    let is_all = |peer: &Peer| {
        matches!(peer, Peer::Pods { namespaces: Some(namespaces), pods }
            if is_of_every_namespace(namespaces) && *pods == Selector::everything())
    };
    rule.rule.peers.as_ref().is_none_or(|peers| peers.iter().any(is_all))
}

/// Whether a selector selects every namespace there is: each has its name for a label.
fn is_of_every_namespace(selector: &Selector) -> bool {
    let is_there =
        |requirement: &Requirement| requirement.operator == Operator::Exists && *requirement.key == *NAMESPACE_NAME;
    selector.requirements().iter().all(is_there)
}

/// The first sensitive port that is listed by its number, or that a pod of the policy declares and the rule allows.
fn sensitive(subject: &Subject<'_>, rule: &RuleAt<'_>) -> Option<(FieldPath, u16, &'static str)> {
    let Ports::Listed(ports) = &rule.rule.ports else {
        let number = declared(subject, &PortMatch::Every(Transport::Tcp))?;
        return Some((rule.at.clone(), number.0, number.1));
    };
    ports.iter().enumerate().find_map(|(index, port)| {
        let (number, what) = listed(port).or_else(|| declared(subject, port))?;
        Some((rule.at.clone().field("ports").item(index), number, what))
    })
}

/// A sensitive port that is listed by itself.
fn listed(port: &PortMatch) -> Option<(u16, &'static str)> {
    let PortMatch::Range(Transport::Tcp, range) = port else { return None };
    let is_it = |(number, _): &(u16, &str)| range.first().get() == *number && range.first() == range.last();
    SENSITIVE.into_iter().find(is_it)
}

/// A sensitive port that is among these, and that a pod declares which the policy selects.
fn declared(subject: &Subject<'_>, port: &PortMatch) -> Option<(u16, &'static str)> {
    subject.pods().into_iter().find_map(|pod| {
        let ranges = ranges(port, pod.ports);
        SENSITIVE.into_iter().find(|(number, _)| {
            pod.ports.iter().any(|declared| {
                declared.port.get() == *number
                    && declared.transport == Transport::Tcp
                    && ranges.iter().any(|(of, range)| *of == Transport::Tcp && range.contains(declared.port))
            })
        })
    })
}
