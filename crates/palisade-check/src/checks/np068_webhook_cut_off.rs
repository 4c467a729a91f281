//! NP068: webhooks that the API server may not reach.

use std::sync::Arc;

use palisade_core::{
    Direction, NetworkPolicy, Peer, Pod, Port, Rule, ServicePort, Transport, WorkloadKind, WorkloadName,
};
use palisade_sources::{ObjectRef, Webhook};

use crate::check::Finding;
use crate::cluster::Cluster;
use crate::passing::{allows, targets};

/// The pods through which the API server of some clusters goes.
const TUNNEL: (&str, &str) = ("k8s-app", "konnectivity-agent");

pub fn find(cluster: &Cluster<'_>) -> Vec<(ObjectRef, Finding)> {
    let webhooks = &cluster.facts().webhooks;
    let nodes = cluster.snapshot().nodes.values().filter(|node| !node.assumed);
    // The only node runs the API server, too, and reaches its own pods.
    if webhooks.is_empty() || nodes.count() == 1 || has_tunnel(cluster) {
        return Vec::new();
    }
    let cut_off = webhooks.iter().filter(|webhook| is_cut_off(cluster, webhook));
    cut_off.map(|webhook| (webhook.configuration.clone(), finding(webhook))).collect()
}

fn has_tunnel(cluster: &Cluster<'_>) -> bool {
    let (key, value) = TUNNEL;
    let mut pods = cluster.snapshot().pods.values();
    pods.any(|pod| pod.labels.get(key).is_some_and(|found| **found == *value))
}

/// Whether every pod behind the webhook's Service is isolated for ingress, and nothing lets in what is no pod.
fn is_cut_off(cluster: &Cluster<'_>, webhook: &Webhook) -> bool {
    let Webhook { service, port, .. } = webhook;
    let ports = cluster.snapshot().services.get(service).map(|service| &*service.ports).unwrap_or_default();
    let is_port = |known: &&ServicePort| known.transport == Transport::Tcp && known.port == *port;
    let Some(port) = ports.iter().find(is_port) else { return false };
    let (namespace, kind) = (Arc::clone(&service.namespace), WorkloadKind::Service);
    let name = WorkloadName { namespace, kind, name: Arc::clone(&service.name) };
    let pods = cluster.snapshot().workloads.get(&name).map(|pods| &**pods).unwrap_or_default();
    let pods = pods.iter().filter_map(|pod| cluster.snapshot().pods.get(pod)).map(|pod| &**pod);
    let pods: Vec<&Pod> = pods.filter(|pod| !pod.finished).collect();
    !pods.is_empty()
        && cluster.shows_all_pods(&service.namespace)
        && pods.iter().all(|pod| {
            let targets = targets(port, &pod.ports);
            !pod.host_network && !targets.is_empty() && {
                let policies = cluster.policies_of(&service.namespace, &pod.labels);
                !may_be_called(&policies, pod, &targets)
            }
        })
}

/// Whether some policy may let the API server in, which no podSelector matches: where it is, a block may say.
fn may_be_called(policies: &[&NetworkPolicy], pod: &Pod, targets: &[Port]) -> bool {
    let in_force = || policies.iter().filter(|policy| !policy.audit);
    let is_isolated = in_force().any(|policy| policy.rules[Direction::Ingress].is_some());
    let lets_in = |rule: &Rule| {
        let is_block = |peer: &Peer| matches!(peer, Peer::Block { .. });
        let at_port = |target: &Port| allows(&rule.ports, Transport::Tcp, *target, &pod.ports);
        rule.peers.as_ref().is_none_or(|peers| peers.iter().any(is_block)) && targets.iter().any(at_port)
    };
    !is_isolated
        || policies.iter().any(|policy| policy.unreadable.is_some())
        || in_force().flat_map(|policy| policy.rules[Direction::Ingress].iter().flatten()).any(lets_in)
}

fn finding(webhook: &Webhook) -> Finding {
    Finding {
        at: webhook.at.clone(),
        message: format!("no policy lets the API server reach the pods of Service {}", webhook.service),
        reason: "what the webhook is asked about fails or goes unchecked, as its failurePolicy says".to_string(),
        hint: "allow ingress from the addresses of the API server by ipBlock, at the targetPort".to_string(),
    }
}
