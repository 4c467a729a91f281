//! When interfaces of pods are looked at, and what becomes of pods that send under addresses of others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use palisade_compile::UnknownPods;
use palisade_core::{Change, Pod, PodName};

use super::Engine;
use crate::binding::{Binding, Known};
use crate::report::Obstacle;

/// Interfaces are looked at this often even if nothing is heard of them: addresses appear in a pod without a sound.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// After news of an interface they are looked at this often for a while: a network plugin adds addresses a moment later.
const SETTLING_INTERVAL: Duration = Duration::from_millis(100);
/// For so long.
const SETTLING: Duration = Duration::from_secs(3);
/// After the kernel refused, they are looked at again so much later.
const RETRY: Duration = Duration::from_secs(1);
/// What cannot be bound is shown under this name.
const OBSTACLE: &str = "forged-sources";

/// The binding of pods to their interfaces, and when it is due.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// `None` with `--forged-sources=allow`.
    binding: Option<Binding>,
    due: Option<Instant>,
    /// Until when interfaces may still be on their way.
    settling: Option<Instant>,
    /// The pods that no interface is bound to, and since when.
    unbound: BTreeMap<PodName, Instant>,
}

impl Sources {
    pub(super) fn new(binding: Option<Binding>) -> Sources {
        Sources { binding, ..Sources::default() }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Has the interfaces looked at with the next step.
    pub(super) fn look(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// The same, and often for a while: an interface came or changed.
    pub(super) fn look_for_a_while(&mut self, now: Instant) {
        self.settling = Some(now + SETTLING);
        self.look(now);
    }

    /// When to look again after a look.
    fn next_look(&self, now: Instant) -> Instant {
        let settles = self.settling.is_some_and(|until| now < until);
        now + if settles { SETTLING_INTERVAL } else { LOOK_INTERVAL }
    }

    /// The same, with the tables read back.
    pub(super) fn doubt(&mut self, now: Instant) {
        if let Some(binding) = &mut self.binding {
            binding.doubt();
        }
        self.look(now);
    }

    /// The binding, if pods are held to their addresses.
    pub(super) fn binding(&self) -> Option<&Binding> {
        self.binding.as_ref()
    }

    /// The same, to ask the kernel.
    pub(super) fn binding_mut(&mut self) -> Option<&mut Binding> {
        self.binding.as_mut()
    }

    /// Takes note of which pods no interface is bound to; those of which that is so for a while, since a new one is soon.
    fn note_unbound(&mut self, unbound: Vec<PodName>, now: Instant) -> Vec<&PodName> {
        self.unbound.retain(|pod, _| unbound.contains(pod));
        for pod in unbound {
            self.unbound.entry(pod).or_insert(now);
        }
        let lasting = self.unbound.iter().filter(|(_, since)| now.duration_since(**since) >= LOOK_INTERVAL);
        lasting.map(|(pod, _)| pod).collect()
    }

    /// Takes the tables out of the kernel.
    pub(super) fn remove(&mut self) -> Result<(), palisade_nft::ApplyError> {
        self.binding.as_mut().map_or(Ok(()), Binding::remove)
    }
}

impl Engine {
    /// Whether these changes concern an interface of this node.
    pub(super) fn touches_interfaces(&self, changes: &[Change]) -> bool {
        changes.iter().any(|change| match change {
            Change::Pod(name, pod) => {
                let is_here = |pod: &Pod| pod.node.as_ref() == Some(&self.settings.node);
                pod.as_deref().is_some_and(is_here) || self.in_force_since.contains_key(name)
            }
            Change::Node(name, _) => *name == self.settings.node,
            _ => false,
        })
    }

    /// Binds the pods of this node to their interfaces, if that is due.
    pub(super) fn bind(&mut self, now: Instant) {
        if self.sources.due.is_some_and(|due| now < due) || !self.is_listed() {
            return;
        }
        let Some(mut binding) = self.sources.binding.take() else {
            self.sources.due = None;
            return;
        };
        let pods: Vec<(&PodName, &Pod)> = self.local_pods().filter(|(_, pod)| !pod.addresses.is_empty()).collect();
        let known = Known {
            pods: &pods,
            ranges: &self.programming.tables().pod_ranges,
            unknown_may_send: self.settings.unknown_pods == UnknownPods::Allow,
        };
        let bound = binding.update(known);
        let unbound = pods.into_iter().map(|(name, _)| name).filter(|name| binding.interface(name).is_none());
        let unbound = unbound.cloned().collect();
        self.sources.binding = Some(binding);
        let obstacles = match bound {
            Ok(_) => {
                self.sources.due = Some(self.sources.next_look(now));
                not_bound(&self.sources.note_unbound(unbound, now)).into_iter().collect()
            }
            Err(error) => {
                self.sources.due = Some(now + RETRY);
                vec![obstacle(crate::watch::chain(&error))]
            }
        };
        self.obstacles.insert(OBSTACLE, obstacles);
    }
}

/// What it means that no interface is bound to these pods.
fn not_bound(pods: &[&PodName]) -> Option<Obstacle> {
    let first = pods.first()?;
    let found = match pods.len() {
        1 => format!("no interface of the node leads to {first}"),
        count => format!("no interface of the node leads to {first} and {} other pods", count - 1),
    };
    Some(Obstacle {
        name: "unbound-pods".to_string(),
        found,
        means: "what they send is not held to their addresses; packets that pass this node by are not judged at all"
            .to_string(),
        hint: Some(
            "the network plugin must attach pods by veth links, whose addresses are in status.podIPs".to_string(),
        ),
    })
}

fn obstacle(found: String) -> Obstacle {
    Obstacle {
        name: OBSTACLE.to_string(),
        found,
        means: "a pod with NET_RAW that sends under the address of another passes as that pod".to_string(),
        hint: Some("the kernel needs CONFIG_NF_TABLES_BRIDGE".to_string()),
    }
}
