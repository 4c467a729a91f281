//! How explanations read.

use palisade_core::{NetworkPolicy, WorkloadKind};

use crate::cluster::*;

#[track_caller]
fn check(cluster: &Cluster, flow: &str, expected: &str) {
    assert_eq!(cluster.explain(flow).to_string(), expected.trim_end());
}

fn shop() -> Cluster {
    Cluster::new()
        .pod("web/front", "app=front")
        .pod_with("db/pg", "app=pg", |pod| pod.ports = vec![declared("pg", "tcp 5432")])
        .pod("ops/probe", "app=probe")
        .policy(ingress("db/allow-web", "app=pg", &[rule(&[pods_in("team=front", "app=front")], &["tcp 5432"])]))
        .policy(ingress("db/default-deny", "", &[]))
}

#[test]
fn the_rule_that_allows() {
    check(
        &shop(),
        "web/front -> db/pg tcp 5432",
        "web/front -> db/pg tcp 5432: allow
  egress of web/front: not isolated
  ingress of db/pg: isolated by db/allow-web, db/default-deny; allowed by db/allow-web ingress[0] (from[0]: pods \
         app=front in namespaces team=front; ports[0]: tcp 5432)",
    );
}

#[test]
fn the_rule_that_came_closest() {
    check(
        &shop(),
        "ops/probe -> db/pg tcp 5432",
        "ops/probe -> db/pg tcp 5432: deny
  egress of ops/probe: not isolated
  ingress of db/pg: isolated by db/allow-web, db/default-deny; denied, closest is db/allow-web ingress[0].from[0]: \
         namespace ops has no label team=front, but team=ops",
    );
}

/// `db/pg` has this one policy; the last reason for the flow says this.
#[track_caller]
fn check_reason(peers: &[palisade_core::Peer], ports: &[&str], flow: &str, expected: &str) {
    let mut cluster = shop();
    cluster.0.policies.clear();
    let cluster = cluster.policy(ingress("db/p", "app=pg", &[rule(peers, ports)]));
    let reasons = cluster.explain(flow).reasons();
    let prefix = "ingress of db/pg: isolated by db/p; ";
    assert_eq!(reasons.last().unwrap().strip_prefix(prefix), Some(expected), "{reasons:?}");
}

#[test]
fn what_failed_of_the_peers() {
    let front = "web/front -> db/pg tcp 5432";
    let denied = |what: &str| format!("denied, closest is db/p ingress[0].from{what}");
    check_reason(
        &[pods_in("", "app=api")],
        &[],
        front,
        &denied("[0]: pod web/front has no label app=api, but app=front"),
    );
    check_reason(&[pods_in("", "tier=a")], &[], front, &denied("[0]: pod web/front has no label tier=a"));
    check_reason(
        &[pods_in("", "app in (a,b)")],
        &[],
        front,
        &denied("[0]: pod web/front has app=front, not app in (a,b)"),
    );
    check_reason(&[pods_in("", "tier")], &[], front, &denied("[0]: pod web/front has no label tier"));
    check_reason(&[pods_in("", "!app")], &[], front, &denied("[0]: pod web/front has the label app"));
    let notin = pods_in("", "app notin (front,x)");
    check_reason(&[notin], &[], front, &denied("[0]: pod web/front has app=front, against app notin (front,x)"));
    check_reason(&[pods("app=front")], &[], front, &denied("[0]: pod web/front is not in namespace db"));
    let outside = "203.0.113.7 -> db/pg tcp 5432";
    check_reason(&[pods("")], &[], outside, &denied("[0]: 203.0.113.7 is no pod that a selector could match"));
    check_reason(&[block("10.0.0.0/8", &[])], &[], outside, &denied("[0]: 203.0.113.7 is not in 10.0.0.0/8"));
    let except = [pods(""), block("203.0.0.0/8", &["203.0.113.0/24"])];
    check_reason(&except, &[], outside, &denied("[1]: 203.0.113.7 is in except 203.0.113.0/24"));
    check_reason(
        &[pods("")],
        &[],
        "node/n1 -> db/pg icmp",
        &denied("[0]: node/n1 is no pod that a selector could match"),
    );
}

#[test]
fn what_failed_of_the_ports() {
    let flow = "web/front -> db/pg tcp 80";
    let denied = |what: &str| format!("denied, closest is db/p ingress[0]{what}");
    check_reason(&[], &["tcp 5432"], flow, &denied(".ports[0]: tcp 80 is not tcp 5432"));
    check_reason(&[], &["udp", "tcp 90-99"], flow, &denied(".ports: tcp 80 is none of udp, tcp 90-99"));
    check_reason(&[], &["tcp pg"], flow, &denied(".ports[0]: tcp port pg of pod db/pg is 5432, not 80"));
    check_reason(&[], &["tcp http"], flow, &denied(".ports[0]: pod db/pg declares no tcp port named http"));
    check_reason(&[], &["udp pg"], flow, &denied(".ports[0]: tcp 80 is not udp pg"));
    let icmp = denied(".ports[0]: icmp is allowed only by rules without ports");
    check_reason(&[], &["tcp"], "web/front -> db/pg icmp", &icmp);
    let neither = denied(": pod web/front is not in namespace db, and tcp 80 is not tcp 1");
    check_reason(&[pods("")], &["tcp 1"], flow, &neither);
}

#[test]
fn a_rule_whose_peer_matches_is_closer_than_one_whose_port_does() {
    let rules = [
        rule(&[pods("app=other")], &["tcp 1"]),
        rule(&[pods("app=other")], &["tcp 2"]),
        rule(&[pods("app=other")], &["tcp 5432"]),
        rule(&[pods_in("", "app=front")], &["tcp 80"]),
    ];
    let closest = |count: usize| {
        let mut cluster = shop();
        cluster.0.policies.clear();
        let cluster = cluster.policy(ingress("db/p", "", &rules[..count]));
        cluster.explain("web/front -> db/pg tcp 5432").reasons().pop().unwrap()
    };
    assert!(closest(1).contains("ingress[0]: "), "{}", closest(1));
    assert!(closest(2).contains("ingress[0]: "), "{}", closest(2));
    assert!(closest(3).contains("ingress[2].from[0]: "), "{}", closest(3));
    assert!(closest(4).contains("ingress[3].ports[0]: "), "{}", closest(4));
}

#[test]
fn exempt_open_and_without_rules() {
    let cluster = shop().policy(egress("ops/deny", "", &[]));
    check(
        &cluster,
        "ops/probe -> node/n1 icmp",
        "ops/probe -> node/n1 icmp: allow
  egress of ops/probe: isolated by ops/deny; exempt, node n1 is the node it runs on",
    );
    check(
        &cluster,
        "ops/probe -> web/front icmp",
        "ops/probe -> web/front icmp: deny
  egress of ops/probe: isolated by ops/deny; denied, no rule allows anything
  ingress of web/front: not isolated",
    );
    check(
        &cluster,
        "node/n1 -> 203.0.113.7 icmp",
        "node/n1 -> 203.0.113.7 icmp: allow
  no NetworkPolicy applies, neither end is a pod",
    );
    let wide_open = Cluster::new().pod("web/a", "").policy(ingress("web/open", "", &[rule(&[], &[])]));
    check(
        &wide_open,
        "203.0.113.7 -> web/a icmp",
        "203.0.113.7 -> web/a icmp: allow
  ingress of web/a: isolated by web/open; allowed by web/open ingress[0] (no from: everyone; no ports: all traffic)",
    );
}

#[test]
fn families_are_split_where_they_differ() {
    let cluster = shop().policy(egress("web/out", "", &[rule(&[block("10.244.0.0/16", &[])], &[])]));
    check(
        &cluster,
        "web/front -> ops/probe tcp 80",
        "web/front -> ops/probe tcp 80: deny
  IPv4: allow
    egress of web/front: isolated by web/out; allowed by web/out egress[0] (to[0]: 10.244.0.0/16; no ports: all traffic)
    ingress of ops/probe: not isolated
  IPv6: deny
    egress of web/front: isolated by web/out; denied, closest is web/out egress[0].to[0]: fd44::3 is not in 10.244.0.0/16
    ingress of ops/probe: not isolated",
    );
    let reasons = cluster.explain("web/front -> ops/probe tcp 80").reasons();
    assert!(reasons[0].starts_with("IPv4: egress of web/front: ") && reasons.len() == 4, "{reasons:?}");
}

#[test]
fn pods_of_a_workload_are_summed_up_and_the_one_that_differs_is_named() {
    let cluster = shop()
        .pod("web/front-1", "app=front")
        .pod("web/front-2", "app=front")
        .pod("web/front-3", "app=old")
        .workload("web", WorkloadKind::Deployment, "front", &["web/front-1", "web/front-2", "web/front-3"])
        .workload("web", WorkloadKind::Deployment, "alike", &["web/front-1", "web/front-2"]);
    let allowed = "isolated by db/allow-web, db/default-deny; allowed by db/allow-web ingress[0] (from[0]: pods app=front \
                   in namespaces team=front; ports[0]: tcp 5432)";
    check(
        &cluster,
        "web/deployment/alike -> db/pg tcp 5432",
        &format!(
            "web/deployment/alike -> db/pg tcp 5432: allow
  2 alike, such as web/front-1 -> db/pg tcp 5432: allow
    egress of web/front-1: not isolated
    ingress of db/pg: {allowed}"
        ),
    );
    check(
        &cluster,
        "web/deployment/front -> db/pg tcp 5432",
        &format!(
            "web/deployment/front -> db/pg tcp 5432: deny
  web/front-3 -> db/pg tcp 5432: deny
    egress of web/front-3: not isolated
    ingress of db/pg: isolated by db/allow-web, db/default-deny; denied, closest is db/allow-web ingress[0].from[0]: pod \
             web/front-3 has no label app=front, but app=old
  2 alike, such as web/front-1 -> db/pg tcp 5432: allow
    egress of web/front-1: not isolated
    ingress of db/pg: {allowed}"
        ),
    );
}

#[test]
fn what_audited_policies_would_change() {
    let audited = |policy: NetworkPolicy| NetworkPolicy { audit: true, ..policy };
    let cluster = shop().policy(audited(ingress("web/close", "app=front", &[]))).policy(audited(ingress(
        "db/probes",
        "app=pg",
        &[rule(&[pods_in("", "app=probe")], &[])],
    )));
    check(
        &cluster,
        "ops/probe -> web/front tcp 80",
        "ops/probe -> web/front tcp 80: allow
  egress of ops/probe: not isolated
  ingress of web/front: not isolated
  would deny: ingress of web/front: isolated by web/close (audit); denied, no rule allows anything",
    );
    check(
        &cluster,
        "ops/probe -> db/pg icmp",
        "ops/probe -> db/pg icmp: deny
  egress of ops/probe: not isolated
  ingress of db/pg: isolated by db/allow-web, db/default-deny; denied, closest is db/allow-web ingress[0]: namespace ops has \
         no label team=front, but team=ops, and icmp is allowed only by rules without ports
  would allow: ingress of db/pg: isolated by db/allow-web, db/default-deny, db/probes (audit); allowed by db/probes \
         ingress[0] (from[0]: pods app=probe in namespaces everything; no ports: all traffic)",
    );
    // An audited policy that selects neither end, and one that changes nothing, leave no trace.
    check(
        &cluster,
        "db/pg -> ops/probe icmp",
        "db/pg -> ops/probe icmp: allow
  egress of db/pg: not isolated
  ingress of ops/probe: not isolated",
    );
    let explanation = cluster.explain("web/front -> db/pg tcp 5432");
    assert_eq!((explanation.audit(), explanation.audit_reasons()), (None, vec![]));
    assert!(explanation.packets.iter().all(|(_, decision)| decision.shadow.is_some()), "{explanation:?}");
    let explanation = cluster.explain("db/pg -> ops/probe icmp");
    assert!(explanation.packets.iter().all(|(_, decision)| decision.shadow.is_none()), "{explanation:?}");
}
