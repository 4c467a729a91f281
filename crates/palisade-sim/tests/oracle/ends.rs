//! What the ends of a flow stand for.

use palisade_core::{Family, Flow, WorkloadKind};
use palisade_sim::resolve;

use crate::cluster::*;

fn cluster() -> Cluster {
    Cluster::new()
        .pod("web/front-1", "")
        .pod("web/front-2", "")
        .pod("db/pg", "")
        .pod_with("db/done", "", |pod| pod.finished = true)
        .pod_with("db/four", "", |pod| pod.addresses.truncate(1))
        .pod_with("db/pending", "", |pod| pod.addresses.clear())
        .pod_with("ops/agent", "", |pod| {
            pod.host_network = true;
            pod.node = Some("n1".into());
            pod.addresses = vec![address("10.99.0.1"), address("fd99::1")];
        })
        .pod_with("ops/second", "", |pod| {
            pod.host_network = true;
            pod.node = Some("n2".into());
            pod.addresses = vec![address("192.0.2.1")];
        })
        .pod_with("ops/over", "", |pod| {
            pod.host_network = true;
            pod.finished = true;
            pod.addresses = vec![address("192.0.2.9")];
        })
        .workload("web", WorkloadKind::Deployment, "front", &["web/front-1", "web/front-2"])
        .workload("web", WorkloadKind::Service, "front", &["web/front-1"])
        .workload("web", WorkloadKind::Service, "only", &["web/front-2"])
        .workload("db", WorkloadKind::Job, "load", &["db/done"])
        .workload("db", WorkloadKind::Job, "mixed", &["db/done", "db/pg", "db/pending"])
        .workload("db", WorkloadKind::Service, "void", &[])
        .workload("ops", WorkloadKind::Deployment, "twice", &["web/front-1"])
        .workload("ops", WorkloadKind::DaemonSet, "twice", &["web/front-2"])
}

fn resolved(flow: &str, families: &[Family]) -> Result<Vec<String>, String> {
    let flow: Flow = flow.parse().unwrap();
    match resolve(&cluster().0, &flow, families) {
        Ok(packets) => Ok(packets
            .iter()
            .map(|packet| {
                assert_eq!(Family::of(packet.source.address), packet.family);
                assert_eq!(Family::of(packet.destination.address), packet.family);
                format!("{} {packet} [{}]", packet.family.digit(), packet.destination.address)
            })
            .collect()),
        Err(error) => Err(format!("{error}; hint: {}", error.hint)),
    }
}

#[track_caller]
fn check(flow: &str, expected: &[&str]) {
    assert_eq!(resolved(flow, &Family::ALL).unwrap(), expected);
}

#[track_caller]
fn check_error(flow: &str, expected: &str) {
    assert_eq!(resolved(flow, &Family::ALL).unwrap_err(), expected);
}

#[test]
fn a_pod_in_every_family_of_both_ends() {
    check(
        "web/front-1 -> db/pg tcp 1",
        &["4 web/front-1 -> db/pg tcp 1 [10.244.0.3]", "6 web/front-1 -> db/pg tcp 1 [fd44::3]"],
    );
    check("db/four -> db/pg tcp 1", &["4 db/four -> db/pg tcp 1 [10.244.0.3]"]);
    let six = resolved("web/front-1 -> db/pg tcp 1", &[Family::V6]);
    assert_eq!(six.unwrap(), ["6 web/front-1 -> db/pg tcp 1 [fd44::3]"]);
}

#[test]
fn an_address_means_who_has_it_in_that_family_alone() {
    check("10.244.0.1 -> db/pg tcp 1", &["4 web/front-1 -> db/pg tcp 1 [10.244.0.3]"]);
    check("db/pg -> fd99::2 tcp 1", &["6 db/pg -> node/n2 tcp 1 [fd99::2]"]);
    check("db/pg -> 203.0.113.7 icmp", &["4 db/pg -> 203.0.113.7 icmp [203.0.113.7]"]);
    // The address of a finished pod is nobody's, on the network of its node too.
    check("db/pg -> 10.244.0.4 tcp 1", &["4 db/pg -> 10.244.0.4 tcp 1 [10.244.0.4]"]);
    check("db/pg -> 192.0.2.1 tcp 1", &["4 db/pg -> node/n2 tcp 1 [192.0.2.1]"]);
    check("db/pg -> 192.0.2.9 tcp 1", &["4 db/pg -> 192.0.2.9 tcp 1 [192.0.2.9]"]);
}

#[test]
fn a_host_network_pod_is_its_node() {
    check("db/pg -> ops/agent tcp 1", &["4 db/pg -> node/n1 tcp 1 [10.99.0.1]", "6 db/pg -> node/n1 tcp 1 [fd99::1]"]);
}

#[test]
fn a_workload_is_each_of_its_pods_that_has_an_address() {
    let both = ["4 db/pg -> web/front-1 tcp 1 [10.244.0.1]", "4 db/pg -> web/front-2 tcp 1 [10.244.0.2]"];
    for flow in ["db/pg -> web/deployment/front tcp 1", "db/pg -> web/deploy/front tcp 1", "db/pg -> web/front tcp 1"] {
        assert_eq!(resolved(flow, &[Family::V4]).unwrap(), both, "{flow}");
    }
    let service = resolved("db/pg -> web/svc/front tcp 1", &[Family::V4]);
    assert_eq!(service.unwrap(), &both[..1]);
    let only = resolved("db/pg -> web/only tcp 1", &[Family::V4]);
    assert_eq!(only.unwrap(), &both[1..], "a Service is meant where nothing else has the name");
    let mixed = resolved("web/front-1 -> db/mixed tcp 1", &[Family::V4]);
    assert_eq!(mixed.unwrap(), ["4 web/front-1 -> db/pg tcp 1 [10.244.0.3]"]);
}

#[test]
fn a_workload_to_itself_includes_each_pod_to_itself() {
    let pairs = resolved("web/front -> web/front tcp 1", &[Family::V6]).unwrap();
    assert_eq!(pairs.len(), 4);
    assert!(pairs.contains(&"6 web/front-1 -> web/front-1 tcp 1 [fd44::1]".to_string()));
}

#[test]
fn what_is_not_there_is_named_with_what_comes_nearest() {
    check_error("web/front-1 -> db/pq tcp 1", "there is no pod or workload db/pq; hint: did you mean db/pg?");
    check_error("web/fornt -> db/pg tcp 1", "there is no pod or workload web/fornt; hint: did you mean web/front?");
    check_error("node/n3 -> db/pg tcp 1", "there is no node n3; hint: did you mean node/n1?");
    check_error(
        "web/sts/front -> db/pg tcp 1",
        "there is no statefulset web/front; hint: known are db/job/load, db/job/mixed, db/service/void, \
         ops/daemonset/twice, ops/deployment/twice, …",
    );
    check_error(
        "zzz/something -> db/pg tcp 1",
        "there is no pod or workload zzz/something; hint: known are db/done, db/four, db/load, db/mixed, db/pending, …",
    );
}

#[test]
fn what_has_no_address_says_so() {
    let finished = "a Succeeded or Failed pod has no address any more, so that nothing comes from it or reaches it";
    check_error("web/front -> db/done tcp 1", &format!("pod db/done has finished; hint: {finished}"));
    check_error("web/front -> db/load tcp 1", &format!("every pod of job db/load has finished; hint: {finished}"));
    check_error("db/pending -> db/pg tcp 1", "pod db/pending has no address yet; hint: its status.podIPs is empty");
    check_error(
        "web/front -> db/void tcp 1",
        "service db/void has no pods; hint: its selector selects no pod of its namespace",
    );
}

#[test]
fn a_name_of_several_workloads_lists_them() {
    check_error(
        "ops/twice -> db/pg tcp 1",
        "ops/twice is no pod, and more than one workload is called so; \
         hint: write one of ops/deployment/twice, ops/daemonset/twice",
    );
}

#[test]
fn ends_without_a_common_family() {
    let hint = "a packet needs both of its addresses in one family";
    check_error(
        "db/four -> 2001:db8::1 tcp 1",
        &format!("db/four has IPv4 and 2001:db8::1 has IPv6: no common family among IPv4 and IPv6; hint: {hint}"),
    );
    assert!(resolved("db/four -> db/pg tcp 1", &[Family::V6]).is_err());
}
