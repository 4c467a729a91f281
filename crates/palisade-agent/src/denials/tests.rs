//! Names of denied packets.

use palisade_sources::Limits;
use palisade_sources::live::{Kind, Live, Object};

use super::*;

const OBJECTS: &[(Kind, &str)] = &[
    (Kind::Node, r#"{"metadata":{"name":"n1"},"status":{"addresses":[{"type":"InternalIP","address":"10.99.0.1"}]}}"#),
    (Kind::Namespace, r#"{"metadata":{"name":"db"}}"#),
    (Kind::Namespace, r#"{"metadata":{"name":"web"}}"#),
    (
        Kind::Pod,
        r#"{"metadata":{"name":"pg","namespace":"db"},"spec":{"nodeName":"n1"},"status":{"podIPs":[{"ip":"10.244.1.5"}]}}"#,
    ),
    (
        Kind::Pod,
        r#"{"metadata":{"name":"batch","namespace":"web"},"spec":{"nodeName":"n1"},"status":{"podIPs":[{"ip":"10.244.1.6"}]}}"#,
    ),
];
const ALLOW_WEB: &str = r#"{"metadata":{"name":"allow-web","namespace":"db"},
    "spec":{"podSelector":{},"policyTypes":["Ingress"],"ingress":[{"ports":[{"port":80}]}]}}"#;
const UNREADABLE: &str = r#"{"metadata":{"name":"bad","namespace":"db"},
    "spec":{"podSelector":{},"policyTypes":["Ingress"],"ingress":[{"ports":[{"port":"!"}]}]}}"#;
const CLOSE: &str = r#"{"metadata":{"name":"close","namespace":"db","annotations":{"palisade.dev/audit":"true"}},
    "spec":{"podSelector":{},"policyTypes":["Ingress"]}}"#;
const OPEN: &str = r#"{"metadata":{"name":"open","namespace":"db","annotations":{"palisade.dev/audit":"true"}},
    "spec":{"podSelector":{},"policyTypes":["Ingress"],"ingress":[{}]}}"#;
const DENY_EGRESS: &str =
    r#"{"metadata":{"name":"deny","namespace":"web"},"spec":{"podSelector":{},"policyTypes":["Egress"]}}"#;

fn cluster(policies: &[&str]) -> Live {
    cluster_with(policies, &[])
}

fn cluster_with(policies: &[&str], host_policies: &[&str]) -> Live {
    let mut live = Live::new(Limits::default());
    let policies = policies.iter().map(|policy| (Kind::NetworkPolicy, *policy));
    let policies = policies.chain(host_policies.iter().map(|policy| (Kind::HostPolicy, *policy)));
    for (kind, text) in OBJECTS.iter().copied().chain(policies) {
        live.put(kind, &serde_json::from_str::<Object>(text).unwrap());
    }
    live
}

fn logged(prefix: &str, source: &str, destination: &str, protocol: u8, ports: Option<(u16, u16)>) -> LoggedPacket {
    LoggedPacket {
        prefix: prefix.to_string(),
        headers: Some(Headers {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol,
            source_port: ports.map(|(source, _)| source),
            destination_port: ports.map(|(_, destination)| destination),
            icmp: None,
            bytes: 60,
        }),
        input: None,
        output: None,
        time: None,
    }
}

fn line(policies: &[&str], packet: &LoggedPacket) -> String {
    name(cluster(policies).snapshot(), packet).unwrap().to_string()
}

const PG: &str = "10.244.1.5";
const BATCH: &str = "10.244.1.6";

#[test]
fn what_audited_policies_would_change_is_named() {
    let check = |policies: &[&str], prefix: &str, audit: Option<&str>, expected: &str| {
        let live = cluster(policies);
        let named = name(live.snapshot(), &logged(prefix, BATCH, PG, 6, Some((40000, 5432)))).unwrap();
        assert_eq!((named.audit.as_deref(), named.to_string().as_str()), (audit, expected));
    };
    check(
        &[CLOSE],
        "would deny ingress",
        Some("would deny"),
        "web/batch -> db/pg tcp 5432  would deny: db/close (audit) isolates db/pg (ingress), no rule matches",
    );
    // By now it is not audited any more.
    check(
        &[],
        "would deny ingress",
        Some("would deny"),
        "web/batch -> db/pg tcp 5432  would deny: it was so when the packet came; by the rules of now db/pg allows it (ingress)",
    );
    check(
        &[ALLOW_WEB, OPEN],
        "ingress",
        Some("would allow"),
        "web/batch -> db/pg tcp 5432  denied, audited policies would allow it: db/allow-web isolates db/pg (ingress), no rule matches",
    );
    check(
        &[ALLOW_WEB, CLOSE],
        "ingress",
        None,
        "web/batch -> db/pg tcp 5432  denied: db/allow-web isolates db/pg (ingress), no rule matches",
    );
}

#[test]
fn a_denied_packet_is_named_with_the_policies_that_isolate() {
    let to_pg = logged("ingress", BATCH, PG, 6, Some((40000, 5432)));
    let check = |policies: &[&str], packet: &LoggedPacket, expected: &str| assert_eq!(line(policies, packet), expected);
    check(
        &[ALLOW_WEB],
        &to_pg,
        "web/batch -> db/pg tcp 5432  denied: db/allow-web isolates db/pg (ingress), no rule matches",
    );
    check(
        &[ALLOW_WEB, UNREADABLE],
        &to_pg,
        "web/batch -> db/pg tcp 5432  denied: db/allow-web isolates db/pg (ingress), no rule matches; \
         db/bad cannot be read, so that it isolates db/pg (ingress) and allows nothing",
    );
    check(
        &[DENY_EGRESS],
        &logged("egress", BATCH, "203.0.113.7", 17, Some((40000, 53))),
        "web/batch -> 203.0.113.7 udp 53  denied: web/deny isolates web/batch (egress), no rule matches",
    );
    check(
        &[ALLOW_WEB],
        &logged("ingress", BATCH, PG, 1, None),
        "web/batch -> db/pg icmp  denied: db/allow-web isolates db/pg (ingress), no rule matches",
    );
}

#[test]
fn a_reply_is_shown_as_the_flow_it_belongs_to() {
    let reply = logged("ingress reply", PG, BATCH, 6, Some((5432, 40000)));
    let expected = "web/batch -> db/pg tcp 5432  denied: db/allow-web isolates db/pg (ingress), no rule matches";
    assert_eq!(line(&[ALLOW_WEB], &reply), expected);
}

#[test]
fn what_is_allowed_by_now_or_gone_is_said_so() {
    let to_pg = logged("ingress", BATCH, PG, 6, Some((40000, 5432)));
    let now = "web/batch -> db/pg tcp 5432  denied: it was so when the packet came; by the rules of now db/pg allows it (ingress)";
    assert_eq!(line(&[], &to_pg), now);
    let gone = logged("ingress", BATCH, "10.244.1.9", 6, Some((40000, 5432)));
    let expected = "web/batch -> 10.244.1.9 tcp 5432  denied: the pod that had the address is gone by now (ingress)";
    assert_eq!(line(&[], &gone), expected);
}

#[test]
fn unknown_pods_are_named_by_their_address() {
    let unknown = logged("unknown source", "10.244.1.9", PG, 6, Some((40000, 5432)));
    let expected =
        "10.244.1.9 -> db/pg tcp 5432  denied: 10.244.1.9 is in the pod range of this node, and no known pod has it";
    assert_eq!(line(&[], &unknown), expected);
    assert_eq!(name(cluster(&[]).snapshot(), &logged("of others", BATCH, PG, 6, None)), None);
}

#[test]
fn as_json_it_has_every_field() {
    let packet = logged("ingress", BATCH, PG, 6, Some((40000, 5432)));
    let mut named = name(cluster(&[ALLOW_WEB]).snapshot(), &packet).unwrap();
    named.time = "2026-01-02T03:04:05Z".parse().unwrap();
    let expected = r#"{"time":"2026-01-02T03:04:05Z","source":"web/batch","destination":"db/pg","protocol":"tcp","port":5432,"direction":"ingress","pod":"db/pg","node":null,"policies":["db/allow-web"],"audit":null,"reason":"db/allow-web isolates db/pg (ingress), no rule matches","addresses":{"source":"10.244.1.6","destination":"10.244.1.5"}}"#;
    assert_eq!(serde_json::to_string(&named).unwrap(), expected);
}

#[test]
fn a_packet_to_a_guarded_port_is_named_whichever_way_it_goes() {
    const GUARD: &str = r#"{"metadata":{"name":"store"},"spec":{"ports":[{"port":9000}],"from":[{"nodes":{}}]}}"#;
    const AUDITED: &str = r#"{"metadata":{"name":"trial"},"spec":{"enforcement":"Audit","ports":[{"port":9001}]}}"#;
    const NODE: &str = "10.99.0.1";
    let guarded = "port of node n1: guarded by HostPolicy store; denied, closest is store from[0]: ";
    let changed = "it was so when the packet came; by the policies of now the port is open to it";
    let check = |packet: LoggedPacket, expected: &str, policies: &[&str]| {
        let named = name(cluster_with(&[], &[GUARD, AUDITED]).snapshot(), &packet).unwrap();
        assert!(named.to_string().starts_with(expected), "{named}");
        assert_eq!(named.policies, policies, "{named}");
        assert_eq!((named.pod.as_deref(), named.node.as_deref()), (None, Some("n1")), "{named}");
    };
    let denied = format!("web/batch -> node/n1 tcp 9000  denied: {guarded}");
    check(logged("host", BATCH, NODE, 6, Some((40000, 9000))), &denied, &["store"]);
    check(logged("host", NODE, BATCH, 6, Some((9000, 40000))), &denied, &["store"]);
    let would = "203.0.113.7 -> node/n1 tcp 9001  would deny: port of node n1: guarded by HostPolicy trial (audit); denied, nobody";
    check(logged("would deny host", "203.0.113.7", NODE, 6, Some((40000, 9001))), would, &["trial"]);
    let open = format!("web/batch -> node/n1 tcp 9002  denied: {changed}");
    check(logged("host", BATCH, NODE, 6, Some((40000, 9002))), &open, &[]);
    let reply = format!("web/batch -> node/n1 tcp 9002  denied: {changed}");
    check(logged("host", NODE, BATCH, 6, Some((9002, 40000))), &reply, &[]);
}
