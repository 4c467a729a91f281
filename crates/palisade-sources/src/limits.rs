//! How much is too much. Limits are applied where objects are read, so that all who judge agree on what is left:
//! past a limit a policy cannot be read.

mod elements;

use std::collections::BTreeMap;

use palisade_core::{Diagnostic, Level, NetworkPolicy, PolicyName};

use crate::network_policy;
use crate::objects::Placed;
use crate::report::Report;
use elements::Union;

pub use elements::Size;

/// The most that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Policies in a namespace.
    pub policies_per_namespace: usize,
    /// Peers in a policy, over all its rules.
    pub peers_per_policy: usize,
    /// What the policies of a namespace come to: one for each exact port and each stretch of ports that they tell apart
    /// together, and the peers, blocks and exceptions of every rule that covers it.
    pub elements_per_namespace: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { policies_per_namespace: 2_000, peers_per_policy: 5_000, elements_per_namespace: 200_000 }
    }
}

/// Closes the policies past the limits of their namespace, in the order of names: the same ones wherever they stand
/// in the input.
pub fn apply(policies: &mut BTreeMap<PolicyName, Placed<NetworkPolicy>>, limits: &Limits, report: &mut Report<'_>) {
    let sized: Vec<(&NetworkPolicy, Size)> =
        policies.values().map(|placed| (&placed.object, Size::of(&placed.object))).collect();
    let namespaces = sized.chunk_by(|(one, _), (other, _)| one.name.namespace == other.name.namespace);
    let past: Vec<Option<String>> = namespaces.flat_map(|of_one| past(of_one, limits)).collect();
    for (Placed { origin, object: policy }, past) in policies.values_mut().zip(past) {
        if let Some(message) = past.filter(|_| policy.unreadable.is_none()) {
            network_policy::close(policy, message.clone());
            report.add(*origin, diagnostic(policy, message));
        }
    }
}

/// The limit that each policy of a namespace is past, if it is past one. They come in the order of names, and the
/// earlier take the room.
///
/// A policy that is too much by itself takes none. Where policies are too much together, since they cut the ports of one
/// another into ever more stretches, all from the first are past the limit that does not fit beside those before it.
pub fn past(policies: &[(&NetworkPolicy, Size)], limits: &Limits) -> Vec<Option<String>> {
    let Some(namespace) = policies.first().map(|(policy, _)| &policy.name.namespace) else { return Vec::new() };
    let (most_policies, most_elements) = (limits.policies_per_namespace, limits.elements_per_namespace);
    let too_much = || Some(format!("the policies of namespace {namespace} have more than {most_elements} elements"));
    let mut past = vec![None; policies.len()];
    let mut within = Vec::new();
    let mut elements = 0_usize;
    for (place, (_, size)) in policies.iter().enumerate() {
        let more = elements.saturating_add(size.own);
        if place >= most_policies {
            past[place] = Some(format!("namespace {namespace} has more than {most_policies} policies"));
        } else if more > most_elements {
            past[place] = too_much();
        } else {
            elements = more;
            within.push(place);
        }
    }
    if Size::bound(within.iter().map(|place| policies[*place].1)) > most_elements {
        let union = Union::of(&within.iter().map(|place| policies[*place].0).collect::<Vec<_>>());
        let fits = |policies: &usize| union.elements(*policies) <= most_elements;
        // They nearly always do, and then there is nothing to search for.
        if !fits(&within.len()) {
            let fit = (1..within.len()).collect::<Vec<_>>().partition_point(fits);
            within.drain(fit..).for_each(|place| past[place] = too_much());
        }
    }
    past
}

/// The diagnostic of a policy that is closed because it is past a limit.
pub fn diagnostic(policy: &NetworkPolicy, message: String) -> Diagnostic {
    Diagnostic {
        object: Some(format!("NetworkPolicy {}", policy.name)),
        effect: Some(network_policy::effect(policy)),
        ..Diagnostic::new(Level::Error, message)
    }
}
