//! The lab itself, with real packets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use palisade_core::{Family, Node, Pod, PodName, Snapshot, Traffic, Transport};
use palisade_lab::{Lab, Outcome};
use palisade_sim::{Endpoint, Owner, Packet};

fn pod(snapshot: &mut Snapshot, name: &str, node: &str, addresses: &[&str]) {
    let pod = Pod {
        node: Some(node.into()),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ..Pod::default()
    };
    snapshot.pods.insert(PodName::new("shop", name), Arc::new(pod));
}

fn cluster() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, addresses) in [("n1", ["10.99.0.1", "fd99::1"]), ("n2", ["10.99.0.2", "fd99::2"])] {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        snapshot.nodes.insert(name.into(), Arc::new(Node { addresses, ..Node::default() }));
    }
    for index in 1..=12 {
        let node = if index % 2 == 0 { "n2" } else { "n1" };
        pod(&mut snapshot, &format!("p{index}"), node, &[&format!("10.244.0.{index}"), &format!("fd44::{index}")]);
    }
    snapshot
}

fn ends(snapshot: &Snapshot) -> Vec<Endpoint> {
    let mut ends = Vec::new();
    for (name, pod) in &snapshot.pods {
        for address in &pod.addresses {
            ends.push(Endpoint { address: *address, owner: Owner::Pod(name.clone()), node: pod.node.clone() });
        }
    }
    for (name, node) in &snapshot.nodes {
        for address in &node.addresses {
            ends.push(Endpoint { address: *address, owner: Owner::Node, node: Some(name.clone()) });
        }
    }
    for address in ["203.0.113.7", "2001:db8::7", "0.0.0.1", "9.255.255.255", "240.0.0.0", "169.254.169.254"] {
        ends.push(Endpoint { address: address.parse().unwrap(), owner: Owner::Outside, node: None });
    }
    ends
}

fn main() {
    palisade_lab::rootless::become_root().unwrap();
    let snapshot = cluster();
    let begun = Instant::now();
    let lab = Lab::start(&snapshot, &Family::ALL).unwrap();
    println!("started in {:?}", begun.elapsed());
    let ends = ends(&snapshot);
    let mut packets = Vec::new();
    for source in &ends {
        for destination in &ends {
            if Family::of(source.address) != Family::of(destination.address) || (source.owner == Owner::Outside && destination.owner == Owner::Outside) {
                continue;
            }
            let mut all = vec![Traffic::Icmp];
            for transport in Transport::ALL {
                for port in [53, 80, 5432, 8080] {
                    all.push(Traffic::Port(transport, port.try_into().unwrap()));
                }
            }
            for traffic in all {
                packets.push(Packet { family: Family::of(source.address), source: source.clone(), destination: destination.clone(), traffic });
            }
        }
    }
    let begun = Instant::now();
    let outcomes = lab.probe(&packets, |_| {}).unwrap();
    println!("{} probes in {:?}", packets.len(), begun.elapsed());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (packet, outcome) in packets.iter().zip(&outcomes) {
        *counts.entry(outcome.to_string()).or_default() += 1;
        if *outcome != Outcome::Answered && counts[&outcome.to_string()] < 5 {
            println!("{packet} {}: {outcome}", packet.source.address);
        }
    }
    println!("{counts:?}");
}
