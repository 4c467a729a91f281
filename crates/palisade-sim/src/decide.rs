//! The oracle: whether a packet may pass, read from the text of networking.k8s.io/v1 `NetworkPolicy`.
//!
//! Where several pods have one address at the same time, as while addresses are reused, no node can tell whose
//! packet it forwards. Then each of these pods that runs on a node on the packet's way is judged, and all must
//! allow; as peers, a rule that matches one of them matches the packet.
//!
//! Policies with the annotation `palisade.dev/audit: "true"` have no say in the verdict. Where one of them selects a pod that is judged,
//! all is judged once more with every policy, for the shadow verdict.

use std::net::IpAddr;

use palisade_core::dialect::SERVICE_TO_ITSELF;
use palisade_core::{
    Dialect, Direction, NamespaceName, NetworkPolicy, Pod, PodName, PolicyName, Ports, Rule, Snapshot, Verdict,
};

use crate::ban::bans;
use crate::host::Guarded;
use crate::host_reason::HostDecision;
use crate::matching::selects;
use crate::packet::{Endpoint, Leg, Owner, Packet, Stage};
use crate::reason::{Banned, Decision, DirectionDecision, Exemption, Grant, Isolator, Near, Outcome, Shadow};
use crate::rule::{Matched, NamedPod, Question};
use crate::server::Listed;

/// Judges one packet, the first of a flow; replies are not judged.
///
/// "By default, a pod is non-isolated for egress; all outbound connections are allowed"; likewise for ingress.
/// "For a connection from a source pod to a destination pod to be allowed, both the egress policy on the source
/// pod and the ingress policy on the destination pod need to allow the connection." An end that is no pod has
/// no policies.
pub fn decide(snapshot: &Snapshot, packet: &Packet) -> Decision {
    decide_as(snapshot, packet, Dialect::Palisade)
}

/// The same as a dialect reads NetworkPolicies, as far as its rules are judged.
pub fn decide_as(snapshot: &Snapshot, packet: &Packet, dialect: Dialect) -> Decision {
    let legs = packet.legs();
    let now = Judged::new(snapshot, &legs, Asked::InForce, dialect);
    let then = Judged::new(snapshot, &legs, Asked::All, dialect);
    let (verdict, assumed, directions) = now.judge();
    let shadow = then.is_audited().then(|| {
        let (verdict, assumed, directions) = then.judge();
        Shadow { verdict, assumed, directions, host: then.host(), bans: then.bans }
    });
    let server = now.listed.as_ref().map(Listed::decision);
    Decision { verdict, assumed, directions, host: now.host(), server, bans: now.bans, shadow }
}

/// Everything that is asked about a packet.
#[derive(Default)]
struct Judged<'a> {
    sides: Vec<Side<'a>>,
    guarded: Vec<Guarded<'a>>,
    listed: Option<Listed<'a>>,
    bans: Vec<Banned>,
}

impl<'a> Judged<'a> {
    /// What is asked on each leg; the same question that two nodes are asked counts once.
    fn new(snapshot: &'a Snapshot, legs: &'a [Leg], asked: Asked, dialect: Dialect) -> Judged<'a> {
        let mut judged = Judged::default();
        for leg in legs {
            judged.sides.extend(sides(snapshot, leg, asked, dialect));
            if !judged.guarded.iter().any(|guarded| *guarded.packet == leg.packet) {
                judged.guarded.extend(Guarded::of(snapshot, leg, asked));
            }
            judged.listed = judged.listed.or_else(|| Listed::of(snapshot, &leg.packet));
            for ban in bans(snapshot, &leg.packet, asked) {
                if !judged.bans.contains(&ban) {
                    judged.bans.push(ban);
                }
            }
        }
        judged
    }

    fn host(&self) -> Vec<HostDecision> {
        self.guarded.iter().map(Guarded::decision).collect()
    }

    fn is_audited(&self) -> bool {
        self.sides.iter().flat_map(|side| &side.policies).any(|(_, policy)| policy.audit)
            || self.guarded.iter().any(Guarded::is_audited)
            || self.bans.iter().any(|ban| ban.audit)
    }

    /// Whether all allow, whether that rests on something invented, and what each side says.
    fn judge(&self) -> (Verdict, bool, Vec<DirectionDecision>) {
        let admits = |reading| {
            let is_listed = self.listed.as_ref().is_none_or(|listed| listed.outcome(reading).admits());
            self.bans.is_empty() && is_listed && self.guarded.iter().all(|guarded| guarded.outcome(reading).admits())
        };
        let allows = |reading| self.sides.iter().all(|side| side.outcome(reading).allows()) && admits(reading);
        // More matches never turn an allow into a deny, so the two extreme readings bound all others.
        let invented = self.sides.iter().any(|side| side.peer_assumed || side.subject.1.assumed.node)
            || self.guarded.iter().any(|guarded| guarded.peer_assumed)
            || self.listed.as_ref().is_some_and(Listed::may_be_assumed);
        let assumed = invented && allows(Reading::Against) != allows(Reading::InFavour);
        let directions: Vec<DirectionDecision> = self.sides.iter().map(Side::decision).collect();
        let allowed = directions.iter().all(|decision| decision.outcome.allows()) && admits(Reading::AsInvented);
        (Verdict::allow_if(allowed), assumed, directions)
    }
}

/// Which policies are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Those that are not audited.
    InForce,
    /// All, as if none were audited.
    All,
}

/// Whether the pod has addresses of its own: neither the node's nor, after it has finished, none.
///
/// A terminating pod has, until it is gone.
pub(crate) fn has_own_addresses(pod: &Pod) -> bool {
    !pod.host_network && !pod.finished
}

/// The policies in force that isolate a pod in a direction, by name; empty if it is not isolated.
pub fn isolators(snapshot: &Snapshot, pod: &PodName, direction: Direction) -> Vec<PolicyName> {
    let policies = policies_of(snapshot, pod, direction, Asked::InForce);
    policies.into_iter().map(|(name, _)| name.clone()).collect()
}

/// The audited policies that would isolate a pod in a direction, by name.
pub fn audited(snapshot: &Snapshot, pod: &PodName, direction: Direction) -> Vec<PolicyName> {
    let policies = policies_of(snapshot, pod, direction, Asked::All);
    policies.into_iter().filter(|(_, policy)| policy.audit).map(|(name, _)| name.clone()).collect()
}

fn policies_of<'a>(
    snapshot: &'a Snapshot,
    pod: &PodName,
    direction: Direction,
    asked: Asked,
) -> Vec<(&'a PolicyName, &'a NetworkPolicy)> {
    let subject = snapshot.pods.get_key_value(pod).filter(|(_, pod)| has_own_addresses(pod));
    subject.map(|(name, pod)| isolating(snapshot, (name, &**pod), direction, asked)).unwrap_or_default()
}

/// Every pod that has the address as its own.
pub(crate) fn pods_at(snapshot: &Snapshot, address: IpAddr) -> Vec<NamedPod<'_>> {
    let mut pods = Vec::new();
    for (name, pod) in &snapshot.pods {
        if has_own_addresses(pod) && pod.addresses.contains(&address) {
            pods.push((name, &**pod));
        }
    }
    pods
}

/// Whether the address was invented, for a pod, a node, a Service or a server, of which no input names one.
pub(crate) fn is_assumed(snapshot: &Snapshot, address: IpAddr) -> bool {
    snapshot.nodes.values().any(|node| node.assumed && node.addresses.contains(&address))
        || snapshot.servers.values().any(|server| server.addresses.contains(&address))
        || snapshot.services.values().any(|service| service.assumed && service.addresses.contains(&address))
        || snapshot.pods.values().any(|pod| pod.assumed.addresses && !pod.finished && pod.addresses.contains(&address))
}

/// How to read what was invented, to see whether a verdict rests on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As the reader of the input invented it.
    AsInvented,
    /// No block holds an invented address, and no pod with an invented node is exempt.
    Against,
    /// Every block holds an invented address, and a pod with an invented node is exempt.
    InFavour,
}

impl Reading {
    /// How to read an address: one that was not invented is what it is.
    pub(crate) fn of(self, assumed: bool) -> Reading {
        if assumed { self } else { Reading::AsInvented }
    }
}

/// One pod and its policies in one direction, for one packet.
struct Side<'a> {
    snapshot: &'a Snapshot,
    dialect: Dialect,
    leg: &'a Leg,
    direction: Direction,
    subject: NamedPod<'a>,
    /// The policies that isolate the subject.
    policies: Vec<(&'a PolicyName, &'a NetworkPolicy)>,
    peer: &'a Endpoint,
    /// The pods that have the peer's address.
    peer_pods: Vec<NamedPod<'a>>,
    peer_assumed: bool,
}

fn sides<'a>(snapshot: &'a Snapshot, leg: &'a Leg, asked: Asked, dialect: Dialect) -> Vec<Side<'a>> {
    let mut sides = Vec::new();
    // Before it is translated it is not forwarded.
    if leg.stage == Stage::Entering {
        return sides;
    }
    let packet = &leg.packet;
    for direction in Direction::ALL {
        let (end, peer) = match direction {
            Direction::Egress => (&packet.source, &packet.destination),
            Direction::Ingress => (&packet.destination, &packet.source),
        };
        for subject in subjects(snapshot, leg, end) {
            sides.push(Side {
                snapshot,
                dialect,
                leg,
                direction,
                subject,
                policies: isolating(snapshot, subject, direction, asked),
                peer,
                peer_pods: pods_at(snapshot, peer.address),
                peer_assumed: is_assumed(snapshot, peer.address),
            });
        }
    }
    sides
}

/// The pods that an end of the packet may be, for the nodes on its way: the pod that it is, and those that have its
/// address too on one of these nodes. A node's own ends are not on the way, their packets are not forwarded there.
/// A leg of one node is about the pods of this node, and those that no node runs yet.
fn subjects<'a>(snapshot: &'a Snapshot, leg: &Leg, end: &Endpoint) -> Vec<NamedPod<'a>> {
    let mut pods = pods_at(snapshot, end.address);
    pods.retain(|(name, pod)| {
        if leg.node.is_some() {
            return pod.node.is_none() || pod.node == leg.node;
        }
        let is_end = end.owner == Owner::Pod((*name).clone());
        let on_the_way = [&leg.packet.source, &leg.packet.destination]
            .iter()
            .any(|end| matches!(end.owner, Owner::Pod(_)) && end.node.is_some() && end.node == pod.node);
        is_end || on_the_way
    });
    pods
}

/// `spec.podSelector`: "selects the pods to which this `NetworkPolicy` object applies […] in the policy's
/// namespace"; `spec.policyTypes` says for which directions.
fn isolating<'a>(
    snapshot: &'a Snapshot,
    subject: NamedPod<'_>,
    direction: Direction,
    asked: Asked,
) -> Vec<(&'a PolicyName, &'a NetworkPolicy)> {
    let (name, pod) = subject;
    let mut policies = Vec::new();
    for (policy_name, policy) in &snapshot.policies {
        if asked == Asked::InForce && policy.audit {
            continue;
        }
        if policy_name.namespace == name.namespace
            && policy.rules[direction].is_some()
            && selects(&policy.subjects, &pod.labels)
        {
            policies.push((policy_name, &**policy));
        }
    }
    policies
}

impl Side<'_> {
    fn decision(&self) -> DirectionDecision {
        let isolated_by = self
            .policies
            .iter()
            .map(|(name, policy)| Isolator {
                policy: (*name).clone(),
                unreadable: policy.unreadable.clone(),
                audit: policy.audit,
            })
            .collect();
        DirectionDecision {
            direction: self.direction,
            subject: self.subject.0.clone(),
            isolated_by,
            outcome: self.outcome(Reading::AsInvented),
        }
    }

    /// "Traffic is allowed to a pod if there are no `NetworkPolicies` selecting the pod, OR if the traffic source is
    /// the pod's local node, OR if the traffic matches at least one ingress rule across all of the `NetworkPolicy`
    /// objects whose podSelector matches the pod." Egress likewise.
    fn outcome(&self, reading: Reading) -> Outcome {
        if self.policies.is_empty() {
            return Outcome::NotIsolated;
        }
        if let Some(exemption) = self.exemption(reading) {
            return Outcome::Exempt(exemption);
        }
        let mut closest = None;
        for (policy_name, policy) in &self.policies {
            for (index, rule) in policy.rules[self.direction].iter().flatten().enumerate() {
                for question in self.questions(&policy_name.namespace, reading) {
                    match question.ask(rule) {
                        Ok(matched) => return self.grant(policy_name, index, rule, &matched),
                        Err(miss) => {
                            let (closeness, missed) = *miss;
                            if closest.as_ref().is_none_or(|(best, _)| closeness > *best) {
                                let policy = (*policy_name).clone();
                                let near = Near { policy, direction: self.direction, rule: index, missed };
                                closest = Some((closeness, near));
                            }
                        }
                    }
                }
            }
        }
        Outcome::Denied { closest: closest.map(|(_, near)| near) }
    }

    /// "Exception: traffic to and from the node where a Pod is running is always allowed, regardless of the IP address of the
    /// Pod or the node"; "a pod cannot block access to itself". What a Service leads back to the pod has left it.
    fn exemption(&self, reading: Reading) -> Option<Exemption> {
        let pod = self.subject.1;
        let counts_as_itself = self.leg.stage != Stage::Translated || self.dialect.has(&SERVICE_TO_ITSELF);
        if pod.addresses.contains(&self.peer.address) && counts_as_itself {
            return Some(Exemption::Itself);
        }
        let node = self.peer.node.as_ref().filter(|_| self.peer.owner == Owner::Node)?;
        let is_own = match reading {
            Reading::Against if pod.assumed.node => false,
            Reading::InFavour if pod.assumed.node => true,
            _ => pod.node.as_ref() == Some(node),
        };
        is_own.then(|| Exemption::OwnNode(node.clone()))
    }

    /// What each rule of a policy is asked: once for each pod that the peer may be, or once if it is none.
    fn questions<'q>(&'q self, namespace: &'q NamespaceName, reading: Reading) -> Vec<Question<'q>> {
        let mut peers: Vec<Option<NamedPod<'_>>> = self.peer_pods.iter().copied().map(Some).collect();
        if peers.is_empty() {
            peers.push(None);
        }
        let mut questions = Vec::new();
        for peer_pod in peers {
            questions.push(Question {
                snapshot: self.snapshot,
                dialect: self.dialect,
                namespace,
                peer: self.peer,
                peer_pod,
                destination: &self.leg.packet.destination,
                destination_pod: match self.direction {
                    Direction::Ingress => Some(self.subject),
                    Direction::Egress => peer_pod,
                },
                traffic: self.leg.packet.traffic,
                peer_assumed: self.peer_assumed,
                reading,
            });
        }
        questions
    }

    fn grant(&self, policy: &PolicyName, index: usize, rule: &Rule, matched: &Matched) -> Outcome {
        let peer = matched.peer.zip(rule.peers.as_ref());
        let port = match &rule.ports {
            Ports::All => None,
            Ports::Listed(ports) => matched.port.map(|port| (port, ports[port].clone())),
        };
        Outcome::Allowed(Grant {
            policy: policy.clone(),
            direction: self.direction,
            rule: index,
            peer: peer.map(|(peer, peers)| (peer, peers[peer].clone())),
            port,
        })
    }
}
