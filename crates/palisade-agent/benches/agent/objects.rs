//! The objects of a cluster as an API server holds them, as long as real ones are.

use ipnet::IpNet;
use palisade_core::{Labels, NetworkPolicy, Operator, Peer, Pod, PodName, PortMatch, Ports, Rule, Selector, Snapshot};
use serde_json::{Map, Value, json};

/// Every object of a snapshot.
pub fn objects(snapshot: &Snapshot) -> impl Iterator<Item = Value> {
    let namespaces = snapshot.namespaces.iter().map(|(name, namespace)| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels(&namespace.labels)}})
    });
    let nodes = snapshot.nodes.iter().map(|(name, node)| {
        let addresses = node.addresses.iter().map(|address| json!({"type": "InternalIP", "address": address}));
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels(&node.labels)},
            "spec": {"podCIDRs": node.pod_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>()},
            "status": {"addresses": addresses.collect::<Vec<_>>()},
        })
    });
    let pods = snapshot.pods.iter().map(|(name, object)| pod(name, object));
    namespaces.chain(nodes).chain(snapshot.policies.values().map(|object| policy(object))).chain(pods)
}

/// A list of bans, by number.
pub fn ban_list(number: usize, blocks: &[IpNet]) -> Value {
    let entries = blocks.iter().map(|block| json!({"cidr": block.to_string()})).collect::<Vec<_>>();
    json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "BanList",
        "metadata": {"name": format!("list-{number}")}, "spec": {"entries": entries},
    })
}

/// A pod of a `ReplicaSet`, with what a kubelet and a controller leave on it: about 4 kB.
pub fn pod(name: &PodName, pod: &Pod) -> Value {
    let ports = pod.ports.iter().map(|port| {
        json!({"name": port.name, "protocol": port.transport.name().to_uppercase(), "containerPort": port.port.get()})
    });
    let app = pod.labels.get("app").map_or("", |app| &**app);
    let owner = format!("{app}-5d9c7b8f4");
    let environment = (0..6).map(|number| json!({"name": format!("VARIABLE_{number}"), "value": "a value"}));
    let conditions = ["Initialized", "Ready", "ContainersReady", "PodScheduled", "PodReadyToStartContainers"]
        .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}));
    let ips = pod.addresses.iter().map(|address| json!({"ip": address}));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name.name, "namespace": name.namespace, "labels": labels_of_pod(&pod.labels),
            "annotations": {"prometheus.io/scrape": "true", "checksum/config": "fedcba9876543210".repeat(4)},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": "7a", "controller": true}],
            "managedFields": [
                {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": managed_fields()},
                {"manager": "kubelet", "operation": "Update", "subresource": "status", "fieldsV1": managed_fields()},
            ],
        },
        "spec": {
            "nodeName": pod.node, "restartPolicy": "Always", "serviceAccountName": "default",
            "volumes": [{"name": "config", "configMap": {"name": "web"}}],
            "containers": [{
                "name": "web", "image": format!("registry.example/web@sha256:{}", "0123456789abcdef".repeat(4)),
                "ports": ports.collect::<Vec<_>>(), "env": environment.collect::<Vec<_>>(),
                "resources": {"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
            }],
        },
        "status": {
            "phase": if pod.finished { "Succeeded" } else if pod.addresses.is_empty() { "Pending" } else { "Running" },
            "conditions": conditions, "podIPs": ips.collect::<Vec<_>>(), "startTime": "2026-01-01T00:00:00Z",
            "containerStatuses": [{"name": "web", "ready": true, "restartCount": 0, "containerID": "containerd://0123"}],
        },
    })
}

/// The labels, with the one that a Deployment adds.
fn labels_of_pod(labels: &Labels) -> Value {
    let mut value = self::labels(labels);
    value["pod-template-hash"] = "5d9c7b8f4".into();
    value
}

fn managed_fields() -> Value {
    (0..60).map(|number| (format!("f:field{number}"), json!({}))).collect::<Map<_, _>>().into()
}

/// A policy.
pub fn policy(policy: &NetworkPolicy) -> Value {
    let mut spec = json!({"podSelector": selector(&policy.subjects)});
    let mut types = Vec::new();
    for (name, field, peers, rules) in
        [("Ingress", "ingress", "from", &policy.rules.ingress), ("Egress", "egress", "to", &policy.rules.egress)]
    {
        let Some(rules) = rules else { continue };
        types.push(name);
        spec[field] = rules.iter().map(|object| rule(object, peers)).collect();
    }
    spec["policyTypes"] = types.into();
    let metadata = json!({"name": policy.name.name, "namespace": policy.name.namespace});
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec})
}

fn rule(rule: &Rule, field: &str) -> Value {
    let mut value = json!({});
    if let Some(peers) = &rule.peers {
        value[field] = peers.iter().map(peer).collect();
    }
    if let Ports::Listed(ports) = &rule.ports {
        value["ports"] = ports.iter().map(port).collect();
    }
    value
}

fn peer(peer: &Peer) -> Value {
    match peer {
        Peer::Pods { namespaces: None, pods } => json!({"podSelector": selector(pods)}),
        Peer::Pods { namespaces: Some(namespaces), pods } => {
            json!({"namespaceSelector": selector(namespaces), "podSelector": selector(pods)})
        }
        Peer::Block { cidr, except } => {
            let except: Vec<String> = except.iter().map(ToString::to_string).collect();
            json!({"ipBlock": {"cidr": cidr.to_string(), "except": except}})
        }
    }
}

fn port(port: &PortMatch) -> Value {
    let protocol = port.transport().name().to_uppercase();
    match port {
        PortMatch::Every(_) => json!({"protocol": protocol}),
        PortMatch::Named(_, name) => json!({"protocol": protocol, "port": name}),
        PortMatch::Range(_, range) => {
            json!({"protocol": protocol, "port": range.first().get(), "endPort": range.last().get()})
        }
    }
}

fn selector(selector: &Selector) -> Value {
    let expressions = selector.requirements().iter().map(|requirement| {
        let (operator, values) = match &requirement.operator {
            Operator::In(values) => ("In", values.clone()),
            Operator::NotIn(values) => ("NotIn", values.clone()),
            Operator::Exists => ("Exists", Vec::new()),
            Operator::DoesNotExist => ("DoesNotExist", Vec::new()),
        };
        json!({"key": requirement.key, "operator": operator, "values": values})
    });
    json!({"matchExpressions": expressions.collect::<Vec<_>>()})
}

fn labels(labels: &Labels) -> Value {
    labels.iter().map(|(key, value)| (key.to_string(), Value::from(&**value))).collect::<Map<_, _>>().into()
}
