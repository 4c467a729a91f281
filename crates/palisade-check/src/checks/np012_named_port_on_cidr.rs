//! NP012: a port by its name, towards addresses alone.

use palisade_core::{Direction, Peer, PortMatch, Ports};

use crate::check::Finding;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    // For ingress the name is one of the pods that the policy selects.
    for rule in subject.rules().into_iter().filter(|rule| rule.direction == Direction::Egress) {
        let (Some(peers), Ports::Listed(ports)) = (&rule.rule.peers, &rule.rule.ports) else { continue };
        if !peers.iter().all(|peer| matches!(peer, Peer::Block { .. })) {
            continue;
        }
        for (index, port) in ports.iter().enumerate() {
            let PortMatch::Named(_, name) = port else { continue };
            found.push(Finding {
                at: rule.at.clone().field("ports").item(index),
                message: format!("no address outside of the cluster has a port named '{name}'"),
                reason: "names are those of the ports of pods: to what is no pod the rule allows nothing here"
                    .to_string(),
                hint: "write the number".to_string(),
            });
        }
    }
    found
}
