//! NP080: a block that holds pods, for an implementation whose blocks hold none.

use palisade_core::dialect::BLOCKS_HOLD_NO_PODS;

use crate::check::Finding;
use crate::containment::ranges_of;
use crate::elsewhere::{lets_all_pods, told};
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let dialect = subject.cluster.dialect();
    let Some(rule) = dialect.rule(BLOCKS_HOLD_NO_PODS.id) else { return Vec::new() };
    let mut found = Vec::new();
    for of_policy in subject.rules().iter().filter(|rule| !lets_all_pods(subject, rule)) {
        for (peer, at) in of_policy.peers() {
            let Some((address, pod)) = ranges_of(peer).find_map(|range| subject.cluster.pod_at(range)) else {
                continue;
            };
            found.push(Finding {
                at: at.field("ipBlock"),
                message: format!("pod {pod} is in it, {address}"),
                reason: told(dialect, rule),
                hint: "name pods by selectors beside it; '- namespaceSelector: {}' is every pod".to_string(),
            });
        }
    }
    found
}
