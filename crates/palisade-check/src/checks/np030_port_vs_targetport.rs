//! NP030: the port of a Service, where its pods listen at another one.

use palisade_core::{Port, PortMatch, Ports, ServiceName, ServicePort, Transport};

use crate::check::Finding;
use crate::passing::{allows, targets};
use crate::pod_class::PodClass;
use crate::subject::{RuleAt, Subject};

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in subject.rules() {
        let Ports::Listed(ports) = &rule.rule.ports else { continue };
        for (index, port) in ports.iter().enumerate() {
            let Some((transport, number)) = single(port) else { continue };
            let Some((service, port)) = mistaken(subject, &rule, transport, number) else { continue };
            found.push(Finding {
                at: rule.at.clone().field("ports").item(index),
                message: format!("{number} is the port of Service {service}, and its pods listen at {}", port.target),
                reason: "policies see the port of the pod: what comes through the Service is denied".to_string(),
                hint: format!("write 'port: {}'", port.target),
            });
        }
    }
    found
}

/// The one port that is meant.
fn single(port: &PortMatch) -> Option<(Transport, Port)> {
    let PortMatch::Range(transport, range) = port else { return None };
    (range.first() == range.last()).then_some((*transport, range.first()))
}

/// The Service whose port stands where that of the pods behind it was meant.
fn mistaken<'a>(
    subject: &Subject<'a>,
    rule: &RuleAt<'_>,
    transport: Transport,
    number: Port,
) -> Option<(&'a ServiceName, &'a ServicePort)> {
    if !subject.cluster.is_translated(transport, number) {
        return None;
    }
    let pods = subject.destinations(rule)?;
    let is_declared =
        |pod: &&PodClass<'_>| pod.ports.iter().any(|port| (port.transport, port.port) == (transport, number));
    if pods.iter().any(is_declared) {
        return None;
    }
    // For other pods it may be the port at which they listen.
    let services: Option<Vec<_>> = pods.iter().map(|pod| leading(pod, &rule.rule.ports, transport, number)).collect();
    services?.into_iter().next()
}

/// The Service that leads from this port to one of the pod that is not allowed. `None` if one leads to this very port.
fn leading<'a>(
    pod: &PodClass<'a>,
    allowed: &Ports,
    transport: Transport,
    number: Port,
) -> Option<(&'a ServiceName, &'a ServicePort)> {
    let mut found = None;
    for (name, service) in pod.services.iter().filter(|(_, service)| !service.headless) {
        for port in service.ports.iter().filter(|port| port.transport == transport) {
            let targets = targets(port, pod.ports);
            let is_allowed = targets.iter().any(|target| allows(allowed, transport, *target, pod.ports));
            if targets.contains(&number) || (port.port == number && is_allowed) {
                return None;
            }
            if port.port == number && !targets.is_empty() {
                found = Some((*name, port));
            }
        }
    }
    found
}
