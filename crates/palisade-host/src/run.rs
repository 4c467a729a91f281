//! The process: a thread that talks to the API servers and owns the rules, one that hears what others do to them, and one that hears what
//! people ask.

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use palisade_agent::files::FileError;
use palisade_agent::http::{self, Asked};
use palisade_agent::namespace::{self, NamespaceError};
use palisade_agent::{Timestamp, chain, terminated};
use palisade_nft::{Event as TableEvent, KernelError, Monitor};
use palisade_sources::node_allowlist::{Mode, NodeAllowlist};
use tokio::sync::{mpsc, oneshot};

use crate::cluster::Event;
use crate::enforce::{self, EnforceError, Enforcer};
use crate::export::Finished;
use crate::follow::follow;
use crate::host::Host;
use crate::metrics;
use crate::notify::Manager;
use crate::request::{self, Accepted};
use crate::store::{State, Store};

/// How many messages wait at most; beyond it the API servers keep what is to come.
const INBOX: usize = 1024;
/// News of the ruleset are waited for so long at once.
const PATIENCE: Duration = Duration::from_millis(500);
/// With `once`, an API server has to answer within this.
const ONCE_PATIENCE: Duration = Duration::from_secs(30);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who is admitted to what.
    pub list: NodeAllowlist,
    /// Where the state is.
    pub state_dir: PathBuf,
    /// Whether to end as soon as every cluster was asked once.
    pub once: bool,
    /// Somebody has to say within this time that the first rules that change something may stay.
    pub confirm: Option<Duration>,
    /// Where metrics and probes are served.
    pub listen: Option<SocketAddr>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All is well: everything is in force, and with `once` every cluster told its nodes.
    Well,
    /// Something is not.
    Unwell,
    /// Nobody confirmed: the kernel holds what it held before.
    WentBack,
}

/// One piece of news.
#[derive(Debug)]
pub enum Message {
    /// Of the cluster with this number.
    Cluster(usize, Event),
    /// This program changed what the kernel holds.
    Table(String),
    /// A command ended that a file is followed by.
    Exported(Finished),
    /// Somebody lets nodes go that are kept.
    Accept(Accepted),
    /// Somebody says that the rules may stay.
    Confirm,
    /// Somebody wants to know the state.
    State(oneshot::Sender<Box<State>>),
}

/// Why it does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state directory cannot be used.
    #[error("the state directory cannot be used\nhint: --state-dir names another")]
    Store(#[from] FileError),
    /// Another one has it.
    #[error("another 'palisade host' has the state directory {}\nhint: end that one first, or name another --state-dir", .0.display())]
    Taken(PathBuf),
    /// Another program of ours enforces here.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The kernel cannot be used.
    #[error("the kernel cannot be used\nhint: root is needed, or CAP_NET_ADMIN")]
    Kernel(#[from] KernelError),
    /// It does not hold what it should.
    #[error("the rules cannot be taken back")]
    Enforce(#[from] EnforceError),
    /// Something that the program needs cannot be had.
    #[error("cannot {operation}")]
    Io {
        /// What was tried.
        operation: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Runs until SIGTERM or SIGINT, or once; what is in force then stays in force.
///
/// # Errors
///
/// If it cannot start; once it runs, whatever goes wrong is told and tried again, unless it is going back.
pub fn run(settings: Settings) -> Result<Ended, RunError> {
    let Settings { list, state_dir, once, confirm, listen: address } = settings;
    let store = Store::open(&state_dir)?;
    let Some(_alone) = store.lock()? else { return Err(RunError::Taken(state_dir)) };
    request::forget_confirmation(&store)?;
    // Sets of others, and files, may be those of several lists.
    let only = (list.mode == Mode::OwnChain).then(|| namespace::lock(namespace::PATIENCE)).transpose()?;
    let enforcer = Enforcer::open(&list.mode)?;
    let failed = |operation: &str| {
        let operation = operation.to_string();
        move |source| RunError::Io { operation, source }
    };
    let served =
        address.map(|address| http::bind(address).map_err(failed(&format!("listen on {address}")))).transpose()?;
    let sources = list.clusters.clone();
    let words = format!("{} (palisade host)", list.name);
    let (sender, mut inbox) = mpsc::channel(INBOX);
    let thread = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let spawned = std::thread::Builder::new().name(name.to_string()).spawn(work);
        spawned.map(drop).map_err(failed("start a thread"))
    };
    if let Some(monitor) = enforcer.monitor()? {
        let (news, only_ours) = (sender.clone(), list.mode == Mode::OwnChain);
        thread("news", Box::new(move || listen(monitor, only_ours, &news)))?;
    }
    let (asking, files) = (sender.clone(), request::paths(&store));
    thread("requests", Box::new(move || request::listen(&files, &asking)))?;
    let mut host = Host::new(list, enforcer, store, sender.clone());
    if let Some(within) = confirm {
        host.demand_confirmation(within);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(failed("start the async runtime"))?.block_on(async {
        // Before any API server answers.
        host.settle(Timestamp::now());
        let followed = sources.iter().enumerate().map(|(number, source)| follow(number, source, &sender));
        let told = async {
            if let Some(only) = &only
                && let Err(error) = namespace::serve(only, words, &state_dir).await
            {
                tracing::error!("others are not told who enforces here: {error}");
            }
            pending::<()>().await;
        };
        let asked = async {
            match served {
                Some(listener) => http::serve(listener, Loop(sender.clone())).await,
                None => pending().await,
            }
        };
        tokio::select! {
            ended = work(&mut host, &mut inbox, once.then_some(sources.len())) => ended,
            _ = join_all(followed) => Ok(Ended::Unwell),
            () = told => Ok(Ended::Unwell),
            () = asked => Ok(Ended::Unwell),
            () = terminated() => Ok(Ended::Well),
        }
    })
}

/// The loop, for whoever asks by HTTP.
#[derive(Clone)]
struct Loop(mpsc::Sender<Message>);

impl Loop {
    async fn state(&self) -> Option<Box<State>> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(Message::State(sender)).await.ok()?;
        receiver.await.ok()
    }
}

impl Asked for Loop {
    async fn metrics(&self) -> String {
        self.state().await.map(|state| metrics::text(&state)).unwrap_or_default()
    }

    async fn waits(&self) -> Option<Vec<String>> {
        let state = self.state().await?;
        let error = state.error.iter().cloned();
        let unlisted = state.clusters.iter().filter(|(_, cluster)| cluster.listed.is_none());
        Some(error.chain(unlisted.map(|(name, _)| format!("cluster {name} was never listed"))).collect())
    }
}

/// Takes the rules out of the kernel; whether there were any.
///
/// # Errors
///
/// If another program of ours enforces here, or the kernel refuses.
pub fn cleanup() -> Result<bool, RunError> {
    let _only = namespace::lock(namespace::PATIENCE)?;
    Ok(enforce::remove()?)
}

/// Takes in what happens, and brings it into force. Ends once so many clusters were asked, if a number is given.
async fn work(host: &mut Host, inbox: &mut mpsc::Receiver<Message>, once: Option<usize>) -> Result<Ended, RunError> {
    let (mut told, mut failed) = (BTreeSet::new(), BTreeSet::new());
    let end = tokio::time::Instant::now() + ONCE_PATIENCE;
    let mut manager = Manager::found();
    loop {
        let now = Timestamp::now();
        if host.went_back(now)? {
            return Ok(Ended::WentBack);
        }
        host.settle(now);
        if host.is_in_force() {
            manager.ready();
        }
        manager.alive();
        let is_asked = once.is_some_and(|clusters| told.len() + failed.len() >= clusters);
        let is_over = once.is_some() && (is_asked || tokio::time::Instant::now() >= end);
        if is_over && host.is_settled() {
            let is_well = host.is_well() && Some(told.len()) == once;
            return Ok(if is_well { Ended::Well } else { Ended::Unwell });
        }
        let wait = host.next(now).map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
        let wait = wait.into_iter().chain(once.map(|_| PATIENCE)).chain(manager.interval()).min();
        let mut message = tokio::select! {
            message = inbox.recv() => message,
            () = sleep(wait) => None,
        };
        // All that is there is brought into force at once.
        while let Some(taken) = message {
            if let Message::Cluster(number, event) = &taken {
                match event {
                    Event::ListEnds => drop(told.insert(*number)),
                    Event::Failed(_) if !told.contains(number) => drop(failed.insert(*number)),
                    _ => {}
                }
            }
            take(host, taken);
            message = inbox.try_recv().ok();
        }
    }
}

fn take(host: &mut Host, message: Message) {
    let now = Timestamp::now();
    match message {
        Message::Cluster(number, event) => host.take(number, event, now),
        Message::Table(program) => host.drifted(program, now),
        Message::Exported(finished) => host.exported(finished, now),
        Message::Accept(nodes) => host.accept(&nodes, now),
        Message::Confirm => host.confirm(),
        // Who went away needs no answer.
        Message::State(answer) => drop(answer.send(Box::new(host.state()))),
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => pending().await,
    }
}

/// Hears what others do to our table, or to any, for as long as somebody listens.
fn listen(mut monitor: Monitor, only_ours: bool, inbox: &mpsc::Sender<Message>) {
    while !inbox.is_closed() {
        let program = match monitor.next(PATIENCE) {
            Ok(None | Some(TableEvent::Commit { ours: true, .. })) => continue,
            Ok(Some(TableEvent::Commit { touched: false, .. })) if only_ours => continue,
            Ok(Some(TableEvent::Commit { program, .. })) => program,
            Ok(Some(TableEvent::Lost)) => "another program".to_string(),
            Err(error) => {
                tracing::error!("changes of the rules by others are not seen: {}", chain(&error));
                std::thread::sleep(PATIENCE);
                // The first news of a new socket is that some may have been missed.
                drop(monitor.reopen());
                continue;
            }
        };
        drop(inbox.blocking_send(Message::Table(program)));
    }
}
