//! The objects and their history: one sequence of resourceVersions for all kinds, as etcd has it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use axum::body::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    identity::Identities,
    resource::{Resource, built_in},
    selector::facts,
};

/// Namespace (empty for kinds outside of namespaces) and name.
pub(crate) type Key = (String, String);

/// One object at one resourceVersion, already written out.
#[derive(Debug)]
pub(crate) struct Object {
    pub version: u64,
    pub labels: BTreeMap<String, String>,
    pub fields: Vec<(&'static str, String)>,
    /// The JSON text; it starts with `kind` and `apiVersion`.
    pub text: Bytes,
    /// Where in the text the rest starts.
    head: usize,
}

impl Object {
    /// Writes `value` out at `version`; `kind` and `apiVersion` are those of the resource whatever it says.
    pub fn new(resource: &Resource, version: u64, mut value: Value) -> Self {
        if let Some(map) = value.as_object_mut() {
            map.shift_remove("kind");
            map.shift_remove("apiVersion");
        }
        value["metadata"]["resourceVersion"] = version.to_string().into();
        let (labels, fields) = facts(resource, &value);
        let mut text = format!(r#"{{"kind":"{}","apiVersion":"{}","#, resource.kind, resource.api_version());
        let head = text.len();
        text.push_str(&value.to_string()[1..]);
        Self { version, labels, fields, text: text.into(), head }
    }

    /// The object as a tree.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.text).unwrap_or_default()
    }

    /// The text without `kind` and `apiVersion`, and without the brace before them.
    pub fn tail(&self) -> &[u8] {
        &self.text[self.head..]
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One entry of the history.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub version: u64,
    pub change: Change,
    pub key: Key,
    /// The object after the change; of a deletion, what it was, at the version of the deletion.
    pub object: Arc<Object>,
    pub previous: Option<Arc<Object>>,
}

/// The objects of one kind.
#[derive(Debug)]
pub(crate) struct Collection {
    pub resource: Resource,
    objects: BTreeMap<Key, Arc<Object>>,
    history: VecDeque<Event>,
    /// The version of the newest event that fell out of the history.
    forgotten: u64,
    /// No watch or list may start from before this version.
    pub oldest: u64,
    changed: watch::Sender<u64>,
}

impl Collection {
    fn new(resource: Resource, version: u64) -> Self {
        let (objects, history) = (BTreeMap::new(), VecDeque::new());
        Self { resource, objects, history, forgotten: version, oldest: version, changed: watch::Sender::new(version) }
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// All objects as they are, in the order of their keys.
    pub fn objects(&self) -> impl Iterator<Item = (&Key, &Arc<Object>)> {
        self.objects.iter()
    }

    /// All objects as they were at `version`: the history undone, newest change first. `None` when it does not reach back.
    pub fn objects_at(&self, version: u64) -> Option<BTreeMap<Key, Arc<Object>>> {
        if version < self.oldest {
            return None;
        }
        let mut objects = self.objects.clone();
        for event in self.history.range(self.history_index(version)..).rev() {
            match &event.previous {
                Some(previous) => objects.insert(event.key.clone(), Arc::clone(previous)),
                None => objects.remove(&event.key),
            };
        }
        Some(objects)
    }

    /// At most `count` events after `version`; `None` when some of them are forgotten.
    pub fn events_after(&self, version: u64, count: usize) -> Option<Vec<Event>> {
        if version < self.forgotten {
            return None;
        }
        Some(self.history.range(self.history_index(version)..).take(count).cloned().collect())
    }

    /// Changes whenever an event is added.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn history_index(&self, version: u64) -> usize {
        self.history.partition_point(|event| event.version <= version)
    }

    fn record(&mut self, event: Event, capacity: usize) {
        let version = event.version;
        self.history.push_back(event);
        while self.history.len() > capacity {
            self.forgotten = self.history.pop_front().map_or(version, |event| event.version);
            self.oldest = self.oldest.max(self.forgotten);
        }
        self.changed.send_replace(version);
    }
}

/// Everything that the server holds.
#[derive(Debug)]
pub(crate) struct Store {
    version: u64,
    collections: BTreeMap<String, Collection>,
    capacity: usize,
    pub identities: Identities,
}

impl Store {
    /// An empty store that keeps `capacity` events of each kind.
    pub fn new(capacity: usize) -> Self {
        let identities = Identities::new();
        let mut store = Self { version: 1, collections: BTreeMap::new(), capacity, identities };
        for resource in built_in() {
            store.register(resource);
        }
        store
    }

    /// Serves a kind from now on. One that is served already keeps its objects.
    pub fn register(&mut self, resource: Resource) {
        let collection = self.collections.entry(resource.id());
        let collection = collection.or_insert_with(|| Collection::new(resource.clone(), self.version));
        collection.resource = resource;
    }

    /// Serves a kind no more, and forgets its objects.
    pub fn unregister(&mut self, id: &str) {
        self.collections.remove(id);
    }

    /// The resourceVersion of the newest change of any kind.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn collections(&self) -> impl Iterator<Item = &Collection> {
        self.collections.values()
    }

    pub fn collection(&self, id: &str) -> Option<&Collection> {
        self.collections.get(id)
    }

    /// A kind by `pods` or `events.events.k8s.io`; a bare plural is that of the core group if it has one.
    pub fn find(&self, name: &str) -> Option<&Collection> {
        let by_plural = || self.collections.values().find(|collection| collection.resource.plural == name);
        self.collections.get(name).or_else(by_plural)
    }

    /// Writes an object, whether it is there or not; `None` when the kind is not served.
    pub fn write(&mut self, id: &str, key: Key, value: Value) -> Option<Arc<Object>> {
        let collection = self.collections.get_mut(id)?;
        self.version += 1;
        let version = self.version;
        let object = Arc::new(Object::new(&collection.resource, version, value));
        let previous = collection.objects.insert(key.clone(), Arc::clone(&object));
        let change = if previous.is_some() { Change::Modified } else { Change::Added };
        collection.record(Event { version, change, key, object: Arc::clone(&object), previous }, self.capacity);
        Some(object)
    }

    /// Removes an object and returns what it was, at the version of its deletion.
    pub fn remove(&mut self, id: &str, key: &Key) -> Option<Arc<Object>> {
        let collection = self.collections.get_mut(id)?;
        let previous = collection.objects.remove(key)?;
        self.version += 1;
        let version = self.version;
        let object = Arc::new(Object::new(&collection.resource, version, previous.value()));
        let (deleted, previous) = (Arc::clone(&object), Some(previous));
        collection.record(
            Event { version, change: Change::Deleted, key: key.clone(), object: deleted, previous },
            self.capacity,
        );
        Some(object)
    }

    /// Lets no watch or list start from before now. Watches that run see every event all the same.
    pub fn compact(&mut self) {
        // As etcd does it, the compaction itself is at a version that is still served.
        for collection in self.collections.values_mut() {
            collection.oldest = self.version;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> Key {
        ("shop".to_owned(), name.to_owned())
    }

    fn pod(name: &str, phase: &str) -> Value {
        json!({ "metadata": { "name": name, "namespace": "shop" }, "status": { "phase": phase } })
    }

    fn shown(objects: &BTreeMap<Key, Arc<Object>>) -> String {
        let shown = objects.iter().map(|(key, object)| format!("{}@{}", key.1, object.version));
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_past_can_be_listed() {
        let mut store = Store::new(100);
        store.write("pods", key("a"), pod("a", "Pending")); // 2
        store.write("pods", key("b"), pod("b", "Pending")); // 3
        store.write("pods", key("a"), pod("a", "Running")); // 4
        store.remove("pods", &key("b")); // 5
        store.write("pods", key("b"), pod("b", "Running")); // 6
        let pods = store.collection("pods").unwrap();
        let at = |version| pods.objects_at(version).map(|objects| shown(&objects));
        let expected = [(1, ""), (2, "a@2"), (3, "a@2 b@3"), (4, "a@4 b@3"), (5, "a@4"), (6, "a@4 b@6")];
        for (version, expected) in expected {
            assert_eq!(at(version).as_deref(), Some(expected), "at {version}");
        }
        assert_eq!(at(0), None);
        let deleted = &pods.events_after(4, 1).unwrap()[0];
        assert_eq!((deleted.change, deleted.object.version), (Change::Deleted, 5));
    }

    #[test]
    fn history_is_bounded_and_compacts() {
        let mut store = Store::new(2);
        for name in ["a", "b", "c", "d"] {
            store.write("pods", key(name), pod(name, "Running")); // 2 to 5
        }
        let pods = store.collection("pods").unwrap();
        assert!(pods.events_after(2, 10).is_none() && pods.objects_at(2).is_none());
        assert_eq!(pods.events_after(3, 10).unwrap().len(), 2);
        store.compact();
        let pods = store.collection("pods").unwrap();
        assert!(pods.objects_at(4).is_none() && pods.objects_at(5).is_some());
        assert_eq!(pods.events_after(3, 10).unwrap().len(), 2, "who watches already misses nothing");
    }

    #[test]
    fn text_starts_with_the_type() {
        let object = Object::new(&Resource::new("v1", "pods", "Pod"), 7, json!({ "metadata": {}, "kind": "Other" }));
        assert_eq!(object.text, r#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7"}}"#);
        assert_eq!(object.tail(), br#""metadata":{"resourceVersion":"7"}}"#);
    }
}
