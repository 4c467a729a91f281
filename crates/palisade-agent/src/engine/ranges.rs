//! The pod ranges of the node. While no Node object of its name names any, those that were named last go on to hold: its pods
//! are still there, and new ones may come before the API server knows the node again.

use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use palisade_compile::UnknownPods;
use palisade_core::{Change, Node};

use super::Engine;
use crate::report::Obstacle;

/// What is held is shown under this name.
const OBSTACLE: &str = "pod-range-held";

impl Engine {
    /// Has the pod ranges that were named last hold, if what is to be brought into force takes them away.
    pub(super) fn hold_ranges(&mut self, changes: &mut Vec<Change>, first: bool, now: Instant) {
        let own_node = |change: &Change| matches!(change, Change::Node(name, _) if *name == self.settings.node);
        if !first && !changes.iter().any(own_node) {
            return;
        }
        changes.retain(|change| !own_node(change));
        let node = self.snapshot().nodes.get(&self.settings.node).map(Arc::clone).unwrap_or_default();
        let held = if node.pod_cidrs.is_empty() { self.node_ranges.clone() } else { Vec::new() };
        if !node.pod_cidrs.is_empty() && node.pod_cidrs != self.node_ranges {
            self.node_ranges.clone_from(&node.pod_cidrs);
            self.wants_save(now);
        }
        let drops = self.settings.unknown_pods == UnknownPods::Drop;
        let obstacle = obstacle(&self.settings.node, &held).filter(|_| drops);
        self.obstacles.insert(OBSTACLE, obstacle.into_iter().collect());
        let node = if held.is_empty() { node } else { Arc::new(Node { pod_cidrs: held, ..(*node).clone() }) };
        changes.push(Change::Node(Arc::clone(&self.settings.node), Some(node)));
    }
}

fn obstacle(node: &str, held: &[IpNet]) -> Option<Obstacle> {
    if held.is_empty() {
        return None;
    }
    let ranges: Vec<String> = held.iter().map(ToString::to_string).collect();
    Some(Obstacle {
        name: OBSTACLE.to_string(),
        found: format!("no Node {node} names its pod ranges; the last one named {}", ranges.join(", ")),
        means: "these go on to hold until a Node of that name names others".to_string(),
        hint: Some(
            "if the node is to have none, end its agent and delete state.json in its state directory".to_string(),
        ),
    })
}
