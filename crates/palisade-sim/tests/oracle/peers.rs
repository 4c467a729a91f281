//! `from` and `to`: selectors and blocks.

use palisade_core::Peer;

use crate::cluster::*;

/// Who reaches `db/pg` if its only policy allows these peers.
struct From(Cluster);

impl From {
    fn new(peers: &[Peer]) -> From {
        let cluster = Cluster::new()
            .pod("web/front", "app=front;tier=a")
            .pod("db/pg", "app=pg")
            .pod("db/front", "app=front")
            .pod("ops/front", "app=front;tier=b")
            .pod("ops/bare", "");
        From(cluster.policy(ingress("db/p", "app=pg", &[rule(peers, &[])])))
    }

    /// Exactly these pods are allowed.
    #[track_caller]
    fn check(&self, allowed: &[&str]) {
        for pod in ["web/front", "db/front", "ops/front", "ops/bare"] {
            let expected = if allowed.contains(&pod) { "allow" } else { "deny" };
            self.0.check(&format!("{pod} -> db/pg tcp 5432"), expected);
        }
    }
}

#[test]
fn a_pod_selector_alone_means_the_policys_own_namespace() {
    From::new(&[pods("")]).check(&["db/front"]);
    From::new(&[pods("app=front")]).check(&["db/front"]);
    From::new(&[pods("app=other")]).check(&[]);
}

#[test]
fn a_namespace_selector_means_all_pods_of_the_namespaces() {
    From::new(&[pods_in("", "")]).check(&["web/front", "db/front", "ops/front", "ops/bare"]);
    From::new(&[pods_in("team=ops", "")]).check(&["ops/front", "ops/bare"]);
    From::new(&[pods_in("kubernetes.io/metadata.name=web", "")]).check(&["web/front"]);
    From::new(&[pods_in("team notin (ops,data)", "")]).check(&["web/front"]);
}

#[test]
fn both_selectors_in_one_peer_must_match_and_in_two_peers_one_suffices() {
    From::new(&[pods_in("team=ops", "app=front")]).check(&["ops/front"]);
    From::new(&[pods_in("team=ops", ""), pods("app=front")]).check(&["db/front", "ops/front", "ops/bare"]);
    From::new(&[pods_in("", "tier in (a,b)")]).check(&["web/front", "ops/front"]);
    From::new(&[pods_in("", "tier notin (a)")]).check(&["db/front", "ops/front", "ops/bare"]);
    From::new(&[pods_in("", "!app")]).check(&["ops/bare"]);
    From::new(&[pods_in("", "app;!tier")]).check(&["db/front"]);
}

#[test]
fn selectors_match_no_node_and_no_outside_address() {
    let from = From::new(&[pods_in("", ""), pods("")]);
    for end in ["203.0.113.7", "2001:db8::7", "node/n1"] {
        from.0.check(&format!("{end} -> db/pg tcp 5432"), "deny");
    }
}

#[test]
fn a_namespace_without_labels_known_is_selected_by_nothing() {
    let mut from = From::new(&[pods_in("", "")]);
    from.0.0.namespaces.remove("web");
    from.check(&["db/front", "ops/front", "ops/bare"]);
}

#[test]
fn a_pod_with_several_addresses_is_a_peer_by_each() {
    let mut from = From::new(&[pods("app=front")]);
    from.0 = from.0.pod_with("db/front", "app=front", |pod| {
        pod.addresses = ["10.244.1.1", "10.244.1.2", "fd44::11", "fd44::12"].map(address).to_vec();
    });
    for end in ["10.244.1.1", "10.244.1.2", "fd44::11", "fd44::12"] {
        from.0.check(&format!("{end} -> db/pg tcp 5432"), "allow");
    }
}

#[test]
fn a_block_is_a_set_of_addresses_whoever_has_them() {
    let from = From::new(&[block("10.0.0.0/8", &[]), block("fd00::/8", &[])]);
    from.check(&["web/front", "db/front", "ops/front", "ops/bare"]);
    from.0.check("node/n1 -> db/pg tcp 5432", "allow");
    from.0.check("10.9.9.9 -> db/pg tcp 5432", "allow");
    from.0.check("11.0.0.0 -> db/pg tcp 5432", "deny");
    from.0.check("fe00::1 -> db/pg tcp 5432", "deny");
    let one = From::new(&[block("10.244.0.1/32", &[])]);
    one.0.check("web/front -> db/pg tcp 5432", "IPv4 allow, IPv6 deny");
}

#[test]
fn except_takes_away_from_its_own_block_alone() {
    let holes = [block("10.0.0.0/8", &["10.1.0.0/16"]), block("fd00::/8", &["fd01::/16"])];
    let from = From::new(&holes);
    for (end, expected) in [
        ("10.0.255.255", "allow"),
        ("10.1.0.0", "deny"),
        ("10.1.255.255", "deny"),
        ("10.2.0.0", "allow"),
        ("fd00:ffff::1", "allow"),
        ("fd01::", "deny"),
        ("fd01:ffff::1", "deny"),
        ("fd02::", "allow"),
    ] {
        from.0.check(&format!("{end} -> db/pg tcp 5432"), expected);
    }
    // Another peer, another rule or another policy may allow what one except leaves out.
    let mut peers = holes.to_vec();
    peers.extend([block("10.1.2.0/24", &[]), block("fd01:2::/32", &[])]);
    let nested = From::new(&peers);
    nested.0.check("10.1.2.3 -> db/pg tcp 5432", "allow");
    nested.0.check("fd01:2::3 -> db/pg tcp 5432", "allow");
    nested.0.check("10.1.3.3 -> db/pg tcp 5432", "deny");
    let other = ingress("db/other", "app=pg", &[rule(&[block("10.1.0.0/16", &[])], &["tcp 1"])]);
    let from = from.0.policy(other);
    from.check("10.1.3.3 -> db/pg tcp 1", "allow");
    from.check("10.1.3.3 -> db/pg tcp 2", "deny");
}

#[test]
fn a_pod_that_a_selector_matches_is_allowed_though_an_except_holds_it() {
    From::new(&[block("10.0.0.0/8", &["10.244.0.0/16"]), pods("app=front")]).check(&["db/front"]);
}

#[test]
fn blocks_that_overlap_repeat_or_have_host_bits() {
    let peers =
        [block("10.1.2.3/8", &["10.1.0.9/16"]), block("10.0.0.0/8", &["10.1.0.0/16"]), block("10.1.7.7/24", &[])];
    let from = From::new(&peers);
    from.0.check("10.200.0.1 -> db/pg tcp 1", "allow");
    from.0.check("10.1.6.255 -> db/pg tcp 1", "deny");
    from.0.check("10.1.7.255 -> db/pg tcp 1", "allow");
    let without_nested = From::new(&peers[..2]);
    without_nested.0.check("10.1.7.255 -> db/pg tcp 1", "deny");
    without_nested.0.check("10.200.0.1 -> db/pg tcp 1", "allow");
}

#[test]
fn the_block_of_everything_is_everything_of_its_family() {
    let four = From::new(&[block("0.0.0.0/0", &[])]);
    four.0.check("web/front -> db/pg tcp 1", "IPv4 allow, IPv6 deny");
    four.0.check("255.255.255.255 -> db/pg tcp 1", "allow");
    let six = From::new(&[block("::/0", &[])]);
    six.0.check("web/front -> db/pg tcp 1", "IPv4 deny, IPv6 allow");
    for end in ["fe80::1", "fd00::1", "64:ff9b::a00:1", "2001:db8::1"] {
        six.0.check(&format!("{end} -> db/pg tcp 1"), "allow");
    }
    let nothing = From::new(&[block("0.0.0.0/0", &["0.0.0.0/0"]), block("::/0", &["::/0"])]);
    nothing.check(&[]);
    nothing.0.check("203.0.113.7 -> db/pg tcp 1", "deny");
    nothing.0.check("2001:db8::1 -> db/pg tcp 1", "deny");
}

#[test]
fn ports_of_a_wide_and_a_narrow_block_are_united() {
    let cluster = Cluster::new().pod("db/pg", "").policy(egress(
        "db/p",
        "",
        &[
            rule(&[block("10.0.0.0/8", &[]), block("fd00::/8", &[])], &[]),
            rule(&[block("10.1.0.0/16", &[]), block("fd01::/16", &[])], &["tcp 80"]),
        ],
    ));
    for end in ["10.1.0.1", "10.2.0.1", "fd01::1", "fd02::1"] {
        for traffic in ["tcp 80", "tcp 443", "icmp"] {
            cluster.check(&format!("db/pg -> {end} {traffic}"), "allow");
        }
    }
}
