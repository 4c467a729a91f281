//! NP044: a named port that no pod has which the rule leads to.

use palisade_core::{PortMatch, Ports};

use crate::check::Finding;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in subject.rules() {
        let (Ports::Listed(ports), Some(pods)) = (&rule.rule.ports, subject.destinations(&rule)) else { continue };
        for (index, port) in ports.iter().enumerate() {
            let PortMatch::Named(transport, name) = port else { continue };
            let mut named = pods.iter().flat_map(|pod| pod.ports).filter(|port| port.name.as_ref() == Some(name));
            if pods.is_empty() || named.clone().any(|port| port.transport == *transport) {
                continue;
            }
            found.push(Finding {
                at: rule.at.clone().field("ports").item(index),
                message: format!("no pod that the rule leads to has a {transport} port named '{name}'"),
                reason: "the name stands for no number, and allows nothing".to_string(),
                hint: match named.next() {
                    Some(port) => format!("write 'protocol: {}'", port.transport.name().to_ascii_uppercase()),
                    None => "write the name of a containerPort, or the number".to_string(),
                },
            });
        }
    }
    found
}
