//! Ban lists for people: what they hold, and single entries that come and go; at the API server, or on a host without one.

mod local;
mod told;

use std::fmt::Debug;
use std::path::Path;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use palisade_core::{BanListName, BanSource, Snapshot};
use palisade_sim::{Standing, standings};
use palisade_sources::Limits;
use palisade_sources::feed;
use palisade_sources::live::{Kind, Live};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::client::ClientError;
use crate::feeds;
use crate::policy_kind::PolicyKind;

pub use local::{LocalBanError, LocalBanLists};
pub use told::{ListedEntry, ToldAddress, ToldEntry, ToldStanding};

/// The list of single bans, if no other is named.
pub const MANUAL: &str = "manual";
/// Who writes it, as managed fields tell.
const MANAGER: &str = "palisade-ban";
/// How often a change is tried again because somebody else changed the list meanwhile.
const TRIES: usize = 10;

/// The ban lists of a cluster.
pub struct BanLists {
    runtime: Runtime,
    client: Client,
    /// That of the agents, where the `ConfigMaps` are that lists have for their source.
    namespace: String,
}

/// An entry that is to be in a list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// What is banned.
    pub cidr: IpNet,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// That more than /8 of IPv4, or /16 of IPv6, is meant.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// Why it cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum BanError {
    /// There is no usable configuration of a client.
    #[error("no API server is known")]
    Client(#[source] ClientError),
    /// The API server refused something.
    #[error("cannot {operation}: {message}")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// The HTTP status.
        code: u16,
        /// What it said.
        message: String,
    },
    /// The API server cannot be asked.
    #[error("cannot {operation}")]
    Unasked {
        /// What was tried.
        operation: &'static str,
        /// What is in the way.
        #[source]
        source: kube::Error,
    },
    /// Somebody else changes the list all the time.
    #[error("somebody else changes BanList {0} again and again")]
    Contended(String),
    /// The runtime cannot be started.
    #[error("cannot start the async runtime")]
    Runtime(#[from] std::io::Error),
}

impl BanError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            BanError::Client(_) => {
                Some("--kubeconfig and --context name one; --local is for a host whose agent has none")
            }
            BanError::Refused { code: 404, .. } => Some("the kind BanList comes with 'kubectl apply -k deploy/'"),
            BanError::Refused { code: 422, message, .. } if message.contains("needs force") => {
                Some("if so much is meant, --force bans it")
            }
            _ => None,
        }
    }
}

impl BanLists {
    /// Those that a kubeconfig leads to; without one, those of what kubectl would talk to. The agents are in this namespace.
    ///
    /// # Errors
    ///
    /// If no API server is configured. It is not asked yet.
    pub fn open(kubeconfig: Option<&Path>, context: Option<&str>, namespace: &str) -> Result<BanLists, BanError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(crate::client::client(kubeconfig, context)).map_err(BanError::Client)?;
        Ok(BanLists { runtime, client, namespace: namespace.to_owned() })
    }

    /// Puts an entry into a list, in the place of one of the same block; the list is made if it is not there.
    ///
    /// # Errors
    ///
    /// If the API server refuses.
    pub fn ban(&self, list: &str, entry: &Entry) -> Result<(), BanError> {
        self.change(list, |entries| {
            add(entries, entry);
            true
        })
        .map(drop)
    }

    /// Takes the entry of a block out of a list; whether there was one.
    ///
    /// # Errors
    ///
    /// If the API server refuses.
    pub fn unban(&self, list: &str, cidr: IpNet) -> Result<bool, BanError> {
        self.change(list, |entries| {
            let before = entries.len();
            entries.retain(|entry| !is_of(entry, cidr));
            entries.len() < before
        })
    }

    /// All lists as of now; with an address, what the cluster knows of it besides. And what is not known of their sources.
    ///
    /// # Errors
    ///
    /// If the API server refuses.
    pub fn snapshot(&self, address: Option<std::net::IpAddr>) -> Result<(Snapshot, Vec<String>), BanError> {
        self.runtime.block_on(async {
            let mut live = Live::new(Limits::default());
            put(&mut live, Kind::BanList, all(self.api(), "list BanLists").await?);
            let unknown = self.read_sources(&mut live).await?;
            if let Some(address) = address {
                put(&mut live, Kind::Node, all(self.every::<Node>(), "list nodes").await?);
                // The API server selects pods by their first address alone.
                if standings(live.snapshot(), address).iter().any(Standing::bans) {
                    put(&mut live, Kind::Pod, all(self.every::<Pod>(), "list pods").await?);
                }
            }
            live.at(Timestamp::now().as_second());
            Ok((live.snapshot().clone(), unknown))
        })
    }

    /// Reads what the sources of lists hold, as far as the API server has it; says what is not known.
    async fn read_sources(&self, live: &mut Live) -> Result<Vec<String>, BanError> {
        let sources: Vec<(BanListName, BanSource)> =
            live.ban_sources().map(|(list, source)| (list.clone(), source.clone())).collect();
        let mut unknown = Vec::new();
        if sources.is_empty() {
            return Ok(unknown);
        }
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        // Who may not list them may know what the lists themselves say.
        let maps = match maps.list(&ListParams::default()).await {
            Ok(maps) => maps.items,
            Err(error) => {
                unknown.push(format!("cannot list ConfigMaps: {}", crate::watch::chain(&error)));
                Vec::new()
            }
        };
        for (list, BanSource { place, limits, .. }) in sources {
            let Some(text) = feeds::text_in(&maps, &list, &place) else {
                unknown.push(format!("what the source of BanList {list} holds is not known here: {place}"));
                continue;
            };
            match feed::read(&text, &limits, None) {
                Ok(feed) => drop(live.set_ban_source(&list, feed.entries.into())),
                Err(error) => unknown.push(format!("the source of BanList {list}, {place}: {error}")),
            }
        }
        Ok(unknown)
    }

    /// The cluster as of now: lists, and whatever says whom they concern and spare.
    ///
    /// # Errors
    ///
    /// If the API server refuses.
    pub fn cluster(&self) -> Result<(Snapshot, Vec<String>), BanError> {
        self.runtime.block_on(async {
            let mut live = Live::new(Limits::default());
            put(&mut live, Kind::BanList, all(self.api(), "list BanLists").await?);
            let unknown = self.read_sources(&mut live).await?;
            put(&mut live, Kind::Node, all(self.every::<Node>(), "list nodes").await?);
            put(&mut live, Kind::Namespace, all(self.every::<Namespace>(), "list namespaces").await?);
            put(&mut live, Kind::Pod, all(self.every::<Pod>(), "list pods").await?);
            put(&mut live, Kind::NetworkPolicy, all(self.every::<NetworkPolicy>(), "list NetworkPolicies").await?);
            live.at(Timestamp::now().as_second());
            Ok((live.snapshot().clone(), unknown))
        })
    }

    /// Changes the entries of a list as it is by then; whether it was changed. `change` says whether there is something to do.
    fn change(&self, list: &str, change: impl Fn(&mut Vec<Value>) -> bool) -> Result<bool, BanError> {
        self.runtime.block_on(async {
            for _ in 0..TRIES {
                let found = self.api().get_opt(list).await.map_err(failed("read the list"))?;
                let entries = found.as_ref().and_then(|list| list.data.pointer("/spec/entries"));
                let mut entries: Vec<Value> = entries.and_then(Value::as_array).cloned().unwrap_or_default();
                if !change(&mut entries) {
                    return Ok(false);
                }
                let written = match found {
                    Some(found) => self.replace(list, &found, entries).await,
                    None => self.create(list, entries).await,
                };
                match written {
                    // Somebody was faster.
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    written => return written.map(|_| true).map_err(failed("write the list")),
                }
            }
            Err(BanError::Contended(list.to_owned()))
        })
    }

    async fn replace(&self, list: &str, found: &DynamicObject, entries: Vec<Value>) -> kube::Result<DynamicObject> {
        let patch = json!({
            "metadata": { "resourceVersion": found.metadata.resource_version },
            "spec": { "entries": entries },
        });
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.api().patch(list, &parameters, &Patch::Merge(patch)).await
    }

    async fn create(&self, list: &str, entries: Vec<Value>) -> kube::Result<DynamicObject> {
        let object =
            DynamicObject::new(list, &PolicyKind::Ban.resource()).data(json!({ "spec": { "entries": entries } }));
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.api().create(&parameters, &object).await
    }

    fn api(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &PolicyKind::Ban.resource())
    }

    fn every<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }
}

async fn all<K: Clone + DeserializeOwned + Debug>(api: Api<K>, operation: &'static str) -> Result<Vec<K>, BanError> {
    Ok(api.list(&ListParams::default()).await.map_err(failed(operation))?.items)
}

/// Puts an entry in the place of one of the same block. Those that have expired go: nobody else takes them away.
fn add(entries: &mut Vec<Value>, entry: &Entry) {
    let now = Timestamp::now();
    let expires = |entry: &Value| entry.get("expiresAt")?.as_str()?.parse::<Timestamp>().ok();
    entries.retain(|other| !is_of(other, entry.cidr) && expires(other).is_none_or(|expires| expires > now));
    entries.push(json!(entry));
}

/// Whether an entry is that of this block, however it is written.
fn is_of(entry: &Value, cidr: IpNet) -> bool {
    let written = entry.get("cidr").and_then(Value::as_str).and_then(|text| text.parse::<IpNet>().ok());
    written.is_some_and(|written| written.trunc() == cidr.trunc())
}

fn put<T: Serialize>(live: &mut Live, kind: Kind, objects: Vec<T>) {
    for object in objects {
        // What the client could read can be written, and any JSON is an object to the reader.
        if let Ok(object) = serde_json::to_value(object).and_then(serde_json::from_value) {
            live.put(kind, &object);
        }
    }
}

fn failed(operation: &'static str) -> impl FnOnce(kube::Error) -> BanError {
    move |error| match error {
        kube::Error::Api(status) => BanError::Refused { operation, code: status.code, message: status.message.clone() },
        source => BanError::Unasked { operation, source },
    }
}

#[cfg(test)]
mod tests;
