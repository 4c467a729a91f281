//! The agent as a process: a thread that talks to the API server and to people, one that owns the rules, and one for each
//! socket by which the kernel tells news.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use palisade_nft::{ApplyError, Kernel, KernelError, Links, Monitor, Table};
use palisade_sources::AGENT_NAMESPACE;
use tokio::sync::mpsc;

use crate::api_server::ApiServer;
use crate::ban_files;
use crate::binding::Binding;
use crate::client::{ClientError, client, own_namespace};
use crate::config;
use crate::confirm::Probe;
use crate::control::{self, ControlError};
use crate::denials::DeniedLog;
use crate::engine::{Engine, Errands, Kernels};
use crate::events;
use crate::feeds::{self, InCluster, Sources};
use crate::http;
use crate::listening::{Interfaces, Ruleset, listen};
use crate::message::Message;
use crate::metrics::Metrics;
use crate::namespace::{self, NamespaceError};
use crate::node_state;
use crate::policy_status::Teller;
use crate::preflight;
use crate::protected::protected;
use crate::report::Obstacle;
use crate::settings::Settings;
use crate::signals::terminated;
use crate::state::{Copied, StateDirectory, StateError};
use crate::watch;

/// How many messages wait at most; beyond it the watches wait, and the API server keeps what is to come.
const INBOX: usize = 4096;
/// How many messages are taken in before what they ask for is brought into force.
const BATCH: usize = 1024;
/// A port that somebody else has is tried again so much later.
const LISTEN_RETRY: Duration = Duration::from_secs(5);

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The kernel cannot be used.
    #[error("the kernel cannot be used")]
    Kernel(#[from] KernelError),
    /// A table of what is not enforced is still in force.
    #[error("what is not enforced cannot be taken out of the kernel")]
    Refused(#[from] ApplyError),
    /// The state directory cannot be used.
    #[error("the state directory cannot be used\nhint: --state-dir names another")]
    State(#[from] StateError),
    /// People cannot ask, or another agent has the state directory.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Another agent has the network namespace.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// There is no API server to ask.
    #[error("the API server cannot be asked")]
    Client(#[from] ClientError),
    /// The thread that owns the rules panicked.
    #[error(
        "the rules are left as they are: the thread that owns them has ended\nhint: what it said before is a bug of palisade"
    )]
    RulesEnded,
    /// The runtime cannot be started.
    #[error("cannot {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Runs the agent until SIGTERM or SIGINT. What is in force then stays in force.
///
/// # Errors
///
/// If it cannot start; once it runs, whatever goes wrong is reported and tried again.
pub fn run(settings: Settings) -> Result<(), RunError> {
    let settings = Arc::new(settings);
    let directory = StateDirectory::open(&settings.state_dir)?;
    let lock = control::lock(&settings.state_dir)?;
    let only = namespace::lock(namespace::PATIENCE)?;
    let socket = control::bind(&directory.socket(), &lock)?;
    let metrics = Arc::new(Metrics::default());
    let kernels = kernels(&settings)?;
    let bound = kernels.binding.iter().flat_map(Binding::kernels);
    let monitor = Monitor::open(kernels.policies.iter().chain(&kernels.host).chain(&kernels.bans).chain(bound))?;
    let interfaces = settings.bind_sources.then(Links::open).transpose()?;
    let protected = if settings.enforce.bans { told_protected(&settings)? } else { Vec::new() };
    let mut engine = Engine::start(Arc::clone(&settings), protected, kernels, directory.clone(), Arc::clone(&metrics));
    let server = if settings.standalone { None } else { runtime()?.block_on(ApiServer::of(&settings)) };
    engine.confirm.is_wanted = server.is_some();
    let (changed, looked_after) = (Arc::clone(&engine.telling.changed), directory.clone());
    let (tell, found) = mpsc::channel(events::WAITING_MAX);
    engine.telling.findings = Some(tell);
    let wanted = engine.bans.wanted.subscribe();
    let (sender, inbox) = mpsc::channel(INBOX);
    let news = sender.clone();
    thread("news", move || listen(&mut Ruleset(monitor), &news))?;
    if let Some(links) = interfaces {
        let engine = sender.clone();
        thread("interfaces", move || listen(&mut Interfaces(links), &engine))?;
    }
    let (mut denied, engine_of_denied) = (DeniedLog::of(settings.log_group), sender.clone());
    thread("denied", move || listen(&mut denied, &engine_of_denied))?;
    let (errands, loop_runtime) = (sender.clone(), runtime()?);
    let rules = thread("rules", move || loop_runtime.block_on(enforce(engine, inbox, errands, directory, server)))?;
    let configs = settings.configs.iter().map(|path| config::name_of(path)).collect();
    if let Err(error) = looked_after.forget_copies_but(Copied::Config, &configs) {
        tracing::warn!("{}", watch::chain(&error));
    }
    if !settings.configs.is_empty() {
        let (paths, copies, engine) = (settings.configs.clone(), looked_after.clone(), sender.clone());
        thread("config", move || config::follow(&paths, &copies, &engine))?;
    }
    if settings.standalone && settings.enforce.bans {
        let (files, state, engine) = (settings.ban_files.clone(), looked_after.clone(), sender.clone());
        thread("ban-files", move || ban_files::follow(&files, &state, &engine))?;
    }
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let client = if settings.standalone { None } else { Some(client(settings.kubeconfig.as_deref(), None).await?) };
        let mut teller = client.as_ref().map(|client| {
            let namespace = own_namespace(settings.kubeconfig.as_deref(), client);
            Teller::new(client, namespace.as_deref(), &settings)
        });
        let sources = Sources {
            files: settings.ban_files.clone(),
            directory: looked_after.clone(),
            cluster: client.as_ref().zip(teller.as_ref()).map(|(client, teller)| InCluster {
                client: client.clone(),
                namespace: own_namespace(settings.kubeconfig.as_deref(), client)
                    .unwrap_or_else(|| AGENT_NAMESPACE.to_owned()),
                fetches: teller.holds(),
            }),
        };
        let of_cluster = async {
            let (Some(client), Some(teller)) = (client, &mut teller) else { return pending().await };
            tokio::select! {
                () = watch::watch_all(settings.kinds(), client.clone(), sender.clone()) => {}
                () = events::publish(client.clone(), settings.node.to_string(), found) => {}
                () = node_state::publish(client, settings.node.to_string(), sender.clone(), changed) => {}
                () = teller.run(&sender) => {}
            }
        };
        tokio::select! {
            () = of_cluster => {}
            () = feeds::follow(wanted, sources, sender.clone()) => {}
            () = preflight::watch(Arc::clone(&settings), looked_after, sender.clone()) => {}
            () = control::serve(socket, sender.clone()) => {}
            () = say_who_enforces(&only, &settings) => {}
            () = serve(settings.listen, sender.clone(), metrics) => {}
            () = terminated() => {}
            () = sender.closed() => return Err(RunError::RulesEnded),
        }
        let _ = sender.send(Message::Stop).await;
        if let Some(teller) = &mut teller {
            teller.release().await;
        }
        Ok(())
    });
    // What is being read, from a server that is slow say, is not waited for.
    runtime.shutdown_background();
    ended?;
    // A panic there was printed already.
    let _ = rules.join();
    Ok(())
}

/// What no list bans. A name that is not resolved in time is not waited for.
fn told_protected(settings: &Settings) -> Result<Vec<IpNet>, RunError> {
    let runtime = runtime()?;
    let protected = runtime.block_on(protected(settings));
    runtime.shutdown_background();
    Ok(protected)
}

/// The connections to the tables that are enforced. Of what is not, nothing is left in the kernel.
fn kernels(settings: &Settings) -> Result<Kernels, RunError> {
    let open = |wanted: bool, table| -> Result<Option<Kernel>, RunError> {
        let mut kernel = Kernel::open_table(table)?;
        if wanted {
            return Ok(Some(kernel));
        }
        if kernel.remove_table()? {
            tracing::info!("table {} is taken out of the kernel: it is not enforced any more", table.name());
        }
        Ok(None)
    };
    let policies = open(settings.enforce.network_policy, Table::Policies)?;
    let host = open(settings.enforce.host, Table::Host)?;
    let bans = open(settings.enforce.bans, Table::Bans)?;
    for table in [Table::BridgedSources, Table::RoutedSources] {
        open(settings.bind_sources, table)?;
    }
    Ok(Kernels { policies, host, bans, binding: settings.bind_sources.then(Binding::open).transpose()? })
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, RunError> {
    let spawned = std::thread::Builder::new().name(name.to_string()).spawn(body);
    spawned.map_err(|source| RunError::Io { operation: "start a thread", source })
}

fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|source| RunError::Io { operation: "start the async runtime", source })
}

/// Serves metrics and probes, if they are wanted. A port that somebody else has is no reason not to enforce.
async fn serve(address: Option<SocketAddr>, engine: mpsc::Sender<Message>, metrics: Arc<Metrics>) {
    let Some(address) = address else { return pending().await };
    let mut was_taken = false;
    loop {
        let error = match http::bind(address) {
            Ok(listener) => {
                if was_taken {
                    tell_listening(&engine, address, None).await;
                }
                return http::serve(listener, http::Agent { engine, metrics }).await;
            }
            Err(error) => error,
        };
        if !was_taken {
            tracing::error!("cannot listen on {address}, trying again: {error}");
        }
        was_taken = true;
        tell_listening(&engine, address, Some(&error)).await;
        tokio::time::sleep(LISTEN_RETRY).await;
    }
}

/// Tells a second agent of the network namespace who is the first.
async fn say_who_enforces(only: &namespace::Lock, settings: &Settings) {
    let served = namespace::serve(only, settings.node.to_string(), &settings.state_dir).await;
    if let Err(error) = served {
        tracing::error!("other agents are not told who enforces here: {error}");
    }
    // The lock holds all the same.
    pending::<()>().await;
}

async fn tell_listening(engine: &mpsc::Sender<Message>, address: SocketAddr, error: Option<&io::Error>) {
    let obstacle = |error: &io::Error| Obstacle {
        name: "listen".to_string(),
        found: format!("cannot listen on {address}: {error}"),
        means: "metrics and probes are not served; enforcement goes on".to_string(),
        hint: Some("--listen names another address".to_string()),
    };
    let obstacles = error.map(obstacle).into_iter().collect();
    let _ = engine.send(Message::Obstacles { of: "listen", obstacles }).await;
}

/// The thread that owns the rules.
async fn enforce(
    mut engine: Engine,
    mut inbox: mpsc::Receiver<Message>,
    sender: mpsc::Sender<Message>,
    directory: StateDirectory,
    server: Option<ApiServer>,
) {
    loop {
        let (errands, wake) = engine.settle(Instant::now());
        if let Some(server) = server.as_ref().filter(|_| errands.probe) {
            probe(server, &sender);
        }
        run_errands(errands, &sender, &directory);
        tokio::select! {
            message = inbox.recv() => match message {
                None | Some(Message::Stop) => return leave(&mut engine, &directory),
                Some(message) => {
                    engine.take(message);
                    for _ in 1..BATCH {
                        match inbox.try_recv() {
                            Ok(Message::Stop) => return leave(&mut engine, &directory),
                            Ok(message) => engine.take(message),
                            Err(_) => break,
                        }
                    }
                }
            },
            () = sleep_until(wake) => {}
        }
    }
}

/// Leaves the kernel as it is, and on disk what it holds.
fn leave(engine: &mut Engine, directory: &StateDirectory) {
    if let Some(state) = engine.leave()
        && let Err(error) = directory.save(&state)
    {
        tracing::error!("{}", watch::chain(&error));
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => pending().await,
    }
}

/// Tries a connection to the API server. A thread of its own is not waited for at the end, however long a name takes to be resolved.
fn probe(server: &ApiServer, sender: &mpsc::Sender<Message>) {
    let (server, engine) = (server.clone(), sender.clone());
    let spawned = thread("probe", move || drop(engine.blocking_send(Message::Probed(server.probe()))));
    if let Err(error) = spawned {
        tracing::error!("{}", watch::chain(&error));
        let _ = sender.try_send(Message::Probed(Probe { began: Instant::now(), worked: false }));
    }
}

/// Does what takes too long for the thread that owns the rules.
fn run_errands(errands: Errands, sender: &mpsc::Sender<Message>, directory: &StateDirectory) {
    if let Some(generation) = errands.sweep {
        let sender = sender.clone();
        tokio::task::spawn_blocking(move || {
            let swept = palisade_nft::Conntrack::open().and_then(|mut conntrack| conntrack.sweep(generation));
            drop(sender.blocking_send(Message::Swept(swept.map_err(|error| watch::chain(&error)))));
        });
    }
    if let Some(state) = errands.save {
        let (directory, sender) = (directory.clone(), sender.clone());
        tokio::task::spawn_blocking(move || {
            let saved = directory.save(&state).map_err(|error| watch::chain(&error));
            drop(sender.blocking_send(Message::Saved(saved)));
        });
    }
}
