//! NP043: a port that no pod declares which the rule leads to.

use palisade_core::{PortMatch, Ports};

use crate::check::Finding;
use crate::checks::np030_port_vs_targetport;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    // There a Service says which port was meant.
    let mistaken = np030_port_vs_targetport::find(subject);
    for rule in subject.rules() {
        let (Ports::Listed(ports), Some(pods)) = (&rule.rule.ports, subject.destinations(&rule)) else { continue };
        // Nobody has to declare ports: only of pods that do, one that is missing says something.
        if pods.is_empty() || pods.iter().any(|pod| pod.ports.is_empty()) {
            continue;
        }
        for (index, port) in ports.iter().enumerate() {
            let PortMatch::Range(transport, range) = port else { continue };
            let declared = pods.iter().flat_map(|pod| pod.ports);
            if declared.into_iter().any(|port| port.transport == *transport && range.contains(port.port)) {
                continue;
            }
            let at = rule.at.clone().field("ports").item(index);
            if mistaken.iter().any(|mistaken| mistaken.at == at) {
                continue;
            }
            found.push(Finding {
                at,
                message: format!("no pod that the rule leads to declares {port}"),
                reason: "policies see the port of the pod, and not that of a Service in front of it".to_string(),
                hint: "write the containerPort or its name, or declare the port in the pod".to_string(),
            });
        }
    }
    found
}
