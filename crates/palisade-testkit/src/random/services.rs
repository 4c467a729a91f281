//! Services, node ports and host ports before the pods of a random cluster, and flows through them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use palisade_core::{
    End, Family, Flow, ObjectName, Pod, PodName, Port, Service, ServiceName, ServicePort, Snapshot, TargetPort,
    Traffic, TrafficPolicy, Transport, WorkloadKind, WorkloadName,
};

use super::{Case, PORT_NAMES, known_port, transport};
use crate::rng::Rng;

/// Puts Services before the pods of a case, and ports of nodes; its flows go through them from then on. Some lead nowhere.
pub fn through_services(case: &mut Case, rng: &mut Rng, flow_count: usize) {
    // A port of nodes leads to one place, and nothing behind it is a port of nodes again.
    let ports = case.snapshot.pods.values().flat_map(|pod| &pod.ports);
    let mut taken: BTreeSet<(Transport, Port)> = ports.map(|port| (port.transport, port.port)).collect();
    for index in 1..=rng.between(1, 4) {
        add_service(&mut case.snapshot, rng, index, &mut taken);
    }
    add_host_ports(&mut case.snapshot, rng, &mut taken);
    let destinations = destinations(&case.snapshot);
    let sources: Vec<End> = case.flows.iter().map(|flow| flow.source.clone()).collect();
    if destinations.is_empty() || sources.is_empty() {
        return;
    }
    let mut flow = || {
        let (destination, traffic) = rng.pick(&destinations);
        Flow { source: rng.pick(&sources), destination, traffic }
    };
    case.flows = (0..flow_count).map(|_| flow()).collect();
}

fn add_service(snapshot: &mut Snapshot, rng: &mut Rng, index: usize, taken: &mut BTreeSet<(Transport, Port)>) {
    let pods: Vec<&PodName> = snapshot.pods.keys().collect();
    let pods: BTreeSet<PodName> = (0..rng.between(0, 3)).map(|_| rng.pick(&pods).clone()).collect();
    let namespaces: Vec<_> = snapshot.namespaces.keys().cloned().collect();
    let (namespace, name) = (rng.pick(&namespaces), format!("s{index}"));
    let workload =
        WorkloadName { namespace: namespace.clone(), kind: WorkloadKind::Service, name: name.as_str().into() };
    let last = u8::try_from(index).unwrap_or(u8::MAX);
    let address = |family, v4: [u8; 3], v6| -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(v4[0], v4[1], v4[2], last).into(),
            Family::V6 => Ipv6Addr::new(v6, 0, 0, 0, 0, 0, 0, last.into()).into(),
        }
    };
    let of_nodes = snapshot.nodes.values().flat_map(|node| &node.addresses);
    let families: BTreeSet<Family> = of_nodes.map(|address| Family::of(*address)).collect();
    let policy = |rng: &mut Rng| if rng.percent(40) { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
    let mut ports: Vec<ServicePort> = Vec::new();
    for _ in 0..rng.between(1, 2) {
        let port = service_port(rng, taken);
        if !ports.iter().any(|other| (other.transport, other.port) == (port.transport, port.port)) {
            ports.push(port);
        }
    }
    let is_external = rng.percent(40);
    let service = Service {
        addresses: families.iter().map(|family| address(*family, [10, 96, 0], 0xfd96)).collect(),
        external: families.iter().filter(|_| is_external).map(|family| address(*family, [10, 97, 0], 0xfd97)).collect(),
        ports,
        internal_policy: policy(rng),
        external_policy: policy(rng),
        ..Service::default()
    };
    snapshot.workloads.insert(workload, pods.into_iter().collect());
    snapshot.services.insert(ServiceName::new(namespace, name), Arc::new(service));
}

fn service_port(rng: &mut Rng, taken: &mut BTreeSet<(Transport, Port)>) -> ServicePort {
    let (transport, port, node_port) = (transport(rng), known_port(rng), known_port(rng));
    let node_port = Some(node_port).filter(|port| taken.insert((transport, *port)));
    let number = known_port(rng);
    let target = if taken.insert((transport, number)) {
        TargetPort::Number(number)
    } else {
        TargetPort::Named(rng.pick(&PORT_NAMES[..3]).into())
    };
    ServicePort { transport, port, target, node_port }
}

fn add_host_ports(snapshot: &mut Snapshot, rng: &mut Rng, taken: &mut BTreeSet<(Transport, Port)>) {
    for pod in snapshot.pods.values_mut().filter(|pod| !pod.ports.is_empty()) {
        if rng.percent(30) {
            let pod: &mut Pod = Arc::make_mut(pod);
            let number = known_port(rng);
            pod.ports[0].host_port = Some(number).filter(|port| taken.insert((pod.ports[0].transport, *port)));
        }
    }
}

/// Everything that leads somewhere.
fn destinations(snapshot: &Snapshot) -> Vec<(End, Traffic)> {
    let mut found = Vec::new();
    let on_nodes = |transport, port| {
        let nodes = snapshot.nodes.iter();
        let ends = nodes.flat_map(|(name, node)| {
            let addresses = node.addresses.iter().map(|address| End::Address(*address));
            addresses.chain([End::Node(name.clone())]).collect::<Vec<_>>()
        });
        ends.map(|end| (end, Traffic::Port(transport, port))).collect::<Vec<_>>()
    };
    for (ObjectName { namespace, name }, service) in &snapshot.services {
        let named = WorkloadName { namespace: namespace.clone(), kind: WorkloadKind::Service, name: name.clone() };
        for port in &service.ports {
            let traffic = Traffic::Port(port.transport, port.port);
            found.push((End::Workload(named.clone()), traffic));
            found.extend(service.addresses.iter().chain(&service.external).map(|to| (End::Address(*to), traffic)));
            found.extend(port.node_port.into_iter().flat_map(|number| on_nodes(port.transport, number)));
        }
    }
    for port in snapshot.pods.values().flat_map(|pod| &pod.ports) {
        found.extend(port.host_port.into_iter().flat_map(|number| on_nodes(port.transport, number)));
    }
    found
}
