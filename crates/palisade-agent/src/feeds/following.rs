//! All sources: which there are, when each is looked at, and what is other than was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use palisade_core::{BanListName, BanPlace};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::feed::Feed;
use super::fetch::Fetcher;
use super::look::{self, Look, Looked};
use super::maps::{self, Known, Maps};
use super::parts::{self, Part};
use super::{RETRY, SourceNews, Sources, Wanted};
use crate::state::Copied;
use crate::watch::chain;

/// The sources that are followed.
pub struct Following {
    pub sources: Sources,
    feeds: BTreeMap<BanListName, Feed>,
    pub maps: Maps,
    fetcher: Fetcher,
    /// What is being read.
    pub looks: JoinSet<Looked>,
    /// Which sources there are, once it is known.
    wanted: Option<Wanted>,
    /// The feeds of which parts are removed since no list has them any more, and when that was begun.
    forgotten: BTreeMap<String, Instant>,
}

impl Following {
    /// Of which nothing is known yet.
    pub fn new(sources: Sources) -> Following {
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
    pub fn events(&self) -> maps::Events {
        let cluster = self.sources.cluster.as_ref();
        cluster.map_or_else(maps::none, |cluster| maps::events(&cluster.client, &cluster.namespace))
    }

    /// These lists have a source, and no others.
    pub fn want(&mut self, wanted: Wanted) {
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
    pub fn look(&mut self) {
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
    pub fn take(&mut self, looked: Looked) {
        if let Some(feed) = self.feeds.get_mut(&looked.list) {
            feed.take(looked);
        }
    }

    /// What is other than was told.
    pub fn news(&mut self) -> Vec<SourceNews> {
        self.feeds.iter_mut().filter_map(|(list, feed)| feed.news(list)).collect()
    }

    /// When something is to be looked at next.
    pub fn due(&self) -> Option<Instant> {
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
