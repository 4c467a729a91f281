//! The process: a thread that talks to the API servers and owns the rules, and one that hears what others do to them.

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use palisade_agent::files::FileError;
use palisade_agent::namespace::{self, NamespaceError};
use palisade_agent::{Timestamp, chain, terminated};
use palisade_nft::{Event as TableEvent, KernelError, Monitor};
use palisade_sources::node_allowlist::NodeAllowlist;
use tokio::sync::mpsc;

use crate::cluster::Event;
use crate::enforce::{self, EnforceError, Enforcer};
use crate::follow::follow;
use crate::host::Host;
use crate::store::Store;

/// How many messages wait at most; beyond it the API servers keep what is to come.
const INBOX: usize = 1024;
/// News of the ruleset are waited for so long at once.
const PATIENCE: Duration = Duration::from_millis(500);
/// With `once`, an API server has to answer within this.
const ONCE_PATIENCE: Duration = Duration::from_mins(1);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who is admitted to what.
    pub list: NodeAllowlist,
    /// Where the state is.
    pub state_dir: PathBuf,
    /// Whether to end as soon as every cluster was asked once.
    pub once: bool,
}

/// One piece of news.
#[derive(Debug)]
pub enum Message {
    /// Of the cluster with this number.
    Cluster(usize, Event),
    /// This program changed the table.
    Table(String),
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
    /// The table cannot be taken out.
    #[error("the table cannot be taken out of the kernel")]
    Enforce(#[from] EnforceError),
    /// The runtime cannot be started.
    #[error("cannot start a thread")]
    Io(#[from] io::Error),
}

/// Runs until SIGTERM or SIGINT, or once; what is in force then stays in force. The result is whether all is well: the rules are in force, and
/// with `once` every cluster told its nodes.
///
/// # Errors
///
/// If it cannot start; once it runs, whatever goes wrong is told and tried again.
pub fn run(settings: Settings) -> Result<bool, RunError> {
    let store = Store::open(&settings.state_dir)?;
    let Some(_alone) = store.lock()? else { return Err(RunError::Taken(settings.state_dir)) };
    let only = namespace::lock(namespace::PATIENCE)?;
    let enforcer = Enforcer::open()?;
    let monitor = enforcer.monitor()?;
    let sources = settings.list.clusters.clone();
    let words = format!("{} (palisade host)", settings.list.name);
    let mut host = Host::new(settings.list, enforcer, store);
    let (sender, mut inbox) = mpsc::channel(INBOX);
    let news = sender.clone();
    std::thread::Builder::new().name("news".to_string()).spawn(move || listen(monitor, &news))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let well = runtime.block_on(async {
        // Before any API server answers.
        host.settle(Timestamp::now());
        let followed = sources.iter().enumerate().map(|(number, source)| follow(number, source, &sender));
        let served = async {
            if let Err(error) = namespace::serve(&only, words, &settings.state_dir).await {
                tracing::error!("others are not told who enforces here: {error}");
            }
            pending::<()>().await;
        };
        tokio::select! {
            well = work(&mut host, &mut inbox, settings.once.then_some(sources.len())) => well,
            _ = join_all(followed) => host.is_in_force(),
            () = served => host.is_in_force(),
            () = terminated() => true,
        }
    });
    Ok(well)
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
async fn work(host: &mut Host, inbox: &mut mpsc::Receiver<Message>, once: Option<usize>) -> bool {
    let (mut told, mut failed) = (BTreeSet::new(), BTreeSet::new());
    let end = tokio::time::Instant::now() + ONCE_PATIENCE;
    loop {
        let now = Timestamp::now();
        host.settle(now);
        if once.is_some_and(|clusters| told.len() + failed.len() >= clusters || tokio::time::Instant::now() >= end) {
            return host.is_in_force() && Some(told.len()) == once;
        }
        let wait = host.next(now).map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
        let wait = if once.is_some() { Some(wait.unwrap_or(PATIENCE).min(PATIENCE)) } else { wait };
        let mut message = tokio::select! {
            message = inbox.recv() => message,
            () = sleep(wait) => None,
        };
        // All that is there is brought into force at once.
        while let Some(taken) = message {
            match taken {
                Message::Cluster(number, event) => {
                    match &event {
                        Event::ListEnds => drop(told.insert(number)),
                        Event::Failed(_) if !told.contains(&number) => drop(failed.insert(number)),
                        _ => {}
                    }
                    host.take(number, event, Timestamp::now());
                }
                Message::Table(program) => host.drifted(program),
            }
            message = inbox.try_recv().ok();
        }
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => pending().await,
    }
}

/// Hears what others do to the table, for as long as somebody listens.
fn listen(mut monitor: Monitor, inbox: &mpsc::Sender<Message>) {
    while !inbox.is_closed() {
        let program = match monitor.next(PATIENCE) {
            Ok(None | Some(TableEvent::Commit { ours: true, .. } | TableEvent::Commit { touched: false, .. })) => {
                continue;
            }
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
