//! v1 `Service`: which pods it gathers, and under which addresses and ports. What cannot be read is reported and left out.
//!
//! Addresses that the input leaves out are invented, as those of pods are. No verdict rests on them, since packets are judged where
//! the Service has led them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_core::{
    Family, Labels, Level, Node, NodeName, ObjectName, Pod, PodName, Port, Service, ServicePort, TargetPort,
    TrafficPolicy,
};

use crate::Options;
use crate::addresses::Range;
use crate::metadata::{self, valid};
use crate::network_policy::{port_number, protocol};
use crate::objects::Placed;
use crate::pod::address;
use crate::reading::{At, Reading};
use crate::syntax;
use crate::tree::{Value, shortened};

/// A Service as the input has it.
#[derive(Debug, Default)]
pub struct ServiceObject {
    /// The labels that its pods have; none at all selects nothing.
    pub selector: Labels,
    pub service: Service,
    /// `spec.ipFamilies`; empty if the input does not say.
    families: Vec<Family>,
}

/// Where invented addresses come from: 10.96.0.0/16, where kubeadm puts those of Services, and `fd96::/112`.
const NETWORKS: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, 0), 112)),
];

/// The fields that count.
const FIELDS: [&str; 10] = [
    "selector",
    "type",
    "clusterIP",
    "clusterIPs",
    "ports",
    "externalIPs",
    "ipFamilies",
    "ipFamilyPolicy",
    "internalTrafficPolicy",
    "externalTrafficPolicy",
];

/// Reads a Service.
pub fn read(root: &At<'_>, reading: &mut Reading) -> ServiceObject {
    let Some(spec) = root.field("spec") else { return ServiceObject::default() };
    spec.misspelt_fields(&FIELDS, reading);
    let kind = word(&spec, "type", &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"], reading);
    // An ExternalName Service leads to a name outside, whatever it selects.
    if kind == "ExternalName" {
        let service = Service { headless: true, ..Service::default() };
        return ServiceObject { service, ..ServiceObject::default() };
    }
    let mut object = ServiceObject {
        selector: spec.field("selector").map(|at| metadata::labels(&at, reading)).unwrap_or_default(),
        families: families(&spec, reading),
        ..ServiceObject::default()
    };
    let service = &mut object.service;
    service.headless = ["clusterIP", "clusterIPs"].into_iter().any(|field| is_none(&spec, field));
    if !service.headless {
        service.addresses = addresses(&spec, &["clusterIP", "clusterIPs"], reading);
    }
    service.internal_policy = traffic_policy(&spec, "internalTrafficPolicy", reading);
    service.external_policy = traffic_policy(&spec, "externalTrafficPolicy", reading);
    service.external = addresses(&spec, &["externalIPs"], reading);
    if kind == "LoadBalancer" {
        service.external.extend(balancers(root, reading));
    }
    if let Some(at) = spec.field("ports") {
        let has_node_ports = kind != "ClusterIP";
        let ports = at.items(reading).into_iter().flatten();
        service.ports = ports.filter_map(|at| service_port(&at, has_node_ports, reading)).collect();
    }
    object
}

/// A field that has one of a few values, the first unless the input says otherwise.
fn word<'k>(spec: &At<'_>, name: &str, known: &[&'k str], reading: &mut Reading) -> &'k str {
    let Some(at) = spec.field(name) else { return known[0] };
    let Some(text) = at.text(reading) else { return known[0] };
    known.iter().copied().find(|known| *known == text).unwrap_or_else(|| {
        reading.error(&at, format!("expected one of {}, found '{}'", known.join(", "), shortened(text)));
        known[0]
    })
}

fn traffic_policy(spec: &At<'_>, field: &str, reading: &mut Reading) -> TrafficPolicy {
    match word(spec, field, &["Cluster", "Local"], reading) {
        "Local" => TrafficPolicy::Local,
        _ => TrafficPolicy::Cluster,
    }
}

/// Whether a Service says that it has no address of its own.
fn is_none(spec: &At<'_>, field: &str) -> bool {
    match spec.node.get(field).map(|node| &node.value) {
        Some(Value::Text(text)) => *text == "None",
        Some(Value::List(items)) => {
            items.iter().any(|item| matches!(&item.value, Value::Text(text) if *text == "None"))
        }
        _ => false,
    }
}

/// The addresses in these fields, each text or a list of it.
fn addresses(spec: &At<'_>, fields: &[&str], reading: &mut Reading) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for at in fields.iter().filter_map(|field| spec.field(field)) {
        let each: Vec<At<'_>> = match &at.node.value {
            Value::List(_) => at.items(reading).into_iter().flatten().collect(),
            _ => vec![at],
        };
        for at in each {
            found.extend(address(&at, reading).filter(|address| !found.contains(address)));
        }
    }
    found
}

/// `status.loadBalancer.ingress`: the addresses for which nodes take packets. Those of mode `Proxy` send to node ports.
fn balancers(root: &At<'_>, reading: &mut Reading) -> Vec<IpAddr> {
    let status = root.field("status");
    let balancer = status.as_ref().and_then(|status| status.field("loadBalancer"));
    let Some(ingress) = balancer.as_ref().and_then(|balancer| balancer.field("ingress")) else { return Vec::new() };
    let items = ingress.items(reading).into_iter().flatten().filter(|at| at.node.get_text("ipMode") != Some("Proxy"));
    items.filter_map(|at| at.field("ip").and_then(|at| address(&at, reading))).collect()
}

fn families(spec: &At<'_>, reading: &mut Reading) -> Vec<Family> {
    let Some(at) = spec.field("ipFamilies") else { return Vec::new() };
    let items = at.items(reading).into_iter().flatten();
    let family = |at: At<'_>| {
        let text = at.text(reading)?;
        let known = Family::ALL.into_iter().find(|family| family.to_string() == text);
        if known.is_none() {
            reading.error(&at, format!("expected IPv4 or IPv6, found '{}'", shortened(text)));
        }
        known
    };
    items.filter_map(family).collect()
}

fn service_port(at: &At<'_>, has_node_ports: bool, reading: &mut Reading) -> Option<ServicePort> {
    let known = ["name", "protocol", "port", "targetPort", "nodePort", "appProtocol"];
    at.entries(reading)?;
    at.known_fields(&known, Level::Warning, reading);
    let port = at.required("port", "a port", reading)?;
    let port = port_number(&port, reading)?;
    let transport = protocol(at, reading)?;
    let target = match at.field("targetPort") {
        None => TargetPort::Number(port),
        Some(at) => target_port(&at, port, reading)?,
    };
    Some(ServicePort { transport, port, target, node_port: node_port(at, has_node_ports, reading) })
}

/// `targetPort`: a number, or the name of a port of the pods; 0 and empty text are the port of the Service.
fn target_port(at: &At<'_>, port: Port, reading: &mut Reading) -> Option<TargetPort> {
    match &at.node.value {
        Value::Int(0) => Some(TargetPort::Number(port)),
        Value::Text(name) if name.is_empty() => Some(TargetPort::Number(port)),
        Value::Text(name) => {
            let well = valid(at, name, syntax::port_name(name), reading);
            if name.parse::<u16>().is_ok() {
                reading.hint("write the number without quotes");
            }
            well.then(|| TargetPort::Named(reading.share(name)))
        }
        _ => port_number(at, reading).map(TargetPort::Number),
    }
}

fn node_port(at: &At<'_>, has_node_ports: bool, reading: &mut Reading) -> Option<Port> {
    let at = at.field("nodePort").filter(|at| at.node.value != Value::Int(0))?;
    if !has_node_ports {
        reading.error(&at, "a Service of type ClusterIP has no port of nodes");
        reading.hint("write 'type: NodePort'");
        return None;
    }
    port_number(&at, reading)
}

/// The Services of the snapshot: those without an address get one of each family.
pub fn place(
    services: &BTreeMap<ObjectName, Placed<ServiceObject>>,
    nodes: &BTreeMap<NodeName, Arc<Node>>,
    pods: &BTreeMap<PodName, Arc<Pod>>,
    options: &Options,
) -> BTreeMap<ObjectName, Arc<Service>> {
    let given = services.values().flat_map(|placed| &placed.object.service.addresses);
    let of_nodes = nodes.values().flat_map(|node| &node.addresses);
    let of_pods = pods.values().flat_map(|pod| &pod.addresses);
    let taken: BTreeSet<IpAddr> = given.chain(of_nodes).chain(of_pods).copied().collect();
    let mut free = NETWORKS.map(|net| Range::new(net, 1).filter(|address| !taken.contains(address)));
    let mut placed = BTreeMap::new();
    for (name, Placed { object, .. }) in services {
        let mut service = object.service.clone();
        if service.addresses.is_empty() && !service.headless {
            let wanted = |family: &Family| object.families.is_empty() || object.families.contains(family);
            for family in options.families.iter().filter(|family| wanted(family)) {
                let range = match family {
                    Family::V4 => &mut free[0],
                    Family::V6 => &mut free[1],
                };
                service.addresses.extend(range.next());
            }
            service.assumed = true;
        }
        placed.insert(name.clone(), Arc::new(service));
    }
    placed
}
