//! A Lease (coordination.k8s.io/v1), by which one agent of the cluster at a time does what is to be done once.
//!
//! Clocks of two machines are not compared: whoever wants the Lease takes it over after having seen it unchanged for as long as it
//! is given for, by its own clock; the holder gives up earlier, by its own clock, counted from before it asked. Each write names the
//! resourceVersion that was read, so that of two who write at the same time one is refused. A process that hangs in the middle of
//! something may still do it after another has taken over; what is done under the Lease has to bear that.
//!
//! The object is installed with the rest and never made by an agent, which therefore needs rights to this one Lease alone.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// For how long it is given. After the end of its holder it is free as much later.
const DURATION: Duration = Duration::from_secs(15);
/// A holder may have asked for longer; more than this is not waited for.
const DURATION_MAX: Duration = Duration::from_mins(1);
/// How long after it was renewed the holder renews it.
const RENEW: Duration = Duration::from_secs(5);
/// A holder that could not renew it for so long does nothing more under it.
const GIVE_UP: Duration = Duration::from_secs(10);
/// A renewal that failed is tried again so much later.
const RETRY: Duration = Duration::from_secs(1);
/// The API server answers within this, or the connection is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for an agent that is about to end.
const RELEASE_PATIENCE: Duration = Duration::from_secs(1);

/// The Lease as one agent knows it.
pub struct Lease {
    api: Api<Object>,
    name: &'static str,
    /// `spec.holderIdentity` of this agent.
    identity: String,
    /// As it was read or written last.
    object: Object,
    /// Since when it is known to be as it is.
    unchanged_since: Instant,
    /// When the last renewal that went well was asked for; `None` while others hold it.
    renewed: Option<Instant>,
}

/// What became of an attempt to take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// This agent holds it, and is to [`keep`](Lease::keep) it.
    Held,
    /// Another one does.
    Taken,
    /// Another one does, which seems to be gone: it is worth looking again after this time.
    Stale(Duration),
}

impl Lease {
    /// The Lease of this name in a namespace, as wanted by an agent of this identity, which no other one has.
    pub fn new(client: Client, namespace: &str, name: &'static str, identity: String) -> Lease {
        let api = Api::namespaced(client, namespace);
        Lease { api, name, identity, object: Object::default(), unchanged_since: Instant::now(), renewed: None }
    }

    /// Looks at it, and takes it if it is free.
    ///
    /// # Errors
    ///
    /// If the API server refuses or does not answer in time, or there is no such Lease.
    pub async fn attempt(&mut self) -> Result<Attempt, LeaseError> {
        self.look().await?;
        let spec = self.object.spec.as_ref();
        let given = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        let given = given.map_or(DURATION, |seconds| Duration::from_secs(seconds).clamp(DURATION, DURATION_MAX));
        let left = given.saturating_sub(self.unchanged_since.elapsed());
        if self.is_of_another() && !left.is_zero() {
            // If clocks differ this is wrong, which costs a look.
            let renewed = spec.and_then(|spec| spec.renew_time.as_ref());
            let age = renewed.map(|MicroTime(renewed)| Timestamp::now().duration_since(*renewed).unsigned_abs());
            return Ok(if age.is_none_or(|age| age > given) { Attempt::Stale(left) } else { Attempt::Taken });
        }
        match self.write(Some(self.identity.clone())).await {
            Ok(()) => Ok(Attempt::Held),
            Err(error) if error.is_conflict() => Ok(Attempt::Taken),
            Err(error) => Err(error),
        }
    }

    /// Renews it for as long as that goes well, and returns when it may be another's.
    pub async fn keep(&mut self) {
        while let Some(renewed) = self.renewed {
            sleep_until(renewed + RENEW).await;
            // The process may have been stopped meanwhile.
            let deadline = renewed + GIVE_UP;
            let is_late = Instant::now() >= deadline;
            if is_late || !timeout_at(deadline, self.renew_in_the_end()).await.unwrap_or(false) {
                self.renewed = None;
            }
        }
    }

    /// Tries to renew it until that goes well, or another one holds it: whether it is renewed.
    async fn renew_in_the_end(&mut self) -> bool {
        while let Err(error) = self.renew().await {
            tracing::debug!("cannot renew Lease {}: {}", self.name, crate::watch::chain(&error));
            sleep(RETRY).await;
            // What seemed to fail may have been written all the same: what there is now is read again.
            if self.look().await.is_ok() && self.is_of_another() {
                return false;
            }
        }
        true
    }

    /// Gives it back, so that another one need not wait. What goes wrong with it costs that wait.
    pub async fn release(&mut self) {
        if self.renewed.take().is_none() {
            return;
        }
        let released = timeout(RELEASE_PATIENCE, async {
            // A renewal may have been on its way.
            self.look().await?;
            if self.is_of_another() { Ok(()) } else { self.write(None).await }
        });
        if let Ok(Err(error)) = released.await {
            tracing::debug!("cannot give back Lease {}: {}", self.name, crate::watch::chain(&error));
        }
        self.renewed = None;
    }

    async fn renew(&mut self) -> Result<(), LeaseError> {
        self.write(Some(self.identity.clone())).await
    }

    fn is_of_another(&self) -> bool {
        holder(&self.object).is_some_and(|holder| holder != self.identity)
    }

    async fn look(&mut self) -> Result<(), LeaseError> {
        let object = timeout(PATIENCE, self.api.get(self.name)).await.map_err(|_| LeaseError::Silent)??;
        if object.metadata.resource_version != self.object.metadata.resource_version {
            self.unchanged_since = Instant::now();
        }
        self.object = object;
        Ok(())
    }

    /// Writes who holds it from now on, if it is still as it was read.
    async fn write(&mut self, holder: Option<String>) -> Result<(), LeaseError> {
        let (asked, wanted) = (Instant::now(), held_by(&self.object, holder, Timestamp::now()));
        let written = timeout(PATIENCE, self.api.replace(self.name, &PostParams::default(), &wanted)).await;
        self.object = written.map_err(|_| LeaseError::Silent)??;
        (self.unchanged_since, self.renewed) = (Instant::now(), Some(asked));
        Ok(())
    }
}

/// Why nothing came of a request.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API server says nothing.
    #[error("the API server does not answer")]
    Silent,
    /// It refuses.
    #[error(transparent)]
    Refused(#[from] kube::Error),
}

impl LeaseError {
    fn is_conflict(&self) -> bool {
        matches!(self, LeaseError::Refused(kube::Error::Api(status)) if status.code == 409)
    }
}

fn holder(lease: &Object) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// The Lease, held by somebody or nobody as of now.
fn held_by(lease: &Object, identity: Option<String>, now: Timestamp) -> Object {
    let mut held = lease.clone();
    let spec = held.spec.get_or_insert_default();
    if identity.is_some() && identity.as_deref() != holder(lease) {
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
        spec.acquire_time = Some(MicroTime(now));
    }
    spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
    spec.renew_time = Some(MicroTime(now));
    spec.holder_identity = identity;
    held
}

#[cfg(test)]
mod tests;
