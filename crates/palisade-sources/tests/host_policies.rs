//! `HostPolicy`: what is valid means what docs/semantics.md says, what is not admits nobody.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use palisade_core::{HostPolicy, HostScope};
use palisade_sources::{Options, Parsed, SourceText, parse};

fn read(text: &str) -> Parsed {
    parse(&[SourceText { file: "a.yaml".into(), text: text.to_string() }], &Options::default())
}

/// A policy with this spec, in the flow style of YAML.
fn policy(spec: &str) -> Parsed {
    read(&format!("apiVersion: palisade.dev/v1alpha1\nkind: HostPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"))
}

/// The policy in a line: its nodes, its ports, whom it admits, and what is unusual of it.
fn shown(policy: &HostPolicy) -> String {
    let join = |items: Vec<String>| if items.is_empty() { "-".to_string() } else { items.join("; ") };
    let ports = join(policy.ports.iter().map(ToString::to_string).collect());
    let from = join(policy.from.iter().map(ToString::to_string).collect());
    let audit = if policy.audit { " | audit" } else { "" };
    let sockets = if policy.scope == HostScope::HostSockets { " | sockets" } else { "" };
    format!("{} | {ports} | {from} | {:?}{sockets}{audit}", policy.nodes, policy.otherwise)
}

fn only_policy(parsed: &Parsed) -> &HostPolicy {
    assert_eq!(parsed.snapshot.host_policies.len(), 1);
    parsed.snapshot.host_policies.values().next().unwrap()
}

#[test]
fn a_valid_policy_means_what_it_says() {
    let check = |spec: &str, expected: &str| {
        let parsed = policy(spec);
        assert!(parsed.diagnostics.is_empty(), "{spec}: {:?}", parsed.diagnostics);
        let policy = only_policy(&parsed);
        assert_eq!(policy.unreadable, None, "{spec}");
        assert_eq!(shown(policy), expected, "{spec}");
    };
    check("{ports: [{port: 80}]}", "everything | tcp 80 | - | Drop");
    check("{ports: [{port: 80}], from: []}", "everything | tcp 80 | - | Drop");
    check("{ports: [{port: 80}], scope: [HostSockets]}", "everything | tcp 80 | - | Drop | sockets");
    check("{ports: [{port: 80}], scope: [NodePorts, HostPorts, HostSockets]}", "everything | tcp 80 | - | Drop");
    check(
        "{nodeSelector: {matchLabels: {a: b}}, ports: [{protocol: UDP, port: 1, endPort: 9}], otherwise: Reject}",
        "a=b | udp 1-9 | - | Reject",
    );
    check("{ports: [{port: 80}], enforcement: Audit}", "everything | tcp 80 | - | Drop | audit");
    check("{ports: [{port: 80}], enforcement: Enforce, otherwise: Drop}", "everything | tcp 80 | - | Drop");
    check("{ports: [{port: 80}], from: [{nodes: {}}]}", "everything | tcp 80 | nodes everything | Drop");
    check(
        "{ports: [{port: 80}], from: [{nodes: {nodeSelector: {matchLabels: {a: b}}}}]}",
        "everything | tcp 80 | nodes a=b | Drop",
    );
    check(
        "{ports: [{port: 80}], from: [{pods: {}}, {pods: {namespaceSelector: {matchLabels: {a: m}}}}]}",
        "everything | tcp 80 | pods everything in namespaces everything; pods everything in namespaces a=m | Drop",
    );
    check(
        "{ports: [{port: 80}], from: [{ipBlock: {cidr: 10.1.2.3/8, except: [10.2.0.0/16]}}]}",
        "everything | tcp 80 | 10.0.0.0/8 except 10.2.0.0/16 | Drop",
    );
}

#[test]
fn an_unreadable_policy_admits_nobody_and_locks_nobody_out() {
    let check = |spec: &str, error: &str, expected: &str| {
        let parsed = policy(spec);
        let text: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
        assert!(text.iter().any(|text| text.contains(error)), "{spec}: {text:#?}");
        let policy = only_policy(&parsed);
        assert!(policy.unreadable.is_some(), "{spec}");
        assert_eq!(shown(policy), expected, "{spec}");
    };
    let known = "spec: unknown field";
    let from = "from: [{nodes: {}}]";
    check(&format!("{{ports: [{{port: 80}}], {from}, scop: []}}"), known, "everything | tcp 80 | - | Drop");
    check(&format!("{{ports: [{{port: 22}}], {from}, scop: []}}"), known, "everything | - | - | Drop");
    check(
        &format!("{{ports: [{{port: 20, endPort: 24}}], {from}, x: 1}}"),
        known,
        "everything | tcp 20-21; tcp 23-24 | - | Drop",
    );
    check(&format!("{{{from}}}"), "expected at least one port", "everything | - | - | Drop");
    check(&format!("{{ports: [], {from}}}"), "expected at least one port", "everything | - | - | Drop");
    check("{ports: [{protocol: TCP}]}", "port: expected a number, found nothing", "everything | - | - | Drop");
    check("{ports: [{port: http}, {port: 80}]}", "expected a port from 1 to 65535", "everything | tcp 80 | - | Drop");
    check("{ports: [{port: 9, endPort: 8}]}", "endPort 8 is less than port 9", "everything | - | - | Drop");
    check("{ports: [{port: 80}], from: [{}]}", "expected nodes, pods or an ipBlock", "everything | tcp 80 | - | Drop");
    check(
        "{ports: [{port: 80}], from: [{nodes: {}, pods: {}}]}",
        "cannot stand together",
        "everything | tcp 80 | - | Drop",
    );
    check(
        "{ports: [{port: 80}], enforcement: Maybe}",
        "spec.enforcement: expected Enforce or Audit, found 'Maybe'",
        "everything | tcp 80 | - | Drop",
    );
    let scopes = "spec.scope: expected HostSockets alone, or all three: HostSockets, NodePorts and HostPorts";
    for scope in ["[]", "[NodePorts]", "[HostPorts, NodePorts]", "[HostSockets, HostPorts]"] {
        let spec = format!("{{ports: [{{port: 80}}], {from}, scope: {scope}}}");
        check(&spec, scopes, "everything | tcp 80 | - | Drop");
    }
    check(
        "{ports: [{port: 80}], scope: [Sockets]}",
        "spec.scope[0]: expected HostSockets or NodePorts or HostPorts, found 'Sockets'",
        "everything | tcp 80 | - | Drop",
    );
    // Where the nodes cannot be told, it guards all of them.
    check(
        "{nodeSelector: {matchLabels: {a: 1}}, ports: [{port: 80}]}",
        "expected text, found the number 1",
        "everything | tcp 80 | - | Drop",
    );
    check("7", "spec: expected a mapping", "everything | - | - | Drop");
}

#[test]
fn a_policy_of_another_version_cannot_be_read() {
    let parsed =
        read("apiVersion: palisade.dev/v9\nkind: HostPolicy\nmetadata: {name: p}\nspec: {ports: [{port: 80}]}\n");
    assert!(only_policy(&parsed).unreadable.as_ref().unwrap().contains("palisade.dev/v1alpha1"));
    // A kind of the same name in another group is another thing.
    let parsed = read(
        "apiVersion: crd.example/v1\nkind: HostPolicy\nmetadata: {name: p}\nspec: {}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n",
    );
    assert!(parsed.snapshot.host_policies.is_empty() && parsed.diagnostics.is_empty());
}
