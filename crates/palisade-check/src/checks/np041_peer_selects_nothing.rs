//! NP041: a peer that is no pod.

use palisade_core::Peer;

use crate::check::Finding;
use crate::checks::np020_and_or_confusion;
use crate::matching::{self, Match};
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    // There the pods are in other namespaces.
    let confused = np020_and_or_confusion::find(subject);
    for (peer, at) in subject.peers() {
        if confused.iter().any(|confused| confused.at == at) {
            continue;
        }
        let (field, Match::Nothing) = matching::peer(subject, peer) else { continue };
        found.push(Finding {
            at: at.field(field),
            message: match peer {
                Peer::Pods { namespaces: None, pods } => {
                    format!("no pod of namespace {} is {pods}", subject.namespace())
                }
                Peer::Pods { namespaces: Some(selector), .. } if field == "namespaceSelector" => {
                    format!("no namespace is {selector}")
                }
                _ => format!("there are no {peer}"),
            },
            reason: "the item matches nobody".to_string(),
            hint: "write the labels of the pods that are meant; a podSelector alone means pods of the own namespace"
                .to_string(),
        });
    }
    found
}
