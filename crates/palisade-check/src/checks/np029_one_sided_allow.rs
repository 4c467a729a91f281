//! NP029: one side allows what the other does not, for every pod that is named.

use std::collections::BTreeSet;

use palisade_core::Direction;

use crate::check::Finding;
use crate::passing::{may_be_pods, overlap};
use crate::pod_class::PodClass;
use crate::subject::{RuleAt, Subject};

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let own = subject.pods();
    if subject.policy.audit || own.is_empty() || !subject.cluster.shows_all_pods(subject.namespace()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for rule in subject.rules() {
        for (peer, at) in rule.peers() {
            let Some(others) = subject.shown_pods(peer) else { continue };
            if others.is_empty() || is_itself(&own, &others) || !are_cut_off(subject, &rule, &own, &others) {
                continue;
            }
            let (there, way) = match rule.direction {
                Direction::Ingress => (Direction::Egress, "out to these"),
                Direction::Egress => (Direction::Ingress, "in from these"),
            };
            found.push(Finding {
                at,
                message: format!("{peer}: all are isolated for {there}, and no policy lets them {way} at these ports"),
                reason: format!(
                    "both sides have to allow: what the item allows for {} is denied there",
                    rule.direction
                ),
                hint: format!("add an {there} rule to a policy of those pods, or remove the item"),
            });
        }
    }
    found
}

/// Whether no policy of these other pods may allow any of what the rule does between them and its own.
fn are_cut_off(subject: &Subject<'_>, rule: &RuleAt<'_>, own: &[&PodClass<'_>], others: &[&PodClass<'_>]) -> bool {
    let there = opposite(rule.direction);
    if !others.iter().all(|pod| pod.is_isolated(there) && pod.is_readable()) {
        return false;
    }
    // Pods under the same policies are cut off together.
    let mut known = BTreeSet::new();
    let mut distinct = others.iter().filter(|pod| known.insert((pod.under, pod.ports)));
    !distinct.any(|other| {
        other.policies.iter().any(|policy| {
            let mut rules = policy.rules[there].iter().flatten();
            rules.any(|allowing| {
                own.iter().any(|pod| {
                    let server = if rule.direction == Direction::Ingress { pod } else { other };
                    overlap(&rule.rule.ports, &allowing.ports, server.ports)
                        && may_be_pods(allowing, &policy.name.namespace, pod, subject.cluster)
                })
            })
        })
    })
}

/// Whether both are one pod, which always reaches itself.
fn is_itself(own: &[&PodClass<'_>], others: &[&PodClass<'_>]) -> bool {
    matches!((own, others), ([own], [other]) if std::ptr::eq(*own, *other) && own.count == 1)
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Ingress => Direction::Egress,
        Direction::Egress => Direction::Ingress,
    }
}
