//! All clusters together, what the kernel holds of them, and what is written down.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use palisade_agent::{Timestamp, chain};
use palisade_sources::node_allowlist::NodeAllowlist;

use crate::cluster::{Cluster, Event, News};
use crate::enforce::Enforcer;
use crate::store::{State, Store};

/// What failed is tried again so much later.
const RETRY: Duration = Duration::from_secs(2);

/// The state of the program.
#[derive(Debug)]
pub struct Host {
    list: NodeAllowlist,
    clusters: Vec<Cluster>,
    enforcer: Enforcer,
    store: Store,
    state: State,
    /// What is on disk; `None` if nobody knows.
    saved: Option<State>,
    /// What is in force; `None` if it has to be brought into force.
    in_force: Option<BTreeSet<IpNet>>,
    /// Who changed the table, if somebody did.
    drift: Option<String>,
    retry: Option<Timestamp>,
}

impl Host {
    /// As the last one left it.
    pub fn new(list: NodeAllowlist, enforcer: Enforcer, store: Store) -> Host {
        let before = store.load().unwrap_or_else(|error| {
            tracing::error!("nobody is admitted until the clusters tell: {}", chain(&error));
            None
        });
        let mut before = before.map(|state| state.clusters).unwrap_or_default();
        let clusters: Vec<Cluster> = list
            .clusters
            .iter()
            .map(|source| {
                Cluster::new(source.clone(), list.safety.clone(), before.remove(&source.name).unwrap_or_default())
            })
            .collect();
        for cluster in clusters.iter().filter(|cluster| cluster.state().listed.is_none()) {
            let name = cluster.name();
            tracing::warn!(
                "cluster {name}: nothing is known of it yet; none of its nodes is admitted until it is listed"
            );
        }
        let state = State::new(
            list.name.clone(),
            list.allow.iter().map(ToString::to_string).collect(),
            list.static_cidrs.iter().map(ToString::to_string).collect(),
        );
        Host { list, clusters, enforcer, store, state, saved: None, in_force: None, drift: None, retry: None }
    }

    /// Takes in what happened around a cluster.
    pub fn take(&mut self, number: usize, event: Event, now: Timestamp) {
        let Some(cluster) = self.clusters.get_mut(number) else { return };
        let news = cluster.take(event, now);
        log(cluster, &news);
    }

    /// Another program changed the table, or may have.
    pub fn drifted(&mut self, program: String) {
        self.enforcer.doubt();
        self.in_force = None;
        self.drift = Some(program);
    }

    /// Brings everything that is known into force, and writes it down.
    pub fn settle(&mut self, now: Timestamp) {
        for cluster in &mut self.clusters {
            let news = cluster.expire(now);
            log(cluster, &news);
        }
        self.retry = None;
        self.enforce(now);
        let clusters = self.clusters.iter();
        self.state.clusters = clusters.map(|cluster| (cluster.name().clone(), cluster.state().clone())).collect();
        if self.saved.as_ref() != Some(&self.state) {
            match self.store.save(&self.state) {
                Ok(()) => self.saved = Some(self.state.clone()),
                Err(error) => {
                    tracing::error!("the next start will not know this: {}", chain(&error));
                    self.try_again(now);
                }
            }
        }
    }

    /// When there is something to do though nothing happens.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let due = self.clusters.iter().filter_map(Cluster::next);
        // What stays because too few would be left is due all the time.
        due.filter(|due| *due > now).chain(self.retry).min()
    }

    /// Whether the kernel holds what it should.
    pub fn is_in_force(&self) -> bool {
        self.in_force.is_some()
    }

    fn enforce(&mut self, now: Timestamp) {
        let wanted: BTreeSet<IpNet> = self.clusters.iter().flat_map(Cluster::admitted).collect();
        if self.in_force.as_ref() == Some(&wanted) {
            return;
        }
        match self.enforcer.enforce(self.list.policy(wanted.iter().copied())) {
            Ok(changed) => {
                if let Some(program) = self.drift.take().filter(|_| changed) {
                    tracing::warn!("{program} changed the rules, which are repaired");
                }
                if self.state.in_force_since.is_none() || changed {
                    self.state.in_force_since = Some(now);
                    tracing::info!("in force: {} addresses of nodes are admitted", wanted.len());
                }
                self.state.error = None;
                self.in_force = Some(wanted);
            }
            Err(error) => {
                let error = chain(&error);
                if self.state.error.as_ref() != Some(&error) {
                    tracing::error!("not in force, trying again: {error}");
                }
                (self.state.in_force_since, self.in_force, self.state.error) = (None, None, Some(error));
                self.try_again(now);
            }
        }
    }

    fn try_again(&mut self, now: Timestamp) {
        self.retry = now.checked_add(RETRY).ok();
    }
}

fn log(cluster: &Cluster, news: &[News]) {
    for news in news {
        if news.is_warning() {
            tracing::warn!("cluster {}: {news}", cluster.name());
        } else {
            tracing::info!("cluster {}: {news}", cluster.name());
        }
    }
}
