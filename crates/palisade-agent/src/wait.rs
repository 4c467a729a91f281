//! `palisade wait`: until a policy, or a pod's rules, are in force, as the agents say in their `NodeState`.
//!
//! The agents say up to which resourceVersion their rules cover each kind. A policy of an older version, or of that one,
//! is in force there.

mod error;
pub(crate) mod judge;
mod versions;

use std::fmt;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout};

use crate::backoff::Patience;
use crate::node_state::NodeState;
use crate::policy_kind::PolicyKind;
pub use error::WaitError;
pub use judge::{NodeVerdict, Standing};
use judge::{States, Target, judge, number};
use versions::{version, versions};

/// The object, or what the agents must cover, is looked at again so often while something lags, and what the agents say is
/// asked for so often.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A look takes no longer, or the connection is given up.
const LOOK_PATIENCE_MAX: Duration = Duration::from_secs(5);
/// Whatever time there is, it may take so long.
const LOOK_PATIENCE_MIN: Duration = Duration::from_secs(1);
/// What the API server refuses for so long it goes on refusing. One that has just started knows neither kinds nor roles for a
/// moment.
const REFUSED_MAX: Duration = Duration::from_secs(5);

/// What to wait for, and how.
#[derive(Clone, Debug)]
pub struct Wait {
    /// `--kubeconfig`; `None` is what kubectl would take.
    pub kubeconfig: Option<PathBuf>,
    /// `--context` of the kubeconfig.
    pub context: Option<String>,
    /// What is to be in force.
    pub subject: Subject,
    /// Its namespace; empty for a kind without.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How long.
    pub timeout: Duration,
}

/// What is to be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The rules of a pod, on its node.
    Pod,
    /// A policy, on every node.
    Policy,
    /// That a policy is gone, on every node.
    PolicyGone,
    /// A host policy, on every node.
    HostPolicy,
    /// That a host policy is gone, on every node.
    HostPolicyGone,
    /// A ban list, on every node.
    BanList,
    /// That a ban list is gone, on every node.
    BanListGone,
}

impl Subject {
    /// Whether the object is to be gone, rather than in force.
    pub fn is_to_go(self) -> bool {
        matches!(self, Subject::PolicyGone | Subject::HostPolicyGone | Subject::BanListGone)
    }
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// `policy db/allow-web`.
    pub object: String,
    /// Whether it is in force wherever there is an agent.
    pub in_force: bool,
    /// What holds besides: why there is nothing to wait for, or what the object itself lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How long it took.
    pub waited_ms: u64,
    /// What each node concerned says.
    pub nodes: Vec<NodeVerdict>,
}

impl Wait {
    /// Waits.
    ///
    /// # Errors
    ///
    /// If the object is not there, the API server refuses, or it does not answer when time is up. That it takes too long is no
    /// error: the outcome says who lags.
    pub fn run(&self) -> Result<Outcome, WaitError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = crate::client::client(self.kubeconfig.as_deref(), self.context.as_deref()).await;
            self.wait(client.map_err(WaitError::Client)?).await
        })
    }

    async fn wait(&self, client: Client) -> Result<Outcome, WaitError> {
        let begun = Instant::now();
        let deadline = begun + self.timeout;
        let (mut looking, mut listing) = (Trouble::default(), Trouble::default());
        let mut looked = looking.take(self.look_until(deadline, &client).await)?;
        let mut look = Instant::now() + LOOK_AGAIN;
        let (mut states, mut listed) = (States::new(), false);
        let news = kube::runtime::watcher(Api::<NodeState>::all(client.clone()), watcher::Config::default());
        let mut news = pin!(news.backoff(Patience::between(LOOK_AGAIN, LOOK_AGAIN)));
        loop {
            let late = Instant::now() >= deadline;
            let unanswered = looking.error.is_some() || (!listed && listing.error.is_some());
            let known = listed.then_some(&states);
            let judged = looked.as_ref().and_then(|looked| self.judge(looked, known, begun, late && !unanswered));
            if let Some(outcome) = judged {
                return Ok(outcome);
            }
            if late && let Some(error) = looking.error.take().or_else(|| listing.error.take()) {
                return Err(error);
            }
            tokio::select! {
                Some(event) = news.next() => match event {
                    // What is on a list that has just begun nobody knows.
                    Ok(Event::Init) => {
                        listed = false;
                        states.clear();
                    }
                    event => if let Some(event) = listing.take(event.map_err(WaitError::NodeStates))? {
                        listed |= matches!(event, Event::InitDone);
                        note(&mut states, event);
                    }
                },
                () = sleep_until(look) => {
                    looked = looking.take(self.look_until(deadline, &client).await)?.or(looked);
                    look = Instant::now() + LOOK_AGAIN;
                }
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// What came of it, if nothing more is to be waited for. `states` is what the agents say, once that is known.
    fn judge(&self, looked: &Looked, states: Option<&States>, begun: Instant, late: bool) -> Option<Outcome> {
        let outcome = |in_force, note: Option<&str>, nodes| Outcome {
            object: self.to_string(),
            in_force,
            note: note.map(str::to_owned),
            waited_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            nodes,
        };
        match (looked, states) {
            (Looked::NothingToDo(note), _) => Some(outcome(true, Some(note), Vec::new())),
            (Looked::NotYet(note), _) => late.then(|| outcome(false, Some(note), Vec::new())),
            (Looked::Target(..), None) => {
                late.then(|| outcome(false, Some("the agents' states could not be listed"), Vec::new()))
            }
            (Looked::Target(target, nodes), Some(states)) => {
                let verdicts = judge(target, nodes, states, Timestamp::now());
                let in_force = judge::all_in_force(target, &verdicts);
                (in_force || late).then(|| outcome(in_force, None, verdicts))
            }
        }
    }

    /// What the agents have to cover, as of now.
    async fn look_until(&self, deadline: Instant, client: &Client) -> Result<Looked, WaitError> {
        let patience = deadline.saturating_duration_since(Instant::now()).clamp(LOOK_PATIENCE_MIN, LOOK_PATIENCE_MAX);
        timeout(patience, self.look(client)).await.unwrap_or(Err(WaitError::Silent))
    }

    async fn look(&self, client: &Client) -> Result<Looked, WaitError> {
        let failed = |operation| move |source| WaitError::Api { operation, source };
        if self.subject == Subject::Pod {
            let pods = Api::<Pod>::namespaced(client.clone(), &self.namespace);
            let pod = pods.get_opt(&self.name).await.map_err(failed("read the pod"))?;
            return pod.map(|pod| looked_at(&pod)).ok_or_else(|| WaitError::Missing(self.to_string()));
        }
        let of = match self.subject {
            Subject::HostPolicy | Subject::HostPolicyGone => PolicyKind::Host,
            Subject::BanList | Subject::BanListGone => PolicyKind::Ban,
            _ => PolicyKind::Network,
        };
        let resource = of.resource();
        let all = Api::<DynamicObject>::all_with(client.clone(), &resource);
        let policies = match of {
            PolicyKind::Network => Api::namespaced_with(client.clone(), &self.namespace, &resource),
            PolicyKind::Host | PolicyKind::Ban => all.clone(),
        };
        let version = version(of, &policies, &self.name).await.map_err(failed("read the policy"))?;
        let target = match version {
            None if !self.subject.is_to_go() => return Err(WaitError::Missing(self.to_string())),
            Some(_) if self.subject.is_to_go() => return Ok(Looked::NotYet("it is still there".to_string())),
            Some(version) => Target::Policy { of, namespace: self.namespace.clone(), name: self.name.clone(), version },
            None => {
                let (listed, versions) = versions(of, &all).await.map_err(failed("list the policies"))?;
                let count = versions.len();
                let newest = versions.into_iter().max_by_key(|version| number(version)).unwrap_or_default();
                Target::Policies { of, listed, newest, count }
            }
        };
        let nodes = Api::<Node>::all(client.clone()).list_metadata(&ListParams::default()).await;
        let nodes = nodes.map_err(failed("list the nodes"))?.items;
        Ok(Looked::Target(target, nodes.iter().map(ResourceExt::name_any).collect()))
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Subject::Pod => write!(f, "pod {}/{}", self.namespace, self.name),
            Subject::Policy | Subject::PolicyGone => write!(f, "policy {}/{}", self.namespace, self.name),
            Subject::HostPolicy | Subject::HostPolicyGone => write!(f, "host policy {}", self.name),
            Subject::BanList | Subject::BanListGone => write!(f, "ban list {}", self.name),
        }
    }
}

/// What was found when the object was looked at.
enum Looked {
    /// There is nothing to wait for.
    NothingToDo(String),
    /// The object is not so far.
    NotYet(String),
    /// What is to be covered, and by which nodes.
    Target(Target, Vec<String>),
}

fn looked_at(pod: &Pod) -> Looked {
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    if spec.and_then(|spec| spec.host_network) == Some(true) {
        return Looked::NothingToDo("it is on the network of its node, where no policy applies".to_string());
    }
    if status.and_then(|status| status.phase.as_deref()).is_some_and(|phase| matches!(phase, "Succeeded" | "Failed")) {
        return Looked::NothingToDo("it has finished".to_string());
    }
    let Some(node) = spec.and_then(|spec| spec.node_name.clone()) else {
        return Looked::NotYet("it is on no node yet".to_string());
    };
    if status.and_then(|status| status.pod_ips.as_ref()).is_none_or(Vec::is_empty) {
        return Looked::NotYet(format!("it has no address yet, on node {node}"));
    }
    let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    let target = Target::Pod { name, version: pod.resource_version().unwrap_or_default() };
    Looked::Target(target, vec![node])
}

/// What goes wrong with one of the things that the API server is asked, until it answers.
#[derive(Default)]
struct Trouble {
    error: Option<WaitError>,
    refused_since: Option<Instant>,
}

impl Trouble {
    /// Takes note of an answer; `None` if the next one may be better.
    fn take<T>(&mut self, answer: Result<T, WaitError>) -> Result<Option<T>, WaitError> {
        let error = match answer {
            Ok(answer) => {
                *self = Trouble::default();
                return Ok(Some(answer));
            }
            Err(WaitError::Missing(object)) => return Err(WaitError::Missing(object)),
            Err(error) => error,
        };
        if !error.is_refusal() {
            self.refused_since = None;
        } else if self.refused_since.get_or_insert_with(Instant::now).elapsed() >= REFUSED_MAX {
            return Err(error);
        }
        self.error = Some(error);
        Ok(None)
    }
}

fn note(states: &mut States, event: Event<NodeState>) {
    match event {
        Event::InitApply(state) | Event::Apply(state) => drop(states.insert(state.node(), state.status)),
        Event::Delete(state) => drop(states.remove(&state.node())),
        Event::Init | Event::InitDone => {}
    }
}
