//! What checks ask of objects beside policies, and no verdict does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use palisade_core::{ObjectName, Port, ServiceName};

use super::{FieldPath, ObjectRef};
use crate::tree::{Node, Value};

/// What is said of some objects. What cannot be read is left out.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Services of the types `NodePort` and `LoadBalancer`, and those with `externalIPs`.
    pub entered: BTreeSet<ServiceName>,
    /// Every text in what may lead to a Service, as an Ingress, a route, a webhook, or a kind that nobody here knows: the names of
    /// Services are among them.
    pub routed: BTreeSet<Arc<str>>,
    /// Pods and workloads that do not ask the DNS of the cluster: their `dnsPolicy` is `None` or `Default`.
    pub own_dns: BTreeSet<ObjectRef>,
    /// Pods and workloads that ask for a token of their service account.
    pub token_users: BTreeSet<ObjectRef>,
    /// Where the API server listens: the addresses behind the Service `kubernetes` of namespace `default`.
    pub api_servers: BTreeSet<(IpAddr, Port)>,
    /// The webhooks of the API server that are called by a Service.
    pub webhooks: Vec<Webhook>,
}

/// A webhook of a `ValidatingWebhookConfiguration` or `MutatingWebhookConfiguration`.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The object that it stands in.
    pub configuration: ObjectRef,
    /// `webhooks[0].clientConfig.service`.
    pub at: FieldPath,
    /// The Service.
    pub service: ServiceName,
    /// Its port.
    pub port: Port,
}

/// What makes pods.
const WORKLOADS: [&str; 7] =
    ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob"];

/// By this annotation load balancers of Google lead to the pods themselves.
const NEG: &str = "cloud.google.com/neg";

/// The volume that the API server adds to pods of which nobody said anything.
const ADDED_VOLUME: &str = "kube-api-access-";

impl Facts {
    /// Takes what one object says.
    pub(super) fn add(&mut self, kind: &str, tree: &Node<'_>, object: impl Fn() -> Option<ObjectRef>) {
        match kind {
            "Service" => {
                if is_entered(tree) {
                    self.entered.extend(object().and_then(|object| service_name(object.namespace, &object.name)));
                }
            }
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
                if let Some(object) = object() {
                    self.webhooks.extend(webhooks(tree, &object));
                }
                self.routed.extend(texts(tree).into_iter().map(Arc::from));
            }
            "EndpointSlice" | "Endpoints" => {
                if is_of_api_server(tree) {
                    self.api_servers.extend(endpoints(tree));
                }
            }
            "NetworkPolicy" | "Namespace" | "Node" | "ConfigMap" | "Secret" | "ServiceAccount" => {}
            _ if kind == "Pod" || WORKLOADS.contains(&kind) => {
                let template = template(tree);
                if template.is_some_and(asks_for_token) {
                    self.token_users.extend(object());
                }
                if template.is_some_and(|spec| matches!(spec.get_text("dnsPolicy"), Some("None" | "Default"))) {
                    self.own_dns.extend(object());
                }
            }
            _ => self.routed.extend(texts(tree).into_iter().map(Arc::from)),
        }
    }
}

fn service_name(namespace: Option<Arc<str>>, name: &str) -> Option<ServiceName> {
    Some(ObjectName { namespace: namespace?, name: name.into() })
}

/// Whether clients outside come to it, by what it says itself.
fn is_entered(service: &Node<'_>) -> bool {
    let annotations = service.get("metadata").and_then(|metadata| metadata.get("annotations"));
    if annotations.is_some_and(|annotations| annotations.get(NEG).is_some()) {
        return true;
    }
    let Some(spec) = service.get("spec") else { return false };
    matches!(spec.get_text("type"), Some("NodePort" | "LoadBalancer")) || !items(spec.get("externalIPs")).is_empty()
}

/// The `PodSpec` of a pod or of what makes pods.
fn template<'n, 'a>(tree: &'n Node<'a>) -> Option<&'n Node<'a>> {
    let mut spec = tree.get("spec")?;
    if let Some(job) = spec.get("jobTemplate") {
        spec = job.get("spec")?;
    }
    spec.get("template").map_or(Some(spec), |template| template.get("spec"))
}

/// `automountServiceAccountToken`, or a volume of `serviceAccountToken` that somebody wrote.
fn asks_for_token(spec: &Node<'_>) -> bool {
    let is_mounted = spec.get("automountServiceAccountToken").is_some_and(|node| node.value == Value::Bool(true));
    let projects_token = |volume: &Node<'_>| {
        let is_added = volume.get_text("name").is_some_and(|name| name.starts_with(ADDED_VOLUME));
        let sources = volume.get("projected").and_then(|projected| projected.get("sources"));
        !is_added && items(sources).iter().any(|source| source.get("serviceAccountToken").is_some())
    };
    is_mounted || items(spec.get("volumes")).iter().any(projects_token)
}

fn webhooks(tree: &Node<'_>, configuration: &ObjectRef) -> Vec<Webhook> {
    let webhook = |(index, webhook): (usize, &Node<'_>)| {
        let service = webhook.get("clientConfig")?.get("service")?;
        Some(Webhook {
            configuration: configuration.clone(),
            at: FieldPath::root().field("webhooks").item(index).field("clientConfig").field("service"),
            service: service_name(service.get_text("namespace").map(Arc::from), service.get_text("name")?)?,
            // "`port` should be a valid port number. Default to 443 for backward compatibility."
            port: service.get("port").map_or(Port::new(443), port)?,
        })
    };
    items(tree.get("webhooks")).iter().enumerate().filter_map(webhook).collect()
}

fn is_of_api_server(tree: &Node<'_>) -> bool {
    let Some(metadata) = tree.get("metadata") else { return false };
    let labelled = metadata.get("labels").and_then(|labels| labels.get_text("kubernetes.io/service-name"));
    metadata.get_text("namespace") == Some("default") && labelled.or(metadata.get_text("name")) == Some("kubernetes")
}

/// The addresses and ports of an `EndpointSlice`, or of `Endpoints`.
fn endpoints(tree: &Node<'_>) -> Vec<(IpAddr, Port)> {
    let slice = tree.get("endpoints").map(|endpoints| {
        let addresses = items(Some(endpoints)).iter().flat_map(|endpoint| items(endpoint.get("addresses")));
        (addresses.filter_map(address).collect::<Vec<_>>(), ports(tree))
    });
    let subsets = items(tree.get("subsets")).iter().map(|subset| {
        let addresses = items(subset.get("addresses")).iter().filter_map(|item| address(item.get("ip")?));
        (addresses.collect(), ports(subset))
    });
    let sets = slice.into_iter().chain(subsets);
    sets.flat_map(|(addresses, ports)| {
        addresses.into_iter().flat_map(move |address| ports.clone().into_iter().map(move |port| (address, port)))
    })
    .collect()
}

fn ports(tree: &Node<'_>) -> Vec<Port> {
    items(tree.get("ports")).iter().filter_map(|item| port(item.get("port")?)).collect()
}

fn port(node: &Node<'_>) -> Option<Port> {
    let Value::Int(number) = node.value else { return None };
    Port::new(u16::try_from(number).ok()?)
}

fn address(node: &Node<'_>) -> Option<IpAddr> {
    let Value::Text(text) = &node.value else { return None };
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn items<'n, 'a>(list: Option<&'n Node<'a>>) -> &'n [Node<'a>] {
    match list.map(|node| &node.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

/// Every text in a tree.
fn texts<'n>(tree: &'n Node<'_>) -> Vec<&'n str> {
    let mut found = Vec::new();
    let mut left = vec![tree];
    while let Some(node) = left.pop() {
        match &node.value {
            Value::Text(text) => found.push(&**text),
            Value::List(items) => left.extend(items),
            Value::Map(entries) => left.extend(entries.iter().map(|(_, node)| node)),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {}
        }
    }
    found
}
