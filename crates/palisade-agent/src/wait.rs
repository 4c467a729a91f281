//! `palisade wait`: until a policy, or a pod's rules, are in force, as the agents say in their `NodeState`.
//!
//! The agents say up to which resourceVersion their rules cover each kind. A policy of an older version, or of that one,
//! is in force there.

pub(crate) mod judge;

use std::fmt;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout};

use crate::backoff::Patience;
use crate::ban_list;
use crate::definition::{GROUP, VERSION};
use crate::host_policy;
use crate::node_state::NodeState;
pub use judge::{NodeVerdict, Standing};
use judge::{PolicyKind, States, Target, judge, number};

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
    /// Its namespace; empty for a host policy.
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

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// There is no usable configuration of a client.
    #[error("no API server is known")]
    Client(#[source] crate::client::ClientError),
    /// The object is not there.
    #[error("there is no {0}")]
    Missing(String),
    /// The API server refused something.
    #[error("cannot {operation}")]
    Api {
        /// What was tried.
        operation: &'static str,
        /// What it said.
        #[source]
        source: kube::Error,
    },
    /// The agents say nothing, or may not be asked.
    #[error("cannot watch what the agents say")]
    NodeStates(#[source] watcher::Error),
    /// The API server says nothing at all.
    #[error("the API server does not answer")]
    Silent,
    /// The runtime cannot be started.
    #[error("cannot start the async runtime")]
    Runtime(#[from] std::io::Error),
}

impl WaitError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            WaitError::Client(_) => Some("--kubeconfig and --context name one"),
            WaitError::Missing(_) => Some("'palisade wait policy --for=delete' waits until one is gone"),
            WaitError::NodeStates(_) => Some(
                "the kind NodeState comes with 'kubectl apply -k deploy/'; listing and watching nodestates.palisade.dev must be allowed",
            ),
            WaitError::Api { .. } | WaitError::Silent | WaitError::Runtime(_) => None,
        }
    }

    /// Whether the API server answers and refuses: the kind is not there, or may not be read.
    fn is_refusal(&self) -> bool {
        let (WaitError::Api { source, .. } | WaitError::NodeStates(watcher::Error::InitialListFailed(source))) = self
        else {
            return false;
        };
        matches!(source, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404))
    }
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
        let (of, resource) = match self.subject {
            Subject::HostPolicy | Subject::HostPolicyGone => (PolicyKind::Host, host_policy::resource()),
            Subject::BanList | Subject::BanListGone => {
                let kind = GroupVersionKind::gvk(GROUP, VERSION, ban_list::KIND);
                (PolicyKind::Ban, ApiResource::from_gvk_with_plural(&kind, ban_list::PLURAL))
            }
            _ => (PolicyKind::Network, ApiResource::erase::<NetworkPolicy>(&())),
        };
        let all = Api::<DynamicObject>::all_with(client.clone(), &resource);
        let policies = match of {
            PolicyKind::Network => Api::namespaced_with(client.clone(), &self.namespace, &resource),
            PolicyKind::Host | PolicyKind::Ban => all.clone(),
        };
        let is_to_go = matches!(self.subject, Subject::PolicyGone | Subject::HostPolicyGone | Subject::BanListGone);
        let version = version(of, &policies, &self.name).await.map_err(failed("read the policy"))?;
        let target = match version {
            None if !is_to_go => return Err(WaitError::Missing(self.to_string())),
            Some(_) if is_to_go => return Ok(Looked::NotYet("it is still there".to_string())),
            Some(version) => Target::Policy { of, namespace: self.namespace.clone(), version },
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

/// The resourceVersion that agents have to cover for what a policy says now; `None` if it is not there.
async fn version(of: PolicyKind, policies: &Api<DynamicObject>, name: &str) -> kube::Result<Option<String>> {
    Ok(match of {
        PolicyKind::Network | PolicyKind::Ban => {
            let policy = policies.get_metadata_opt(name).await?;
            policy.map(|policy| policy.resource_version().unwrap_or_default())
        }
        PolicyKind::Host => policies.get_opt(name).await?.map(|policy| host_policy::version_to_cover(&policy)),
    })
}

/// The resourceVersion of the list of all policies, and of each that which [`version`] would say.
async fn versions(of: PolicyKind, all: &Api<DynamicObject>) -> kube::Result<(String, Vec<String>)> {
    let (listed, versions): (_, Vec<String>) = match of {
        // They may be many, or long, and nothing but their versions is asked for.
        PolicyKind::Network | PolicyKind::Ban => {
            let list = all.list_metadata(&ListParams::default()).await?;
            (list.metadata, list.items.iter().map(|policy| policy.resource_version().unwrap_or_default()).collect())
        }
        PolicyKind::Host => {
            let list = all.list(&ListParams::default()).await?;
            (list.metadata, list.items.iter().map(host_policy::version_to_cover).collect())
        }
    };
    Ok((listed.resource_version.unwrap_or_default(), versions))
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
