//! What tests and connections share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{faults::FaultList, requests::RequestLog, store::Store};

/// How the server keeps its history and its watches.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many events of each kind are kept for watches that resume; older ones are 410 Gone.
    pub history_events_max: usize,
    /// How often a watch that allows bookmarks gets one.
    pub bookmark_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { history_events_max: 100_000, bookmark_interval: Duration::from_mins(1) }
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub settings: Settings,
    store: Mutex<Store>,
    faults: Mutex<FaultList>,
    requests: Mutex<RequestLog>,
    watches: Mutex<BTreeMap<String, usize>>,
}

impl Shared {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            store: Mutex::new(Store::new(settings.history_events_max)),
            faults: Mutex::new(FaultList::new()),
            requests: Mutex::default(),
            watches: Mutex::default(),
        }
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        locked(&self.store)
    }

    pub fn faults(&self) -> MutexGuard<'_, FaultList> {
        locked(&self.faults)
    }

    pub fn requests(&self) -> MutexGuard<'_, RequestLog> {
        locked(&self.requests)
    }

    /// How many watches of the kind are open.
    pub fn open_watches(&self, id: &str) -> usize {
        locked(&self.watches).get(id).copied().unwrap_or(0)
    }
}

/// A test that panicked while it held the lock has failed by itself; the others still want to see the state.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a watch for as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenWatch {
    shared: Arc<Shared>,
    id: String,
}

impl OpenWatch {
    pub fn new(shared: Arc<Shared>, id: String) -> Self {
        *locked(&shared.watches).entry(id.clone()).or_default() += 1;
        Self { shared, id }
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        if let Some(count) = locked(&self.shared.watches).get_mut(&self.id) {
            *count = count.saturating_sub(1);
        }
    }
}
