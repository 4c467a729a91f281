//! NP067: blocks of one family alone, for pods that have both.

use palisade_core::{Direction, Family, Peer};

use crate::check::Finding;
use crate::subject::{RuleAt, Subject};

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let pods = subject.pods();
    if !pods.iter().any(|pod| pod.dual_stack) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for direction in [Direction::Ingress, Direction::Egress] {
        let rules = subject.rules();
        let peers = rules.iter().filter(|rule| rule.direction == direction).flat_map(RuleAt::peers);
        let mut blocks = peers.filter_map(|(peer, at)| match peer {
            // What is a single address, as an API server or a cache on the node, may have one of a family alone.
            Peer::Block { cidr, .. } if cidr.prefix_len() < cidr.max_prefix_len() => {
                Some((Family::of(cidr.addr()), at))
            }
            Peer::Block { .. } | Peer::Pods { .. } => None,
        });
        let Some((family, at)) = blocks.next() else { continue };
        let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
        if blocks.any(|(found, _)| found == other) || names_elsewhere(subject, direction, other) {
            continue;
        }
        found.push(Finding {
            at: at.field("ipBlock"),
            message: format!("blocks of {family} alone, and the pods have {other} addresses, too"),
            reason: format!("nobody outside is allowed over {other}"),
            hint: format!("add the block of the other family, as ::/0 is beside 0.0.0.0/0, or say so beside the policy: nothing is meant to pass over {other}"),
        });
    }
    found
}

/// Whether a policy for the same pods names a block of the family, or everybody.
fn names_elsewhere(subject: &Subject<'_>, direction: Direction, family: Family) -> bool {
    let mut rules = subject.policies_beside().flat_map(|policy| policy.rules[direction].iter().flatten());
    rules.any(|rule| match &rule.peers {
        None => true,
        Some(peers) => {
            peers.iter().any(|peer| matches!(peer, Peer::Block { cidr, .. } if Family::of(cidr.addr()) == family))
        }
    })
}
