//! An API server for tests: list, watch and write as Kubernetes has them, with faults on demand.
//!
//! A client such as kube sees a Kubernetes of one server: discovery, get, list (pages, selectors, past versions), watch
//! (bookmarks, streaming lists, 410), create, update, patch, delete, `status`, conflicts, `Status` objects. A test puts and
//! deletes objects without HTTP, lets things go wrong, and reads what was asked for.
//!
//! ```
//! use palisade_testapi::{Disturbance, Fault, TestApi};
//! use serde_json::json;
//!
//! let api = TestApi::start();
//! api.put(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "namespace": "shop", "name": "web" } }));
//! api.faults().add(Fault::event("pods", Disturbance::Break).after(3));
//! assert!(api.get("pods", "shop", "web").is_some());
//! ```
//!
//! What it does not have: admission, validation by schema, owners of fields (apply merges), merging of lists by key, grace
//! periods, finalizers, garbage collection, namespaces that must exist, and conversion: the two kinds of `events` are apart.

mod discovery;
mod failure;
mod faults;
mod identity;
mod list;
mod requests;
mod resource;
mod routes;
mod selector;
mod server;
mod shared;
mod store;
mod watch;
mod way;
mod write;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

pub use crate::{
    faults::{Disturbance, Fault, Faults, Obstacle},
    requests::{Request, Verb},
    resource::Resource,
    shared::Settings,
    way::carry,
};
use crate::{
    server::{Server, listen},
    shared::Shared,
    store::Key,
};

/// A running API server. Dropped, it is gone.
///
/// Kinds are named by their plural, with the group where that leaves a doubt: `pods`, `nodestates`, `events.events.k8s.io`.
/// The namespace of a kind outside of namespaces is empty.
#[derive(Debug)]
pub struct TestApi {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: Mutex<Option<Server>>,
}

impl TestApi {
    /// Starts a server on a free port of loopback.
    ///
    /// # Panics
    /// When loopback has no port, or the thread cannot be started.
    pub fn start() -> Self {
        Self::with(Settings::default())
    }

    /// Starts a server with another history or another pace of bookmarks.
    ///
    /// # Panics
    /// As [`TestApi::start`].
    pub fn with(settings: Settings) -> Self {
        let shared = Arc::new(Shared::new(settings));
        let listener = listen(0).expect("a port on loopback");
        let address = listener.local_addr().expect("the address of a bound socket");
        let server = Server::start(Arc::clone(&shared), listener).expect("a thread with a runtime");
        Self { shared, address, server: Mutex::new(Some(server)) }
    }

    /// Where it answers, as `http://127.0.0.1:40001`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig file, with this server as its current context.
    pub fn kubeconfig(&self) -> String {
        kubeconfig(self.address, None)
    }

    /// Leads a unix socket to this server, for as long as the process runs: from other network namespaces, see [`carry`].
    ///
    /// # Panics
    /// When the socket cannot be made.
    pub fn lead(&self, socket: &Path) {
        way::lead(socket, self.address).expect("a unix socket");
    }

    /// Serves a further kind, as a `CustomResourceDefinition` does that is put or created. Without it, its path is 404.
    pub fn register(&self, resource: Resource) {
        self.shared.store().register(resource);
    }

    /// Creates an object or replaces it, `status` included, and returns its resourceVersion. It may bring its own uid and
    /// time of creation. As everywhere, an object that does not change keeps its version.
    ///
    /// # Panics
    /// When `apiVersion` and `kind` are not served, or the object has no name or no namespace where it needs one.
    pub fn put(&self, object: Value) -> u64 {
        let mut store = self.shared.store();
        let (version, kind) = (&object["apiVersion"], &object["kind"]);
        let served = store.collections().map(|collection| &collection.resource);
        let found = served.into_iter().find(|served| *version == served.api_version() && *kind == *served.kind);
        let resource = found.unwrap_or_else(|| panic!("put: {version} {kind} is not served")).clone();
        match write::put(&mut store, &resource, object) {
            Ok(object) => object.version,
            Err(failure) => panic!("put: {}", failure.status()["message"]),
        }
    }

    /// Deletes an object; whether it was there.
    ///
    /// # Panics
    /// When the kind is not served.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> bool {
        let mut store = self.shared.store();
        let resource = served(&store, resource);
        write::delete(&mut store, &resource, &key(namespace, name), &Value::Null).is_ok()
    }

    /// One object as it is.
    ///
    /// # Panics
    /// When the kind is not served.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let store = self.shared.store();
        let id = served(&store, resource).id();
        let object = store.collection(&id).and_then(|collection| collection.get(&key(namespace, name)));
        object.map(|object| object.value())
    }

    /// All objects of a kind as they are, by namespace and name.
    ///
    /// # Panics
    /// When the kind is not served.
    pub fn list(&self, resource: &str) -> Vec<Value> {
        let store = self.shared.store();
        let id = served(&store, resource).id();
        let objects = store.collection(&id).into_iter().flat_map(store::Collection::objects);
        objects.map(|(_, object)| object.value()).collect()
    }

    /// The resourceVersion of the newest change of any kind.
    pub fn resource_version(&self) -> u64 {
        self.shared.store().version()
    }

    /// Forgets the history: whoever starts to watch from before now, or goes on with a list from before now, gets 410.
    /// Watches that are open miss nothing.
    pub fn compact(&self) {
        self.shared.store().compact();
    }

    /// What can go wrong.
    pub fn faults(&self) -> Faults<'_> {
        Faults(&self.shared)
    }

    /// The newest requests (at most 100,000) in the order of their answers.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests().all()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.shared.requests().clear();
    }

    /// How many watches of the kind are open.
    ///
    /// # Panics
    /// When the kind is not served.
    pub fn open_watches(&self, resource: &str) -> usize {
        let id = served(&self.shared.store(), resource).id();
        self.shared.open_watches(&id)
    }

    /// Takes the server away: connections break, new ones are refused. The objects stay and can be put and deleted.
    pub fn stop(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(server);
    }

    /// Brings the server back at the same port, after [`TestApi::stop`].
    ///
    /// # Panics
    /// When another program took the port and keeps it for 10 s.
    pub fn resume(&self) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_none() {
            let listener = listen(self.address.port()).expect("the port of before");
            *server = Some(Server::start(Arc::clone(&self.shared), listener).expect("a thread with a runtime"));
        }
    }
}

/// A kubeconfig file that names a server, with it as the current context; and the namespace of that, if one is given.
pub fn kubeconfig(server: SocketAddr, namespace: Option<&str>) -> String {
    let namespace = namespace.map(|namespace| format!("    namespace: {namespace}\n")).unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters:\n- name: test\n  cluster:\n    server: http://{server}\n\
         contexts:\n- name: test\n  context:\n    cluster: test\n    user: test\n{namespace}users:\n- name: test\n  user: {{}}\n"
    )
}

fn served(store: &store::Store, name: &str) -> Resource {
    let found = store.find(name);
    found.unwrap_or_else(|| panic!("{name} are not served: no such kind was registered")).resource.clone()
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.to_owned(), name.to_owned())
}
