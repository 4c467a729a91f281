//! The sources of ban lists: which are wanted, what they hold, and what is said of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use palisade_core::BanListName;
use palisade_sources::live::Kind;
use tokio::sync::watch;

use super::Engine;
use crate::ban_files::BanFiles;
use crate::bans::ToldAddress;
use crate::feeds::{Condition, SourceNews, Wanted};
use crate::node_state::BanSource;
use crate::report::{BanSourceReport, Obstacle};

/// What stands in the way is shown under this name.
const OBSTACLE: &str = "ban-source";
/// How many sources that are not as they should be are told to the cluster.
const SOURCES_NAMED: usize = 32;
/// And how much of why, in characters.
const WHY_CHARACTERS: usize = 256;

/// What is known of the sources of ban lists.
#[derive(Debug, Default)]
pub struct BanSources {
    /// Which there are; `None` until the lists are known.
    pub wanted: watch::Sender<Option<Wanted>>,
    conditions: BTreeMap<BanListName, Condition>,
    /// What tells lists with a source from those of their names that were there before.
    incarnations: BTreeMap<BanListName, u64>,
    last_incarnation: u64,
    /// Whether what the files of an agent without an API server say is known.
    files_are_known: bool,
}

impl Engine {
    /// Ban lists have changed: says which sources there are, once all lists are known.
    pub(super) fn ban_lists_changed(&mut self) {
        if self.ban_lists_are_known() {
            let wanted = self.wanted_sources();
            self.bans.conditions.retain(|list, _| wanted.sources.contains_key(list));
            self.bans.wanted.send_if_modified(|known| {
                let is_new = known.as_ref() != Some(&wanted);
                *known = Some(wanted);
                is_new
            });
            self.show_ban_sources();
        }
        self.look_whether_bans_are_known();
    }

    fn wanted_sources(&mut self) -> Wanted {
        let BanSources { incarnations, last_incarnation, .. } = &mut self.bans;
        let lists = &self.live.snapshot().ban_lists;
        let has_source = |list: &BanListName| lists.get(list).is_some_and(|list| list.source.is_some());
        incarnations.retain(|list, _| has_source(list));
        let mut incarnation = |list: &BanListName| {
            *incarnations.entry(list.clone()).or_insert_with(|| {
                *last_incarnation += 1;
                *last_incarnation
            })
        };
        let sources = self.live.ban_sources();
        Wanted {
            sources: sources.map(|(list, source)| (list.clone(), (incarnation(list), source.clone()))).collect(),
            unreadable: lists.values().filter(|list| list.unreadable.is_some()).map(|list| list.name.clone()).collect(),
        }
    }

    fn ban_lists_are_known(&self) -> bool {
        match self.watches.get(&Kind::BanList) {
            Some(watch) => watch.complete,
            None => self.bans.files_are_known,
        }
    }

    /// Sources are like this now.
    pub(super) fn take_ban_sources(&mut self, news: Vec<SourceNews>, at: Instant) {
        for SourceNews { list, condition, entries } in news {
            // A list may be gone by now.
            if !self.live.ban_sources().any(|(known, _)| *known == list) {
                continue;
            }
            say(&list, &condition);
            self.bans.conditions.insert(list.clone(), condition);
            self.telling.changed.notify_one();
            if let Some(entries) = entries {
                let update = self.live.set_ban_source(&list, entries);
                self.take_update(update, at);
            }
        }
        self.show_ban_sources();
        self.look_whether_bans_are_known();
    }

    /// The files of an agent without an API server say this.
    pub(super) fn take_ban_files(&mut self, files: BanFiles, at: Instant) {
        let BanFiles { lists, problems } = files;
        self.take_obstacles("ban-files", problems);
        let update = self.live.set_ban_lists(lists);
        self.take_update(update, at);
        self.bans.files_are_known = true;
        self.ban_lists_changed();
    }

    /// Has what is known of bans in force, as soon as that is all: every list, and what its source holds or held.
    fn look_whether_bans_are_known(&mut self) {
        if self.ban_lists_are_known()
            && self.live.ban_sources().all(|(list, _)| self.bans.conditions.contains_key(list))
        {
            self.programming.follow_bans();
        }
    }

    fn show_ban_sources(&mut self) {
        let obstacles = self.bans.conditions.iter().filter_map(|(list, condition)| obstacle(list, condition));
        let obstacles: Vec<Obstacle> = obstacles.collect();
        if self.obstacles.get(OBSTACLE).is_none_or(|known| *known != obstacles) {
            self.take_obstacles(OBSTACLE, obstacles);
        }
    }

    /// The lists that have a source, and how it is.
    pub(super) fn ban_source_reports(&self) -> Vec<BanSourceReport> {
        let report = |(list, condition): (&BanListName, &Condition)| BanSourceReport {
            list: list.to_string(),
            condition: condition.name().to_owned(),
        };
        self.bans.conditions.iter().map(report).collect()
    }

    /// How many sources are in each condition.
    pub(super) fn count_ban_sources(&self) {
        self.metrics.ban_sources(self.bans.conditions.values().map(Condition::name));
    }

    /// What lists say of an address; what is protected on this node is banned by none.
    pub(super) fn bans_of(&self, address: IpAddr) -> ToldAddress {
        let told = ToldAddress::of(self.snapshot(), address);
        let network = IpNet::from(address);
        let protected = self.protected.iter().find(|protected| protected.contains(&network));
        match protected {
            Some(protected) => told.protected(&format!("{protected} is protected on this node")),
            None => told,
        }
    }

    /// The first of those that are not as they should be.
    pub(super) fn troubled_ban_sources(&self) -> Vec<BanSource> {
        let troubled = |(list, _): (&BanListName, _)| {
            let (is_held, why) = match self.bans.conditions.get(list) {
                Some(Condition::Fetched { .. }) => return None,
                Some(Condition::Stale(why)) => (true, why.chars().take(WHY_CHARACTERS).collect()),
                Some(Condition::Missing(why)) => (false, why.chars().take(WHY_CHARACTERS).collect()),
                None => (false, "it was not read yet".to_owned()),
            };
            Some(BanSource { list: list.to_string(), is_held, why })
        };
        self.live.ban_sources().filter_map(troubled).take(SOURCES_NAMED).collect()
    }
}

fn say(list: &str, condition: &Condition) {
    match condition {
        Condition::Fetched { skipped: None } => tracing::info!("the source of BanList {list} is in force"),
        Condition::Fetched { skipped: Some(skipped) } => {
            tracing::warn!("the source of BanList {list} is in force, but for {skipped}");
        }
        Condition::Stale(why) | Condition::Missing(why) => {
            tracing::warn!("the source of BanList {list}: {why}; {}", condition.means().unwrap_or_default());
        }
    }
}

fn obstacle(list: &str, condition: &Condition) -> Option<Obstacle> {
    let (Condition::Stale(why) | Condition::Missing(why)) = condition else { return None };
    Some(Obstacle {
        name: OBSTACLE.to_string(),
        found: format!("the source of BanList {list}: {why}"),
        means: condition.means().unwrap_or_default().to_string(),
        hint: None,
    })
}
