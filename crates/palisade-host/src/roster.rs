//! Which nodes of a cluster are meant, where the pods that they run decide it.
//!
//! Nodes, pods and namespaces are told apart from one another, each as a list and then by changes. Out of them comes what is told of
//! nodes alone: a node whose last pod goes is gone, and a list is complete when all three are.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::sync::Arc;

use crate::cluster::{Event, Observed};

/// What is told of one kind of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<K, T> {
    /// A list begins.
    Begins,
    /// An object on it.
    Listed(K, T),
    /// It is complete.
    Ends,
    /// An object came or changed.
    Put(K, T),
    /// An object was deleted, or is not selected any more.
    Deleted(K),
}

/// What is told of one of the three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A node.
    Node(Told<Arc<str>, Observed>),
    /// A selected pod, and the node it runs on.
    Pod(Told<PodKey, Arc<str>>),
    /// A selected namespace.
    Namespace(Told<Arc<str>, ()>),
}

/// The namespace and the name of a pod.
pub type PodKey = (Arc<str>, Arc<str>);

/// The nodes, the selected pods, and the selected namespaces.
#[derive(Debug)]
pub struct Roster {
    nodes: Listing<Arc<str>, Observed>,
    pods: Listing<PodKey, Arc<str>>,
    /// `None` if pods of every namespace are meant.
    namespaces: Option<Listing<Arc<str>, ()>>,
    /// The selected pods of each node.
    of_node: BTreeMap<Arc<str>, BTreeSet<PodKey>>,
}

/// Objects of one kind.
#[derive(Debug)]
struct Listing<K, T> {
    /// Those that are known.
    known: BTreeMap<K, T>,
    /// Those of the list that is under way.
    coming: BTreeMap<K, T>,
    /// Whether a list was complete.
    is_whole: bool,
}

/// What follows from what was told.
enum Change<K, T> {
    /// Nothing yet.
    Nothing,
    /// Everything may be other than before.
    All,
    /// One object is: as it was, if it was known.
    One(K, Option<T>),
}

impl Roster {
    /// Of a cluster that tells nothing yet.
    pub fn new(has_namespaces: bool) -> Roster {
        let namespaces = has_namespaces.then(Listing::new);
        Roster { nodes: Listing::new(), pods: Listing::new(), namespaces, of_node: BTreeMap::new() }
    }

    /// Takes in what is told; what follows for the nodes that are meant.
    pub fn take(&mut self, heard: Heard) -> Vec<Event> {
        let nodes = match heard {
            Heard::Node(told) => self.nodes.take(told).map(|name, _| vec![name]),
            Heard::Pod(told) => match self.pods.take(told) {
                Change::One(pod, before) => Change::One(self.moved(&pod, before), None),
                Change::All => {
                    self.rebuild();
                    Change::All
                }
                Change::Nothing => Change::Nothing,
            },
            Heard::Namespace(told) => match &mut self.namespaces {
                Some(namespaces) => namespaces.take(told).map(|name, _| self.nodes_of_namespace(&name)),
                None => Change::Nothing,
            },
        };
        let has_namespaces = self.namespaces.as_ref().is_none_or(|namespaces| namespaces.is_whole);
        match nodes {
            _ if !(self.nodes.is_whole && self.pods.is_whole && has_namespaces) => Vec::new(),
            Change::Nothing => Vec::new(),
            Change::One(nodes, _) => nodes.into_iter().map(|name| self.event(name)).collect(),
            Change::All => {
                let meant = self.nodes.known.iter().filter(|(name, _)| self.is_meant(name));
                let listed = meant.map(|(_, node)| Event::Listed(node.clone()));
                [Event::ListBegins].into_iter().chain(listed).chain([Event::ListEnds]).collect()
            }
        }
    }

    fn event(&self, name: Arc<str>) -> Event {
        match self.nodes.known.get(&name).filter(|_| self.is_meant(&name)) {
            Some(node) => Event::Put(node.clone()),
            None => Event::Deleted(name),
        }
    }

    /// Whether a node runs a selected pod of a selected namespace.
    fn is_meant(&self, name: &Arc<str>) -> bool {
        let pods = self.of_node.get(name);
        let is_selected = |namespace| self.namespaces.as_ref().is_none_or(|all| all.known.contains_key(namespace));
        pods.into_iter().flatten().any(|(namespace, _)| is_selected(namespace))
    }

    /// Notes where a pod is and where it was; these nodes.
    fn moved(&mut self, pod: &PodKey, before: Option<Arc<str>>) -> Vec<Arc<str>> {
        if let Some(pods) = before.as_ref().and_then(|node| self.of_node.get_mut(node)) {
            pods.remove(pod);
        }
        let now = self.pods.known.get(pod).cloned();
        if let Some(node) = &now {
            self.of_node.entry(Arc::clone(node)).or_default().insert(pod.clone());
        }
        if let Some(node) = before.as_ref().filter(|node| self.of_node.get(*node).is_some_and(BTreeSet::is_empty)) {
            self.of_node.remove(node);
        }
        now.into_iter().chain(before).collect()
    }

    fn rebuild(&mut self) {
        self.of_node.clear();
        for (pod, node) in &self.pods.known {
            self.of_node.entry(Arc::clone(node)).or_default().insert(pod.clone());
        }
    }

    fn nodes_of_namespace(&self, name: &Arc<str>) -> Vec<Arc<str>> {
        let first: PodKey = (Arc::clone(name), "".into());
        let pods = self.pods.known.range(first..).take_while(|((namespace, _), _)| namespace == name);
        pods.map(|(_, node)| Arc::clone(node)).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl<K, T> Change<K, T> {
    fn map<L>(self, one: impl FnOnce(K, Option<T>) -> L) -> Change<L, ()> {
        match self {
            Change::Nothing => Change::Nothing,
            Change::All => Change::All,
            Change::One(key, before) => Change::One(one(key, before), None),
        }
    }
}

impl<K: Ord + Clone, T: PartialEq> Listing<K, T> {
    fn new() -> Listing<K, T> {
        Listing { known: BTreeMap::new(), coming: BTreeMap::new(), is_whole: false }
    }

    fn take(&mut self, told: Told<K, T>) -> Change<K, T> {
        match told {
            Told::Begins => self.coming = BTreeMap::new(),
            Told::Listed(key, object) => drop(self.coming.insert(key, object)),
            Told::Ends => {
                self.known = take(&mut self.coming);
                self.is_whole = true;
                return Change::All;
            }
            Told::Put(key, object) => {
                if self.known.get(&key) == Some(&object) {
                    return Change::Nothing;
                }
                let before = self.known.insert(key.clone(), object);
                return Change::One(key, before);
            }
            Told::Deleted(key) => {
                let before = self.known.remove(&key);
                return Change::One(key, before);
            }
        }
        Change::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> (Arc<str>, Observed) {
        (name.into(), Observed { name: name.into(), ..Observed::default() })
    }

    fn pod(namespace: &str, name: &str) -> PodKey {
        (namespace.into(), name.into())
    }

    /// What a list comes to: the nodes on it.
    fn listed(events: &[Event]) -> Vec<String> {
        let [Event::ListBegins, nodes @ .., Event::ListEnds] = events else { panic!("{events:?}") };
        let name = |event: &Event| match event {
            Event::Listed(node) => node.name.to_string(),
            other => panic!("{other:?}"),
        };
        nodes.iter().map(name).collect()
    }

    /// Nodes n1 to n3, a pod in `a` on n1, one in `b` on n2.
    fn roster(has_namespaces: bool) -> (Roster, Vec<Event>) {
        let mut roster = Roster::new(has_namespaces);
        let mut events = Vec::new();
        let mut hear = |heard| events.extend(roster.take(heard));
        hear(Heard::Node(Told::Begins));
        for name in ["n1", "n2", "n3"] {
            let (key, node) = node(name);
            hear(Heard::Node(Told::Listed(key, node)));
        }
        hear(Heard::Node(Told::Ends));
        hear(Heard::Pod(Told::Begins));
        hear(Heard::Pod(Told::Listed(pod("a", "x"), "n1".into())));
        hear(Heard::Pod(Told::Listed(pod("b", "y"), "n2".into())));
        hear(Heard::Pod(Told::Ends));
        if has_namespaces {
            hear(Heard::Namespace(Told::Begins));
            hear(Heard::Namespace(Told::Listed("a".into(), ())));
            hear(Heard::Namespace(Told::Ends));
        }
        (roster, events)
    }

    #[test]
    fn nothing_is_told_before_all_is_listed() {
        // Everything is in the events, and all of it is one list: nothing was told too early.
        assert_eq!(listed(&roster(false).1), ["n1", "n2"]);
        assert_eq!(listed(&roster(true).1), ["n1"]);
    }

    #[test]
    fn a_node_comes_with_its_first_pod_and_goes_with_its_last() {
        let (mut roster, _) = roster(false);
        let put = |name: &str, on: &str| Heard::Pod(Told::Put(pod("a", name), on.into()));
        assert_eq!(roster.take(put("z", "n3")), [Event::Put(node("n3").1)]);
        assert_eq!(roster.take(put("z", "n3")), []);
        assert_eq!(roster.take(Heard::Pod(Told::Deleted(pod("a", "x")))), [Event::Deleted("n1".into())]);
        assert_eq!(roster.take(put("w", "n3")), [Event::Put(node("n3").1)]);
        // One of two.
        assert_eq!(roster.take(Heard::Pod(Told::Deleted(pod("a", "z")))), [Event::Put(node("n3").1)]);
        // A pod of the same name on another node.
        assert_eq!(roster.take(put("w", "n1")), [Event::Put(node("n1").1), Event::Deleted("n3".into())]);
    }

    #[test]
    fn a_namespace_brings_its_nodes_along() {
        let (mut roster, _) = roster(true);
        assert_eq!(roster.take(Heard::Namespace(Told::Put("b".into(), ()))), [Event::Put(node("n2").1)]);
        assert_eq!(roster.take(Heard::Namespace(Told::Deleted("a".into()))), [Event::Deleted("n1".into())]);
    }

    #[test]
    fn a_node_that_runs_none_is_none() {
        let (mut roster, _) = roster(false);
        let (key, observed) = node("n4");
        assert_eq!(roster.take(Heard::Node(Told::Put(key, observed))), [Event::Deleted("n4".into())]);
        let events = roster.take(Heard::Pod(Told::Put(pod("a", "z"), "n4".into())));
        assert_eq!(events, [Event::Put(node("n4").1)]);
        // A pod may be there before its node is.
        assert_eq!(roster.take(Heard::Pod(Told::Put(pod("a", "v"), "n5".into()))), [Event::Deleted("n5".into())]);
        let (key, observed) = node("n5");
        assert_eq!(roster.take(Heard::Node(Told::Put(key, observed.clone()))), [Event::Put(observed)]);
    }

    #[test]
    fn a_list_replaces_what_was_known() {
        let (mut roster, _) = roster(false);
        assert_eq!(roster.take(Heard::Pod(Told::Begins)), []);
        assert_eq!(roster.take(Heard::Pod(Told::Listed(pod("b", "y"), "n2".into()))), []);
        assert_eq!(listed(&roster.take(Heard::Pod(Told::Ends))), ["n2"]);
    }
}
