//! Services and host ports: what the input says, what is invented, and what is wrong.
#![allow(clippy::unwrap_used, clippy::format_collect, reason = "a test may fail, and need not be fast")]

use palisade_core::{Family, ObjectName, PodName, Service, TrafficPolicy};
use palisade_sources::{Options, Parsed, SourceText, parse};

fn read(specs: &[(&str, &str)]) -> Parsed {
    read_with(specs, &Options::default())
}

fn read_with(specs: &[(&str, &str)], options: &Options) -> Parsed {
    let object = |(name, rest): &(&str, &str)| {
        format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n{rest}\n")
    };
    let text = specs.iter().map(object).collect();
    parse(&[SourceText { file: "a.yaml".into(), text }], options)
}

/// In a line: `addresses | external addresses | ports | policies`, `~` before what is invented.
fn shown(service: &Service) -> String {
    let all =
        |addresses: &[std::net::IpAddr]| addresses.iter().map(|address| format!("{address} ")).collect::<String>();
    let ports: String = service
        .ports
        .iter()
        .map(|port| format!("{port}{} ", port.node_port.map(|port| format!(" on {port}")).unwrap_or_default()))
        .collect();
    let mark = |is_so: bool, mark: &'static str| if is_so { mark } else { "" };
    format!(
        "{}{}| {}| {ports}|{}{}{}",
        mark(service.assumed, "~"),
        all(&service.addresses),
        all(&service.external),
        mark(service.headless, " headless"),
        mark(service.internal_policy == TrafficPolicy::Local, " internal"),
        mark(service.external_policy == TrafficPolicy::Local, " external"),
    )
}

/// Reads one Service that is all well.
fn check(rest: &str, expected: &str) {
    let parsed = read(&[("s", rest)]);
    assert!(parsed.diagnostics.is_empty(), "{rest}: {:#?}", parsed.diagnostics);
    assert_eq!(shown(&parsed.snapshot.services[&ObjectName::new("default", "s")]), expected, "{rest}");
}

#[test]
fn a_service_as_the_input_has_it() {
    check(
        "spec: {clusterIP: 10.96.3.3, clusterIPs: [10.96.3.3, 'fd96::33'], ports: [{port: 80}]}",
        "10.96.3.3 fd96::33 | | tcp 80 |",
    );
    check(
        "spec: {clusterIP: 10.96.3.3, ports: [{port: 53, protocol: UDP, targetPort: dns}, {name: b, port: 80, targetPort: 8080}]}",
        "10.96.3.3 | | udp 53 (to dns) tcp 80 (to 8080) |",
    );
    check(
        "spec: {type: NodePort, clusterIP: 10.96.3.3, ports: [{port: 80, nodePort: 30080}, {name: b, port: 81, targetPort: 0, nodePort: 0}], externalTrafficPolicy: Local}",
        "10.96.3.3 | | tcp 80 on 30080 tcp 81 | external",
    );
    check(
        "spec: {type: LoadBalancer, clusterIP: 10.96.3.3, externalIPs: [192.0.2.1], internalTrafficPolicy: Local}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.2}, {ip: 192.0.2.3, ipMode: Proxy}, {hostname: a.example}]}}",
        "10.96.3.3 | 192.0.2.1 192.0.2.2 | | internal",
    );
    check("spec: {clusterIP: None, clusterIPs: [None], ports: [{port: 80}]}", "| | tcp 80 | headless");
    check("spec: {type: ExternalName, externalName: a.example}", "| | | headless");
}

#[test]
fn addresses_are_invented_past_those_in_use() {
    let services = [
        ("a", "spec: {ports: [{port: 80}]}"),
        ("b", "spec: {ipFamilies: [IPv6]}"),
        ("c", "spec: {clusterIP: 10.96.0.1}"),
        ("d", "spec: {clusterIP: ''}"),
    ];
    let parsed = read(&services);
    let found: Vec<String> = parsed.snapshot.services.values().map(|service| shown(service)).collect();
    assert_eq!(
        found,
        ["~10.96.0.2 fd96::1 | | tcp 80 |", "~fd96::2 | | |", "10.96.0.1 | | |", "~10.96.0.3 fd96::3 | | |"]
    );
    let parsed = read_with(&services, &Options { families: vec![Family::V4], ..Options::default() });
    assert_eq!(shown(&parsed.snapshot.services[&ObjectName::new("default", "d")]), "~10.96.0.3 | | |");
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_used() {
    let check = |rest: &str, message: &str, expected: &str| {
        let parsed = read(&[("s", rest)]);
        let messages: Vec<&str> = parsed.diagnostics.iter().map(|found| &*found.message).collect();
        assert_eq!(messages, [message], "{rest}");
        assert_eq!(shown(&parsed.snapshot.services[&ObjectName::new("default", "s")]), expected, "{rest}");
    };
    check(
        "spec: {type: Nodeport, clusterIP: 10.96.3.3}",
        "spec.type: expected one of ClusterIP, NodePort, LoadBalancer, ExternalName, found 'Nodeport'",
        "10.96.3.3 | | |",
    );
    check(
        "spec: {clusterIP: 10.96.3.3, ports: [{port: 80, nodePort: 30080}]}",
        "spec.ports[0].nodePort: a Service of type ClusterIP has no port of nodes",
        "10.96.3.3 | | tcp 80 |",
    );
    check(
        "spec: {clusterIP: 10.96.3, ports: [{port: 80}]}",
        "spec.clusterIP: expected an IP address, found '10.96.3'",
        "~10.96.0.1 fd96::1 | | tcp 80 |",
    );
    check(
        "spec: {clusterIP: 10.96.3.3, ports: [{targetPort: 80}, {port: 83}]}",
        "spec.ports[0]: port: expected a port, found nothing",
        "10.96.3.3 | | tcp 83 |",
    );
    check(
        "spec: {clusterIP: 10.96.3.3, ports: [{port: 81, targetPort: '82'}, {port: 83}]}",
        "spec.ports[0].targetPort: expected a port name: lower-case letters, digits and single '-' between them, at least one letter, at most 15 characters, found '82'",
        "10.96.3.3 | | tcp 83 |",
    );
    check(
        "spec: {clusterIP: 10.96.3.3, ports: 80}",
        "spec.ports: expected a list, found the number 80",
        "10.96.3.3 | | |",
    );
    check(
        "spec: {clusterIP: 10.96.3.3, ipFamilies: [IPv5]}",
        "spec.ipFamilies[0]: expected IPv4 or IPv6, found 'IPv5'",
        "10.96.3.3 | | |",
    );
    check(
        "spec: {clusterIP: 10.96.3.3, externalTrafficPolicy: local}",
        "spec.externalTrafficPolicy: expected one of Cluster, Local, found 'local'",
        "10.96.3.3 | | |",
    );
}

#[test]
fn host_ports_of_containers() {
    let ports = "[{containerPort: 80, hostPort: 8080}, {containerPort: 81, hostPort: 8081, hostIP: 10.99.0.1}, {containerPort: 82, hostPort: 0, hostIP: ''}, {containerPort: 83, hostPort: 8083, hostIP: 0.0.0.0}]";
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: c, ports: {ports}}}]}}\n"
    );
    let parsed = parse(&[SourceText { file: "a.yaml".into(), text }], &Options::default());
    assert!(parsed.diagnostics.is_empty(), "{:#?}", parsed.diagnostics);
    let found: Vec<String> = parsed.snapshot.pods[&PodName::new("default", "p")]
        .ports
        .iter()
        .map(|port| format!("{} {:?} {:?}", port.port, port.host_port, port.host_address))
        .collect();
    assert_eq!(found, ["80 Some(8080) None", "81 Some(8081) Some(10.99.0.1)", "82 None None", "83 Some(8083) None"]);
}
