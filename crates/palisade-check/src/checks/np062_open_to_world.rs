//! NP062: every address may reach pods to which nothing leads from outside.

use palisade_core::{Direction, Peer, ServiceName};

use crate::check::Finding;
use crate::pod_class::PodClass;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in subject.rules().into_iter().filter(|rule| rule.direction == Direction::Ingress) {
        for (peer, at) in rule.peers() {
            let Peer::Block { cidr, except } = peer else { continue };
            if cidr.prefix_len() > 0 || !except.is_empty() || !are_inside(subject) {
                continue;
            }
            found.push(Finding {
                at: at.field("ipBlock"),
                message: format!("{cidr} may reach pods to which no Service or Ingress leads from outside"),
                reason: "every address is among them, those of all pods and nodes of the cluster, too".to_string(),
                hint: "name the pods and namespaces that are to reach them".to_string(),
            });
        }
    }
    found
}

/// Whether the input shows all pods of the policy and what is before them, and none of that is entered from outside.
fn are_inside(subject: &Subject<'_>) -> bool {
    let (cluster, pods) = (subject.cluster, subject.pods());
    let is_shown = |pod: &PodClass<'_>| cluster.is_whole() || !pod.services.is_empty();
    let facts = cluster.facts();
    let is_entered = |pod: &PodClass<'_>| {
        let has_host_port = pod.ports.iter().any(|port| port.host_port.is_some());
        let mut services = pod.services.iter().map(|(name, _)| *name);
        has_host_port || services.any(|name| facts.entered.contains(name) || facts.routed.contains(&name.name))
    };
    // A Service without selector leads to whatever its EndpointSlices name.
    let is_here = |service: &&ServiceName| *service.namespace == *subject.namespace();
    let is_unclear = facts.entered.iter().filter(is_here).any(|service| !cluster.leads_to_pods(service));
    !pods.is_empty()
        && !is_unclear
        && cluster.shows_all_pods(subject.namespace())
        && pods.into_iter().all(|pod| is_shown(pod) && !is_entered(pod))
}
