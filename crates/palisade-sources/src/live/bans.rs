//! Ban lists as time goes by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use palisade_core::{BanEntry, BanList, BanListName, BanSource};

use super::view::View;
use crate::ban_list;

/// Every list with all its entries, and which of them expires next.
pub struct Bans {
    /// In seconds since 1970.
    now: i64,
    lists: BTreeMap<BanListName, Arc<BanList>>,
    expiries: BTreeSet<(i64, BanListName)>,
}

impl Default for Bans {
    /// At a time at which nothing has expired.
    fn default() -> Self {
        Bans { now: i64::MIN, lists: BTreeMap::new(), expiries: BTreeSet::new() }
    }
}

impl Bans {
    /// Sets or removes a list. One whose source is another than before has what that held until something else is known.
    pub fn set(&mut self, name: &BanListName, list: Option<BanList>, view: &mut View) {
        let before = self.lists.remove(name);
        self.expiries.retain(|(_, other)| other != name);
        if let Some(mut list) = list {
            if let Some(before) = before.filter(|_| list.source.is_some()) {
                list.of_source = Arc::clone(&before.of_source);
            }
            self.lists.insert(Arc::clone(name), Arc::new(list));
        }
        self.show(name, view);
    }

    /// The source of a list holds this.
    pub fn set_source(&mut self, name: &BanListName, entries: Arc<[BanEntry]>, view: &mut View) {
        if let Some(list) = self.lists.get_mut(name).filter(|list| list.source.is_some()) {
            Arc::make_mut(list).of_source = entries;
            self.expiries.retain(|(_, other)| other != name);
            self.show(name, view);
        }
    }

    /// The lists that have a source.
    pub fn sources(&self) -> impl Iterator<Item = (&BanListName, &BanSource)> {
        self.lists.iter().filter_map(|(name, list)| Some((name, list.source.as_ref()?)))
    }

    /// The names of all lists.
    pub fn names(&self) -> impl Iterator<Item = &BanListName> {
        self.lists.keys()
    }

    /// When the next entry expires.
    pub fn next_expiry(&self) -> Option<i64> {
        self.expiries.first().map(|(expires, _)| *expires)
    }

    /// It is so late now.
    pub fn at(&mut self, now: i64, view: &mut View) {
        if now < std::mem::replace(&mut self.now, now) {
            // The clock was put right: what seemed to have expired has not.
            for name in self.lists.keys().cloned().collect::<Vec<_>>() {
                self.expiries.retain(|(_, other)| *other != name);
                self.show(&name, view);
            }
        }
        while let Some((expires, _)) = self.expiries.first()
            && *expires <= now
            && let Some((_, name)) = self.expiries.pop_first()
        {
            self.show(&name, view);
        }
    }

    /// Puts a list as of now into the snapshot.
    fn show(&mut self, name: &BanListName, view: &mut View) {
        let list = self.lists.get(name).map(|list| ban_list::in_force(Arc::clone(list), self.now));
        let next = list.iter().flat_map(|list| list.all_entries()).filter_map(|entry| entry.expires).min();
        self.expiries.extend(next.map(|expires| (expires, Arc::clone(name))));
        view.ban_list(name, list);
    }
}
