//! The loop of the agent: takes in what happens, brings it into force, answers what is asked.
//!
//! One thread owns everything here, so that nothing is locked. Whatever happens comes as a [`Message`] or from the two
//! kernel sockets (changes of the ruleset, denied packets); between two waits everything that is there is taken in, and then
//! [`Engine::settle`] brings it into force at once, in one transaction.

mod ban_sources;
mod config;
mod confirming;
mod denied;
mod kinds;
mod memory;
mod node_state;
mod ranges;
mod room;
mod settle;
mod sources;
mod status;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use palisade_compile::Compiler;
use palisade_core::{Change, Diagnostic, ObjectName, PodName, Snapshot, Tables};
use palisade_nft::{Event, Generation, Kernel, Settings as Layout};
use palisade_sources::live::{Kind, Live, Object, Update};

use crate::binding::Binding;
use crate::config::ConfigFile;
use crate::confirm::Confirm;
use crate::message::{Message, WatchNews};
use crate::metrics::Metrics;
use crate::programming::{BanTable, HostTable, PolicyTable, Programming};
use crate::repeated::Repeated;
use crate::report::{Obstacle, Repair, Watch};
use crate::settings::Settings;
use crate::state::StateDirectory;
use ban_sources::BanSources;
use denied::Seen;
pub(crate) use denied::{DeniedPackets, Followed};
use kinds::may_be_absent;
use node_state::Telling;

/// The namespace whose `metadata.uid` tells clusters apart.
const CLUSTER_NAMESPACE: &str = "kube-system";

/// Of so many events that wait the latency is measured; a kernel that refuses may have them wait for long.
const ARRIVED_MAX: usize = 65_536;

/// Everything that the agent knows and does about its node.
pub struct Engine {
    pub(crate) settings: Arc<Settings>,
    pub(crate) live: Live,
    pub(crate) programming: Programming,
    pub(crate) watches: BTreeMap<Kind, Watch>,
    pub(crate) findings: BTreeMap<(Kind, ObjectName), Vec<Diagnostic>>,
    /// The pods of this node, whatever their state: most events concern others.
    pub(crate) local: BTreeSet<PodName>,
    pub(crate) in_force_since: BTreeMap<PodName, Timestamp>,
    pub(crate) repairs: VecDeque<Repair>,
    pub(crate) error: Option<String>,
    /// What stands in the way, by who found it.
    pub(crate) obstacles: BTreeMap<&'static str, Vec<Obstacle>>,
    /// The config files; `None` until they have been looked at.
    pub(crate) configs: Option<Vec<ConfigFile>>,
    /// Who is not among their networks, as was logged.
    gaps_told: Vec<Diagnostic>,
    pub(crate) telling: Telling,
    /// Whether changes took the way to the API server away.
    pub(crate) confirm: Confirm,
    seen: Seen,
    repeated: Repeated,
    pub(crate) metrics: Arc<Metrics>,
    directory: StateDirectory,
    /// The `metadata.uid` of [`CLUSTER_NAMESPACE`].
    cluster: Option<String>,
    /// The cluster of the state that was loaded at the start.
    cluster_of_state: Option<String>,
    /// The pod ranges that a Node of this node's name named last.
    node_ranges: Vec<IpNet>,
    /// The tables of the last state, until the API server has told everything.
    restored: Option<Tables>,
    pub(crate) paused: bool,
    sources: sources::Sources,
    pub(crate) bans: BanSources,
    /// What no list bans on this node.
    protected: Vec<IpNet>,
    pending: Pending,
    due: Due,
}

/// What waits to be brought into force.
#[derive(Default)]
struct Pending {
    changes: Vec<Change>,
    /// When each event arrived that these changes come from.
    arrived: Vec<Instant>,
    /// When the last list was complete, until what they hold is in force for the first time.
    listed: Option<Instant>,
    /// Another program changed our table: its name.
    drift: Option<String>,
}

/// What is to be done later.
#[derive(Default)]
struct Due {
    retry: Option<Instant>,
    save: Option<Instant>,
    saved: Option<Instant>,
    /// How long the state file was then.
    saved_bytes: usize,
    /// The state file is being written.
    saving: bool,
    repaired: Option<Instant>,
    /// A sweep of connection marks runs, since this generation.
    sweep: Option<Generation>,
    /// After one that failed.
    sweep_again: Option<Instant>,
    /// A look whether there is room for namespaces that are closed.
    review: Option<Instant>,
}

/// The connections to the kernel; what is not enforced has none.
#[derive(Debug)]
pub struct Kernels {
    /// To the table of policies.
    pub policies: Option<Kernel>,
    /// To that of host policies.
    pub host: Option<Kernel>,
    /// To that of bans.
    pub bans: Option<Kernel>,
    /// To those of pods that are bound to their addresses.
    pub binding: Option<Binding>,
}

/// What the caller is to do for the engine, since it takes too long to be waited for.
#[derive(Debug, Default)]
pub struct Errands {
    /// Clear the connection marks of all generations but this.
    pub sweep: Option<Generation>,
    /// Write this state file.
    pub save: Option<Vec<u8>>,
    /// See whether a new connection to the API server comes about.
    pub probe: bool,
}

impl Engine {
    /// For the namespace of the calling thread, where no list bans what is `protected`. What the kernel holds stays in force; where it
    /// holds nothing, the last state on disk is brought into force.
    pub fn start(
        settings: Arc<Settings>,
        protected: Vec<IpNet>,
        kernels: Kernels,
        directory: StateDirectory,
        metrics: Arc<Metrics>,
    ) -> Engine {
        let compiler = Compiler::with(
            settings.node.clone(),
            palisade_compile::Settings {
                unknown_pods: settings.unknown_pods,
                pod_cidrs: settings.pod_cidrs.clone(),
                failsafe_sources: settings.failsafe_sources.clone(),
                protected: protected.clone(),
                elements_max: Some(settings.elements_per_node),
            },
        );
        let layout =
            Layout { denied: settings.verdict, log_group: Some(settings.log_group), established: settings.established };
        let mut engine = Engine {
            live: Live::new(settings.limits.clone()),
            programming: Programming::new(
                compiler,
                kernels.policies.map(|kernel| PolicyTable::new(kernel, layout)),
                kernels.host.map(|kernel| HostTable::new(kernel, layout)),
                kernels.bans.map(|kernel| BanTable::new(kernel, layout)),
            ),
            watches: settings.kinds().map(|kind| (kind, Watch::default())).collect(),
            findings: BTreeMap::new(),
            local: BTreeSet::new(),
            in_force_since: BTreeMap::new(),
            repairs: VecDeque::new(),
            error: None,
            obstacles: BTreeMap::new(),
            configs: None,
            gaps_told: Vec::new(),
            telling: Telling::default(),
            confirm: Confirm::default(),
            seen: Seen::default(),
            repeated: Repeated::default(),
            metrics,
            cluster: None,
            cluster_of_state: None,
            node_ranges: Vec::new(),
            restored: None,
            paused: directory.pause().is_some(),
            sources: sources::Sources::new(kernels.binding),
            bans: BanSources::default(),
            protected,
            pending: Pending::default(),
            due: Due::default(),
            settings,
            directory,
        };
        engine.restore();
        if engine.settings.standalone {
            engine.stand_alone();
        }
        engine
    }

    /// Takes in what happened. Nothing reaches the kernel before [`Engine::settle`].
    pub fn take(&mut self, message: Message) {
        match message {
            Message::Watch { kind, news, at, .. } => self.take_news(kind, news, at),
            Message::Configs(files) => self.take_configs(files),
            Message::BanSources(news) => self.take_ban_sources(news, Instant::now()),
            Message::BanFiles(files) => self.take_ban_files(files, Instant::now()),
            Message::BanLists(answer) => drop(answer.send(self.snapshot().ban_lists.values().cloned().collect())),
            Message::BansOf(address, answer) => drop(answer.send(self.bans_of(address))),
            Message::Table(event) => self.take_table_event(event),
            Message::Interfaces => self.sources.look_for_a_while(Instant::now()),
            Message::NodeState(answer) => self.asked_for_node_state(answer),
            Message::Obstacles { of, obstacles } => self.take_obstacles(of, obstacles),
            Message::Surroundings(answer) => drop(answer.send(self.surroundings())),
            Message::BootGap(boot_gap) => self.telling.boot_gap = boot_gap,
            Message::Report(answer) => {
                self.refresh_counts(Instant::now());
                let _ = answer.send(self.report());
            }
            Message::Pause(pause, answer) => {
                drop(answer.send(self.pause(pause).map_err(|error| crate::watch::chain(&*error))));
            }
            Message::Resume(answer) => {
                drop(answer.send(self.resume().map_err(|error| crate::watch::chain(&error))));
            }
            Message::Denied(logged) => self.take_denied(logged),
            Message::NotNamed(packets) => self.not_named(packets),
            Message::DeniedPackets(answer) => self.asked_for_denied(answer),
            Message::Scrape(answer) => {
                self.refresh_metrics(Instant::now());
                let _ = answer.send(());
            }
            Message::Ready(answer) => drop(answer.send(self.not_ready())),
            Message::Swept(result) => self.swept(result),
            Message::Saved(result) => self.saved(result),
            Message::Probed(probe) => self.probed(probe),
            Message::Stop => {}
        }
    }

    fn take_table_event(&mut self, event: Event) {
        let by = match event {
            Event::Commit { ours: true, .. } | Event::Commit { touched: false, .. } => return,
            Event::Commit { program, .. } => program,
            Event::Lost => "?".to_string(),
        };
        if !self.paused {
            self.pending.drift = Some(by);
        }
    }

    fn take_news(&mut self, kind: Kind, news: WatchNews, at: Instant) {
        let update = match news {
            WatchNews::Begin => {
                self.note_list(kind, false);
                self.live.begin(kind);
                return;
            }
            WatchNews::Put(object) => {
                self.note(kind, &object);
                self.live.put(kind, &object)
            }
            WatchNews::Remove(object) => {
                self.note(kind, &object);
                self.live.remove(kind, &object)
            }
            WatchNews::End => {
                self.note_list(kind, true);
                let was_listed = self.is_listed();
                if let Some(watch) = self.watches.get_mut(&kind) {
                    watch.complete = true;
                    watch.error = None;
                }
                if !was_listed && self.is_listed() {
                    self.pending.listed = Some(at);
                    self.warn_of_gaps();
                }
                self.is_listed_now(kind);
                self.live.end(kind)
            }
            WatchNews::Failed { error, absent } => {
                self.kind_is(absent, kind);
                if self.repeated.may_write("watches that failed", at) {
                    tracing::warn!(?kind, "watch failed, trying again: {error}");
                }
                self.metrics.watch_failed(kind);
                if let Some(watch) = self.watches.get_mut(&kind) {
                    watch.error = Some(error);
                }
                return;
            }
        };
        self.metrics.watched(kind);
        self.take_update(update, at);
        if kind == Kind::BanList {
            self.ban_lists_changed();
        }
    }

    /// Takes note of how far a kind was read.
    fn note(&mut self, kind: Kind, object: &Object) {
        if let Some(watch) = self.watches.get_mut(&kind) {
            watch.error = None;
            watch.advance(object.resource_version());
        }
        self.note_own(kind, object);
        if kind == Kind::Namespace && object.name() == CLUSTER_NAMESPACE {
            self.cluster = Some(object.uid().to_owned());
        }
    }

    fn take_update(&mut self, update: Update, at: Instant) {
        for finding in update.findings {
            self.note_finding(finding.kind, &finding.name);
            let key = (finding.kind, finding.name);
            if finding.diagnostics.is_empty() {
                self.findings.remove(&key);
            } else {
                for diagnostic in &finding.diagnostics {
                    if self.repeated.may_write("findings in objects", at) {
                        tracing::warn!("{diagnostic}");
                    }
                }
                self.findings.insert(key, finding.diagnostics);
            }
        }
        for change in &update.changes {
            let Change::Pod(name, pod) = change else { continue };
            if pod.as_ref().is_some_and(|pod| pod.node.as_ref() == Some(&self.settings.node)) {
                self.local.insert(name.clone());
            } else {
                self.local.remove(name);
            }
        }
        if self.touches_interfaces(&update.changes) {
            self.sources.look(at);
        }
        if !update.changes.is_empty() {
            self.pending.changes.extend(update.changes);
            if self.pending.arrived.len() < ARRIVED_MAX {
                self.pending.arrived.push(at);
            }
        }
    }

    /// Whether the API server has told everything at least once. Kinds of ours hold up nothing else: without them, what was in force of
    /// them stays.
    pub fn is_listed(&self) -> bool {
        self.watches.iter().all(|(kind, watch)| watch.complete || may_be_absent(*kind))
    }

    /// Whether the policies of the cluster are in force.
    pub fn is_in_force(&self) -> bool {
        self.is_programmed() && self.confirm.undone.is_empty()
    }

    /// The same, but for what was taken back.
    fn is_programmed(&self) -> bool {
        self.is_listed() && !self.paused && self.programming.is_in_force() && self.pending.changes.is_empty()
    }

    /// The cluster as far as it is known.
    pub fn snapshot(&self) -> &Snapshot {
        self.live.snapshot()
    }
}

impl Watch {
    /// Resource versions are numbers that grow (Kubernetes 1.35 says so), whatever order a list has.
    fn advance(&mut self, version: &str) {
        let number = |text: &str| text.parse::<u128>().ok();
        if number(version) >= number(&self.resource_version) {
            version.clone_into(&mut self.resource_version);
        }
    }
}
