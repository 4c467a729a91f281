//! When a verdict says that it rests on what the input leaves out.

use palisade_core::{Assumed, Family, Peer, Pod, Rule, WorkloadKind};

use crate::cluster::*;

const INVENTED: Assumed = Assumed { addresses: true, node: true };

/// Two pods with invented addresses and nodes; `db/pg` allows these peers.
fn cluster(peers: &[Peer]) -> Cluster {
    let invented = |pod: &mut Pod| pod.assumed = INVENTED;
    Cluster::new().pod_with("db/pg", "", invented).pod_with("web/front", "app=front", invented).policy(ingress(
        "db/p",
        "",
        &[rule(peers, &[])],
    ))
}

#[test]
fn selectors_ask_for_no_address() {
    cluster(&[pods_in("", "app=front")]).check("web/front -> db/pg tcp 1", "allow");
    cluster(&[pods("app=front")]).check("web/front -> db/pg tcp 1", "deny");
    cluster(&[]).check("db/pg -> web/front tcp 1", "allow");
}

#[test]
fn a_block_that_decides_on_an_invented_address() {
    cluster(&[block("10.0.0.0/8", &[])]).check("web/front -> db/pg tcp 1", "IPv4 allow (assumed), IPv6 deny");
    cluster(&[block("192.0.2.0/24", &[])]).check("web/front -> db/pg tcp 1", "IPv4 deny (assumed), IPv6 deny");
    let except = cluster(&[block("0.0.0.0/0", &["10.0.0.0/8"]), block("::/0", &["fd00::/8"])]);
    except.check("web/front -> db/pg tcp 1", "deny (assumed)");
}

#[test]
fn a_block_that_does_not_decide() {
    // Whatever the addresses are, they are in the block of everything.
    cluster(&[block("0.0.0.0/0", &[]), block("::/0", &[])]).check("web/front -> db/pg tcp 1", "allow");
    // The pod is allowed by its labels already.
    cluster(&[block("192.0.2.0/24", &[]), pods_in("", "")]).check("web/front -> db/pg tcp 1", "allow");
    // The address is the input's own.
    cluster(&[block("192.0.2.0/24", &[])]).check("192.0.2.1 -> db/pg tcp 1", "allow");
    // The source is not allowed out, wherever it is.
    let closed = cluster(&[block("192.0.2.0/24", &[])]).policy(egress("web/deny", "", &[]));
    closed.check("web/front -> db/pg tcp 1", "deny");
}

#[test]
fn an_invented_node_decides_whose_node_is_exempt() {
    let closed = cluster(&[pods("app=nobody")]);
    closed.check("node/n1 -> db/pg tcp 1", "allow (assumed)");
    closed.check("node/n2 -> db/pg tcp 1", "deny (assumed)");
    closed.check("node/n2 -> web/front tcp 1", "allow");
    cluster(&[]).check("node/n2 -> db/pg tcp 1", "allow");
}

#[test]
fn an_invented_address_spelled_out_in_the_flow() {
    cluster(&[]).check("10.244.0.2 -> db/pg tcp 1", "allow (assumed)");
    cluster(&[]).check("10.244.9.9 -> db/pg tcp 1", "allow");
}

#[test]
fn what_was_invented_for_a_finished_pod_is_nobodys() {
    let cluster = cluster(&[block("192.0.2.0/24", &[])]).pod_with("db/done", "", |pod| {
        pod.finished = true;
        pod.assumed = INVENTED;
    });
    cluster.check("10.244.0.3 -> db/pg tcp 1", "deny");
    cluster.check("fd44::3 -> web/front tcp 1", "allow");
}

#[test]
fn a_host_network_pod_on_an_invented_node() {
    let closed = cluster(&[pods("app=nobody")]).pod_with("ops/agent", "", |pod| {
        pod.host_network = true;
        pod.node = Some("n1".into());
        pod.addresses = vec![address("10.99.0.1"), address("fd99::1")];
        pod.assumed = INVENTED;
    });
    let closed = closed.workload("ops", WorkloadKind::DaemonSet, "agents", &["ops/agent"]);
    for agent in ["ops/agent", "ops/agents", "ops/daemonset/agents"] {
        closed.check(&format!("{agent} -> db/pg tcp 1"), "allow (assumed)");
        closed.check(&format!("{agent} -> web/front tcp 1"), "allow");
    }
}

#[test]
fn a_firm_denial_outweighs_an_assumed_one_and_an_assumed_one_a_firm_allow() {
    let all = ["db/pg", "db/other"];
    let deployment = WorkloadKind::Deployment;
    let with = |rules: &[Rule]| {
        let cluster =
            cluster(&[block("192.0.2.0/24", &[])]).pod("db/other", "app=other").workload("db", deployment, "all", &all);
        let mut cluster = cluster.policy(ingress("db/other", "app=other", rules));
        let mut subjects = (*cluster.0.policies[&name("db/p")]).clone();
        subjects.subjects = selector("!app");
        cluster = cluster.policy(subjects);
        cluster.explain("web/front -> db/deployment/all tcp 1").families()[&Family::V4].to_string()
    };
    assert_eq!(with(&[]), "deny");
    assert_eq!(with(&[rule(&[], &[])]), "deny (assumed)");
}
