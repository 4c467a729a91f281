//! NP081: a block that holds nodes, for an implementation whose blocks hold none.

use palisade_core::dialect::BLOCKS_HOLD_NO_NODES;

use crate::check::Finding;
use crate::containment::ranges_of;
use crate::elsewhere::told;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let dialect = subject.cluster.dialect();
    let Some(rule) = dialect.rule(BLOCKS_HOLD_NO_NODES.id) else { return Vec::new() };
    let mut found = Vec::new();
    for (peer, at) in subject.peers() {
        // A block of pods and nodes is NP080's.
        if ranges_of(peer).any(|range| subject.cluster.pod_at(range).is_some()) {
            continue;
        }
        let Some((address, node)) = ranges_of(peer).find_map(|range| subject.cluster.node_at(range)) else { continue };
        found.push(Finding {
            at: at.field("ipBlock"),
            message: format!("node {node} is in it, {address}"),
            reason: told(dialect, rule),
            hint: "with Cilium set policy-cidr-match-mode to nodes, or use a policy of its own kind".to_string(),
        });
    }
    found
}
