//! What selectors and port names mean for an object: the compiler's own reading, which the oracle does not share.

use std::collections::BTreeSet;

use palisade_core::{ContainerPort, Labels, Operator, Pod, Port, Selector, Transport};

/// `LabelSelector`: "The result of matchLabels and matchExpressions are `ANDed`. An empty label selector matches
/// all objects."
pub fn selects(selector: &Selector, labels: &Labels) -> bool {
    selector.requirements().iter().all(|requirement| {
        let value = labels.get(&requirement.key);
        match &requirement.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    })
}

/// The numbers under which a pod declares a port of this name and protocol; every one of them is meant.
pub fn declared_numbers(pod: &Pod, name: &str, transport: Transport) -> BTreeSet<Port> {
    let declared = |port: &&ContainerPort| port.name.as_deref() == Some(name) && port.transport == transport;
    pod.ports.iter().filter(declared).map(|port| port.port).collect()
}
