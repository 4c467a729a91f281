//! The nodes of a cluster, as its API server tells of them.

mod node;

use std::time::Instant;

use futures_util::stream::{BoxStream, StreamExt as _, select_all};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event as Watched};
use kube::{Api, Client, ResourceExt as _};
use palisade_agent::{Steadiness, chain, told_by_api_server};
use palisade_core::Selector;
use palisade_sources::node_allowlist::ClusterSource;
use tokio::sync::mpsc;

use crate::cluster::{Event, Observed};
use crate::roster::{Heard, Roster, Told};
use crate::run::Message;

use node::Node;

/// Pods that ended have no node any more.
const RUNNING: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// How many nodes are asked for at once: a page is read as a whole.
const PAGE: u32 = 50;

/// What is heard, or why nothing is.
type News = Result<Heard, watcher::Error>;

/// Follows the nodes for as long as somebody listens. Whatever goes wrong, it begins anew: with the kubeconfig as it is then, since
/// credentials are renewed, and with a list, so that nothing is missed.
pub async fn follow(number: usize, source: &ClusterSource, inbox: &mpsc::Sender<Message>) {
    let mut steadiness = Steadiness::default();
    loop {
        steadiness.begins();
        let failed = match palisade_agent::client(Some(&source.kubeconfig), source.context.as_deref()).await {
            Ok(client) => match watch(client, number, source, inbox, &mut steadiness).await {
                Some(failed) => failed,
                None => return,
            },
            Err(error) => chain(&error),
        };
        if inbox.send(Message::Cluster(number, Event::Failed(failed))).await.is_err() {
            return;
        }
        tokio::time::sleep(steadiness.pause(Instant::now())).await;
    }
}

/// What stands in the way of asking the clusters, as far as their kubeconfigs show; none of them is asked.
///
/// # Errors
///
/// If the async runtime cannot be started.
pub fn unusable(clusters: &[ClusterSource]) -> std::io::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let unusable = clusters.iter().filter_map(|source| {
        let client = runtime.block_on(palisade_agent::client(Some(&source.kubeconfig), source.context.as_deref()));
        client.err().map(|error| format!("cluster {}: {}", source.name, chain(&error)))
    });
    Ok(unusable.collect())
}

/// Why the watch failed; `None` if nobody listens any more.
async fn watch(
    client: Client,
    number: usize,
    source: &ClusterSource,
    inbox: &mpsc::Sender<Message>,
    steadiness: &mut Steadiness,
) -> Option<String> {
    let mut roster = source.pods.as_ref().map(|pods| Roster::new(pods.namespaces.is_some()));
    let mut heard = heard(&client, source);
    loop {
        let heard = match heard.next().await {
            Some(Ok(heard)) => heard,
            Some(Err(error)) => return Some(told_by_api_server(&error)),
            None => return Some("the watch ended".to_string()),
        };
        let events = match (&mut roster, heard) {
            (Some(roster), heard) => roster.take(heard),
            (None, Heard::Node(told)) => vec![plain(told)],
            (None, Heard::Pod(_) | Heard::Namespace(_)) => Vec::new(),
        };
        for event in events {
            if event == Event::ListEnds {
                steadiness.goes_well(Instant::now());
            }
            inbox.send(Message::Cluster(number, event)).await.ok()?;
        }
    }
}

/// The nodes, and what singles them out.
fn heard(client: &Client, source: &ClusterSource) -> BoxStream<'static, News> {
    let nodes = watcher::watcher(Api::<Node>::all(client.clone()), watcher::Config::default().page_size(PAGE));
    let egress = source.egress_annotation.clone();
    let nodes = nodes.map(move |event| {
        Ok(Heard::Node(told(event?, |node| node.name_any().into(), |node| Some(node.observed(egress.as_deref())))))
    });
    let mut all: Vec<BoxStream<'static, News>> = vec![nodes.boxed()];
    if let Some(selected) = &source.pods {
        let config = selecting(&selected.pods).fields(RUNNING);
        let pods = watcher::watcher(Api::<Pod>::all(client.clone()), config);
        let key = |pod: &Pod| (pod.namespace().unwrap_or_default().into(), pod.name_any().into());
        let node = |pod: &Pod| Some(pod.spec.as_ref()?.node_name.as_deref()?.into());
        all.push(pods.map(move |event| Ok(Heard::Pod(told(event?, key, node)))).boxed());
        if let Some(namespaces) = &selected.namespaces {
            let namespaces =
                watcher::watcher(Api::<PartialObjectMeta<Namespace>>::all(client.clone()), selecting(namespaces));
            let name = |event| {
                Ok(Heard::Namespace(told(
                    event?,
                    |namespace: &PartialObjectMeta<Namespace>| namespace.name_any().into(),
                    |_| Some(()),
                )))
            };
            all.push(namespaces.map(name).boxed());
        }
    }
    select_all(all).boxed()
}

/// Has the API server tell of what is selected only.
fn selecting(selector: &Selector) -> watcher::Config {
    let config = watcher::Config::default();
    if *selector == Selector::everything() { config } else { config.labels(&selector.to_string()) }
}

/// What of an object matters. It is as good as deleted while its `value` is `None`.
fn told<O, K, T>(event: Watched<O>, key: impl Fn(&O) -> K, value: impl Fn(&O) -> Option<T>) -> Told<K, T> {
    match event {
        Watched::Init => Told::Begins,
        Watched::InitApply(object) => match value(&object) {
            Some(value) => Told::Listed(key(&object), value),
            None => Told::Deleted(key(&object)),
        },
        Watched::InitDone => Told::Ends,
        Watched::Apply(object) => match value(&object) {
            Some(value) => Told::Put(key(&object), value),
            None => Told::Deleted(key(&object)),
        },
        Watched::Delete(object) => Told::Deleted(key(&object)),
    }
}

/// Where every node is meant.
fn plain(told: Told<std::sync::Arc<str>, Observed>) -> Event {
    match told {
        Told::Begins => Event::ListBegins,
        Told::Listed(_, node) => Event::Listed(node),
        Told::Ends => Event::ListEnds,
        Told::Put(_, node) => Event::Put(node),
        Told::Deleted(name) => Event::Deleted(name),
    }
}
