//! Services, for whoever looks around in the lab, and live connections through them.

use std::path::PathBuf;
use std::sync::Arc;

use palisade_core::{
    Family, PodName, Port, Service, ServiceName, ServicePort, Snapshot, TargetPort, Transport, WorkloadKind,
    WorkloadName,
};
use palisade_lab::Lab;
use tempfile::NamedTempFile;

use crate::cluster::{admit, cluster, pod_peer};
use crate::live::{Talk, enforce};

/// Puts a Service before pod shop/b: its ports 80 to 89 lead to 5000 to 5009, and so do the ports of nodes from 30000 on.
fn serve(snapshot: &mut Snapshot) {
    let number = |number: u16| Port::new(number).unwrap();
    let port = |(transport, index): (Transport, u16)| ServicePort {
        transport,
        port: number(80 + index),
        target: TargetPort::Number(number(5000 + index)),
        node_port: Some(number(30000 + index)),
    };
    let each = |transport| (0..10).map(move |index| (transport, index));
    let service = Service {
        addresses: vec!["10.96.0.1".parse().unwrap(), "fd96::1".parse().unwrap()],
        ports: [Transport::Tcp, Transport::Udp].into_iter().flat_map(each).map(port).collect(),
        ..Service::default()
    };
    let name = ServiceName::new("shop", "b");
    let workload =
        WorkloadName { namespace: name.namespace.clone(), kind: WorkloadKind::Service, name: name.name.clone() };
    snapshot.workloads.insert(workload, [PodName::new("shop", "b")].into());
    snapshot.services.insert(name, Arc::new(service));
}

/// A change that forbids them ends connections at both ends, whatever addresses they were given on the way, and no others; they
/// go on when they are allowed again.
pub fn live_connections_through_services_are_cut() {
    let mut open = cluster(3);
    serve(&mut open);
    // b, on n2, admits c alone.
    let mut closed = open.clone();
    admit(&mut closed, "b", pod_peer("c"), Transport::Tcp, 5000);
    let file = NamedTempFile::new().unwrap();
    let lab = Lab::start(&open, &Family::ALL).unwrap();
    let _door = lab.open_for_exec(&[PathBuf::from(file.path())]).unwrap();
    let talk = |transport: &str, client, to, server| Talk::between(&file, transport, (client, to), ("shop/b", server));
    let forbidden = [
        talk("tcp", "shop/a", "10.96.0.1:81", "10.244.0.2:5001"),
        talk("udp", "shop/a", "[fd96::1]:81", "[fd44::2]:5001"),
        talk("tcp", "shop/b", "10.96.0.1:82", "10.244.0.2:5002"),
        talk("udp", "node/n1", "10.96.0.1:83", "10.244.0.2:5003"),
        talk("tcp", "outside", "10.99.0.1:30004", "10.244.0.2:5004"),
        talk("udp", "outside", "[fd99::2]:30005", "[fd44::2]:5005"),
        talk("udp", "shop/c", "10.99.0.2:30006", "10.244.0.2:5006"),
    ];
    let allowed = [
        talk("tcp", "shop/c", "[fd96::1]:80", "[fd44::2]:5000"),
        talk("tcp", "node/n2", "10.99.0.2:30007", "10.244.0.2:5007"),
    ];
    for _ in 0..2 {
        forbidden.iter().chain(&allowed).for_each(Talk::goes_on);
        enforce(&lab, &closed);
        forbidden.iter().for_each(Talk::is_silent);
        allowed.iter().for_each(Talk::goes_on);
        enforce(&lab, &open);
    }
    forbidden.iter().for_each(Talk::goes_on);
}
