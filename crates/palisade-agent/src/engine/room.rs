//! What becomes of namespaces whose policies are too much for the node: their isolated pods are closed, and it is said so.

use std::time::{Duration, Instant};

use palisade_core::{Direction, Pod, PodName};

use super::Engine;
use crate::report::Obstacle;

/// What finds no room is shown under this name.
const OBSTACLE: &str = "elements-per-node";
/// So often it is looked whether there is room by now. It takes a look at all pods of the node, seconds where policies are large.
const REVIEW_INTERVAL: Duration = Duration::from_mins(1);

impl Engine {
    /// Opens namespaces that find room by now, if it is time to look. Nothing comes of it if the kernel refuses: what is due then
    /// is a load.
    pub(super) fn review(&mut self, now: Instant) {
        if self.due.review.is_none_or(|due| now < due) {
            return;
        }
        self.due.review = None;
        match self.programming.review(now) {
            Ok(done) => self.programmed(&[], done),
            Err(error) => self.failed(&error, now),
        }
    }

    /// Says which namespaces are closed.
    pub(super) fn note_room(&mut self, now: Instant) {
        let closed = self.programming.closed();
        self.due.review = (!closed.is_empty()).then(|| self.due.review.unwrap_or(now + REVIEW_INTERVAL));
        let found = closed.first().map(|first| {
            let of = match closed.len() {
                1 => format!("the policies of namespace {first} come"),
                count => format!("the policies of namespace {first} and of {} others come", count - 1),
            };
            format!("{of} to more elements than this node has room for ({})", self.settings.elements_per_node)
        });
        let obstacles: Vec<Obstacle> = found.into_iter().map(obstacle).collect();
        if obstacles.as_slice() == self.obstacles.get(OBSTACLE).map_or(&[][..], Vec::as_slice) {
            return;
        }
        for obstacle in &obstacles {
            tracing::warn!(name = obstacle.name, "{}; {}", obstacle.found, obstacle.means);
        }
        self.take_obstacles(OBSTACLE, obstacles);
    }

    /// Whether a pod is closed whatever its policies allow.
    pub(super) fn is_closed(&self, name: &PodName, pod: &Pod) -> bool {
        let subjects = &self.programming.tables().subjects;
        let is_isolated =
            |address| Direction::ALL.into_iter().any(|direction| subjects[direction].isolated.contains_key(address));
        self.programming.closed().contains(&name.namespace) && pod.addresses.iter().any(is_isolated)
    }

    /// Why a packet of this pod is denied that its policies may allow, if so.
    pub(super) fn closed_because(&self, pod: &str) -> Option<String> {
        let (namespace, _) = pod.split_once('/')?;
        let is_closed = self.programming.closed().contains(namespace);
        is_closed.then(|| {
            format!("the policies of namespace {namespace} come to more than this node has room for: {pod} is closed")
        })
    }
}

fn obstacle(found: String) -> Obstacle {
    Obstacle {
        name: OBSTACLE.to_string(),
        found,
        means: "isolated pods there are closed: nothing is allowed to or from them, whatever their policies say"
            .to_string(),
        hint: Some("make the policies fewer or smaller, or set a higher --elements-per-node".to_string()),
    }
}
