//! NP082: a block of clients, for pods that see nodes instead.

use palisade_core::{Direction, Peer, Service, TrafficPolicy};

use crate::check::Finding;
use crate::passing::{allows, targets};
use crate::pod_class::PodClass;
use crate::subject::{RuleAt, Subject};

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let pods = subject.pods();
    let mut found = Vec::new();
    for rule in subject.rules().iter().filter(|rule| rule.direction == Direction::Ingress) {
        let Some(service) = pods.iter().find_map(|pod| behind(pod, rule)) else { continue };
        for (peer, at) in rule.peers() {
            let Peer::Block { cidr, except } = peer else { continue };
            if cidr.prefix_len() == 0 && except.is_empty() {
                continue;
            }
            found.push(Finding {
                at: at.field("ipBlock"),
                message: format!("of clients that come by Service {service} the pods may see the address of a node"),
                reason: "externalTrafficPolicy is Cluster: where another node passes them on, it hides them, and the block neither admits nor bans them"
                    .to_string(),
                hint: "set 'externalTrafficPolicy: Local' in the Service".to_string(),
            });
        }
    }
    found
}

/// The Service through which clients outside come to a port that the rule allows, where their address may be hidden.
fn behind<'a>(pod: &PodClass<'a>, rule: &RuleAt<'_>) -> Option<&'a str> {
    let hides = |service: &Service| service.external_policy == TrafficPolicy::Cluster;
    let leads_there = |service: &Service| {
        let entered = service.ports.iter().filter(|port| port.node_port.is_some() || !service.external.is_empty());
        let mut targets = entered.flat_map(|port| targets(port, pod.ports).into_iter().map(|to| (port.transport, to)));
        targets.any(|(transport, port)| allows(&rule.rule.ports, transport, port, pod.ports))
    };
    let mut services = pod.services.iter();
    services.find(|(_, service)| hides(service) && leads_there(service)).map(|(name, _)| &*name.name)
}
