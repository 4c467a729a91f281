//! What judges a live cluster: the objects as the API server has them, and everything that was told of them.

use std::collections::BTreeMap;

use palisade_core::{Change, Diagnostic, Level, ObjectName, Snapshot};
use palisade_sources::live::{Kind, Live, Object, Update};
use palisade_sources::{Limits, Options, Parsed, SourceText, parse};

use crate::objects::{self, object};

/// A live cluster and its judges.
pub struct Cluster {
    pub live: Live,
    limits: Limits,
    /// The objects that there are, as JSON.
    pub objects: BTreeMap<(Kind, ObjectName), String>,
    /// The changes so far, applied to nothing.
    told: Snapshot,
    /// The findings so far.
    findings: BTreeMap<(Kind, ObjectName), Vec<Diagnostic>>,
}

impl Cluster {
    pub fn new(limits: Limits) -> Cluster {
        Cluster {
            live: Live::new(limits.clone()),
            limits,
            objects: BTreeMap::new(),
            told: Snapshot::default(),
            findings: BTreeMap::new(),
        }
    }

    /// An object comes or changes, and a watch tells.
    pub fn put(&mut self, kind: Kind, name: ObjectName, text: String) -> Update {
        let update = self.live.put(kind, &object(&text));
        self.objects.insert((kind, name), text);
        self.note(&update);
        update
    }

    /// An object goes, and a watch tells.
    pub fn remove(&mut self, kind: Kind, name: &ObjectName) -> Update {
        let Some(text) = self.objects.remove(&(kind, name.clone())) else { return Update::default() };
        let update = self.live.remove(kind, &object(&text));
        self.note(&update);
        update
    }

    /// Something that is delivered beside the objects.
    pub fn deliver(&mut self, kind: Kind, object: &Object) -> Update {
        let update = self.live.put(kind, object);
        self.note(&update);
        update
    }

    /// All objects of a kind are listed, or the first of them before the list breaks.
    pub fn list(&mut self, kind: Kind, held: usize, complete: bool) -> Update {
        self.live.begin(kind);
        let of_kind = self.objects.iter().filter(|((of, _), _)| *of == kind);
        let held = if complete { usize::MAX } else { held };
        let texts: Vec<String> = of_kind.map(|(_, text)| objects::as_item(text)).take(held).collect();
        for text in texts {
            self.deliver(kind, &object(&text));
        }
        if !complete {
            return Update::default();
        }
        let update = self.live.end(kind);
        self.note(&update);
        update
    }

    /// Applies an update to what was told. Each part of it must be news.
    fn note(&mut self, update: &Update) {
        for change in &update.changes {
            assert!(apply(&mut self.told, change.clone()), "no news: {change:?}");
        }
        for finding in &update.findings {
            let key = (finding.kind, finding.name.clone());
            let before = self.findings.remove(&key).unwrap_or_default();
            assert_ne!(before, finding.diagnostics, "no news: {finding:?}");
            if !finding.diagnostics.is_empty() {
                self.findings.insert(key, finding.diagnostics.clone());
            }
        }
    }

    /// Holds the live cluster against a file of the same objects.
    pub fn check(&self) {
        let Parsed { mut snapshot, diagnostics, .. } = self.parse();
        let mut live = self.live.snapshot().clone();
        assert_eq!(self.told, live, "the changes do not add up");
        take_back_inventions(&mut snapshot, &mut live);
        assert_eq!(live, snapshot);
        let mut expected: Vec<String> = diagnostics
            .into_iter()
            .filter(|found| !found.message.contains("is also that of"))
            .map(|found| format!("{:?}", Diagnostic { place: None, ..found }))
            .collect();
        let named = self.findings.iter().filter(|((_, name), _)| !name.name.is_empty()).map(|(_, found)| found);
        let (shortened, whole): (Vec<_>, Vec<_>) = named.partition(|found| is_shortened(found));
        // What was left out of a long list is told by the file alone.
        for of_one in shortened {
            let object = format!("{:?}", of_one[0].object);
            expected.retain(|found| !found.contains(&object));
        }
        let mut found: Vec<String> = whole.into_iter().flatten().map(|found| format!("{found:?}")).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    }

    /// All findings of errors, as `Pod a/p: message`.
    pub fn errors(&self) -> Vec<String> {
        let errors = self.findings.values().flatten().filter(|found| found.level == Level::Error);
        errors.map(|found| format!("{}: {}", found.object.clone().unwrap_or_default(), found.message)).collect()
    }

    fn parse(&self) -> Parsed {
        let items: Vec<&str> = self.objects.values().map(String::as_str).collect();
        let text = format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{}]}}", items.join(",\n"));
        let sources = [SourceText { file: "-".into(), text }];
        parse(&sources, &Options { families: Vec::new(), limits: self.limits.clone(), ..Options::default() })
    }
}

fn is_shortened(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.last().is_some_and(|last| last.message.ends_with("more of the kind"))
}

/// A file without a node gets some, and its pods that are on none are dealt out: no such thing in a live cluster. What
/// a hostNetwork pod on no node has for addresses is nobody's business.
fn take_back_inventions(parsed: &mut Snapshot, live: &mut Snapshot) {
    parsed.workloads.clear();
    let placed = |snapshot: &Snapshot| snapshot.pods.values().any(|pod| pod.node.is_some() && !pod.assumed.node);
    if live.nodes.is_empty() && !placed(parsed) {
        parsed.nodes.clear();
    }
    for (name, pod) in parsed.pods.iter_mut().filter(|(_, pod)| pod.assumed.node) {
        let mut bare = (**pod).clone();
        bare.node = None;
        bare.assumed.node = false;
        if bare.host_network && !bare.finished {
            bare.addresses.clear();
            if let Some(pod) = live.pods.get_mut(name) {
                let mut bare = (**pod).clone();
                bare.addresses.clear();
                *pod = bare.into();
            }
        }
        *pod = bare.into();
    }
}

/// Applies a change; whether it changed anything.
fn apply(snapshot: &mut Snapshot, change: Change) -> bool {
    fn set<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, name: K, new: Option<V>) -> bool {
        if map.get(&name) == new.as_ref() {
            return false;
        }
        match new {
            Some(new) => map.insert(name, new),
            None => map.remove(&name),
        };
        true
    }
    match change {
        Change::Namespace(name, new) => set(&mut snapshot.namespaces, name, new),
        Change::Node(name, new) => set(&mut snapshot.nodes, name, new),
        Change::Pod(name, new) => set(&mut snapshot.pods, name, new),
        Change::Policy(name, new) => set(&mut snapshot.policies, name, new),
        Change::HostPolicy(name, new) => set(&mut snapshot.host_policies, name, new),
        Change::BanList(name, new) => set(&mut snapshot.ban_lists, name, new),
        Change::Server(name, new) => set(&mut snapshot.servers, name, new),
    }
}
