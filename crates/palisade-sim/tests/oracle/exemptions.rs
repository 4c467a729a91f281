//! What no policy can forbid: the pod's own node, and the pod itself.

use palisade_core::Pod;

use crate::cluster::*;

/// `db/pg` on n1 and `web/front` on n2, everything isolated.
fn closed() -> Cluster {
    Cluster::new().pod("db/pg", "").pod("web/front", "").policy(both("db/deny", "", Some(&[]), Some(&[]))).policy(both(
        "web/deny",
        "",
        Some(&[]),
        Some(&[]),
    ))
}

#[test]
fn the_own_node_reaches_its_pod_and_is_reached() {
    let cluster = closed();
    for traffic in ["tcp 1", "udp 1", "sctp 1", "icmp"] {
        cluster.check(&format!("node/n1 -> db/pg {traffic}"), "allow");
        cluster.check(&format!("db/pg -> node/n1 {traffic}"), "allow");
        cluster.check(&format!("node/n2 -> db/pg {traffic}"), "deny");
        cluster.check(&format!("db/pg -> node/n2 {traffic}"), "deny");
    }
}

#[test]
fn every_address_of_the_own_node_is_exempt() {
    let mut cluster = closed();
    let mut node = (*cluster.0.nodes["n1"]).clone();
    node.addresses.extend([address("192.0.2.1"), address("2001:db8::1")]);
    cluster.0.nodes.insert("n1".into(), node.into());
    for end in ["10.99.0.1", "192.0.2.1", "fd99::1", "2001:db8::1"] {
        cluster.check(&format!("{end} -> db/pg tcp 1"), "allow");
        cluster.check(&format!("db/pg -> {end} tcp 1"), "allow");
        cluster.check(&format!("{end} -> web/front tcp 1"), "deny");
    }
    cluster.check("192.0.2.2 -> db/pg tcp 1", "deny");
}

#[test]
fn a_host_network_pod_is_its_node() {
    let cluster = closed().pod_with("ops/agent", "", |pod| {
        pod.host_network = true;
        pod.node = Some("n1".into());
        pod.addresses = vec![address("10.99.0.1"), address("fd99::1")];
    });
    cluster.check("ops/agent -> db/pg tcp 1", "allow");
    cluster.check("db/pg -> ops/agent tcp 1", "allow");
    cluster.check("ops/agent -> web/front tcp 1", "deny");
}

#[test]
fn a_pod_on_the_same_node_is_not_exempt() {
    let cluster = closed().pod("ops/neighbour", "");
    cluster.check("ops/neighbour -> db/pg tcp 1", "deny");
    cluster.check("db/pg -> ops/neighbour tcp 1", "deny");
}

#[test]
fn a_pod_reaches_itself_at_every_address_of_its_own() {
    let cluster = closed().pod_with("db/two", "", |pod: &mut Pod| {
        pod.addresses = ["10.244.2.1", "10.244.2.2", "fd44::21", "fd44::22"].map(address).to_vec();
    });
    cluster.check("db/pg -> db/pg tcp 1", "allow");
    cluster.check("db/pg -> db/pg icmp", "allow");
    cluster.check("db/two -> 10.244.2.2 tcp 1", "allow");
    cluster.check("fd44::21 -> fd44::22 tcp 1", "allow");
    cluster.check("db/two -> db/pg tcp 1", "deny");
}

#[test]
fn nothing_but_policies_of_pods_is_asked() {
    let cluster = closed().pod("ops/open", "");
    cluster.check("node/n1 -> ops/open tcp 1", "allow");
    cluster.check("node/n2 -> ops/open tcp 1", "allow");
    cluster.check("node/n1 -> node/n2 tcp 1", "allow");
    cluster.check("203.0.113.7 -> node/n1 tcp 1", "allow");
    cluster.check("203.0.113.7 -> 203.0.113.8 tcp 1", "allow");
    assert!(cluster.explain("203.0.113.7 -> node/n1 tcp 1").packets[0].1.directions.is_empty());
}

#[test]
fn a_pod_without_a_node_is_exempt_from_nothing() {
    let mut cluster = closed();
    cluster = cluster.pod_with("db/pg", "", |pod| pod.node = None);
    cluster.check("node/n1 -> db/pg tcp 1", "deny");
    cluster.check("203.0.113.7 -> db/pg tcp 1", "deny");
}
