//! NP064: whoever takes a label is let in, in whatever namespace.

use palisade_core::{Direction, Peer, Selector};

use crate::check::Finding;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in subject.rules().into_iter().filter(|rule| rule.direction == Direction::Ingress) {
        for (peer, at) in rule.peers() {
            let Peer::Pods { namespaces: Some(namespaces), pods } = peer else { continue };
            if *namespaces != Selector::everything() || *pods == Selector::everything() {
                continue;
            }
            found.push(Finding {
                at,
                message: format!("pods {pods} of whatever namespace are let in"),
                reason: "labels are free: whoever may create pods anywhere takes this one, and is let in".to_string(),
                hint: "name the namespaces, as by the label kubernetes.io/metadata.name".to_string(),
            });
        }
    }
    found
}
