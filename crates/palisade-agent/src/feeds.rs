//! The sources of ban lists: files of the node, `ConfigMaps`, and feeds that are fetched.
//!
//! What a source said last holds until it says something else that is taken for a list: while it is broken, half there, or away. The state
//! directory has a copy, so that the next agent knows it, too. A feed is fetched by one agent for all, the one that holds the Lease
//! `palisade-status`; it puts it into `ConfigMaps` of the agents' namespace, from which every agent takes it, itself included. Without an API
//! server each agent fetches for itself.
//!
//! Read in this order: `feed` (one source, and what is known of it), `look` (a file or a text, read and judged), `fetch` (a feed),
//! `maps` (`ConfigMaps` that are followed), `parts` (a feed in `ConfigMaps`).

mod feed;
mod fetch;
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
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::message::Message;
use crate::state::{Copied, StateDirectory};
use crate::watch::chain;
use feed::Feed;
use fetch::Fetcher;
use look::{Look, Looked};
use maps::{Known, Maps};
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

struct Following {
    sources: Sources,
    feeds: BTreeMap<BanListName, Feed>,
    maps: Maps,
    fetcher: Fetcher,
    /// What is being read.
    looks: JoinSet<Looked>,
    /// Which sources there are, once it is known.
    wanted: Option<Wanted>,
    /// The feeds of which parts are removed since no list has them any more, and when that was begun.
    forgotten: BTreeMap<String, Instant>,
}

impl Following {
    fn new(sources: Sources) -> Following {
        let fetcher = Fetcher::new(sources.directory.clone());
        Following {
            sources,
            feeds: BTreeMap::new(),
            maps: Maps::default(),
            fetcher,
            looks: JoinSet::new(),
            wanted: None,
            forgotten: BTreeMap::new(),
        }
    }

    /// What happens to `ConfigMaps`.
    fn events(&self) -> maps::Events {
        let cluster = self.sources.cluster.as_ref();
        cluster.map_or_else(maps::none, |cluster| maps::events(&cluster.client, &cluster.namespace))
    }

    /// These lists have a source, and no others.
    fn want(&mut self, wanted: Wanted) {
        self.feeds.retain(|list, _| wanted.sources.contains_key(list));
        for (list, (incarnation, source)) in &wanted.sources {
            match self.feeds.get_mut(list) {
                Some(feed) => feed.is_wanted_as(*incarnation, source),
                None => drop(self.feeds.insert(Arc::clone(list), Feed::new(*incarnation, source.clone()))),
            }
        }
        let known = wanted.sources.keys().chain(&wanted.unreadable).map(|list| look::name(list)).collect();
        if let Err(error) = self.sources.directory.forget_copies_but(Copied::Feed, &known) {
            tracing::warn!("{}", chain(&error));
        }
        self.wanted = Some(wanted);
    }

    /// Has the parts of feeds removed that no list has any more, if this agent does so for all.
    fn forget_parts(&mut self) {
        let (Some(wanted), Some(cluster)) = (&self.wanted, &self.sources.cluster) else { return };
        if !*cluster.fetches.borrow() {
            return;
        }
        let sources = wanted.sources.iter();
        let keys: BTreeSet<String> = sources.map(|(list, (_, source))| parts::key(list, &source.place)).collect();
        let is_over = |part: &&Part| !keys.contains(&part.feed) && !wanted.unreadable.contains(&*part.list);
        let over: BTreeSet<String> = self.maps.parts().filter(is_over).map(|part| part.feed.clone()).collect();
        let now = Instant::now();
        self.forgotten.retain(|feed, begun| over.contains(feed) && *begun + RETRY > now);
        let new: BTreeSet<String> = over.into_iter().filter(|feed| !self.forgotten.contains_key(feed)).collect();
        if !new.is_empty() {
            self.forgotten.extend(new.iter().map(|feed| (feed.clone(), now)));
            tokio::spawn(cluster.publisher().forget(new));
        }
    }

    /// Begins to look at what is due.
    fn look(&mut self) {
        self.forget_parts();
        let Following { sources, feeds, maps, fetcher, looks, .. } = self;
        for (list, feed) in feeds.iter_mut().filter(|(_, feed)| !feed.is_busy) {
            let directory = sources.directory.clone();
            if feed.wants_copy() {
                let look = feed.look(list);
                looks.spawn_blocking(move || look::done(look, |look| look::at_copy(look, &directory)));
                continue;
            }
            let is_due = feed.due <= Instant::now();
            match (feed.source.place.clone(), &sources.cluster) {
                (BanPlace::File(path), _) if is_due => {
                    let (look, path) = (feed.look(list), sources.files.join(&*path));
                    looks.spawn_blocking(move || look::done(look, |look| look::at_file(look, &path, &directory)));
                }
                (BanPlace::ConfigMap(name), Some(_)) => match maps.text(&name) {
                    Known::There((version, text)) if feed.is_new(version) => {
                        let (look, version) = (feed.look(list), version.to_owned());
                        let work = move |look| look::at_text(look, version, &text, &directory);
                        looks.spawn_blocking(move || look::done(look, work));
                    }
                    Known::Missing(why) => feed.fails(why),
                    Known::There(_) | Known::Half | Known::NotYet => {}
                },
                (BanPlace::ConfigMap(_), None) => feed.fails("there is no API server, and so no ConfigMap".to_owned()),
                (place @ BanPlace::Http(_), Some(cluster)) => {
                    if let Some(whole) = feed.published(maps.feed(&parts::key(list, &place))) {
                        let look = Look { limits: look::JUDGED, ..feed.look(list) };
                        let work = move |look| look::at_text(look, whole.digest.clone(), &whole.text(), &directory);
                        looks.spawn_blocking(move || look::done(look, work));
                    } else if feed.due <= Instant::now() && *cluster.fetches.borrow() && maps.is_listed() {
                        let before = feed.validators.clone();
                        looks.spawn(fetcher.clone().fetch(feed.look(list), before, Some(cluster.publisher())));
                    }
                }
                (BanPlace::Http(_), None) if is_due => {
                    let before = feed.validators.clone();
                    looks.spawn(fetcher.clone().fetch(feed.look(list), before, None));
                }
                (BanPlace::File(_), _) | (BanPlace::Http(_), None) => {}
            }
        }
    }

    /// Something was read.
    fn take(&mut self, looked: Looked) {
        if let Some(feed) = self.feeds.get_mut(&looked.list) {
            feed.take(looked);
        }
    }

    /// What is other than was told.
    fn news(&mut self) -> Vec<SourceNews> {
        self.feeds.iter_mut().filter_map(|(list, feed)| feed.news(list)).collect()
    }

    /// When something is to be looked at next.
    fn due(&self) -> Option<Instant> {
        let cluster = self.sources.cluster.as_ref();
        let fetches = cluster.is_none_or(|cluster| *cluster.fetches.borrow() && self.maps.is_listed());
        let looked_at = |feed: &Feed| match feed.source.place {
            _ if feed.is_busy => None,
            BanPlace::File(_) => Some(feed.due),
            BanPlace::Http(_) if fetches => Some(feed.due),
            BanPlace::Http(_) | BanPlace::ConfigMap(_) => None,
        };
        let of_feeds = self.feeds.values().flat_map(|feed| [looked_at(feed), feed.written_by(), feed.patience_ends()]);
        of_feeds.chain([cluster.and_then(|_| self.maps.patience_ends())]).flatten().min()
    }
}
