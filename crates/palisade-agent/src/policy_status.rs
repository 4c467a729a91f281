//! The status of policies: where they are in force, as all agents say in their `NodeState`.
//!
//! One agent writes it for all, the one that holds the Lease `palisade-status` of the agents' namespace; it alone watches `NodeStates`.
//! It only reads what the API server has, and so another one that takes over goes on from there: what it would write is there
//! already. Enforcement waits for none of this, and nothing here touches the rules.
//!
//! Read in this order: `cluster` (what is followed), `policy` (from there to the status of one), `nodes`, `conditions`, `status` (its
//! form), `write`.

mod cluster;
mod conditions;
mod nodes;
mod policy;
mod status;
mod write;

use std::collections::BTreeMap;
use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::Client;
use kube::runtime::utils::Backoff as _;
use palisade_sources::Limits;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::backoff::Patience;
use crate::lease::{Attempt, Lease, LeaseError};
use crate::message::Message;
use crate::repeated::Repeated;
use crate::settings::Settings;
use crate::watch::{chain, in_words as watch_in_words, is_garbled};
use cluster::Cluster;
pub use status::{PolicyStatus, version_to_cover};
use write::Writer;

/// The Lease of whoever writes.
const LEASE: &str = "palisade-status";
/// Agents that do not hold it look at it after pauses of at most this.
const LOOK: Duration = Duration::from_secs(10);
/// In clusters of over two hundred nodes after so much for each node: all agents together look about twenty times a second at most,
/// and one of them soon, if its holder is gone.
const LOOK_PER_NODE: Duration = Duration::from_millis(50);
/// What is refused is tried again after pauses that grow from this one.
const RETRY: Duration = Duration::from_secs(1);
/// To this one.
const RETRY_MAX: Duration = Duration::from_mins(1);
/// What was refused so often in a row is told.
const REFUSALS_TOLD: u32 = 4;
/// What a reader would call it.
const OF_LEASE: &str = "requests for the Lease that failed";
/// What is written of a policy is written at least so far apart.
const INTERVAL: Duration = Duration::from_secs(1);
/// In clusters of over five hundred nodes so much for each node, since all of them are judged anew.
const INTERVAL_PER_NODE: Duration = Duration::from_millis(2);
/// Each status that is written is told to every agent, with the whole policy. So that a list of a megabyte does not fill the network while
/// agents are restarted node by node, a policy rests for as long as this many bytes a second would take to tell it to all of them.
const BYTES_PER_SECOND: u64 = 16 << 20;
/// Nodes of which nothing is heard are looked at so often: their agent may be gone by now.
const AGEING: Duration = Duration::from_secs(15);

/// One who writes the status of policies while it holds the Lease.
pub struct Teller {
    client: Client,
    /// `None` where nobody knows in which namespace it is.
    lease: Option<Lease>,
    limits: Limits,
    refusals: Refusals,
    /// Whether it has the Lease: then it fetches the feeds of ban lists, too.
    holds: watch::Sender<bool>,
}

impl Teller {
    /// The agent with these settings, in the namespace of the agents.
    pub fn new(client: &Client, namespace: Option<&str>, settings: &Settings) -> Teller {
        let lease = namespace.map(|namespace| Lease::new(client.clone(), namespace, LEASE, settings.node.to_string()));
        Teller {
            client: client.clone(),
            lease,
            limits: settings.limits.clone(),
            refusals: Refusals::default(),
            holds: watch::Sender::default(),
        }
    }

    /// Whether it has the Lease.
    pub fn holds(&self) -> watch::Receiver<bool> {
        self.holds.subscribe()
    }

    /// Waits for the Lease and writes while it has it, for as long as the engine answers.
    pub async fn run(&mut self, engine: &mpsc::Sender<Message>) {
        let Some(lease) = &mut self.lease else {
            tracing::info!(
                "the context of the kubeconfig names no namespace: other agents write the status of policies"
            );
            return pending().await;
        };
        let mut patience = Patience::between(RETRY, RETRY_MAX);
        loop {
            let pause = match lease.attempt().await {
                Ok(Attempt::Held) => {
                    tracing::info!("this agent writes the status of policies from now on");
                    self.holds.send_replace(true);
                    tokio::select! {
                        // First, so that nothing is written any more once the Lease may be another's.
                        biased;
                        () = lease.keep() => {}
                        () = tell(&self.client, &self.limits, &mut self.refusals) => {}
                    }
                    self.holds.send_replace(false);
                    tracing::info!("this agent does not write the status of policies any more");
                    Duration::ZERO
                }
                Ok(Attempt::Stale(left)) => left,
                Ok(Attempt::Taken) => {
                    let Some(nodes) = nodes(engine).await else { return };
                    let look = LOOK.max(LOOK_PER_NODE * nodes);
                    Patience::between(look, look).pause()
                }
                Err(error) => {
                    let error = match &error {
                        LeaseError::Silent => error.to_string(),
                        LeaseError::Refused(error) => in_words(error),
                    };
                    self.refusals.note(OF_LEASE, &error);
                    sleep(patience.pause()).await;
                    continue;
                }
            };
            patience.reset();
            self.refusals.forget(OF_LEASE);
            sleep(pause).await;
        }
    }

    /// Gives the Lease back, if this agent has it.
    pub async fn release(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.release().await;
        }
    }
}

/// How many nodes the cluster has; `None` if the engine is gone.
async fn nodes(engine: &mpsc::Sender<Message>) -> Option<u32> {
    let (sender, answer) = oneshot::channel();
    engine.send(Message::NodeState(sender)).await.ok()?;
    Some(u32::try_from(answer.await.ok()?.status.cluster.nodes).unwrap_or(u32::MAX))
}

/// Follows the cluster and writes what follows from it.
async fn tell(client: &Client, limits: &Limits, refusals: &mut Refusals) {
    let mut writer = Writer::new(client.clone());
    loop {
        let mut cluster = Cluster::new(limits.clone());
        let mut news = pin!(cluster::follow(client));
        let (mut changed, mut written) = (false, Instant::now());
        loop {
            let interval = INTERVAL.max(INTERVAL_PER_NODE * cluster.nodes());
            let due = written + if changed { interval } else { AGEING.max(interval) };
            tokio::select! {
                Some((kind, news)) = news.next() => match news {
                    Ok(news) => {
                        if news.is_well() {
                            refusals.forget(kind);
                        }
                        cluster.take(news);
                        changed = true;
                    }
                    Err(error) => {
                        refusals.note(kind, &watch_in_words(&error));
                        if is_garbled(&error) {
                            break;
                        }
                    }
                },
                () = sleep_until(due) => {
                    changed = writer.write(&mut cluster, refusals).await;
                    written = Instant::now();
                }
            }
        }
        // Nobody knows what came instead of an event.
        sleep(RETRY).await;
    }
}

/// What the API server says, without what else it sends; or what went wrong.
fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => chain(error),
    }
}

/// What is refused or fails.
#[derive(Debug, Default)]
struct Refusals {
    /// How often in a row, by what a reader would call it: `watches that failed`.
    in_a_row: BTreeMap<&'static str, u32>,
    repeated: Repeated,
}

impl Refusals {
    /// Something went wrong. It is said once, when it did so often in a row: a server that has just started knows neither kinds nor
    /// roles for a moment.
    fn note(&mut self, of: &'static str, error: &str) {
        let times = self.in_a_row.entry(of).or_default();
        *times = times.saturating_add(1);
        if *times == REFUSALS_TOLD {
            self.say(of, error);
        }
    }

    /// It goes well again.
    fn forget(&mut self, of: &'static str) {
        self.in_a_row.remove(of);
    }

    fn say(&mut self, of: &'static str, error: &str) {
        let now = std::time::Instant::now();
        for (of, lines) in self.repeated.left_out(now) {
            tracing::warn!("{lines} more {of}");
        }
        if self.repeated.may_write(of, now) {
            tracing::warn!("the status of policies is not written, trying again: {error}");
        }
    }
}
