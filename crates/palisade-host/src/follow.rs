//! The nodes of a cluster, as its API server tells of them.

use std::pin::pin;
use std::time::Instant;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::{self, Event as Watched};
use kube::{Api, Client};
use palisade_agent::{Steadiness, chain};
use palisade_sources::node_allowlist::{AddressType, ClusterSource};
use tokio::sync::mpsc;

use crate::cluster::{Event, Observed};
use crate::run::Message;

/// Follows the nodes for as long as somebody listens. Whatever goes wrong, it begins anew: with the kubeconfig as it is then, since
/// credentials are renewed, and with a list, so that nothing is missed.
pub async fn follow(number: usize, source: &ClusterSource, inbox: &mpsc::Sender<Message>) {
    let mut steadiness = Steadiness::default();
    loop {
        steadiness.begins();
        let failed = match palisade_agent::client(Some(&source.kubeconfig), None).await {
            Ok(client) => match watch(client, number, inbox, &mut steadiness).await {
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

/// Why the watch failed; `None` if nobody listens any more.
async fn watch(
    client: Client,
    number: usize,
    inbox: &mpsc::Sender<Message>,
    steadiness: &mut Steadiness,
) -> Option<String> {
    let mut events = pin!(watcher::watcher(Api::<Node>::all(client), watcher::Config::default()));
    loop {
        let event = match events.next().await {
            Some(Ok(event)) => event,
            Some(Err(error)) => return Some(chain(&error)),
            None => return Some("the watch ended".to_string()),
        };
        let event = match event {
            Watched::Init => Event::ListBegins,
            Watched::InitApply(node) => Event::Listed(observed(&node)),
            Watched::InitDone => {
                steadiness.goes_well(Instant::now());
                Event::ListEnds
            }
            Watched::Apply(node) => Event::Put(observed(&node)),
            Watched::Delete(node) => Event::Deleted(node.metadata.name.unwrap_or_default().into()),
        };
        inbox.send(Message::Cluster(number, event)).await.ok()?;
    }
}

/// What of a node matters.
fn observed(node: &Node) -> Observed {
    let status = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let addresses = status.filter_map(|address| {
        let kind = match address.type_.as_str() {
            "InternalIP" => AddressType::InternalIP,
            "ExternalIP" => AddressType::ExternalIP,
            // Names are no addresses.
            _ => return None,
        };
        Some((kind, address.address.clone()))
    });
    let spec = node.spec.as_ref();
    let blocks = spec.and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default();
    let first = spec.and_then(|spec| spec.pod_cidr.clone()).filter(|first| !blocks.contains(first));
    let blocks = first.into_iter().chain(blocks).map(|block| (AddressType::PodCIDR, block));
    let labels = node.metadata.labels.iter().flatten();
    Observed {
        name: node.metadata.name.as_deref().unwrap_or_default().into(),
        labels: labels.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
        addresses: addresses.chain(blocks).collect(),
    }
}
