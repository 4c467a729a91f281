//! What is followed of the cluster, and kept of it: policies, the labels of nodes, and what agents say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::watcher as watch;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use palisade_core::Labels;
use palisade_sources::Limits;
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::policy::Policy;
use super::status::PolicyStatus;
use super::{RETRY, RETRY_MAX};
use crate::backoff::{Patience, Steadiness};
use crate::node_state::{NodeState, NodeStateStatus};
use crate::policy_kind::PolicyKind;
use crate::wait::judge::number;

/// The kinds whose status is written, and what a reader would call what goes wrong with following them.
const POLICIES: [(PolicyKind, &str); 2] =
    [(PolicyKind::Host, "watches of HostPolicies that failed"), (PolicyKind::Ban, "watches of BanLists that failed")];

/// A policy: its kind and its name.
pub type Key = (PolicyKind, String);

/// Something about one of the kinds that are followed.
pub enum News {
    /// About a policy of this kind.
    Policy(PolicyKind, Event<DynamicObject>),
    /// About a Node.
    Node(Event<PartialObjectMeta<Node>>),
    /// About a `NodeState`.
    NodeState(Event<DynamicObject>),
}

impl News {
    /// Whether it shows that the kind can be followed. That a list begins, or goes on, does not.
    pub fn is_well(&self) -> bool {
        fn is_well<K>(event: &Event<K>) -> bool {
            matches!(event, Event::InitDone | Event::Apply(_) | Event::Delete(_))
        }
        match self {
            News::Policy(_, event) | News::NodeState(event) => is_well(event),
            News::Node(event) => is_well(event),
        }
    }
}

/// Follows the kinds. An error comes with what a reader would call it, and the kind is asked for again.
pub fn follow(client: &Client) -> impl Stream<Item = (&'static str, watcher::Result<News>)> + use<> {
    let of = |resource: &ApiResource| patient(Api::<DynamicObject>::all_with(client.clone(), resource));
    let policies = stream::select_all(POLICIES.map(|(kind, failures)| {
        of(&kind.resource()).map(move |event| (failures, event.map(|event| News::Policy(kind, event)))).boxed()
    }));
    let nodes = patient(Api::<PartialObjectMeta<Node>>::all(client.clone()));
    let nodes = nodes.map(|event| ("watches of Nodes that failed", event.map(News::Node)));
    let states = of(&ApiResource::erase::<NodeState>(&()));
    let states = states.map(|event| ("watches of NodeStates that failed", event.map(News::NodeState)));
    stream::select(policies, stream::select(nodes, states))
}

/// A watch that waits after an error.
fn patient<K>(api: Api<K>) -> impl Stream<Item = watcher::Result<Event<K>>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    Api<K>: 'static,
{
    let steadiness = Steadiness::with(Patience::between(RETRY, RETRY_MAX));
    let events = watch(api, watcher::Config::default()).boxed();
    stream::unfold((events, steadiness, false), |(mut events, mut steadiness, failed)| async move {
        if failed {
            sleep(steadiness.pause(Instant::now())).await;
            // If it goes on from where it was, nothing may come for long.
            steadiness.goes_well(Instant::now());
        }
        let event = events.next().await?;
        match &event {
            Ok(Event::Init) => steadiness.begins(),
            Ok(Event::InitDone) => steadiness.goes_well(Instant::now()),
            _ => {}
        }
        let failed = event.is_err();
        Some((event, (events, steadiness, failed)))
    })
}

/// What is known of the cluster.
pub struct Cluster {
    limits: Limits,
    /// Policies of each kind that has a status, by name.
    policies: BTreeMap<PolicyKind, Followed<Policy>>,
    /// The labels of each node that can have an agent.
    pub nodes: Followed<Labels>,
    /// What each agent said last.
    pub states: Followed<NodeStateStatus>,
}

impl Cluster {
    /// A cluster of which nothing is known; policies are read within these limits.
    pub fn new(limits: Limits) -> Cluster {
        Cluster { limits, policies: BTreeMap::new(), nodes: Followed::new(), states: Followed::new() }
    }

    /// Takes in what is new.
    pub fn take(&mut self, news: News) {
        match news {
            News::Policy(kind, event) => {
                let limits = &self.limits;
                self.policies.entry(kind).or_insert_with(Followed::new).take(event, |policy, known| {
                    // What was written since is known already, from the answer.
                    let is_old = |known: &&Policy| {
                        number(known.resource_version()) > number(&policy.resource_version().unwrap_or_default())
                    };
                    known.filter(is_old).cloned().or_else(|| Policy::read(kind, &policy, limits))
                });
            }
            News::Node(event) => self.nodes.take(event, |node, _| labels(&node)),
            News::NodeState(event) => self.states.take(event, |state, _| judged(&state)),
        }
    }

    /// What is to be written of a policy, if it is not there already, and the version of the policy that this is judged by.
    pub fn news_of(&self, policy: &Key, now: Timestamp) -> Option<(String, PolicyStatus)> {
        let policy = self.policy(policy)?;
        let status = policy.news(&self.nodes.objects, &self.states.objects, now)?;
        Some((policy.resource_version().to_owned(), status))
    }

    /// A policy as the API server has it now.
    pub fn put(&mut self, kind: PolicyKind, policy: &DynamicObject) {
        if let Some(read) = Policy::read(kind, policy, &self.limits) {
            self.policies.entry(kind).or_insert_with(Followed::new).objects.insert(policy.name_any(), read);
        }
    }

    /// What it takes to tell the agents of all nodes of a policy, in bytes.
    pub fn bytes_told(&self, policy: &Key) -> u64 {
        let bytes = self.policy(policy).map_or(0, Policy::bytes);
        u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(self.nodes().into())
    }

    fn policy(&self, (kind, name): &Key) -> Option<&Policy> {
        self.policies.get(kind)?.objects.get(name)
    }

    /// The policies that there are.
    pub fn policies(&self) -> BTreeSet<Key> {
        let named = |(kind, known): (&PolicyKind, &Followed<Policy>)| {
            known.objects.keys().map(|name| (*kind, name.clone())).collect::<Vec<_>>()
        };
        self.policies.iter().flat_map(named).collect()
    }

    /// How many nodes are known.
    pub fn nodes(&self) -> u32 {
        u32::try_from(self.nodes.objects.len()).unwrap_or(u32::MAX)
    }

    /// Whether enough is known to judge: half a list of nodes would make a policy look as if it were in force everywhere.
    pub fn is_known(&self) -> bool {
        self.nodes.is_listed && self.states.is_listed
    }
}

/// The labels of a node. One of another system is nobody's: agents run on Linux alone.
fn labels(node: &PartialObjectMeta<Node>) -> Option<Labels> {
    let labels: Labels = node.labels().iter().map(|(key, value)| (Arc::from(&**key), Arc::from(&**value))).collect();
    labels.get("kubernetes.io/os").is_none_or(|system| &**system == "linux").then_some(labels)
}

/// What of a `NodeState` policies are judged by. One that cannot be read, as of a version to come, says nothing.
fn judged(state: &DynamicObject) -> Option<NodeStateStatus> {
    let mut status: NodeStateStatus = serde_json::from_value(state.data.get("status")?.clone()).ok()?;
    status.pods.not_in_force = Vec::new();
    status.closed_namespaces = Vec::new();
    Some(status)
}

/// The objects of a kind by name. A list that begins anew is merged, so that nothing that exists is missing meanwhile.
pub struct Followed<T> {
    /// What is kept of each.
    pub objects: BTreeMap<String, T>,
    /// Whether they were listed once.
    pub is_listed: bool,
    /// What a list that has begun has not named yet.
    unlisted: BTreeSet<String>,
}

impl<T> Followed<T> {
    fn new() -> Followed<T> {
        Followed { objects: BTreeMap::new(), is_listed: false, unlisted: BTreeSet::new() }
    }

    /// Takes in an event. `read` makes of an object, and of what is known of it, what is kept; `None` is nothing.
    fn take<K: ResourceExt>(&mut self, event: Event<K>, read: impl FnOnce(K, Option<&T>) -> Option<T>) {
        match event {
            Event::Init => self.unlisted = self.objects.keys().cloned().collect(),
            Event::InitApply(object) | Event::Apply(object) => {
                let name = object.name_any();
                self.unlisted.remove(&name);
                match read(object, self.objects.get(&name)) {
                    Some(kept) => drop(self.objects.insert(name, kept)),
                    None => drop(self.objects.remove(&name)),
                }
            }
            Event::Delete(object) => drop(self.objects.remove(&object.name_any())),
            Event::InitDone => {
                for name in std::mem::take(&mut self.unlisted) {
                    self.objects.remove(&name);
                }
                self.is_listed = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
