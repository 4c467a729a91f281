//! A policy as a check sees it: what it means, how it is written, and the pods around it.

use palisade_core::{Direction, NetworkPolicy, Peer, Rule, Selector};
use palisade_sim::selects;
use palisade_sources::{FieldPath, Form, Written};

use crate::cluster::Cluster;
use crate::containment::implies;
use crate::matching;
use crate::pod_class::PodClass;

/// The policy that is checked; it could be read.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// What it means.
    pub policy: &'a NetworkPolicy,
    /// How it is written.
    pub(crate) written: &'a Written<'a>,
    /// The pods and namespaces of the input.
    pub(crate) cluster: &'a Cluster<'a>,
}

/// A rule that has a say, and where it stands.
pub struct RuleAt<'a> {
    /// The direction it is for.
    pub direction: Direction,
    /// The rule.
    pub rule: &'a Rule,
    /// `spec.ingress[0]`.
    pub at: FieldPath,
}

/// A selector of pods or of namespaces, and where it stands.
pub struct SelectorAt<'a> {
    /// The selector.
    pub selector: &'a Selector,
    /// What it selects: `pods` or `namespaces`.
    pub of: &'static str,
    /// `spec.podSelector`.
    pub at: FieldPath,
}

impl<'a> Subject<'a> {
    /// `metadata.namespace`.
    pub fn namespace(&self) -> &'a str {
        &self.policy.name.namespace
    }

    /// What is written in a field.
    pub fn form(&self, path: &FieldPath) -> Form<'_> {
        self.written.form(&self.policy.name, path)
    }

    /// The rules that have a say.
    pub fn rules(&self) -> Vec<RuleAt<'a>> {
        let mut all = Vec::new();
        for direction in [Direction::Ingress, Direction::Egress] {
            for (index, rule) in self.policy.rules[direction].iter().flatten().enumerate() {
                all.push(RuleAt { direction, rule, at: spec().field(direction.name()).item(index) });
            }
        }
        all
    }

    /// The peers of these rules, and where each stands.
    pub fn peers(&self) -> Vec<(&'a Peer, FieldPath)> {
        self.rules().iter().flat_map(RuleAt::peers).collect()
    }

    /// Every selector of the policy that is written.
    pub fn selectors(&self) -> Vec<SelectorAt<'a>> {
        let subjects = &self.policy.subjects;
        let mut all = vec![SelectorAt { selector: subjects, of: "pods", at: spec().field("podSelector") }];
        for (peer, at) in self.peers() {
            let Peer::Pods { namespaces, pods } = peer else { continue };
            let namespaces = namespaces.as_ref().map(|selector| (selector, "namespaces", "namespaceSelector"));
            for (selector, of, field) in namespaces.into_iter().chain([(pods, "pods", "podSelector")]) {
                all.push(SelectorAt { selector, of, at: at.clone().field(field) });
            }
        }
        all
    }

    /// The policies of the namespace, this one among them, that hold for whatever pods it selects: in force beside it, and readable.
    pub fn policies_beside(&self) -> impl Iterator<Item = &'a NetworkPolicy> {
        let policy = self.policy;
        self.cluster.policies(self.namespace()).filter(move |other| {
            other.unreadable.is_none()
                // An audited policy allows nothing beside one that is in force.
                && (!other.audit || policy.audit)
                && implies(&policy.subjects, &other.subjects)
        })
    }

    /// Those of them but this one that have a name to be told by.
    pub fn others_beside(&self) -> impl Iterator<Item = &'a NetworkPolicy> {
        let (policy, written) = (self.policy, self.written);
        self.policies_beside().filter(move |other| other.name != policy.name && written.has_policy(&other.name))
    }

    /// The pods that it selects and that have addresses of their own.
    pub fn pods(&self) -> Vec<&'a PodClass<'a>> {
        let pods = self.cluster.pods(self.namespace());
        pods.filter(|pod| pod.addressed && selects(&self.policy.subjects, pod.labels)).collect()
    }

    /// The pods that packets of a rule go to. `None` if addresses are among them, or the input does not show all of them.
    pub fn destinations(&self, rule: &RuleAt<'_>) -> Option<Vec<&'a PodClass<'a>>> {
        match rule.direction {
            Direction::Ingress => (!self.cluster.may_hide_pods(self.namespace())).then(|| self.pods()),
            Direction::Egress => {
                let peers = rule.rule.peers.as_ref()?;
                Some(peers.iter().map(|peer| self.peer_pods(peer)).collect::<Option<Vec<_>>>()?.concat())
            }
        }
    }

    /// The pods that a peer is, if the input shows all of them.
    pub fn shown_pods(&self, peer: &Peer) -> Option<Vec<&'a PodClass<'a>>> {
        let Peer::Pods { namespaces, pods } = peer else { return None };
        let namespaces = match namespaces {
            None => vec![self.namespace()],
            Some(selector) => matching::all_selected(selector, self.cluster)?,
        };
        let known = namespaces.iter().all(|namespace| self.cluster.shows_all_pods(namespace));
        let all = namespaces.into_iter().flat_map(|namespace| self.cluster.pods(namespace));
        known.then(|| all.filter(|pod| pod.addressed && selects(pods, pod.labels)).collect())
    }

    /// The pods that a peer is, of the namespaces that the input shows.
    fn peer_pods(&self, peer: &Peer) -> Option<Vec<&'a PodClass<'a>>> {
        let Peer::Pods { namespaces, pods } = peer else { return None };
        let namespaces = match namespaces {
            None => vec![self.namespace()],
            Some(selector) => self.cluster.selected(selector).collect(),
        };
        let known = namespaces.iter().all(|namespace| !self.cluster.may_hide_pods(namespace));
        let all = namespaces.into_iter().flat_map(|namespace| self.cluster.pods(namespace));
        known.then(|| all.filter(|pod| pod.addressed && selects(pods, pod.labels)).collect())
    }
}

impl<'a> RuleAt<'a> {
    /// The field of its peers: `from` or `to`.
    pub fn peers_field(&self) -> &'static str {
        match self.direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        }
    }

    /// Its peers and where each stands.
    pub fn peers(&self) -> Vec<(&'a Peer, FieldPath)> {
        let list = self.at.clone().field(self.peers_field());
        let peers = self.rule.peers.iter().flatten().enumerate();
        peers.map(|(index, peer)| (peer, list.clone().item(index))).collect()
    }
}

/// `spec`.
pub fn spec() -> FieldPath {
    FieldPath::root().field("spec")
}
