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

use super::cluster::Cluster;
use super::{REFUSALS_TOLD, RETRY, RETRY_MAX, Refusals, in_words};
use crate::backoff::Patience;
use crate::definition::{FIELD_MANAGER, GROUP, VERSION};
use crate::host_policy::{self, HostPolicyStatus};

/// The API server answers within this, or the connection is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is said of a policy that is there and is said not to be.
const WITHOUT_STATUS: &str = "the kind HostPolicy is installed without a status: kubectl apply -f deploy/base/hostpolicies.yaml brings it up to date";

/// Who writes.
pub struct Writer {
    host_policies: Api<DynamicObject>,
    /// Policies whose status could not be written.
    failed: BTreeMap<String, Failed>,
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
        Writer { host_policies: Api::all_with(client, &host_policy::resource()), failed: BTreeMap::new() }
    }

    /// Writes what is not there yet. What cannot be written holds up no other; returns whether some of it is to be tried again.
    pub async fn write(&mut self, cluster: &mut Cluster, refusals: &mut Refusals) -> bool {
        self.failed.retain(|name, _| cluster.host_policies.objects.contains_key(name));
        if !cluster.is_known() {
            return false;
        }
        let now = Timestamp::now();
        for name in cluster.host_policies.objects.keys().cloned().collect::<Vec<_>>() {
            // The thread is that of all watches, which must not wait until every policy is judged for every node.
            yield_now().await;
            if self.failed.get(&name).is_some_and(|failed| failed.again > Instant::now()) {
                continue;
            }
            let Some((version, status)) = cluster.news_of_host_policy(&name, now) else {
                self.failed.remove(&name);
                continue;
            };
            match self.apply(&name, &version, &status).await {
                Ok(written) => {
                    self.failed.remove(&name);
                    if let Some(written) = written {
                        cluster.put_host_policy(&written);
                    }
                }
                Err(refusal) => {
                    let is_silent = matches!(refusal, Refusal::Silent);
                    if let Some(error) = self.note(name, refusal) {
                        refusals.say("statuses of HostPolicies that could not be written", &error);
                    }
                    if is_silent {
                        break;
                    }
                }
            }
        }
        !self.failed.is_empty()
    }

    /// Takes note of a refusal; what there is to say of it, once it was met so often that it will be again.
    fn note(&mut self, name: String, refusal: Refusal) -> Option<String> {
        let patience = Patience::between(RETRY, RETRY_MAX);
        let failed = self.failed.entry(name).or_insert(Failed { patience, again: Instant::now(), times: 0 });
        failed.again = Instant::now() + failed.patience.pause();
        failed.times = failed.times.saturating_add(1);
        let error = match refusal {
            // One that is gone is not known to the watch either, a moment later.
            Refusal::Absent => WITHOUT_STATUS.to_owned(),
            Refusal::Silent => "the API server does not answer".to_owned(),
            Refusal::Other(error) => error,
        };
        (failed.times == REFUSALS_TOLD).then_some(error)
    }

    /// The policy with the status; `None` if it is not what was judged any more, which the watch tells.
    async fn apply(
        &self,
        name: &str,
        version: &str,
        status: &HostPolicyStatus,
    ) -> Result<Option<DynamicObject>, Refusal> {
        let patch = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": host_policy::KIND,
            "metadata": { "name": name, "resourceVersion": version }, "status": status,
        });
        let (how, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&patch));
        let answer = timeout(PATIENCE, self.host_policies.patch_status(name, &how, &patch)).await;
        let written = match answer.map_err(|_| Refusal::Silent)? {
            Ok(written) => written,
            Err(kube::Error::Api(answer)) if answer.code == 409 => return Ok(None),
            Err(kube::Error::Api(answer)) if answer.code == 404 => return Err(Refusal::Absent),
            Err(error) => return Err(Refusal::Other(in_words(&error))),
        };
        // A definition of before may have the path and leave out what it does not know.
        let generation = host_policy::status(&written).map(|status| status.observed_generation);
        if generation == Some(status.observed_generation) {
            Ok(Some(written))
        } else {
            Err(Refusal::Other(WITHOUT_STATUS.to_owned()))
        }
    }
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
