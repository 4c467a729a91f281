//! Servers outside of the cluster: who is tried there, live connections, and a kernel that does not hold what it should.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use palisade_core::{
    AddressType, AdmittedNodes, End, Family, HostPort, Node, NodeName, PortRange, Requirement, Selector, Server,
    Snapshot, Transport, Verdict,
};
use palisade_lab::{Lab, plan};
use tempfile::NamedTempFile;

use crate::cluster::{cluster, report, report_of};
use crate::live::{Talk, enforce};

/// Two nodes with two pods, and server `pg` outside, whose ports 5000 to 5009 are for nodes that this selects.
fn outside(nodes: Selector) -> Snapshot {
    let mut snapshot = cluster(2);
    let range = PortRange::new(5000.try_into().unwrap(), 5009.try_into().unwrap()).unwrap();
    let server = Server {
        addresses: vec!["10.95.0.1".parse().unwrap(), "fd95::1".parse().unwrap()],
        clusters: vec![AdmittedNodes {
            name: "prod".into(),
            nodes,
            pods: None,
            address_types: AddressType::WRITTEN.into(),
        }],
        static_cidrs: vec!["192.0.2.8/30".parse().unwrap()],
        within: Vec::new(),
        ports: [Transport::Tcp, Transport::Udp].map(|transport| HostPort { transport, range }).into(),
    };
    snapshot.servers.insert("pg".into(), Arc::new(server));
    label(&mut snapshot, "n1");
    snapshot
}

fn worker() -> Selector {
    Selector::labels([("role", "worker")])
}

fn label(snapshot: &mut Snapshot, node: &str) {
    let node = snapshot.nodes.get_mut(node).unwrap();
    *node = Arc::new(Node { labels: [("role".into(), "worker".into())].into(), ..(**node).clone() });
}

/// Without flows of its user the lab tries servers by itself: both verdicts from nodes, pods and addresses.
pub fn servers_are_tried_by_everybody() {
    let snapshot = outside(worker());
    let lab = Lab::start(&snapshot, &Family::ALL).unwrap();
    let is_tried = |end: &End| matches!(end, End::Host(_));
    let flows = plan(&snapshot, &Family::ALL).into_iter().filter(|flow| is_tried(&flow.destination));
    let report = report(&lab, &snapshot, flows);
    assert_eq!(report.disagreements().count(), 0);
    let found = |source: &str, verdict| {
        let source: End = source.parse().unwrap();
        report.rows.iter().any(|row| row.flow.source == source && row.verdicts().kernel == Some(verdict))
    };
    for source in ["node/n2", "shop/a", "192.0.2.7", "192.0.2.12"] {
        assert!(found(source, Verdict::Allow) && found(source, Verdict::Deny), "{source}");
    }
    for source in ["node/n1", "192.0.2.8", "192.0.2.11"] {
        assert!(found(source, Verdict::Allow) && !found(source, Verdict::Deny), "{source}");
    }
}

/// A node that is selected no more loses its live connections to the server, and nobody else does. Pods talk, who are admitted by the
/// ranges of their nodes: on a node itself a client would go by the address of the lab's control flows.
pub fn a_list_cuts_live_connections() {
    let mut narrow = outside(worker());
    for (name, ranges) in [("n1", ["10.244.0.0/31", "fd44::/127"]), ("n2", ["10.244.0.2/31", "fd44::2/127"])] {
        let node = narrow.nodes.get_mut(name).unwrap();
        *node = Arc::new(Node { pod_cidrs: ranges.map(|range| range.parse().unwrap()).into(), ..(**node).clone() });
    }
    let mut wide = narrow.clone();
    label(&mut wide, "n2");
    let file = NamedTempFile::new().unwrap();
    let lab = Lab::start(&wide, &Family::ALL).unwrap();
    let _door = lab.open_for_exec(&[PathBuf::from(file.path())]).unwrap();
    let talk = |transport, client, address| Talk::between(&file, transport, (client, address), ("host/pg", address));
    let forbidden = [talk("tcp", "shop/b", "10.95.0.1:5001"), talk("udp", "shop/b", "[fd95::1]:5002")];
    let allowed = [
        talk("tcp", "shop/a", "[fd95::1]:5003"),
        talk("udp", "shop/a", "10.95.0.1:5004"),
        talk("tcp", "shop/b", "10.95.0.1:5010"),
        Talk::between(&file, "tcp", ("host/pg", "10.244.0.2:5005"), ("shop/b", "10.244.0.2:5005")),
    ];
    for _ in 0..2 {
        forbidden.iter().chain(&allowed).for_each(Talk::goes_on);
        enforce(&lab, &narrow);
        forbidden.iter().for_each(Talk::is_silent);
        allowed.iter().for_each(Talk::goes_on);
        enforce(&lab, &wide);
    }
    forbidden.iter().for_each(Talk::goes_on);
}

/// Servers come, change and go with the snapshot; one whose table is gone is found, and disagrees.
pub fn a_server_that_lost_its_table_disagrees() {
    if Command::new("nft").arg("--version").output().is_err() {
        println!("SKIPPED: a server that lost its table (there is no nft program)");
        assert!(std::env::var_os("PALISADE_REQUIRE_KERNEL").is_none());
        return;
    }
    let snapshot = outside(worker());
    let file = NamedTempFile::new().unwrap();
    let lab = Lab::start(&cluster(2), &Family::ALL).unwrap();
    let _door = lab.open_for_exec(&[PathBuf::from(file.path())]).unwrap();
    enforce(&lab, &snapshot);
    let denied = ["node/n2 -> host/pg tcp 5000"];
    assert_eq!(report_of(&lab, &snapshot, &denied).disagreements().count(), 0);
    let program = std::env::current_exe().unwrap();
    let flush = Command::new(&program).arg("exec").arg(file.path()).args(["host/pg", "nft", "flush ruleset"]).status();
    assert!(flush.unwrap().success());
    assert_eq!(lab.strayed().unwrap(), [NodeName::from("host/pg")]);
    assert_eq!(report_of(&lab, &snapshot, &denied).disagreements().count(), 1);
    enforce(&lab, &cluster(2));
    let everybody = outside(Selector::new(Vec::<Requirement>::new()));
    enforce(&lab, &everybody);
    let report = report_of(&lab, &everybody, &denied);
    assert_eq!(report.rows[0].verdicts().kernel, Some(Verdict::Allow));
    assert_eq!(report.disagreements().count(), 0);
}
