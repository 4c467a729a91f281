//! NP088: SCTP, for an implementation that passes over it.

use palisade_core::dialect::SCTP_IS_OPT_IN;
use palisade_core::{Ports, Transport};

use crate::check::Finding;
use crate::elsewhere::told;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let (dialect, missing) = (subject.cluster.dialect(), &SCTP_IS_OPT_IN);
    if !dialect.has(missing) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for rule in subject.rules() {
        let Ports::Listed(ports) = &rule.rule.ports else { continue };
        let sctp = ports.iter().position(|port| port.transport() == Transport::Sctp);
        found.extend(sctp.map(|index| Finding {
            at: rule.at.field("ports").item(index),
            message: "SCTP is named".to_string(),
            reason: told(dialect, missing),
            hint: "switch SCTP on there".to_string(),
        }));
    }
    found
}
