//! Where Services, node ports and host ports lead, under whose address, and who is asked on the way.

use std::sync::Arc;

use palisade_core::{
    Family, Flow, HostPeer, HostPolicy, HostPort, HostScope, Otherwise, PortRange, Selector, Service, ServicePort,
    TargetPort, TrafficPolicy, Transport, WorkloadKind,
};
use palisade_sim::resolve;

use crate::cluster::*;

/// The pods of the Services run on both nodes: `shop/a` on n1, `shop/b` on n2.
fn cluster() -> Cluster {
    let number = |text: &str| text.parse().unwrap();
    let http = |name: &str, text: &str| declared(name, text);
    let mut cluster = Cluster::new()
        .namespace("shop", "team=shop")
        .pod_with("shop/a", "app=shop", |pod| pod.ports = vec![http("http", "tcp 8080")])
        .pod_with("shop/b", "app=shop", |pod| pod.ports = vec![http("http", "tcp 8081")])
        .pod("web/front", "app=front")
        .pod_with("ops/edge", "app=edge", |pod| {
            let mut port = http("http", "tcp 80");
            port.host_port = Some(number("8000"));
            pod.ports = vec![port];
        });
    let services = [
        ("front", service("10.96.0.1", "", false)),
        ("local", service("10.96.0.2", "", true)),
        ("balanced", service("10.96.0.3", "192.0.2.80", false)),
        ("near", Service { internal_policy: TrafficPolicy::Local, ..service("10.96.0.4", "", false) }),
        ("void", service("10.96.0.5", "", false)),
        ("nameless", Service { headless: true, addresses: Vec::new(), ..service("10.96.0.6", "", false) }),
        ("unnamed", with_target(service("10.96.0.7", "", false), "grpc")),
    ];
    for (service_name, service) in services {
        let pods: &[&str] = match service_name {
            "void" => &[],
            "local" => &["shop/a"],
            "near" => &["shop/b"],
            _ => &["shop/a", "shop/b"],
        };
        cluster = cluster.workload("shop", WorkloadKind::Service, service_name, pods);
        cluster.0.services.insert(name(&format!("shop/{service_name}")), Arc::new(service));
    }
    cluster
}

/// Port 80 leads to the port `http`, as does the node port 30000 and the last number of the address.
fn service(own: &str, external: &str, is_local: bool) -> Service {
    let port = |number: u16| number.try_into().unwrap();
    let last: u16 = own.rsplit_once('.').unwrap().1.parse().unwrap();
    let to = ServicePort {
        transport: Transport::Tcp,
        port: port(80),
        target: TargetPort::Named("http".into()),
        node_port: Some(port(30000 + last)),
    };
    Service {
        addresses: vec![address(own), address(&format!("fd96::{last}"))],
        external: if external.is_empty() { Vec::new() } else { vec![address(external)] },
        ports: vec![to],
        external_policy: if is_local { TrafficPolicy::Local } else { TrafficPolicy::Cluster },
        ..Service::default()
    }
}

fn with_target(mut service: Service, name: &str) -> Service {
    service.ports[0].target = TargetPort::Named(name.into());
    service
}

fn resolved(flow: &str) -> Result<Vec<String>, String> {
    let flow: Flow = flow.parse().unwrap();
    let packets = resolve(&cluster().0, &flow, &[Family::V4]);
    let told = |packet: &palisade_sim::Packet| packet.way().unwrap_or_else(|| format!("to {}", packet.destination));
    match packets {
        Ok(packets) => Ok(packets.iter().map(told).collect()),
        Err(error) => Err(format!("{error}; hint: {}", error.hint)),
    }
}

#[track_caller]
fn check(flow: &str, expected: &[&str]) {
    assert_eq!(resolved(flow).unwrap(), expected, "{flow}");
}

#[track_caller]
fn check_error(flow: &str, expected: &str) {
    assert_eq!(resolved(flow).unwrap_err(), expected);
}

#[test]
fn the_address_of_a_service_leads_to_each_pod_under_the_clients_address() {
    let expected = [
        "via service shop/front (10.96.0.1 tcp 80) on node n1, to shop/a tcp 8080",
        "via service shop/front (10.96.0.1 tcp 80) on node n1, to shop/b tcp 8081",
    ];
    for to in ["shop/service/front", "shop/front", "10.96.0.1"] {
        check(&format!("web/front -> {to} tcp 80"), &expected);
    }
    check("10.244.0.3 -> shop/front tcp 80", &expected);
    check("shop/a -> shop/front tcp 80", &expected);
    check("node/n1 -> shop/front tcp 80", &expected);
}

#[test]
fn a_traffic_policy_of_the_inside_stays_on_the_node() {
    check("ops/edge -> shop/near tcp 80", &["via service shop/near (10.96.0.4 tcp 80) on node n2, to shop/b tcp 8081"]);
    check_error(
        "web/front -> shop/near tcp 80",
        "service shop/near leads to no pod on n1; hint: its internalTrafficPolicy is Local: a node without a pod of it drops what comes",
    );
}

#[test]
fn a_node_port_leads_elsewhere_under_the_address_of_the_node() {
    let by = |node: &str| format!("via the nodePort of service shop/front ({node}");
    let from_outside = [
        by("10.99.0.1 tcp 30001) on node n1, to shop/a tcp 8080"),
        by("10.99.0.1 tcp 30001) on node n1, to shop/b tcp 8081, as node/n1"),
    ];
    for source in ["203.0.113.7", "web/front", "ops/edge", "node/n2", "node/n1"] {
        let expected = from_outside.each_ref().map(String::as_str);
        let kept =
            if source == "node/n1" { [expected[0], expected[1].trim_end_matches(", as node/n1")] } else { expected };
        check(&format!("{source} -> node/n1 tcp 30001"), &kept);
    }
    check("203.0.113.7 -> node/n1 tcp 30099", &["to node/n1"]);
    check("203.0.113.7 -> node/n1 udp 30001", &["to node/n1"]);
    check("203.0.113.7 -> node/n1 icmp", &["to node/n1"]);
}

#[test]
fn with_the_traffic_policy_local_a_node_leads_to_its_own_pods_and_hides_nobody() {
    let on_n1 = ["via the nodePort of service shop/local (10.99.0.1 tcp 30002) on node n1, to shop/a tcp 8080"];
    for source in ["203.0.113.7", "web/front", "ops/edge", "node/n2", "node/n1"] {
        check(&format!("{source} -> node/n1 tcp 30002"), &on_n1);
    }
    let no_pod = "the nodePort of service shop/local leads to no pod on n2; hint: its externalTrafficPolicy is Local: a node without a pod of it drops what comes";
    for source in ["203.0.113.7", "web/front", "node/n1"] {
        check_error(&format!("{source} -> node/n2 tcp 30002"), no_pod);
    }
    // What the node and its own pods send is led to every pod.
    check(
        "ops/edge -> node/n2 tcp 30002",
        &["via the nodePort of service shop/local (10.99.0.2 tcp 30002) on node n2, to shop/a tcp 8080"],
    );
}

#[test]
fn an_external_address_comes_to_any_node() {
    let by = "via the external address of service shop/balanced (192.0.2.80 tcp 80) on node";
    for to in ["shop/balanced", "192.0.2.80"] {
        check(
            &format!("203.0.113.7 -> {to} tcp 80"),
            &[
                &format!("{by} n1, to shop/a tcp 8080"),
                &format!("{by} n1, to shop/b tcp 8081, as node/n1"),
                &format!("{by} n2, to shop/a tcp 8080, as node/n2"),
                &format!("{by} n2, to shop/b tcp 8081"),
            ],
        );
    }
    check(
        "web/front -> 192.0.2.80 tcp 80",
        &[&format!("{by} n1, to shop/a tcp 8080"), &format!("{by} n1, to shop/b tcp 8081, as node/n1")],
    );
    check("web/front -> 192.0.2.80 tcp 81", &["to 192.0.2.80"]);
}

#[test]
fn a_host_port_leads_to_the_pod_under_the_clients_address() {
    for source in ["203.0.113.7", "web/front", "node/n1", "node/n2"] {
        check(
            &format!("{source} -> node/n2 tcp 8000"),
            &["via the hostPort of pod ops/edge (10.99.0.2 tcp 8000) on node n2, to ops/edge tcp 80"],
        );
    }
    check("web/front -> node/n1 tcp 8000", &["to node/n1"]);
    check("web/front -> node/n2 udp 8000", &["to node/n2"]);
}

#[test]
fn a_headless_service_is_its_pods() {
    check("web/front -> shop/nameless tcp 1", &["to shop/a", "to shop/b"]);
    check("web/front -> shop/nameless icmp", &["to shop/a", "to shop/b"]);
    check("shop/service/front -> web/front tcp 1", &["to web/front", "to web/front"]);
}

#[test]
fn what_leads_nowhere_says_so() {
    check_error(
        "web/front -> shop/front tcp 8080",
        "service shop/front does not serve tcp 8080; hint: its ports are tcp 80 (to http); other ports of its pods are reached by the names of these",
    );
    check_error(
        "web/front -> shop/front icmp",
        "service shop/front does not serve icmp; hint: its ports are tcp 80 (to http); other ports of its pods are reached by the names of these",
    );
    check_error(
        "web/front -> shop/void tcp 80",
        "service shop/void leads nowhere; hint: its selector selects no pod that has an address and a port named http",
    );
    check_error(
        "web/front -> shop/unnamed tcp 80",
        "service shop/unnamed leads nowhere; hint: its selector selects no pod that has an address and a port named grpc",
    );
    check_error(
        "203.0.113.7 -> shop/front tcp 80",
        "203.0.113.7 is outside the cluster, and does not get to the address of service shop/front; hint: it gets there by a port of a node: 'node/NAME tcp 30001'",
    );
}

/// The node that translates asks before it hides the client; another node sees who is left.
#[test]
fn each_node_judges_what_it_sees() {
    let closed = cluster().policy(ingress("shop/world", "", &[rule(&[block("203.0.113.0/24", &[])], &[])]));
    closed.check("203.0.113.7 -> 10.244.0.2 tcp 8081", "allow");
    closed.check("203.0.113.7 -> node/n1 tcp 30001", "deny");
    closed.check("203.0.113.7 -> node/n1 tcp 30002", "allow");
    let nodes = cluster().policy(ingress(
        "shop/nodes",
        "",
        &[rule(&[block("10.99.0.0/24", &[]), block("fd99::/64", &[])], &[])],
    ));
    nodes.check("203.0.113.7 -> node/n1 tcp 30001", "deny");
    nodes.check("node/n2 -> node/n1 tcp 30001", "allow");
    // The pod's own node is only exempt as a client.
    nodes.check("203.0.113.7 -> node/n1 tcp 30002", "deny");
    nodes.check("node/n1 -> node/n1 tcp 30002", "allow");
}

#[test]
fn through_its_own_service_a_pod_is_judged() {
    let closed = cluster().policy(ingress("shop/none", "", &[]));
    closed.check("shop/a -> shop/a tcp 8080", "allow");
    closed.check("shop/a -> shop/local tcp 80", "deny");
    let themselves = cluster().policy(ingress("shop/own", "", &[rule(&[pods("app=shop")], &[])]));
    themselves.check("shop/a -> shop/local tcp 80", "allow");
    themselves.check("shop/a -> shop/front tcp 80", "allow");
}

#[test]
fn egress_is_judged_where_the_client_leaves_its_node() {
    // On its own node the pod behind the Service counts, elsewhere the node that is asked to lead on.
    let to_shop = cluster().policy(egress("web/out", "", &[rule(&[pods_in("team=shop", "")], &["tcp http"])]));
    to_shop.check("web/front -> shop/front tcp 80", "allow");
    to_shop.check("web/front -> node/n1 tcp 30001", "allow");
    to_shop.check("web/front -> node/n2 tcp 30001", "deny");
    let to_node = cluster().policy(egress("web/out", "", &[rule(&[block("10.99.0.2/32", &[])], &["tcp 30001"])]));
    to_node.check("web/front -> 10.99.0.2 tcp 30001", "allow");
    to_node.check("web/front -> 10.99.0.1 tcp 30001", "deny");
}

#[test]
fn a_host_policy_is_asked_before_and_after() {
    let guard = |port: u16, scope| HostPolicy {
        name: "guard".into(),
        nodes: Selector::everything(),
        ports: vec![HostPort { transport: Transport::Tcp, range: PortRange::single(port.try_into().unwrap()) }],
        scope,
        from: vec![HostPeer::Nodes(Selector::everything())],
        audit: false,
        otherwise: Otherwise::Drop,
        unreadable: None,
    };
    let guarded = |policy: HostPolicy| {
        let mut cluster = cluster().pod_with("shop/host", "", |pod| {
            pod.host_network = true;
            pod.addresses = vec![address("10.99.0.1"), address("fd99::1")];
            pod.ports = vec![declared("http", "tcp 9000")];
        });
        cluster = cluster.workload("shop", WorkloadKind::Service, "void", &["shop/host"]);
        cluster.0.host_policies.insert(policy.name.clone(), Arc::new(policy));
        cluster
    };
    let before = guarded(guard(30001, HostScope::Everything));
    before.check("203.0.113.7 -> node/n1 tcp 30001", "deny");
    before.check("web/front -> node/n1 tcp 30001", "deny");
    before.check("node/n2 -> node/n1 tcp 30001", "allow");
    before.check("web/front -> shop/front tcp 80", "allow");
    let sockets = guarded(guard(30001, HostScope::HostSockets));
    sockets.check("203.0.113.7 -> node/n1 tcp 30001", "allow");
    sockets.check("web/front -> node/n1 tcp 30001", "allow");
    // The node of the pod takes it for a socket of the other node.
    sockets.check("web/front -> node/n2 tcp 30001", "deny");
    for scope in HostScope::ALL {
        let after = guarded(guard(9000, scope));
        after.check("web/front -> shop/void tcp 80", "deny");
        after.check("203.0.113.7 -> node/n2 tcp 30005", "deny");
        after.check("node/n2 -> node/n2 tcp 30005", "allow");
        after.check("203.0.113.7 -> node/n1 tcp 30005", "deny");
    }
}
