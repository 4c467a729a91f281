//! Which pods a policy isolates, in which direction, and how policies add up.

use palisade_core::Direction;
use palisade_sim::Outcome;

use crate::cluster::*;

fn two_pods() -> Cluster {
    Cluster::new().pod("web/front", "app=front").pod("db/pg", "app=pg")
}

#[test]
fn without_a_policy_everything_is_allowed() {
    let cluster = two_pods();
    for flow in ["web/front -> db/pg tcp 5432", "web/front -> db/pg icmp", "203.0.113.7 -> db/pg udp 53"] {
        cluster.check(flow, "allow");
    }
}

#[test]
fn a_policy_isolates_in_the_directions_it_names_only() {
    let cluster = two_pods().policy(ingress("db/deny", "", &[]));
    cluster.check("web/front -> db/pg tcp 5432", "deny");
    cluster.check("web/front -> db/pg icmp", "deny");
    cluster.check("203.0.113.7 -> db/pg sctp 9", "deny");
    cluster.check("db/pg -> web/front tcp 80", "allow");
    cluster.check("db/pg -> 2001:db8::7 tcp 80", "allow");

    let cluster = two_pods().policy(egress("db/deny", "", &[]));
    cluster.check("web/front -> db/pg tcp 5432", "allow");
    cluster.check("db/pg -> web/front tcp 80", "deny");
    cluster.check("db/pg -> 2001:db8::7 icmp", "deny");
}

#[test]
fn a_policy_isolates_only_what_it_selects_in_its_own_namespace() {
    let cluster = two_pods().pod("db/other", "app=other");
    let isolated = |subjects: &str, expected: &str, expected_other: &str| {
        let cluster = cluster.clone().policy(ingress("db/deny", subjects, &[]));
        cluster.check("web/front -> db/pg tcp 5432", expected);
        cluster.check("web/front -> db/other tcp 5432", expected_other);
        cluster.check("db/other -> web/front tcp 80", "allow");
    };
    isolated("", "deny", "deny");
    isolated("app=pg", "deny", "allow");
    isolated("app in (pg,my)", "deny", "allow");
    isolated("app notin (pg)", "allow", "deny");
    isolated("app;app notin (other)", "deny", "allow");
    isolated("!app", "allow", "allow");
    isolated("tier notin (x)", "deny", "deny");
}

#[test]
fn an_empty_rule_allows_everything_and_no_rule_nothing() {
    let all = two_pods().policy(ingress("db/all", "", &[rule(&[], &[])]));
    all.check("web/front -> db/pg icmp", "allow");
    all.check("2001:db8::7 -> db/pg sctp 1", "allow");
    all.check("node/n1 -> db/pg udp 65535", "allow");
}

#[test]
fn rules_of_all_policies_add_up() {
    let cluster = two_pods()
        .pod("ops/probe", "app=probe")
        .policy(ingress("db/deny", "", &[]))
        .policy(ingress("db/web", "app=pg", &[rule(&[pods_in("team=front", "")], &["tcp 5432"])]))
        .policy(ingress("db/ops", "app=pg", &[rule(&[pods_in("team=ops", "")], &["tcp 9187"])]));
    cluster.check("web/front -> db/pg tcp 5432", "allow");
    cluster.check("ops/probe -> db/pg tcp 9187", "allow");
    // Peers of one rule never combine with ports of another.
    cluster.check("web/front -> db/pg tcp 9187", "deny");
    cluster.check("ops/probe -> db/pg tcp 5432", "deny");
}

#[test]
fn both_ends_must_allow() {
    let out = egress("web/out", "app=front", &[rule(&[pods_in("team=data", "")], &["tcp 5432"])]);
    let cluster = two_pods().policy(out);
    cluster.check("web/front -> db/pg tcp 5432", "allow");
    cluster.check("web/front -> db/pg tcp 80", "deny");
    let cluster = cluster.policy(ingress("db/in", "", &[rule(&[], &["tcp 80"])]));
    cluster.check("web/front -> db/pg tcp 5432", "deny");
    cluster.check("web/front -> db/pg tcp 80", "deny");
}

#[test]
fn in_a_policy_of_both_types_egress_does_not_satisfy_ingress_nor_the_reverse() {
    let pair = || Cluster::new().pod("web/a", "").pod("web/b", "");
    let anyone = [rule(&[pods("")], &[])];
    let only_out = pair().policy(both("web/p", "", Some(&[]), Some(&anyone)));
    only_out.check("web/a -> web/b tcp 80", "deny");
    let only_in = pair().policy(both("web/p", "", Some(&anyone), Some(&[])));
    only_in.check("web/a -> web/b tcp 80", "deny");
    let in_and_out = pair().policy(both("web/p", "", Some(&anyone), Some(&anyone)));
    in_and_out.check("web/a -> web/b tcp 80", "allow");
}

#[test]
fn rules_of_a_direction_that_is_not_isolated_have_no_say() {
    // What `policyTypes: [Egress]` leaves of a policy with ingress rules, once defaults are applied.
    let cluster = two_pods().policy(both("db/p", "", None, Some(&[])));
    cluster.check("web/front -> db/pg tcp 1", "allow");
    cluster.check("db/pg -> web/front tcp 1", "deny");
}

#[test]
fn an_unreadable_policy_isolates_what_it_selects_and_says_why() {
    let mut unreadable = ingress("db/broken", "app=pg", &[]);
    unreadable.unreadable = Some("unknown field 'form'".to_string());
    let cluster = two_pods().pod("db/other", "app=other").policy(unreadable);
    cluster.check("web/front -> db/pg tcp 5432", "deny");
    cluster.check("web/front -> db/other tcp 5432", "allow");
    cluster.check("db/pg -> web/front tcp 5432", "allow");
    let reasons = cluster.explain("web/front -> db/pg tcp 5432").reasons();
    assert!(reasons[1].contains("db/broken (unreadable") && reasons[1].contains("unknown field 'form'"), "{reasons:?}");

    let beside = cluster.policy(ingress("db/web", "app=pg", &[rule(&[pods_in("team=front", "")], &[])]));
    beside.check("web/front -> db/pg tcp 5432", "allow");
}

#[test]
fn a_finished_pod_is_neither_subject_nor_peer_and_its_address_is_free() {
    let finished = |pod: &mut palisade_core::Pod| pod.finished = true;
    let reuse = |pod: &mut palisade_core::Pod| {
        pod.addresses = vec![address("10.244.0.1"), address("fd44::1")];
        pod.node = Some("n1".into());
    };
    let cluster = Cluster::new()
        .pod_with("web/job", "app=front", finished)
        .pod("db/pg", "app=pg")
        .pod_with("web/new", "app=new", reuse)
        .policy(ingress("db/web", "", &[rule(&[pods_in("team=front", "app=front")], &[])]))
        .policy(ingress("web/deny", "app=front", &[]))
        .policy(egress("web/deny-out", "app=front", &[]));
    cluster.check("web/new -> db/pg tcp 5432", "deny");
    cluster.check("10.244.0.1 -> db/pg tcp 5432", "deny");
    cluster.check("db/pg -> web/new tcp 80", "allow");
    cluster.check("db/pg -> fd44::1 tcp 80", "allow");
    cluster.check("web/new -> 203.0.113.7 tcp 80", "allow");
}

#[test]
fn a_host_network_pod_is_neither_subject_nor_peer() {
    let host_network = |pod: &mut palisade_core::Pod| {
        pod.host_network = true;
        pod.node = Some("n1".into());
        pod.addresses = vec![address("10.99.0.1"), address("fd99::1")];
    };
    let cluster = Cluster::new()
        .pod_with("web/agent", "app=front", host_network)
        .pod("db/pg", "app=pg")
        .policy(both("web/deny", "", Some(&[]), Some(&[])))
        .policy(ingress("db/web", "", &[rule(&[pods_in("", ""), pods("")], &[])]));
    cluster.check("203.0.113.7 -> web/agent tcp 80", "allow");
    cluster.check("web/agent -> 203.0.113.7 tcp 80", "allow");
    // On another node than its own, db/pg knows it only as an address that no selector matches.
    cluster.check("web/agent -> db/pg tcp 5432", "deny");
}

#[test]
fn names_that_look_alike_when_joined_stay_apart() {
    let long = "n".repeat(63);
    let cluster = Cluster::new()
        .namespace("a", "")
        .namespace("a-b", "")
        .namespace(&long, "")
        .pod("a/b-c", "")
        .pod("a-b/c", "")
        .pod(&format!("{long}/p"), "")
        .pod("web/front", "")
        .policy(ingress("a/b-c.d", "", &[rule(&[pods("")], &[])]))
        .policy(ingress(&format!("{long}/{}", "p".repeat(253)), "", &[]));
    cluster.check("web/front -> a/b-c tcp 1", "deny");
    cluster.check("a-b/c -> a/b-c tcp 1", "deny");
    cluster.check("web/front -> a-b/c tcp 1", "allow");
    cluster.check(&format!("web/front -> {long}/p tcp 1"), "deny");
}

#[test]
fn a_pod_made_again_under_its_name_is_known_by_its_new_address_alone() {
    let allow = ingress("db/web", "", &[rule(&[pods_in("team=front", "app=front")], &[])]);
    let again = |pod: &mut palisade_core::Pod| pod.addresses = vec![address("10.244.9.9"), address("fd44::99")];
    let cluster =
        two_pods().policy(allow).pod_with("web/front", "app=front", again).pod_with("ops/thief", "app=front", |pod| {
            pod.addresses = vec![address("10.244.0.1"), address("fd44::1")];
        });
    cluster.check("web/front -> db/pg tcp 1", "allow");
    cluster.check("10.244.9.9 -> db/pg tcp 1", "allow");
    cluster.check("10.244.0.1 -> db/pg tcp 1", "deny");
    cluster.check("fd44::1 -> db/pg tcp 1", "deny");
}

#[test]
fn an_address_of_several_pods_is_judged_for_each_on_its_node() {
    let same = |node: &'static str| {
        move |pod: &mut palisade_core::Pod| {
            pod.addresses = vec![address("10.244.0.7"), address("fd44::7")];
            pod.node = Some(node.into());
        }
    };
    let old_on = |node| {
        Cluster::new()
            .pod_with("db/old", "app=old", same(node))
            .pod_with("db/new", "app=new", same("n1"))
            .pod_with("web/front", "", |pod| pod.node = Some("n2".into()))
            .policy(ingress("db/deny-old", "app=old", &[]))
    };
    let together = old_on("n1");
    together.check("web/front -> db/new tcp 1", "deny");
    together.check("10.244.0.7 -> web/front tcp 1", "allow");
    let decision = &together.explain("web/front -> db/new tcp 1").packets[0].1;
    let outcomes: Vec<bool> = decision.directions.iter().map(|direction| direction.outcome.allows()).collect();
    assert_eq!(outcomes, [true, true, false], "egress, ingress of db/new, ingress of db/old");
    assert!(decision.directions[1..].iter().all(|direction| direction.direction == Direction::Ingress));
    assert_eq!(decision.directions[1].outcome, Outcome::NotIsolated);

    // A third node is not on the way, so its pod is not concerned; the address by itself means all of them.
    let apart = old_on("n3");
    apart.check("web/front -> db/new tcp 1", "allow");
    apart.check("web/front -> db/old tcp 1", "deny");
    apart.check("web/front -> 10.244.0.7 tcp 1", "deny");

    // As a peer it matches if one of them does.
    let peer = old_on("n1").policy(ingress("web/from-old", "", &[rule(&[pods_in("", "app=old")], &[])]));
    peer.check("db/new -> web/front tcp 1", "allow");
}
