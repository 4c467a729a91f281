//! `ports`: numbers, ranges, names, protocols.

use crate::cluster::*;

fn with_ports(ports: &[&str]) -> Cluster {
    Cluster::new().pod("web/front", "").pod("db/pg", "").policy(ingress("db/p", "", &[rule(&[], ports)]))
}

#[track_caller]
fn check(cluster: &Cluster, traffic: &[&str], expected: &str) {
    for traffic in traffic {
        cluster.check(&format!("web/front -> db/pg {traffic}"), expected);
    }
}

#[test]
fn a_port_belongs_to_its_protocol() {
    let cluster = with_ports(&["tcp 53", "udp 54"]);
    check(&cluster, &["tcp 53", "udp 54"], "allow");
    check(&cluster, &["udp 53", "tcp 54", "sctp 53", "tcp 52", "icmp"], "deny");
}

#[test]
fn a_protocol_alone_is_all_of_its_ports() {
    let cluster = with_ports(&["udp"]);
    check(&cluster, &["udp 1", "udp 65535"], "allow");
    check(&cluster, &["tcp 1", "sctp 1", "icmp"], "deny");
}

#[test]
fn a_rule_for_sctp_isolates_and_opens_no_tcp() {
    let cluster = with_ports(&["sctp 9999"]);
    check(&cluster, &["sctp 9999"], "allow");
    check(&cluster, &["tcp 9999", "tcp 80", "udp 9999"], "deny");
}

#[test]
fn an_end_port_includes_both_ends() {
    let cluster = with_ports(&["tcp 8000-8010", "udp 65535-65535", "sctp 1-65535"]);
    check(&cluster, &["tcp 8000", "tcp 8005", "tcp 8010", "udp 65535", "sctp 1", "sctp 65535"], "allow");
    check(&cluster, &["tcp 7999", "tcp 8011", "udp 8005", "udp 65534", "icmp"], "deny");
}

#[test]
fn icmp_is_matched_only_by_rules_without_ports() {
    check(&with_ports(&["tcp", "udp", "sctp"]), &["icmp"], "deny");
    check(&with_ports(&[]), &["icmp"], "allow");
}

#[test]
fn a_name_stands_for_what_each_destination_pod_declares() {
    let cluster = Cluster::new()
        .pod("web/front", "")
        .pod_with("db/a", "", |pod| pod.ports = vec![declared("http", "tcp 80"), declared("dns", "udp 53")])
        .pod_with("db/b", "", |pod| pod.ports = vec![declared("http", "tcp 8080"), declared("dns", "tcp 53")])
        .pod("db/c", "")
        .pod_with("db/d", "", |pod| pod.ports = vec![declared("http", "tcp 1"), declared("http", "tcp 2")]);
    let inward = ingress("db/p", "", &[rule(&[], &["tcp http", "udp dns"])]);
    let outward = egress("web/p", "", &[rule(&[], &["tcp http", "udp dns"])]);
    for cluster in [cluster.clone().policy(inward), cluster.policy(outward)] {
        for (flow, expected) in [
            ("db/a tcp 80", "allow"),
            ("db/a tcp 8080", "deny"),
            ("db/a udp 53", "allow"),
            ("db/a tcp 53", "deny"),
            ("db/b tcp 8080", "allow"),
            ("db/b tcp 80", "deny"),
            // There the name belongs to TCP.
            ("db/b udp 53", "deny"),
            ("db/b tcp 53", "deny"),
            ("db/c tcp 80", "deny"),
            ("db/d tcp 1", "allow"),
            ("db/d tcp 2", "allow"),
            ("db/d tcp 3", "deny"),
            ("db/a icmp", "deny"),
        ] {
            cluster.check(&format!("web/front -> {flow}"), expected);
        }
    }
}

#[test]
fn a_name_in_ingress_is_the_subjects_not_the_peers() {
    let cluster = Cluster::new()
        .pod_with("web/front", "", |pod| pod.ports = vec![declared("http", "tcp 80")])
        .pod_with("db/pg", "", |pod| pod.ports = vec![declared("http", "tcp 8080")])
        .policy(ingress("db/p", "", &[rule(&[], &["tcp http"])]));
    cluster.check("web/front -> db/pg tcp 8080", "allow");
    cluster.check("web/front -> db/pg tcp 80", "deny");
}

#[test]
fn a_name_in_egress_matches_pods_only() {
    let cluster = Cluster::new()
        .pod("web/front", "")
        .pod_with("db/agent", "", |pod| {
            pod.host_network = true;
            pod.node = Some("n2".into());
            pod.addresses = vec![address("10.99.0.2"), address("fd99::2")];
            pod.ports = vec![declared("http", "tcp 80")];
        })
        .pod_with("db/done", "", |pod| {
            pod.finished = true;
            pod.ports = vec![declared("http", "tcp 80")];
        })
        .pod_with("db/live", "", |pod| pod.ports = vec![declared("http", "tcp 80")])
        .policy(egress(
            "web/p",
            "",
            &[rule(&[], &["tcp http"]), rule(&[block("0.0.0.0/0", &[]), block("::/0", &[])], &["tcp http"])],
        ));
    cluster.check("web/front -> db/live tcp 80", "allow");
    for destination in ["203.0.113.7", "2001:db8::7", "node/n2", "db/agent", "10.244.0.3", "fd44::3"] {
        cluster.check(&format!("web/front -> {destination} tcp 80"), "deny");
    }
}

#[test]
fn a_name_resolves_on_a_pod_that_a_block_matches() {
    let cluster = Cluster::new()
        .pod("web/front", "")
        .pod_with("db/pg", "", |pod| pod.ports = vec![declared("pg", "tcp 5432")])
        .policy(egress("web/p", "", &[rule(&[block("10.244.0.0/16", &[])], &["tcp pg"])]));
    cluster.check("web/front -> db/pg tcp 5432", "IPv4 allow, IPv6 deny");
    cluster.check("web/front -> db/pg tcp 5433", "deny");
}

#[test]
fn a_port_of_one_pod_never_opens_that_number_at_another_with_the_same_address() {
    let same = |ports: Vec<palisade_core::ContainerPort>| {
        move |pod: &mut palisade_core::Pod| {
            pod.addresses = vec![address("10.244.0.7"), address("fd44::7")];
            pod.node = Some("n1".into());
            pod.ports = ports;
        }
    };
    let cluster = Cluster::new()
        .pod_with("db/a", "app=a", same(vec![declared("http", "tcp 80")]))
        .pod_with("db/b", "app=b", same(vec![declared("http", "tcp 81")]))
        .pod("web/front", "")
        .policy(egress("web/p", "", &[rule(&[pods_in("", "app=a")], &["tcp http"])]));
    cluster.check("web/front -> db/a tcp 80", "allow");
    cluster.check("web/front -> db/a tcp 81", "deny");
}
