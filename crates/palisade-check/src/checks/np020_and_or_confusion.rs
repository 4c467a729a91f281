//! NP020: a `namespaceSelector` and a `podSelector` in two items that were most likely meant as one.

use palisade_core::{Peer, Selector};
use palisade_sim::selects;
use palisade_sources::FieldPath;

use crate::check::Finding;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in subject.rules() {
        for pair in rule.peers().windows(2) {
            let [first, second] = pair else { continue };
            let halves = halves(first, second).or_else(|| halves(second, first));
            let Some((namespaces, pods, at)) = halves else { continue };
            if were_meant_together(subject, namespaces, pods) {
                found.push(Finding {
                    at,
                    message: format!("pods {pods} of this namespace, or else all pods of namespaces {namespaces}"),
                    reason: format!(
                        "two items mean either; this namespace has no pods {pods}, and the other item admits more than those"
                    ),
                    hint: "for these pods of those namespaces write one item with both selectors".to_string(),
                });
            }
        }
    }
    found
}

/// A peer and where it stands.
type PeerAt<'a> = (&'a Peer, FieldPath);

/// The selectors of two items of which the one has namespaces alone and the other pods alone, and where the pods stand.
fn halves<'a>((left, _): &PeerAt<'a>, (right, at): &PeerAt<'a>) -> Option<(&'a Selector, &'a Selector, FieldPath)> {
    match (left, right) {
        (Peer::Pods { namespaces: Some(namespaces), pods: all }, Peer::Pods { namespaces: None, pods })
            if *all == Selector::everything() && *pods != Selector::everything() =>
        {
            Some((namespaces, pods, at.clone()))
        }
        _ => None,
    }
}

/// Whether the pods are in those namespaces, among others there, and not in this one.
fn were_meant_together(subject: &Subject<'_>, namespaces: &Selector, pods: &Selector) -> bool {
    let cluster = subject.cluster;
    let own = subject.namespace();
    let others: Vec<_> = cluster.selected(namespaces).filter(|name| *name != own).collect();
    let among = |names: &[&str], selected: bool| {
        names.iter().flat_map(|name| cluster.pods(name)).any(|pod| selects(pods, pod.labels) == selected)
    };
    !cluster.may_hide_pods(own) && !among(&[own], true) && among(&others, true) && among(&others, false)
}
