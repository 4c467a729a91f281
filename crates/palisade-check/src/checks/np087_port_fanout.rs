//! NP087: more ports for one peer than AWS counts.

use palisade_core::Ports;
use palisade_core::dialect::PORTS_OF_AN_ADDRESS;

use crate::check::Finding;
use crate::elsewhere::told;
use crate::subject::Subject;

/// `MAX_PORT_PROTOCOL` of AWS's network policy agent.
const PORTS_MAX: usize = 24;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let (dialect, limit) = (subject.cluster.dialect(), &PORTS_OF_AN_ADDRESS);
    if !dialect.has(limit) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for rule in subject.rules() {
        let Ports::Listed(ports) = &rule.rule.ports else { continue };
        if ports.len() > PORTS_MAX {
            found.push(Finding {
                at: rule.at.field("ports"),
                message: format!("{} ports for the same peers", ports.len()),
                reason: told(dialect, limit),
                hint: "write ranges by endPort, or fewer ports".to_string(),
            });
        }
    }
    found
}
