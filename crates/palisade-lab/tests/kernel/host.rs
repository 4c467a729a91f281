//! Host policies: live connections, and the ways around the address of a node.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use palisade_core::{
    Family, HostPeer, HostPolicy, HostPort, HostScope, Otherwise, PortRange, Selector, Snapshot, Transport,
};
use palisade_lab::Lab;
use tempfile::NamedTempFile;

use crate::cluster::cluster;
use crate::live::{Talk, enforce};

/// Ports 5000 to 5009 of every node, for these alone.
fn guard(snapshot: &mut Snapshot, from: Vec<HostPeer>) {
    guard_in(HostScope::Everything, snapshot, from);
}

fn guard_in(scope: HostScope, snapshot: &mut Snapshot, from: Vec<HostPeer>) {
    let range = PortRange::new(5000.try_into().unwrap(), 5009.try_into().unwrap()).unwrap();
    let policy = HostPolicy {
        name: "guard".into(),
        nodes: Selector::everything(),
        ports: [Transport::Tcp, Transport::Udp].map(|transport| HostPort { transport, range }).into(),
        scope,
        from,
        audit: false,
        otherwise: Otherwise::Drop,
        unreadable: None,
    };
    snapshot.host_policies.insert(policy.name.clone(), Arc::new(policy));
}

fn pods(app: &str) -> HostPeer {
    HostPeer::Pods { namespaces: Selector::everything(), pods: Selector::labels([("app", app)]) }
}

/// A policy that comes ends live connections of those whom it does not admit, at both ends, and no other; so does a pod
/// that is admitted no more.
pub fn a_host_policy_cuts_live_connections() {
    let open = cluster(3);
    let [mut guarded, mut wider] = [open.clone(), open.clone()];
    guard(&mut guarded, vec![pods("c")]);
    guard(&mut wider, vec![pods("c"), pods("a")]);
    let file = NamedTempFile::new().unwrap();
    let lab = Lab::start(&open, &Family::ALL).unwrap();
    let _door = lab.open_for_exec(&[PathBuf::from(file.path())]).unwrap();
    let talk = |transport, client, (node, address): (&str, &str)| {
        Talk::between(&file, transport, (client, address), (node, address))
    };
    // Pod a is on n1: one connection to its own node, one to the other, in each family.
    let forbidden = [
        talk("tcp", "shop/a", ("node/n1", "10.99.0.1:5001")),
        talk("udp", "shop/a", ("node/n1", "[fd99::1]:5002")),
        talk("tcp", "shop/a", ("node/n2", "[fd99::2]:5003")),
        talk("udp", "shop/a", ("node/n2", "10.99.0.2:5004")),
    ];
    // What nobody guards, what is admitted, a node's connection to itself, and one that a node opens to a pod.
    let allowed = [
        talk("udp", "shop/a", ("node/n2", "10.99.0.2:5010")),
        talk("udp", "shop/c", ("node/n2", "10.99.0.2:5005")),
        talk("tcp", "node/n1", ("node/n1", "10.99.0.1:5006")),
        talk("udp", "node/n1", ("shop/a", "10.244.0.1:5007")),
    ];
    for _ in 0..2 {
        forbidden.iter().chain(&allowed).for_each(Talk::goes_on);
        enforce(&lab, &guarded);
        forbidden.iter().for_each(Talk::is_silent);
        allowed.iter().for_each(Talk::goes_on);
        enforce(&lab, &wider);
    }
    forbidden.iter().for_each(Talk::goes_on);
}

/// A Service that leads to a port of a node is no way around what guards that port: judged where the destination is
/// translated, on the node of the client as on that of the server.
pub fn a_service_leads_past_no_host_policy() {
    if Command::new("nft").arg("--version").output().is_err() {
        println!("SKIPPED: a Service in front of a node (there is no nft program)");
        assert!(std::env::var_os("PALISADE_REQUIRE_KERNEL").is_none());
        return;
    }
    let open = cluster(3);
    let mut guarded = open.clone();
    guard(&mut guarded, vec![pods("c")]);
    let file = NamedTempFile::new().unwrap();
    let lab = Lab::start(&open, &Family::ALL).unwrap();
    let _door = lab.open_for_exec(&[PathBuf::from(file.path())]).unwrap();
    // What kube-proxy writes, in short: one Service for each server.
    let services = "table ip services { chain prerouting { type nat hook prerouting priority dstnat; \
         ip daddr 10.96.0.1 meta l4proto { tcp, udp } dnat to 10.99.0.1:5001; \
         ip daddr 10.96.0.2 meta l4proto { tcp, udp } dnat to 10.99.0.2:5002; }; }";
    translate(&file, services);
    let talk = |transport, client, service, (node, address): (&str, &str)| {
        Talk::between(&file, transport, (client, service), (node, address))
    };
    let forbidden = [
        talk("tcp", "shop/a", "10.96.0.1:80", ("node/n1", "10.99.0.1:5001")),
        talk("udp", "shop/a", "10.96.0.1:80", ("node/n1", "10.99.0.1:5001")),
        talk("tcp", "shop/a", "10.96.0.2:80", ("node/n2", "10.99.0.2:5002")),
        talk("udp", "shop/a", "10.96.0.2:80", ("node/n2", "10.99.0.2:5002")),
    ];
    forbidden.iter().for_each(Talk::goes_on);
    enforce(&lab, &guarded);
    forbidden.iter().for_each(Talk::is_silent);
    enforce(&lab, &open);
    forbidden.iter().for_each(Talk::goes_on);
}

/// A policy of sockets alone ends what arrives at them, under the ports at which it arrives, at both ends; what a node translates to
/// elsewhere goes on. For a pod of another node, what goes to the port is meant for the socket.
pub fn a_policy_of_sockets_lets_node_ports_alone() {
    if Command::new("nft").arg("--version").output().is_err() {
        println!("SKIPPED: NodePorts in front of pods and of a node (there is no nft program)");
        assert!(std::env::var_os("PALISADE_REQUIRE_KERNEL").is_none());
        return;
    }
    let open = cluster(4);
    let [mut sockets, mut everything] = [open.clone(), open.clone()];
    guard_in(HostScope::HostSockets, &mut sockets, vec![pods("c")]);
    guard_in(HostScope::Everything, &mut everything, vec![pods("c")]);
    let file = NamedTempFile::new().unwrap();
    let lab = Lab::start(&open, &Family::ALL).unwrap();
    let _door = lab.open_for_exec(&[PathBuf::from(file.path())]).unwrap();
    // A NodePort that is guarded, in front of a pod; and one that is not, in front of a guarded socket.
    translate(
        &file,
        "table inet services { chain prerouting { type nat hook prerouting priority dstnat; \
         ip daddr 10.99.0.1 meta l4proto { tcp, udp } th dport 5005 dnat ip to 10.244.0.2:7000; \
         ip6 daddr fd99::1 meta l4proto { tcp, udp } th dport 5006 dnat ip6 to [fd44::2]:7001; \
         ip daddr 10.99.0.1 meta l4proto { tcp, udp } th dport 5009 dnat ip to 10.244.0.3:7002; \
         ip daddr 10.99.0.1 meta l4proto { tcp, udp } th dport 6000 dnat ip to 10.99.0.1:5002; }; }",
    );
    let talk = |transport, client, to, server| Talk::between(&file, transport, (client, to), server);
    let node_ports = [
        talk("tcp", "shop/a", "10.99.0.1:5005", ("shop/b", "10.244.0.2:7000")),
        talk("udp", "shop/a", "[fd99::1]:5006", ("shop/b", "[fd44::2]:7001")),
    ];
    let of_sockets = [
        talk("tcp", "shop/a", "10.99.0.1:5001", ("node/n1", "10.99.0.1:5001")),
        talk("udp", "shop/a", "[fd99::2]:5003", ("node/n2", "[fd99::2]:5003")),
        talk("tcp", "shop/a", "10.99.0.1:6000", ("node/n1", "10.99.0.1:5002")),
        talk("udp", "shop/d", "10.99.0.1:5009", ("shop/c", "10.244.0.3:7002")),
    ];
    let allowed = [
        talk("tcp", "shop/c", "10.99.0.2:5004", ("node/n2", "10.99.0.2:5004")),
        talk("tcp", "node/n1", "10.99.0.1:5007", ("node/n1", "10.99.0.1:5007")),
        talk("udp", "node/n1", "10.244.0.1:5008", ("shop/a", "10.244.0.1:5008")),
    ];
    for _ in 0..2 {
        node_ports.iter().chain(&of_sockets).chain(&allowed).for_each(Talk::goes_on);
        enforce(&lab, &sockets);
        of_sockets.iter().for_each(Talk::is_silent);
        node_ports.iter().chain(&allowed).for_each(Talk::goes_on);
        enforce(&lab, &everything);
        node_ports.iter().chain(&of_sockets).for_each(Talk::is_silent);
        allowed.iter().for_each(Talk::goes_on);
        enforce(&lab, &open);
    }
}

/// Writes rules of another program into node n1: what kube-proxy writes, in short.
fn translate(file: &NamedTempFile, rules: &str) {
    let program = std::env::current_exe().unwrap();
    let done = Command::new(&program).arg("exec").arg(file.path()).args(["node/n1", "nft", rules]).status();
    assert!(done.unwrap().success());
}
