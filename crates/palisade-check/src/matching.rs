//! Selectors that select nothing, and what may have been meant.

use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_core::{Labels, Operator, Peer, Requirement, Selector};
use palisade_sim::selects;
use palisade_sources::distance;

use crate::cluster::Cluster;
use crate::subject::Subject;

/// The label that every namespace has, with its name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// What a selector comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It selects something, or might in what the input does not show.
    Possible,
    /// It selects nothing.
    Nothing,
    /// It selects nothing, and would with one label written in another way.
    Misspelt {
        /// The label as it is required.
        written: String,
        /// A label that is there.
        meant: String,
    },
}

/// The pods that the policy is for.
pub fn subjects(subject: &Subject<'_>) -> Match {
    pods(&subject.policy.subjects, &[subject.namespace()], subject.cluster)
}

/// The pods of a peer, and which of its selectors is to blame if there are none.
pub fn peer(subject: &Subject<'_>, peer: &Peer) -> (&'static str, Match) {
    let Peer::Pods { namespaces, pods: selector } = peer else { return ("ipBlock", Match::Possible) };
    let Some(namespaces) = namespaces else {
        return ("podSelector", pods(selector, &[subject.namespace()], subject.cluster));
    };
    let selected: Vec<&str> = subject.cluster.selected(namespaces).collect();
    if selected.is_empty() {
        return ("namespaceSelector", none_selected(namespaces, subject.cluster));
    }
    // A namespace whose labels are not known may be selected, too.
    if !asks_for_names(namespaces) && !subject.cluster.knows_all_labels() {
        return ("podSelector", Match::Possible);
    }
    ("podSelector", pods(selector, &selected, subject.cluster))
}

/// The namespaces that a selector selects, if the input shows all of them.
pub fn all_selected<'a>(selector: &Selector, cluster: &Cluster<'a>) -> Option<Vec<&'a str>> {
    let is_told = asks_for_names(selector) || cluster.knows_all_labels();
    let is_shown = |name: &str| cluster.namespaces().any(|(shown, _)| shown == name);
    let are_named = || {
        let mut names = selector.requirements().iter().filter_map(single).filter(|(key, _)| *key == NAMESPACE_NAME);
        names.any(|(_, name)| is_shown(name))
    };
    (is_told && (cluster.is_whole() || are_named())).then(|| cluster.selected(selector).collect())
}

/// Whether a namespace may be selected: where its labels are not known, its name alone tells.
pub fn may_select(selector: &Selector, namespace: &str, cluster: &Cluster<'_>) -> bool {
    if let Some(labels) = cluster.labels_of(namespace) {
        return selects(selector, labels);
    }
    let is_name = |requirement: &&Requirement| *requirement.key == *NAMESPACE_NAME;
    let names = Selector::new(selector.requirements().iter().filter(is_name).cloned().collect());
    selects(&names, &Labels::from([(NAMESPACE_NAME.into(), namespace.into())]))
}

/// The label `name=…` that is required of a namespace of that name, and that no namespace has.
pub fn nonstandard_name<'s>(selector: &'s Selector, cluster: &Cluster<'_>) -> Option<&'s str> {
    let (_, name) = selector.requirements().iter().filter_map(single).find(|(key, _)| *key == "name")?;
    let has = |labels: &Labels| labels.get("name").is_some_and(|value| **value == *name);
    let exists = cluster.labels_of(name).is_some();
    (exists && !cluster.namespaces().any(|(_, labels)| has(labels))).then_some(name)
}

/// A selector of namespaces that selects none of those in the input. Others may be elsewhere.
fn none_selected(selector: &Selector, cluster: &Cluster<'_>) -> Match {
    if nonstandard_name(selector, cluster).is_some() || !(asks_for_names(selector) || cluster.knows_all_labels()) {
        return Match::Possible;
    }
    let labels: Vec<&Labels> = cluster.namespaces().map(|(_, labels)| labels).collect();
    match unmatched(selector, &labels) {
        Match::Nothing if !cluster.is_whole() => Match::Possible,
        found => found,
    }
}

fn pods(selector: &Selector, namespaces: &[&str], cluster: &Cluster<'_>) -> Match {
    if namespaces.iter().any(|namespace| cluster.may_hide_pods(namespace)) {
        return Match::Possible;
    }
    if namespaces.iter().flat_map(|name| cluster.pods(name)).any(|pod| selects(selector, pod.labels)) {
        return Match::Possible;
    }
    unmatched(selector, &namespaces.iter().flat_map(|name| cluster.labels_of_pods(name)).collect::<Vec<_>>())
}

/// Whether a selector of namespaces asks for names and for no other label.
fn asks_for_names(selector: &Selector) -> bool {
    let is_name = |requirement: &Requirement| *requirement.key == *NAMESPACE_NAME;
    selector.requirements().iter().all(is_name)
}

/// What a selector comes to that selects none of these labels.
fn unmatched(selector: &Selector, all: &[&Labels]) -> Match {
    let pairs: BTreeSet<_> = all.iter().flat_map(|labels| labels.iter()).collect();
    for requirement in selector.requirements() {
        let Some((key, value)) = single(requirement) else { continue };
        for &(near_key, near_value) in &pairs {
            let is_misspelt = (**near_key == *key && is_near(value, near_value))
                || (**near_value == *value && is_near(key, near_key));
            if !is_misspelt {
                continue;
            }
            let meant = Requirement { key: Arc::clone(near_key), operator: Operator::In(vec![Arc::clone(near_value)]) };
            let replaced = replaced(selector, requirement, &meant);
            if all.iter().any(|labels| selects(&replaced, labels)) {
                return Match::Misspelt { written: requirement.to_string(), meant: meant.to_string() };
            }
        }
    }
    Match::Nothing
}

/// The one value that a requirement wants of a key.
fn single(requirement: &Requirement) -> Option<(&str, &str)> {
    match &requirement.operator {
        Operator::In(values) if values.len() == 1 => Some((&requirement.key, &values[0])),
        _ => None,
    }
}

fn replaced(selector: &Selector, old: &Requirement, new: &Requirement) -> Selector {
    let all = selector.requirements().iter();
    Selector::new(all.map(|requirement| if requirement == old { new.clone() } else { requirement.clone() }).collect())
}

/// Whether one text is most likely the other, misspelt: short texts must be closer, and `web-1` is never `web-2`.
fn is_near(left: &str, right: &str) -> bool {
    let letters = |text: &str| text.chars().filter(|char| !char.is_ascii_digit()).collect::<String>();
    let most = match left.chars().count().min(right.chars().count()) {
        0..4 => 0,
        4..6 => 1,
        _ => 2,
    };
    letters(left) != letters(right) && distance(left, right) <= most
}
