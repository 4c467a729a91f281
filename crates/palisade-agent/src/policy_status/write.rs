//! Writing the status of policies: by server-side apply, to the version that was judged and no other.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::json;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::cluster::{Cluster, Key};
use super::status::{PolicyStatus, status_of};
use super::{BYTES_PER_SECOND, REFUSALS_TOLD, RETRY, RETRY_MAX, Refusals, in_words};
use crate::backoff::Patience;
use crate::definition::FIELD_MANAGER;
use crate::policy_kind::PolicyKind;

/// The API server answers within this, or the connection is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who writes.
pub struct Writer {
    client: Client,
    /// Policies whose status could not be written.
    failed: BTreeMap<Key, Failed>,
    /// Policies that were told to all agents for their status just now, and until when that is enough.
    resting: BTreeMap<Key, Instant>,
}

/// A policy whose status could not be written.
struct Failed {
    patience: Patience,
    again: Instant,
    /// How often in a row.
    times: u32,
}

impl Writer {
    /// By this client.
    pub fn new(client: Client) -> Writer {
        Writer { client, failed: BTreeMap::new(), resting: BTreeMap::new() }
    }

    /// Writes what is not there yet. What cannot be written holds up no other; returns whether some of it is to be looked at again soon.
    pub async fn write(&mut self, cluster: &mut Cluster, refusals: &mut Refusals) -> bool {
        let policies = cluster.policies();
        self.failed.retain(|policy, _| policies.contains(policy));
        if !cluster.is_known() {
            return false;
        }
        self.resting.retain(|_, end| *end > Instant::now());
        let now = Timestamp::now();
        for policy in policies {
            // The thread is that of all watches, which must not wait until every policy is judged for every node.
            yield_now().await;
            let waits = self.failed.get(&policy).is_some_and(|failed| failed.again > Instant::now());
            if waits || self.resting.contains_key(&policy) {
                continue;
            }
            let Some((version, status)) = cluster.news_of(&policy, now) else {
                self.failed.remove(&policy);
                continue;
            };
            match self.apply(&policy, &version, &status).await {
                Ok(written) => {
                    self.failed.remove(&policy);
                    if let Some(written) = written {
                        cluster.put(policy.0, &written);
                        let end = Instant::now() + rest(cluster.bytes_told(&policy));
                        self.resting.insert(policy, end);
                    }
                }
                Err(refusal) => {
                    let is_silent = matches!(refusal, Refusal::Silent);
                    if let Some(error) = self.note(policy, refusal) {
                        refusals.say("statuses of policies that could not be written", &error);
                    }
                    if is_silent {
                        break;
                    }
                }
            }
        }
        !self.failed.is_empty() || self.resting.values().any(|end| *end > Instant::now())
    }

    /// Takes note of a refusal; what there is to say of it, once it was met so often that it will be again.
    fn note(&mut self, policy: Key, refusal: Refusal) -> Option<String> {
        let without_status = without_status(policy.0);
        let patience = Patience::between(RETRY, RETRY_MAX);
        let failed = self.failed.entry(policy).or_insert(Failed { patience, again: Instant::now(), times: 0 });
        failed.again = Instant::now() + failed.patience.pause();
        failed.times = failed.times.saturating_add(1);
        let error = match refusal {
            // One that is gone is not known to the watch either, a moment later.
            Refusal::Absent => without_status,
            Refusal::Silent => "the API server does not answer".to_owned(),
            Refusal::Other(error) => error,
        };
        (failed.times == REFUSALS_TOLD).then_some(error)
    }

    /// The policy with the status; `None` if it is not what was judged any more, which the watch tells.
    async fn apply(
        &self,
        (kind, name): &Key,
        version: &str,
        status: &PolicyStatus,
    ) -> Result<Option<DynamicObject>, Refusal> {
        let resource = kind.resource();
        let patch = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": { "name": name, "resourceVersion": version }, "status": status,
        });
        let (how, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&patch));
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
        let answer = timeout(PATIENCE, api.patch_status(name, &how, &patch)).await;
        let written = match answer.map_err(|_| Refusal::Silent)? {
            Ok(written) => written,
            Err(kube::Error::Api(answer)) if answer.code == 409 => return Ok(None),
            Err(kube::Error::Api(answer)) if answer.code == 404 => return Err(Refusal::Absent),
            Err(error) => return Err(Refusal::Other(in_words(&error))),
        };
        // A definition of before may have the path and leave out what it does not know.
        let generation = status_of(&written).map(|status| status.observed_generation);
        if generation == Some(status.observed_generation) {
            Ok(Some(written))
        } else {
            Err(Refusal::Other(without_status(*kind)))
        }
    }
}

/// How long a policy rests that was told to all agents in so many bytes.
fn rest(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1_000) / BYTES_PER_SECOND)
}

/// What is said of a policy that is there and is said not to be.
fn without_status(kind: PolicyKind) -> String {
    let resource = kind.resource();
    format!(
        "the kind {} is installed without a status: kubectl apply -f deploy/base/{}.yaml brings it up to date",
        resource.kind, resource.plural
    )
}

/// Why a status is not written.
enum Refusal {
    /// The API server does not know the policy, or nothing of its status.
    Absent,
    /// The API server says nothing.
    Silent,
    /// It refuses, for this reason.
    Other(String),
}

#[cfg(test)]
mod tests;
