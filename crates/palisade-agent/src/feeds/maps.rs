//! The `ConfigMaps` of the agents' namespace, followed.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::utils::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event as WatchEvent, watcher as watch};
use kube::{Api, Client, ResourceExt as _};
use tokio::time::Instant;

use super::PATIENCE;
use super::parts::{Part, Whole, whole};
use crate::watch::in_words;

/// What happens to `ConfigMaps`.
pub type Events = BoxStream<'static, Event>;
/// One of them came, changed or went; or why nobody knows.
pub type Event = watcher::Result<WatchEvent<ConfigMap>>;

/// Nothing ever happens.
pub fn none() -> Events {
    stream::pending().boxed()
}

/// What happens to those of a namespace.
pub fn events(client: &Client, namespace: &str) -> Events {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    watch(api, watcher::Config::default()).default_backoff().boxed()
}

/// The `ConfigMaps` as they are known.
#[derive(Debug)]
pub struct Maps {
    began: Instant,
    is_listed: bool,
    error: Option<String>,
    texts: BTreeMap<String, Text>,
    parts: BTreeMap<String, Part>,
    /// What a list that has begun has named.
    listing: Option<Box<Maps>>,
}

/// What one says.
#[derive(Clone, Debug)]
struct Text {
    version: String,
    text: Arc<str>,
}

/// What is known of something.
#[derive(Debug, PartialEq, Eq)]
pub enum Known<T> {
    /// Nothing yet.
    NotYet,
    /// It is there.
    There(T),
    /// Some of it is: it is being written, or was lost.
    Half,
    /// It is not there, or cannot be had.
    Missing(String),
}

impl Default for Maps {
    fn default() -> Maps {
        Maps {
            began: Instant::now(),
            is_listed: false,
            error: None,
            texts: BTreeMap::new(),
            parts: BTreeMap::new(),
            listing: None,
        }
    }
}

/// The texts of one, in the order of their keys.
pub fn text(data: BTreeMap<String, String>) -> String {
    data.into_values().collect::<Vec<_>>().join("\n")
}

impl Maps {
    /// Takes in what happened.
    pub fn take(&mut self, event: Event) {
        match event {
            Ok(WatchEvent::Init) => self.listing = Some(Box::default()),
            Ok(WatchEvent::InitApply(map)) => {
                if let Some(listing) = &mut self.listing {
                    listing.put(map);
                }
            }
            Ok(WatchEvent::InitDone) => {
                if let Some(listing) = self.listing.take() {
                    *self = Maps { is_listed: true, began: self.began, ..*listing };
                }
            }
            Ok(WatchEvent::Apply(map)) => self.put(map),
            Ok(WatchEvent::Delete(map)) => {
                self.texts.remove(&map.name_any());
                self.parts.remove(&map.name_any());
            }
            Err(error) => self.error = Some(in_words(&error)),
        }
    }

    fn put(&mut self, map: ConfigMap) {
        let name = map.name_any();
        if let Some(part) = Part::of(&map) {
            self.parts.insert(name, part);
            return;
        }
        self.parts.remove(&name);
        let version = map.resource_version().unwrap_or_default();
        let text = text(map.data.unwrap_or_default()).into();
        self.texts.insert(name, Text { version, text });
    }

    /// The version and the text of one of this name.
    pub fn text(&self, name: &str) -> Known<(&str, Arc<str>)> {
        match self.texts.get(name) {
            Some(text) => Known::There((&text.version, Arc::clone(&text.text))),
            None => self.missing(|| format!("there is no ConfigMap {name} in the namespace of the agents")),
        }
    }

    /// The text of a feed.
    pub fn feed(&self, feed: &str) -> Known<Whole> {
        let parts = || self.parts.values().filter(|part| part.feed == feed);
        match whole(parts()) {
            Some(whole) => Known::There(whole),
            None if parts().next().is_some() => Known::Half,
            None => self.missing(|| "no agent has fetched it yet".to_owned()),
        }
    }

    fn missing<T>(&self, why: impl FnOnce() -> String) -> Known<T> {
        if self.is_listed {
            Known::Missing(why())
        } else if self.patience_ends().is_some() {
            Known::NotYet
        } else {
            let error = self.error.as_deref().unwrap_or("the API server does not answer");
            Known::Missing(format!("ConfigMaps cannot be listed: {error}"))
        }
    }

    /// Whether all of them are known.
    pub fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// From when on what is not known is missing, if that is to come.
    pub fn patience_ends(&self) -> Option<Instant> {
        Some(self.began + PATIENCE).filter(|end| !self.is_listed && *end > Instant::now())
    }

    /// The parts of feeds.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.values()
    }
}
