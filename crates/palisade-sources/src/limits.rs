//! How much is too much. Limits are applied where objects are read, so that all who judge agree on what is left:
//! past a limit a policy cannot be read.

use std::collections::BTreeMap;

use palisade_core::{
    Diagnostic, Level, NamespaceName, NetworkPolicy, Peer, PolicyName, PortMatch, PortRange, Ports, Rule, Transport,
};

use crate::network_policy;
use crate::objects::Placed;
use crate::report::Report;

/// The most that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Policies in a namespace.
    pub policies_per_namespace: usize,
    /// Peers in a policy, over all its rules.
    pub peers_per_policy: usize,
    /// What the policies of a namespace hold in all: for each stretch of ports that they tell apart, the peers,
    /// blocks and exceptions of every rule that covers it.
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
    let mut namespace: Option<NamespaceName> = None;
    let (mut count, mut elements) = (0_usize, 0_usize);
    for (name, Placed { origin, object: policy }) in policies {
        if namespace.as_ref() != Some(&name.namespace) {
            namespace = Some(name.namespace.clone());
            (count, elements) = (0, 0);
        }
        count += 1;
        let more = elements.saturating_add(size(policy));
        let message = if count > limits.policies_per_namespace {
            format!("namespace {} has more than {} policies", name.namespace, limits.policies_per_namespace)
        } else if more > limits.elements_per_namespace {
            format!(
                "the policies of namespace {} have more than {} elements",
                name.namespace, limits.elements_per_namespace
            )
        } else {
            elements = more;
            continue;
        };
        if policy.unreadable.is_none() {
            network_policy::close(policy, message.clone());
            let diagnostic = Diagnostic {
                object: Some(format!("NetworkPolicy {name}")),
                effect: Some(network_policy::effect(policy)),
                ..Diagnostic::new(Level::Error, message)
            };
            report.add(*origin, diagnostic);
        }
    }
}

/// How many elements the rules of a policy come to, as far as its text alone tells.
fn size(policy: &NetworkPolicy) -> usize {
    let rules = [&policy.rules.ingress, &policy.rules.egress];
    rules.into_iter().flatten().map(|rules| rules_size(rules)).fold(0, usize::saturating_add)
}

/// The rules of one direction. Where ranges of ports overlap, each stretch between two of their ends admits the
/// peers of all that cover it, so that a few hundred rules can come to very much.
fn rules_size(rules: &[Rule]) -> usize {
    let mut total = 0_usize;
    for transport in Transport::ALL {
        // How many peers more, or fewer, are admitted from this port on.
        let mut steps: BTreeMap<u32, isize> = BTreeMap::new();
        for rule in rules {
            let peers = isize::try_from(peers_size(rule)).unwrap_or(isize::MAX);
            for range in ranges(rule, transport) {
                let (first, last) = (u32::from(range.first().get()), u32::from(range.last().get()));
                *steps.entry(first).or_default() += peers;
                *steps.entry(last + 1).or_default() -= peers;
            }
        }
        let mut admitted = 0_isize;
        for step in steps.into_values() {
            admitted = admitted.saturating_add(step);
            total = total.saturating_add(admitted.unsigned_abs());
        }
    }
    let elsewhere = |rule: &Rule| match &rule.ports {
        Ports::All => 1,
        Ports::Listed(ports) => ports.iter().filter(|port| matches!(port, PortMatch::Named(..))).count(),
    };
    let sizes = rules.iter().map(|rule| peers_size(rule).saturating_mul(elsewhere(rule)));
    sizes.fold(total, usize::saturating_add)
}

/// The numbered ports of a rule, every one of them a range.
fn ranges(rule: &Rule, transport: Transport) -> impl Iterator<Item = PortRange> {
    let listed: &[PortMatch] = match &rule.ports {
        Ports::All => &[],
        Ports::Listed(ports) => ports,
    };
    listed.iter().filter_map(move |port| match port {
        PortMatch::Every(of) if *of == transport => Some(PortRange::EVERY),
        PortMatch::Range(of, range) if *of == transport => Some(*range),
        _ => None,
    })
}

fn peers_size(rule: &Rule) -> usize {
    let size = |peer: &Peer| match peer {
        Peer::Pods { .. } => 1,
        Peer::Block { except, .. } => 1 + except.len(),
    };
    rule.peers.as_ref().map_or(1, |peers| peers.iter().map(size).sum())
}
