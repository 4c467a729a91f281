//! NP084: a selector for pods on the network of their node, as a peer.

use palisade_core::Peer;
use palisade_sim::selects;

use crate::check::Finding;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (peer, at) in subject.peers() {
        let Peer::Pods { namespaces, pods } = peer else { continue };
        let namespaces: Vec<&str> = match namespaces {
            None => vec![subject.namespace()],
            Some(selector) => subject.cluster.selected(selector).collect(),
        };
        let on_nodes = namespaces.iter().flat_map(|name| subject.cluster.pods_on_nodes(name));
        let Some((name, _)) = on_nodes.filter(|(_, pod)| selects(pods, &pod.labels)).take(1).next() else { continue };
        if subject.shown_pods(peer).is_some_and(|others| others.is_empty()) {
            found.push(Finding {
                at,
                message: format!("pod {name} is on the network of its node, and so are all that are selected"),
                reason: "their packets are those of their nodes, which no selector matches".to_string(),
                hint: "name the addresses of the nodes by an ipBlock".to_string(),
            });
        }
    }
    found
}
