//! The sources of ban lists: files of the node, `ConfigMaps`, and feeds that are fetched.
//!
//! What a source said last holds until it says something else that is taken for a list: while it is broken, half there, or away. The state
//! directory has a copy, so that the next agent knows it, too. A feed is fetched by one agent for all, the one that holds the Lease
//! `palisade-status`; it puts it into `ConfigMaps` of the agents' namespace, from which every agent takes it, itself included. Without an API
//! server each agent fetches for itself.
//!
//! Read in this order: `following` (all sources), `feed` (one, and what is known of it), `look` (a file or a text, read and judged), `fetch` (a feed),
//! `maps` (`ConfigMaps` that are followed), `parts` (a feed in `ConfigMaps`).

mod feed;
mod fetch;
mod following;
mod look;
mod maps;
mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Client, ResourceExt as _};
use palisade_core::{BanEntry, BanListName, BanPlace, BanSource};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::message::Message;
use crate::state::StateDirectory;
use following::Following;
use parts::{Part, Publisher};

/// How often a file is looked at. That costs a system call.
const LOOK: Duration = Duration::from_secs(1);
/// What is not known by then, of a source or of `ConfigMaps`, counts as what cannot be had: an agent that starts changes nothing of bans
/// before.
const PATIENCE: Duration = Duration::from_secs(5);
/// Parts of a feed that do not fit together for so long are not being written any more.
const WRITING: Duration = Duration::from_secs(30);
/// What could not be fetched, or published, is tried again so much later, or after the interval of the feed if that is shorter.
const RETRY: Duration = Duration::from_mins(1);

/// The sources that lists have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// By list: the source, and a number that tells a list from one of its name that was there before.
    pub sources: BTreeMap<BanListName, (u64, BanSource)>,
    /// Lists of which nobody can tell whether they have one. What is known of it is not forgotten.
    pub unreadable: BTreeSet<BanListName>,
}

/// What is known of the source of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNews {
    /// The list.
    pub list: BanListName,
    /// How its source is.
    pub condition: Condition,
    /// What is in force of it from here on; `None` leaves it as it is.
    pub entries: Option<Arc<[BanEntry]>>,
}

/// How a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// What it says is in force; and what of it could not be read, if something could not.
    Fetched {
        /// Lines that ban nothing.
        skipped: Option<String>,
    },
    /// It is away or not taken for a list: what it said last holds.
    Stale(String),
    /// The same, and it never said anything.
    Missing(String),
}

impl Condition {
    /// In one word, for status and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Condition::Fetched { .. } => "fetched",
            Condition::Stale(_) => "stale",
            Condition::Missing(_) => "missing",
        }
    }

    /// What it means for the list; nothing if all is well.
    pub fn means(&self) -> Option<&'static str> {
        match self {
            Condition::Fetched { .. } => None,
            Condition::Stale(_) => Some("what it held last is banned"),
            Condition::Missing(_) => Some("only the entries of the list itself are banned"),
        }
    }
}

/// Where sources are found.
pub struct Sources {
    /// The directory in which files are.
    pub files: PathBuf,
    /// What was found last.
    pub directory: StateDirectory,
    /// Where `ConfigMaps` are; `None` without an API server.
    pub cluster: Option<InCluster>,
}

/// Where `ConfigMaps` are.
pub struct InCluster {
    /// The API server.
    pub client: Client,
    /// The namespace of the agents.
    pub namespace: String,
    /// Whether this agent fetches for all.
    pub fetches: watch::Receiver<bool>,
}

impl InCluster {
    fn publisher(&self) -> Publisher {
        Publisher { client: self.client.clone(), namespace: self.namespace.clone() }
    }
}

/// The text of the source of a list, if these `ConfigMaps` of the agents' namespace have it.
pub fn text_in(maps: &[ConfigMap], list: &str, place: &BanPlace) -> Option<String> {
    match place {
        BanPlace::File(_) => None,
        BanPlace::ConfigMap(name) => {
            maps.iter().find(|map| map.name_any() == **name).map(|map| maps::text(map.data.clone().unwrap_or_default()))
        }
        BanPlace::Http(_) => {
            let feed = parts::key(list, place);
            let parts: Vec<Part> = maps.iter().filter_map(Part::of).filter(|part| part.feed == feed).collect();
            parts::whole(parts.iter()).map(|whole| whole.text())
        }
    }
}

/// Follows the sources that are wanted, as soon as it is known which, and tells the engine whenever one is other than before, for as long
/// as it listens.
pub async fn follow(mut wanted: watch::Receiver<Option<Wanted>>, sources: Sources, engine: mpsc::Sender<Message>) {
    let mut following = Following::new(sources);
    let mut events = following.events();
    loop {
        following.look();
        let news = following.news();
        if !news.is_empty() && engine.send(Message::BanSources(news)).await.is_err() {
            return;
        }
        let due = following.due();
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let wanted = wanted.borrow_and_update().clone();
                if let Some(wanted) = wanted {
                    following.want(wanted);
                }
            }
            Some(event) = events.next() => following.maps.take(event),
            Some(Ok(looked)) = following.looks.join_next() => following.take(looked),
            () = fetches_changed(following.sources.cluster.as_mut()) => {}
            () = until(due) => {}
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// Waits until this agent begins to fetch for all, or ceases to.
async fn fetches_changed(cluster: Option<&mut InCluster>) {
    let changed = match cluster {
        Some(cluster) => cluster.fetches.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        pending::<()>().await;
    }
}
