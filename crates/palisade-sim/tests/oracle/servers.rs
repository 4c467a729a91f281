//! Servers outside of the cluster, and what their lists say.

use std::sync::Arc;

use palisade_core::{AddressType, AdmittedNodes, Family, Flow, HostPort, Node, PortMatch, SelectedPods, Server};
use palisade_sim::resolve;

use crate::cluster::*;

/// Server `pg` on tcp 5432, for the nodes of one cluster with this selector.
fn server(nodes: &str, static_cidrs: &[&str], within: &[&str]) -> Server {
    let PortMatch::Range(transport, range) = port("tcp 5432") else { panic!("no port") };
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Server {
        addresses: vec![address("10.95.0.1"), address("fd95::1")],
        clusters: vec![AdmittedNodes {
            name: "prod".into(),
            nodes: selector(nodes),
            pods: None,
            address_types: AddressType::DEFAULT.into(),
        }],
        static_cidrs: nets(static_cidrs),
        within: nets(within),
        ports: vec![HostPort { transport, range }],
    }
}

fn with(server: Server) -> Cluster {
    let mut cluster = Cluster::new().pod("web/front", "");
    cluster.0.servers.insert("pg".into(), Arc::new(server));
    cluster.node("n1", |node| node.labels = labels("role=worker"))
}

impl Cluster {
    fn node(mut self, name: &str, change: impl FnOnce(&mut Node)) -> Cluster {
        change(Arc::make_mut(self.0.nodes.get_mut(name).unwrap()));
        self
    }

    /// The last reason for a flow to the server, from what the list says on.
    #[track_caller]
    fn check_reason(&self, source: &str, expected: &str) {
        let reasons = self.explain(&format!("{source} -> host/pg tcp 5432")).reasons();
        let said = reasons.last().unwrap().split_once("guarded by NodeAllowlist pg; ").unwrap().1;
        assert_eq!(said, expected);
    }
}

#[test]
fn a_port_of_the_list_is_for_its_nodes() {
    let cluster = with(server("role=worker", &[], &[]));
    cluster.check("node/n1 -> host/pg tcp 5432", "allow");
    cluster.check("node/n2 -> host/pg tcp 5432", "deny");
    cluster.check("192.0.2.1 -> host/pg tcp 5432", "deny");
    cluster.check("web/front -> host/pg tcp 5432", "deny");
    cluster.check("host/pg -> host/pg tcp 5432", "allow");
    for open in ["tcp 5431", "udp 5432", "icmp"] {
        cluster.check(&format!("192.0.2.1 -> host/pg {open}"), "allow");
    }
    let mut nobody = server("", &[], &[]);
    nobody.clusters.clear();
    with(nobody).check("node/n1 -> host/pg tcp 5432", "deny");
}

#[test]
fn what_admits() {
    with(server("", &[], &[]))
        .check_reason("10.99.0.1", "admitted by clusters[0] (prod): InternalIP 10.99.0.1 of node n1");
    let cluster = with(server("", &["192.0.2.0/24", "10.99.0.0/24"], &["192.0.2.0/24"]));
    cluster.check_reason("10.99.0.1", "admitted by staticCIDRs[1]: 10.99.0.0/24");
    let mut ranges = server("", &[], &[]);
    ranges.clusters[0].address_types = vec![AddressType::PodCIDR];
    let cluster = with(ranges).node("n1", |node| node.pod_cidrs = vec!["10.244.0.0/24".parse().unwrap()]);
    cluster.check_reason("10.244.0.9", "admitted by clusters[0] (prod): PodCIDR 10.244.0.0/24 of node n1");
}

#[test]
fn what_came_closest() {
    let denied = |server: Server, source: &str, expected: &str| {
        let external =
            |node: &mut Node| drop(node.other_types.insert(address("10.99.0.1"), vec![AddressType::ExternalIP]));
        let lost = |node: &mut Node| node.addresses.push(address("127.0.0.9"));
        with(server).node("n1", external).node("n2", lost).check_reason(source, &format!("denied, {expected}"));
    };
    let nobody = "198.51.100.7 is no address of a node, nor in staticCIDRs";
    denied(server("", &[], &[]), "198.51.100.7", nobody);
    denied(server("", &[], &["10.0.0.0/8"]), "198.51.100.7", nobody);
    let unselected = "closest is clusters[0].nodeSelector: node n2 has no label role=worker";
    denied(server("role=worker", &[], &[]), "10.99.0.2", unselected);
    let mut internal = server("", &[], &[]);
    internal.clusters[0].address_types = vec![AddressType::InternalIP];
    let other = "closest is clusters[0].addressTypes: ExternalIP 10.99.0.1 of node n1 is not of type InternalIP";
    denied(internal.clone(), "10.99.0.1", other);
    // What comes further is told.
    internal.clusters.insert(0, AdmittedNodes { nodes: selector("role=no"), ..internal.clusters[0].clone() });
    denied(internal, "10.99.0.1", &other.replace("[0]", "[1]"));
    let bounds = "closest is safety.within: InternalIP 10.99.0.2 of node n2 is outside of 10.0.0.0/24, fd00::/8";
    denied(server("", &[], &["10.0.0.0/24", "fd00::/8"]), "10.99.0.2", bounds);
    let never =
        "closest is clusters[0]: InternalIP 127.0.0.9 of node n2 is unspecified, loopback, multicast or broadcast";
    denied(server("", &[], &[]), "127.0.0.9", never);
    let pod = "10.244.0.1 is no address of a node, nor in staticCIDRs; if its node hides it, it comes as node/n1";
    denied(server("", &[], &[]), "10.244.0.1", pod);
}

#[test]
fn pods_choose_nodes() {
    let chosen = |pods: &str, namespaces: Option<&str>| {
        let mut chosen = server("", &[], &[]);
        chosen.clusters[0].pods = Some(SelectedPods { pods: selector(pods), namespaces: namespaces.map(selector) });
        with(chosen).pod("db/pg", "app=pg").pod_with("ops/done", "app=done", |pod| pod.finished = true)
    };
    let check = |cluster: &Cluster, node: &str, expected: &str| {
        cluster.check(&format!("node/{node} -> host/pg tcp 5432"), expected);
    };
    // web/front and ops/done are on n1, db/pg on n2.
    check(&chosen("app=pg", None), "n2", "allow");
    check(&chosen("app=pg", None), "n1", "deny");
    check(&chosen("", Some("team=front")), "n1", "allow");
    check(&chosen("", Some("team=front")), "n2", "deny");
    check(&chosen("app=done", None), "n1", "deny");
    let none = "denied, closest is clusters[0].podSelector: node n1 runs no pod app=pg in namespaces team=data";
    chosen("app=pg", Some("team=data")).check_reason("10.99.0.1", none);
    let invented = chosen("app=late", None).pod_with("db/late", "app=late", |pod| pod.assumed.node = true);
    check(&invented, "n2", "allow (assumed)");
    check(&invented, "n1", "deny (assumed)");
}

/// A range is within bounds as a whole, and no node has one around addresses that no node has.
#[test]
fn ranges_of_pods_are_taken_whole() {
    let check = |range: &str, within: &[&str], source: &str, expected: &str| {
        let mut ranges = server("", &[], within);
        ranges.clusters[0].address_types = vec![AddressType::PodCIDR];
        let cluster = with(ranges).node("n1", |node| node.pod_cidrs = vec![range.parse().unwrap()]);
        cluster.check(&format!("{source} -> host/pg tcp 5432"), expected);
    };
    check("10.200.0.0/24", &[], "10.200.0.255", "allow");
    check("10.200.0.0/24", &[], "10.200.1.0", "deny");
    check("10.200.0.0/24", &["10.200.0.0/16"], "10.200.0.1", "allow");
    check("10.200.0.0/24", &["10.200.0.0/25"], "10.200.0.1", "deny");
    check("0.0.0.0/0", &[], "10.200.0.1", "deny");
    check("::/0", &[], "2001:db8::1", "deny");
}

#[test]
fn an_invented_address_decides() {
    let invented = |server| with(server).node("n1", |node| node.assumed = true);
    // Whatever address the node has, it is the node's.
    invented(server("role=worker", &[], &[])).check("node/n1 -> host/pg tcp 5432", "allow");
    let bounds = invented(server("role=worker", &[], &["10.99.0.0/16", "fd99::/16"]));
    bounds.check("node/n1 -> host/pg tcp 5432", "allow (assumed)");
    let elsewhere = invented(server("role=worker", &[], &["192.0.2.0/24", "2001:db8::/32"]));
    elsewhere.check("node/n1 -> host/pg tcp 5432", "deny (assumed)");
    let listed = invented(server("role=no", &["10.99.0.0/16", "fd99::/16"], &[]));
    listed.check("node/n1 -> host/pg tcp 5432", "allow (assumed)");
    listed.check("node/n1 -> host/pg tcp 80", "allow");
}

#[test]
fn the_invented_node_of_a_host_network_pod_decides() {
    let cluster = with(server("role=worker", &[], &[])).pod_with("ops/agent", "", |pod| {
        pod.host_network = true;
        pod.assumed.node = true;
        pod.addresses.clear();
    });
    cluster.check("ops/agent -> host/pg tcp 5432", "deny (assumed)");
    cluster.check("ops/agent -> host/pg tcp 80", "allow");
}

#[test]
fn where_a_server_is_was_invented() {
    let to = |peers: &[_]| with(server("", &[], &[])).policy(egress("web/p", "", &[rule(peers, &[])]));
    let blocks = [block("10.95.0.0/16", &[]), block("fd95::/16", &[])];
    to(&blocks).check("web/front -> host/pg tcp 80", "allow (assumed)");
    to(&[pods("app=no")]).check("web/front -> host/pg tcp 80", "deny");
    let cluster = with(server("", &[], &[]));
    cluster.check("10.95.0.1 -> web/front tcp 80", "allow (assumed)");
    cluster.check("host/pg -> web/front tcp 80", "allow");
}

#[test]
fn ends_that_are_servers() {
    let resolved = |cluster: &Cluster, flow: &str| {
        let flow: Flow = flow.parse().unwrap();
        match resolve(&cluster.0, &flow, &Family::ALL) {
            Ok(packets) => packets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            Err(error) => format!("{error}: {}", error.hint),
        }
    };
    let cluster = with(server("", &[], &[]));
    let both = "node/n1 -> host/pg tcp 80, node/n1 -> host/pg tcp 80";
    assert_eq!(resolved(&cluster, "node/n1 -> host/pg tcp 80"), both);
    assert!(resolved(&cluster, "10.95.0.1 -> fd95::1 tcp 80").contains("no common family"));
    assert_eq!(resolved(&cluster, "10.95.0.1 -> node/n2 tcp 80"), "host/pg -> node/n2 tcp 80");
    let wrong = "node/n1 -> host/pq tcp 80";
    assert_eq!(resolved(&cluster, wrong), "there is no NodeAllowlist pq: did you mean host/pg?");
    let none = "there is no NodeAllowlist pq: the input has no NodeAllowlist, or none that can be read; a pod of a namespace called 'host' is 'pod:host/NAME'";
    assert_eq!(resolved(&Cluster::new(), wrong), none);
}
