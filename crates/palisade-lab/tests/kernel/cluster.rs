//! Small clusters made by hand.

use std::sync::Arc;

use palisade_core::{
    ContainerPort, Family, Flow, NetworkPolicy, Node, Peer, PerDirection, Pod, PodName, PolicyName, PortMatch,
    PortRange, Ports, Rule, Selector, Snapshot, Transport,
};
use palisade_lab::{Case, Lab, Report, witness};

/// Two nodes, on which pods `shop/a`, `shop/b`, … take turns; each has both families and declares tcp 80 and udp 53.
pub fn cluster(pods: u8) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.namespaces.insert("shop".into(), Arc::default());
    for number in 1..=2 {
        let addresses = vec![format!("10.99.0.{number}").parse().unwrap(), format!("fd99::{number}").parse().unwrap()];
        let node = Node { addresses, ..Node::default() };
        snapshot.nodes.insert(format!("n{number}").into(), Arc::new(node));
    }
    for number in 1..=pods {
        let name = char::from(b'a' + number - 1).to_string();
        add_pod(&mut snapshot, &name, 2 - number % 2, number);
    }
    snapshot
}

/// Adds a pod with the label `app` set to its name.
pub fn add_pod(snapshot: &mut Snapshot, name: &str, node: u8, number: u8) {
    let port = |transport, number: u16| ContainerPort {
        name: None,
        transport,
        port: number.try_into().unwrap(),
        host_port: None,
        host_address: None,
    };
    let pod = Pod {
        labels: Arc::new([("app".into(), name.into())].into()),
        node: Some(format!("n{node}").into()),
        addresses: vec![format!("10.244.0.{number}").parse().unwrap(), format!("fd44::{number}").parse().unwrap()],
        ports: vec![port(Transport::Tcp, 80), port(Transport::Udp, 53)],
        ..Pod::default()
    };
    snapshot.pods.insert(PodName::new("shop", name), Arc::new(pod));
}

/// Only `peer` may reach `subject`, and only on this port.
pub fn admit(snapshot: &mut Snapshot, subject: &str, peer: Peer, transport: Transport, port: u16) {
    let name = PolicyName::new("shop", format!("{subject}-policy"));
    let range = PortRange::single(port.try_into().unwrap());
    let rule = Rule { peers: Some(vec![peer]), ports: Ports::Listed(vec![PortMatch::Range(transport, range)]) };
    let policy = NetworkPolicy {
        name: name.clone(),
        subjects: Selector::labels([("app", subject)]),
        rules: PerDirection { ingress: Some(vec![rule]), egress: None },
        unreadable: None,
        audit: false,
    };
    snapshot.policies.insert(name, Arc::new(policy));
}

pub fn pod_peer(name: &str) -> Peer {
    Peer::Pods { namespaces: None, pods: Selector::labels([("app", name)]) }
}

/// What the witnesses say about these flows.
pub fn report(lab: &Lab, snapshot: &Snapshot, flows: impl IntoIterator<Item = Flow>) -> Report {
    let case = |flow| Case::of(snapshot, flow, &Family::ALL).unwrap();
    let cases: Vec<Case> = flows.into_iter().map(case).collect();
    witness(lab, snapshot, &cases, |_| {}).unwrap()
}

/// What the witnesses say about flows in text.
pub fn report_of(lab: &Lab, snapshot: &Snapshot, flows: &[&str]) -> Report {
    report(lab, snapshot, flows.iter().map(|flow| flow.parse().unwrap()))
}
