//! What the tests share: clients of kube, objects, and a store that follows a watcher.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config, ResourceExt,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::watcher::{self, Event},
};
use palisade_testapi::TestApi;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A client that reads the kubeconfig as any program would. It does not repeat refused requests by itself.
pub async fn client(api: &TestApi) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&api.kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// All pods, by that client.
pub async fn pods(api: &TestApi) -> Api<Pod> {
    Api::all(client(api).await)
}

/// A pod of the namespace `shop` that is labelled with its name.
pub fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": "shop", "name": name, "labels": { "app": name } },
        "spec": { "nodeName": node, "containers": [] },
        "status": { "phase": "Running" },
    })
}

/// Waits until something is so, and fails with what is there in its place.
pub async fn until<T: PartialEq + std::fmt::Debug>(expected: T, mut actual: impl FnMut() -> T) {
    let mut found = actual();
    for _ in 0..20_000 {
        if found == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        found = actual();
    }
    assert_eq!(found, expected, "after 20 s");
}

/// The pods of a server, by name, with their resourceVersions.
pub fn state(api: &TestApi) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pods = api.list("pods").into_iter().map(|pod| pod["metadata"].clone());
    pods.map(|metadata| (text(&metadata["name"]), text(&metadata["resourceVersion"]))).collect()
}

/// What a watcher saw.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Sight>>);

#[derive(Debug, Default)]
struct Sight {
    /// The pods as [`state`] has them, were the watcher's events all there is to know.
    pods: BTreeMap<String, String>,
    /// What was told, one word an event.
    told: Vec<String>,
}

impl Seen {
    pub fn pods(&self) -> BTreeMap<String, String> {
        self.0.lock().unwrap().pods.clone()
    }

    pub fn told(&self) -> Vec<String> {
        self.0.lock().unwrap().told.clone()
    }

    /// How often it told a word that starts like this.
    pub fn count(&self, word: &str) -> usize {
        self.told().iter().filter(|told| told.starts_with(word)).count()
    }

    fn take(&self, event: Result<Event<Pod>, watcher::Error>, fresh: &mut BTreeMap<String, String>) {
        let entry = |pod: &Pod| (pod.name_any(), pod.resource_version().unwrap_or_default());
        let mut seen = self.0.lock().unwrap();
        let word = match event {
            Ok(Event::Init) => {
                fresh.clear();
                "init".to_owned()
            }
            Ok(Event::InitApply(pod)) => {
                fresh.extend([entry(&pod)]);
                format!("+{}", pod.name_any())
            }
            Ok(Event::InitDone) => {
                seen.pods = std::mem::take(fresh);
                "done".to_owned()
            }
            Ok(Event::Apply(pod)) => {
                seen.pods.extend([entry(&pod)]);
                format!("+{}", pod.name_any())
            }
            Ok(Event::Delete(pod)) => {
                seen.pods.remove(&pod.name_any());
                format!("-{}", pod.name_any())
            }
            Err(error) => format!("error: {error}"),
        };
        seen.told.push(word);
    }
}

/// Follows a watcher until dropped; after an error it waits `pause`.
pub struct Follower {
    pub seen: Seen,
    task: JoinHandle<()>,
}

impl Follower {
    pub fn of(
        events: impl Stream<Item = Result<Event<Pod>, watcher::Error>> + Send + 'static,
        pause: Duration,
    ) -> Self {
        let seen = Seen::default();
        let follower = seen.clone();
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(events);
            let mut fresh = BTreeMap::new();
            while let Some(event) = events.next().await {
                let failed = event.is_err();
                follower.take(event, &mut fresh);
                if failed {
                    tokio::time::sleep(pause).await;
                }
            }
        });
        Self { seen, task }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Follows all pods of a server.
pub async fn follow(api: &TestApi, config: watcher::Config) -> Follower {
    Follower::of(kube::runtime::watcher(pods(api).await, config), Duration::from_millis(5))
}
