//! Writing the `NodeState` of this node: never in the way of enforcement, and never more often than the API server likes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::runtime::utils::Backoff as _;
use kube::{Api, Client};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{NodeState, NodeStateStatus};
use crate::backoff::Patience;
use crate::definition::FIELD_MANAGER;
use crate::message::Message;
use crate::report::Obstacle;

/// Two writes are at least so far apart.
const INTERVAL: Duration = Duration::from_secs(1);
/// In clusters of over a hundred nodes they are so much for each node: all agents together then write at most a
/// hundred times a second.
const INTERVAL_PER_NODE: Duration = Duration::from_millis(10);
/// It is written so often at least.
const HEARTBEAT: Duration = Duration::from_mins(1);
/// After the API server did not answer, it is tried again after pauses that grow to this.
const RETRY_MAX: Duration = Duration::from_secs(8);
/// The same after it refused: the kind is not installed, or the agent may not write it. They begin short, since a server that
/// has just started knows neither kinds nor roles for a moment.
const REFUSED_RETRY_MAX: Duration = Duration::from_mins(1);
/// What was refused so often in a row stands in the way.
const REFUSALS_TOLD: u32 = 4;
/// The API server answers within this, or the connection is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// The short name of the obstacle.
const OBSTACLE: &str = "node-state";

/// What the engine says for the object.
#[derive(Debug)]
pub struct Told {
    /// What is in force.
    pub status: NodeStateStatus,
    /// The `metadata.uid` of the Node, which will own the object; `None` as long as it is not known.
    pub node_uid: Option<String>,
}

/// Writes the state of a node for as long as the engine answers; `changed` is what the engine rings when there is
/// something to write before the next heartbeat.
pub async fn publish(client: Client, node: String, engine: mpsc::Sender<Message>, changed: Arc<Notify>) {
    let api = Api::<NodeState>::all(client);
    let (mut trouble, mut known) = (Trouble::default(), None);
    loop {
        let (sender, answer) = oneshot::channel();
        if engine.send(Message::NodeState(sender)).await.is_err() {
            return;
        }
        let Ok(told) = answer.await else { return };
        let begun = Instant::now();
        let interval = INTERVAL.max(INTERVAL_PER_NODE * u32::try_from(told.status.cluster.nodes).unwrap_or(u32::MAX));
        let state = NodeState::new(metadata(&node, told.node_uid), told.status);
        let outcome = write(&api, &node, &state).await;
        let pause = trouble.take(outcome);
        if trouble.obstacle != known {
            known.clone_from(&trouble.obstacle);
            let obstacles = known.iter().cloned().collect();
            if engine.send(Message::Obstacles { of: OBSTACLE, obstacles }).await.is_err() {
                return;
            }
        }
        sleep_until(begun + pause.unwrap_or_default().max(interval)).await;
        if pause.is_none() {
            let _ = timeout_at(begun + HEARTBEAT.max(interval), changed.notified()).await;
        }
    }
}

/// What came of a write.
#[derive(Debug)]
enum Outcome {
    Written,
    /// By the API server, with what stands in the way if it goes on so.
    Refused(Obstacle),
    Failed,
}

async fn write(api: &Api<NodeState>, node: &str, state: &NodeState) -> Outcome {
    let (how, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(state));
    let Ok(answer) = timeout(PATIENCE, api.patch(node, &how, &patch)).await else { return Outcome::Failed };
    let Err(error) = answer else { return Outcome::Written };
    tracing::debug!("cannot write NodeState {node}: {}", crate::watch::chain(&error));
    obstacle(&error).map_or(Outcome::Failed, Outcome::Refused)
}

/// What goes wrong with writing, and how soon it is tried again.
#[derive(Debug)]
struct Trouble {
    refusals: u32,
    after_refusal: Patience,
    after_failure: Patience,
    /// What stands in the way.
    obstacle: Option<Obstacle>,
}

impl Default for Trouble {
    fn default() -> Trouble {
        Trouble {
            refusals: 0,
            after_refusal: Patience::between(INTERVAL, REFUSED_RETRY_MAX),
            after_failure: Patience::between(INTERVAL, RETRY_MAX),
            obstacle: None,
        }
    }
}

impl Trouble {
    /// Takes note of what came of a write; how long to wait before the next one, if it was not written.
    fn take(&mut self, outcome: Outcome) -> Option<Duration> {
        match outcome {
            Outcome::Written => {
                *self = Trouble::default();
                None
            }
            Outcome::Refused(obstacle) => {
                self.refusals += 1;
                if self.refusals >= REFUSALS_TOLD && self.obstacle.as_ref() != Some(&obstacle) {
                    tracing::warn!("{}; {}", obstacle.found, obstacle.means);
                    self.obstacle = Some(obstacle);
                }
                self.after_failure.reset();
                Some(self.after_refusal.pause())
            }
            // Who answers next may have just started: what it refuses at first counts for little.
            Outcome::Failed => {
                self.refusals = 0;
                self.after_refusal.reset();
                Some(self.after_failure.pause())
            }
        }
    }
}

fn metadata(node: &str, node_uid: Option<String>) -> ObjectMeta {
    let owner = node_uid.map(|uid| OwnerReference {
        api_version: "v1".to_string(),
        kind: "Node".to_string(),
        name: node.to_string(),
        uid,
        ..OwnerReference::default()
    });
    ObjectMeta {
        name: Some(node.to_string()),
        owner_references: owner.map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// What stands in the way if the API server goes on refusing, where it is something that only people can change.
fn obstacle(error: &kube::Error) -> Option<Obstacle> {
    let kube::Error::Api(status) = error else { return None };
    let (found, hint) = match status.code {
        404 => (
            "the kind NodeState (palisade.dev/v1alpha1) is not installed",
            "kubectl apply -k deploy/ installs it with the rest, kubectl apply -f deploy/base/nodestates.yaml alone",
        ),
        403 => (
            "the agent may not write its NodeState",
            "its ClusterRole needs create and patch of nodestates in palisade.dev",
        ),
        _ => return None,
    };
    Some(Obstacle {
        name: OBSTACLE.to_string(),
        found: found.to_string(),
        means: "policies are enforced all the same, but 'palisade wait' cannot see this node".to_string(),
        hint: Some(hint.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(found: &str) -> Outcome {
        let obstacle = Obstacle { name: OBSTACLE.into(), found: found.into(), means: String::new(), hint: None };
        Outcome::Refused(obstacle)
    }

    fn found(trouble: &Trouble) -> Option<&str> {
        trouble.obstacle.as_ref().map(|obstacle| &*obstacle.found)
    }

    #[test]
    fn what_is_refused_for_a_moment_is_tried_again_soon_and_not_told() {
        let mut trouble = Trouble::default();
        let waited: Duration = (1..REFUSALS_TOLD).filter_map(|_| trouble.take(refused("no role"))).sum();
        assert!(waited <= Duration::from_secs(7), "{waited:?}");
        assert_eq!(found(&trouble), None);
        assert_eq!(trouble.take(Outcome::Written), None);
        assert!(trouble.take(refused("no role")).is_some_and(|pause| pause <= INTERVAL));
    }

    #[test]
    fn what_is_refused_again_and_again_is_told_and_tried_once_a_minute() {
        let mut trouble = Trouble::default();
        let pauses: Vec<_> = (0..20).filter_map(|_| trouble.take(refused("no kind"))).collect();
        assert!(pauses[10..].iter().all(|pause| *pause >= REFUSED_RETRY_MAX / 2), "{pauses:?}");
        assert_eq!(found(&trouble), Some("no kind"));
        assert!(trouble.take(refused("no role")).is_some());
        assert_eq!(found(&trouble), Some("no role"));
        assert!(trouble.take(Outcome::Written).is_none());
        assert_eq!(found(&trouble), None);
    }

    #[test]
    fn a_server_that_comes_back_is_given_a_moment() {
        let mut trouble = Trouble::default();
        for outcome in [refused("no role"), refused("no role"), refused("no role"), Outcome::Failed] {
            assert!(trouble.take(outcome).is_some());
        }
        assert!(trouble.take(refused("no role")).is_some_and(|pause| pause <= INTERVAL));
        assert_eq!(found(&trouble), None);
    }
}
