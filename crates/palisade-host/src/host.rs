//! All clusters together, what the kernel and the files hold of them, and what is written down.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use palisade_agent::{Timestamp, chain};
use palisade_sources::node_allowlist::{Mode, NodeAllowlist};
use tokio::sync::mpsc;

use crate::beside;
use crate::cluster::{Cluster, Event, News};
use crate::confirming::Confirming;
use crate::enforce::{EnforceError, Enforcer};
use crate::export::{Addresses, Finished, Kept};
use crate::request::Accepted;
use crate::run::Message;
use crate::store::{State, Store};

/// What failed is tried again so much later.
const RETRY: Duration = Duration::from_secs(2);
/// Sets of which the kernel does not tell what others do to them are read so often.
const SILENT: Duration = Duration::from_secs(5);
/// Sets that others change are repaired so often at most.
const REPAIR_PAUSE: Duration = Duration::from_secs(1);
/// What stands beside us is looked at so often.
const LOOK: Duration = Duration::from_mins(1);

/// The state of the program.
#[derive(Debug)]
pub struct Host {
    list: NodeAllowlist,
    clusters: Vec<Cluster>,
    enforcer: Enforcer,
    exports: Vec<Kept>,
    store: Store,
    inbox: mpsc::Sender<Message>,
    /// What is known besides the clusters.
    state: State<Never>,
    /// What of it is on disk; `None` if nobody knows, or that of a cluster is not.
    saved: Option<State<Never>>,
    /// What is in force; `None` if it has to be brought into force.
    in_force: Option<BTreeSet<IpNet>>,
    /// Who changed what the kernel holds, if somebody did.
    drift: Option<String>,
    confirming: Confirming,
    retry: Option<Timestamp>,
    /// When that was repaired last.
    repaired: Option<Timestamp>,
    /// When sets are to be read again, of which the kernel tells nothing.
    silent: Option<Timestamp>,
    /// When to look at what stands beside us.
    look: Option<Timestamp>,
}

/// The clusters are elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Never {}

impl Host {
    /// As the last one left it.
    pub fn new(list: NodeAllowlist, enforcer: Enforcer, store: Store, inbox: mpsc::Sender<Message>) -> Host {
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
        let state = State::new(&list);
        let exports = list.exports.iter().cloned().map(Kept::new).collect();
        Host {
            list,
            clusters,
            enforcer,
            exports,
            store,
            inbox,
            state,
            saved: None,
            in_force: None,
            drift: None,
            confirming: Confirming::No,
            retry: None,
            repaired: None,
            silent: None,
            look: Some(Timestamp::MIN),
        }
    }

    /// The first rules that change something have to be confirmed within this time.
    pub fn demand_confirmation(&mut self, within: Duration) {
        self.confirming = Confirming::Armed(within);
    }

    /// Takes in what happened around a cluster.
    pub fn take(&mut self, number: usize, event: Event, now: Timestamp) {
        let Some(cluster) = self.clusters.get_mut(number) else { return };
        let news = cluster.take(event, now);
        log(cluster, &news);
    }

    /// Somebody lets nodes go that are kept.
    pub fn accept(&mut self, nodes: &Accepted, now: Timestamp) {
        for cluster in &mut self.clusters {
            let Some(nodes) = nodes.get(cluster.name()) else { continue };
            tracing::info!("cluster {}: {} nodes may go, as somebody says", cluster.name(), nodes.len());
            let news = cluster.accept(nodes, now);
            log(cluster, &news);
        }
    }

    /// Another program changed what the kernel holds, or may have.
    pub fn drifted(&mut self, program: String, now: Timestamp) {
        self.enforcer.doubt();
        self.drift = Some(program);
        // Who fills the same set would be answered at once, and answer at once.
        let pause = self.repaired.map(|repaired| later(repaired, REPAIR_PAUSE)).filter(|end| *end > now);
        match pause.filter(|_| matches!(self.list.mode, Mode::SetOnly(_))) {
            Some(end) => self.silent = Some(self.silent.map_or(end, |silent| silent.min(end))),
            None => self.in_force = None,
        }
    }

    /// A command ended that a file is followed by.
    pub fn exported(&mut self, finished: Finished, now: Timestamp) {
        if self.exports.get_mut(finished.number).is_some_and(|kept| kept.finished(finished.result)) {
            self.try_again(now);
        }
    }

    /// The rules may stay.
    pub fn confirm(&mut self) {
        self.confirming.confirm();
        self.state.unconfirmed_until = self.confirming.until();
    }

    /// Brings everything that is known into force, and writes it down. It costs nothing where nothing changed.
    pub fn settle(&mut self, now: Timestamp) {
        let mut changed = false;
        for cluster in &mut self.clusters {
            let news = cluster.expire(now);
            log(cluster, &news);
            changed |= cluster.take_change();
        }
        if changed {
            self.saved = None;
        }
        // What is due once more says so itself.
        let again = self.retry.take().is_some();
        if self.silent.is_some_and(|silent| silent <= now) {
            self.in_force = None;
        }
        if changed || self.in_force.is_none() {
            self.enforce(now);
        }
        if changed || again {
            self.export(now);
        }
        if self.look.is_some_and(|look| look <= now) {
            self.look_beside(now);
        }
        if self.saved.as_ref() != Some(&self.state) {
            self.save(now);
        }
    }

    fn save(&mut self, now: Timestamp) {
        let clusters = self.clusters.iter().map(|cluster| (Arc::clone(cluster.name()), cluster.state()));
        match self.store.save(&self.state.with(clusters.collect())) {
            Ok(()) => self.saved = Some(self.state.clone()),
            Err(error) => {
                tracing::error!("the next start will not know this: {}", chain(&error));
                self.try_again(now);
            }
        }
    }

    /// Goes back to what the kernel held before, if nobody confirmed in time; whether it did.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn went_back(&mut self, now: Timestamp) -> Result<bool, EnforceError> {
        let Some(before) = self.confirming.overdue(now) else { return Ok(false) };
        self.enforcer.go_back(before)?;
        (self.state.in_force_since, self.state.unconfirmed_until) = (None, None);
        self.state.error = Some("not confirmed in time: what the kernel held before is back".to_string());
        self.save(now);
        Ok(true)
    }

    /// When there is something to do though nothing happens.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let due = self.clusters.iter().filter_map(Cluster::next);
        // What stays because too few would be left is due all the time.
        due.filter(|due| *due > now)
            .chain(self.retry)
            .chain(self.confirming.until())
            .chain(self.silent)
            .chain(self.look)
            .min()
    }

    /// What is known.
    pub fn state(&self) -> State {
        let clusters = self.clusters.iter().map(|cluster| (Arc::clone(cluster.name()), cluster.state().clone()));
        self.state.with(clusters.collect())
    }

    /// Whether the kernel holds what it should.
    pub fn is_in_force(&self) -> bool {
        self.in_force.is_some()
    }

    /// Whether the files do, too, and their commands ran.
    pub fn is_well(&self) -> bool {
        self.is_in_force() && self.exports.iter().all(Kept::is_done)
    }

    /// Whether there is nothing more to wait for.
    pub fn is_settled(&self) -> bool {
        self.confirming.until().is_none() && !self.exports.iter().any(Kept::is_running)
    }

    fn enforce(&mut self, now: Timestamp) {
        let wanted: BTreeSet<IpNet> = self.clusters.iter().flat_map(Cluster::admitted).collect();
        if self.in_force.as_ref() == Some(&wanted) {
            return;
        }
        let is_silent = self.enforcer.has_silent_sets();
        self.silent = is_silent.then(|| later(now, SILENT));
        match self.bring_into_force(&wanted, now) {
            Ok(changed) => {
                if let Some(program) = self.drift.take().filter(|_| changed) {
                    self.repaired = Some(now);
                    tracing::warn!("{program} changed what the kernel holds, which is repaired");
                }
                if self.state.in_force_since.is_none() || changed {
                    self.state.in_force_since = Some(now);
                    if self.list.mode != Mode::ExportOnly {
                        tracing::info!("in force: {} addresses of nodes are admitted", wanted.len());
                    }
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

    fn bring_into_force(&mut self, wanted: &BTreeSet<IpNet>, now: Timestamp) -> Result<bool, EnforceError> {
        let before = if self.confirming.is_armed() { Some(self.enforcer.held()?) } else { None };
        let changed = self.enforcer.enforce(&self.list, wanted)?;
        if let Some(before) = before.filter(|_| changed) {
            self.confirming.wait(before, now);
            self.state.unconfirmed_until = self.confirming.until();
        }
        Ok(changed)
    }

    /// Brings the files up to date. As long as a cluster was never listed they stay as they are: half a list shuts nodes out.
    fn export(&mut self, now: Timestamp) {
        if self.clusters.iter().any(|cluster| cluster.state().listed.is_none()) {
            return;
        }
        let mut addresses = Addresses::of(&self.list.name, &self.list.static_cidrs);
        self.clusters.iter().for_each(|cluster| addresses.add(cluster));
        let mut again = false;
        for (number, kept) in self.exports.iter_mut().enumerate() {
            again |= kept.keep(&addresses, number, &self.inbox);
        }
        if again {
            self.try_again(now);
        }
        self.state.exports = self.exports.iter().map(Kept::state).collect();
    }

    fn look_beside(&mut self, now: Timestamp) {
        let mut found = beside::obstacles(&self.list);
        let unheld =
            self.in_force.as_ref().map(|wanted| self.enforcer.unheld(&self.list.admitted(wanted.iter().copied())));
        for family in unheld.into_iter().flatten() {
            found.push(format!("there are {family} addresses, and spec.setOnly has no set for them"));
        }
        for obstacle in found.iter().filter(|obstacle| !self.state.obstacles.contains(obstacle)) {
            tracing::warn!("{obstacle}");
        }
        self.state.obstacles = found;
        self.look = Some(later(now, LOOK));
    }

    fn try_again(&mut self, now: Timestamp) {
        self.retry = Some(later(now, RETRY));
    }
}

/// A time beyond all time is never.
fn later(now: Timestamp, delay: Duration) -> Timestamp {
    now.checked_add(delay).unwrap_or(Timestamp::MAX)
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
