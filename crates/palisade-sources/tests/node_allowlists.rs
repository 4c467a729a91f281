//! `NodeAllowlist`: what is read, and what is refused where.

use std::time::Duration;

use palisade_core::{Family, HostPeer, Selector, Snapshot};
use palisade_sources::node_allowlist::{
    AddressType, ExportFormat, Mode, NamedSet, NodeAllowlist, OnStale, Safety, SelectedPods, SetPlace,
};
use palisade_sources::{Options, SourceText};

const GOOD: &str = r#"apiVersion: palisade.dev/v1alpha1
kind: NodeAllowlist
metadata: {name: prod-to-postgres}
spec:
  clusters:
  - name: prod
    kubeconfig: /etc/palisade/prod.kubeconfig
    nodeSelector: {matchLabels: {role: worker}}
    addressTypes: [InternalIP, PodCIDR]
  - {name: test, kubeconfig: /etc/palisade/test.kubeconfig}
  staticCIDRs: [192.0.2.10/32]
  allow: [{protocol: TCP, port: 5432, endPort: 5433}]
  mode: OwnChain
  safety: {within: [10.0.0.0/8, "fd00::/8"], minNodes: 3, maxShrinkPercent: 34, removeDelaySeconds: 5, onStale: Keep}
"#;

fn parse(text: &str) -> (Option<NodeAllowlist>, Vec<String>) {
    let (list, diagnostics) = NodeAllowlist::parse(&SourceText { file: "a.yaml".into(), text: text.into() });
    (list, diagnostics.iter().map(ToString::to_string).collect())
}

#[test]
fn all_of_it_is_read() {
    let (list, diagnostics) = parse(GOOD);
    let list = list.unwrap();
    assert_eq!(diagnostics, [""; 0]);
    assert_eq!(list.clusters.len(), 2);
    assert_eq!(list.clusters[0].address_types, [AddressType::InternalIP, AddressType::PodCIDR]);
    assert_eq!(list.clusters[1].address_types, AddressType::DEFAULT);
    assert_eq!(list.clusters[0].nodes.requirements().len(), 1);
    let within = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let delay = Duration::from_secs(5);
    assert_eq!(
        list.safety,
        Safety { within, min_nodes: 3, max_shrink_percent: 34, remove_delay: delay, on_stale: OnStale::Keep }
    );
    let policy = list.policy(["10.0.0.1/32".parse().unwrap()]);
    let from =
        ["10.0.0.1/32", "192.0.2.10/32"].map(|cidr| HostPeer::Block { cidr: cidr.parse().unwrap(), except: vec![] });
    assert_eq!(policy.from, from);
    assert_eq!(policy.ports[0].to_string(), "tcp 5432-5433");
}

#[test]
fn what_is_wrong_is_refused_where_it_stands() {
    let check = |from: &str, to: &str, expected: &str| {
        assert!(GOOD.contains(from), "{from}");
        let (list, diagnostics) = parse(&GOOD.replace(from, to));
        assert!(list.is_none(), "{to}: {list:?}");
        assert!(diagnostics.iter().any(|found| found.contains(expected)), "{to}: {diagnostics:?}");
    };
    check(
        "OwnChain",
        "SetsOnly",
        "a.yaml:13:9: error: NodeAllowlist prod-to-postgres: spec.mode: expected OwnChain, SetOnly or ExportOnly, found 'SetsOnly'",
    );
    check("mode: OwnChain", "setOnly: {ipset4: a}", "spec.setOnly: expected mode: SetOnly beside it");
    check("onStale: Keep", "onStale: Open", "spec.safety.onStale: expected Keep or Remove, found 'Open'");
    check("onStale: Keep", "onStale: Remove", "spec.safety: staleSeconds: expected a number with onStale: Remove");
    check("onStale: Keep", "staleSeconds: 5", "spec.safety.staleSeconds: expected onStale: Remove beside it");
    check("nodeSelector:", "nodesSelector:", "a.yaml:8:5: error: ");
    check("nodeSelector:", "egressAnnotation: 'a b'\n    podSelector:", "spec.clusters[0].egressAnnotation: ");
    check(
        "nodeSelector: {",
        "podSelector: {matchLabels: {a: b c}}\n    nodeSelector: {",
        "spec.clusters[0].podSelector.matchLabels",
    );
    check("nodeSelector: {", "context: ''\n    nodeSelector: {", "spec.clusters[0].context: expected text, found none");
    check("[InternalIP, PodCIDR]", "[]", "spec.clusters[0].addressTypes: expected at least one type, found none");
    check("[InternalIP, PodCIDR]", "[Hostname]", "spec.clusters[0].addressTypes[0]: expected InternalIP");
    check("name: test,", "name: prod,", "two have the name prod");
    check("kubeconfig: /etc/palisade/prod", "kubeconfig: prod", "expected an absolute path");
    check("port: 5432, ", "", "spec.allow[0]: port: expected a number, found nothing");
    check("192.0.2.10/32", "192.0.2.10", "spec.staticCIDRs[0]: expected a block such as");
    check("minNodes: 3", "minNodes: 0", "expected a number from 1");
    check("maxShrinkPercent: 34", "maxShrinkPercent: 101", "expected a number from 0 to 100, found 101");
    check(
        "kind: NodeAllowlist",
        "kind: HostPolicy",
        "a.yaml:2:7: error: kind: expected NodeAllowlist, found 'HostPolicy'",
    );
    check("spec:", "spec: {}\nmore:", "unknown field 'more'");
    for text in ["", "[]", "a: [", "---\na: 1\n---\nb: 1\n"] {
        assert!(parse(text).0.is_none() && !parse(text).1.is_empty(), "{text}");
    }
}

/// The file with other fields than `allow` and `mode`.
fn with(fields: &str) -> String {
    GOOD.replace("  allow: [{protocol: TCP, port: 5432, endPort: 5433}]\n", "").replace("  mode: OwnChain\n", fields)
}

#[test]
fn sets_and_files_are_named() {
    let (list, diagnostics) = parse(&with(
        "  mode: SetOnly\n  setOnly: {table: {family: inet, name: filter}, set4: nodes, ipset6: nodes6}\n\
         \x20 exports:\n  - {path: /run/a}\n  - {path: /run/b, format: NftInclude, command: [nft, -f, /etc/nftables.conf]}\n\
         \x20 - {path: /run/c, template: /etc/c}\n",
    ));
    assert_eq!(diagnostics, [""; 0]);
    let list = list.unwrap();
    let nodes = SetPlace::Nftables { table_family: "inet".into(), table: "filter".into(), set: "nodes".into() };
    let sets = vec![
        NamedSet { family: Family::V4, place: nodes },
        NamedSet { family: Family::V6, place: SetPlace::Ipset("nodes6".into()) },
    ];
    assert_eq!(list.mode, Mode::SetOnly(sets));
    let formats: Vec<&ExportFormat> = list.exports.iter().map(|export| &export.format).collect();
    assert_eq!(formats, [&ExportFormat::List, &ExportFormat::NftInclude, &ExportFormat::Template("/etc/c".into())]);
    assert_eq!(list.exports[1].command, ["nft", "-f", "/etc/nftables.conf"]);
}

#[test]
fn what_is_wrong_with_sets_and_files_is_refused() {
    let check = |fields: &str, expected: &str| {
        let (list, diagnostics) = parse(&with(fields));
        assert!(list.is_none(), "{fields}: {list:?}");
        assert!(diagnostics.iter().any(|found| found.contains(expected)), "{fields}: {diagnostics:?}");
    };
    check("  mode: SetOnly\n", "spec: setOnly: expected the sets to fill, found nothing");
    check("  mode: SetOnly\n  setOnly: {}\n", "spec.setOnly: expected set4, set6, ipset4 or ipset6, found none");
    check("  mode: SetOnly\n  setOnly: {set4: a}\n", "spec.setOnly.set4: expected table beside it, found none");
    let table = |table: &str| format!("  mode: SetOnly\n  setOnly: {{set4: a, table: {table}}}\n");
    check(&table("{family: arp, name: a}"), "spec.setOnly.table: family: expected one of inet, ip, ip6");
    check(&table("{family: ip}"), "spec.setOnly.table: name: expected text, found nothing");
    check(
        "  mode: SetOnly\n  setOnly: {ipset4: a}\n  allow: [{port: 1}]\n",
        "spec.allow: expected none with this mode",
    );
    let long = format!("  mode: SetOnly\n  setOnly: {{ipset4: {}}}\n", "a".repeat(32));
    check(&long, "spec.setOnly.ipset4: expected at most 31 bytes, found 32");
    check("  mode: ExportOnly\n", "spec: exports: expected at least one with mode ExportOnly, found none");
    let export = |export: &str| format!("  mode: ExportOnly\n  exports: [{export}]\n");
    check(&export("{path: a}"), "spec.exports[0]: path: expected an absolute path, found 'a'");
    check(&export("{path: /a, format: XML}"), "spec.exports[0].format: expected one of List, IpsetRestore");
    check(&export("{path: /a, format: List, template: /b}"), "expected either format or template, found both");
    check(&export("{path: /a, command: []}"), "spec.exports[0].command: expected a program and its arguments");
    check(&export("{path: /a}, {path: /a}"), "spec: exports: two have the path /a");
}

#[test]
fn nodes_are_chosen_by_their_pods_too() {
    let (list, diagnostics) = parse(&GOOD.replace(
        "addressTypes: [InternalIP, PodCIDR]",
        "podSelector: {matchLabels: {app: api}}\n    addressTypes: []\n    egressAnnotation: example.com/egress\n    context: admin",
    ));
    assert_eq!(diagnostics, [""; 0]);
    let list = list.unwrap();
    let pods = SelectedPods { pods: Selector::labels([("app", "api")]), namespaces: None };
    assert_eq!(list.clusters[0].pods, Some(pods));
    assert_eq!(list.clusters[0].context.as_deref(), Some("admin"));
    assert!(list.clusters[0].admits(AddressType::Egress) && !list.clusters[0].admits(AddressType::InternalIP));
    assert_eq!(list.clusters[1].pods, None);
    assert!(!list.clusters[1].admits(AddressType::Egress) && list.clusters[1].admits(AddressType::InternalIP));
}

#[test]
fn ssh_is_worth_a_word() {
    let (list, diagnostics) = parse(&GOOD.replace("port: 5432", "port: 22"));
    assert!(list.is_some());
    assert!(diagnostics[0].contains("a.yaml:12:11: warning: ") && diagnostics[0].contains("tcp 22"), "{diagnostics:?}");
}

#[test]
fn the_documented_files_are_right() {
    let page = include_str!("../../../docs/outside-hosts.md");
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let (whole, parts): (Vec<&str>, Vec<&str>) = blocks.partition(|block| block.starts_with("apiVersion"));
    assert_eq!((whole.len(), parts.len()), (2, 2));
    let parts = parts.into_iter().map(with);
    for text in whole.into_iter().map(str::to_owned).chain(parts) {
        let (list, diagnostics) = parse(&text);
        assert!(list.is_some() && diagnostics.is_empty(), "{diagnostics:?}");
    }
}

/// What manifests come to, and what is wrong with them.
fn snapshot(text: &str) -> (Snapshot, Vec<String>) {
    let parsed =
        palisade_sources::parse(&[SourceText { file: "a.yaml".into(), text: text.into() }], &Options::default());
    (parsed.snapshot, parsed.diagnostics.iter().map(ToString::to_string).collect())
}

#[test]
fn among_manifests_a_list_is_a_server() {
    let (found, diagnostics) = snapshot(GOOD);
    let note = "a.yaml:1:1: note: NodeAllowlist prod-to-postgres: the nodes of the input stand for those of each of its clusters: prod, test";
    assert_eq!(diagnostics, [note]);
    let server = &found.servers["prod-to-postgres"];
    assert_eq!(server.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.95.0.1", "fd95::1"]);
    assert_eq!(server.clusters.iter().map(|cluster| &*cluster.name).collect::<Vec<_>>(), ["prod", "test"]);
    assert_eq!(server.clusters[0].address_types, [AddressType::InternalIP, AddressType::PodCIDR]);
    let list = parse(GOOD).0.unwrap();
    assert_eq!((&server.static_cidrs, &server.ports), (&list.static_cidrs, &list.allow));
    assert_eq!(server.within, list.safety.within);
}

#[test]
fn servers_have_addresses_that_nobody_else_has() {
    let node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: [{type: InternalIP, address: 10.95.0.1}]}\n";
    let second = GOOD.replace("prod-to-postgres", "b");
    let (found, _) = snapshot(&format!("{GOOD}---\n{second}{node}"));
    let of = |name: &str| found.servers[name].addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        (of("b"), of("prod-to-postgres")),
        (vec!["10.95.0.2".into(), "fd95::1".into()], vec!["10.95.0.3".into(), "fd95::2".into()])
    );
}

#[test]
fn a_list_with_an_error_is_no_server() {
    let check = |text: &str, expected: &str| {
        let (found, diagnostics) = snapshot(&format!("{text}---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\n"));
        assert!(found.servers.is_empty() && found.pods.len() == 1, "{text}");
        assert!(diagnostics.iter().any(|found| found.contains(expected)), "{text}: {diagnostics:?}");
    };
    check(
        &GOOD.replace("port: 5432, ", ""),
        "a.yaml:12:11: error: NodeAllowlist prod-to-postgres: spec.allow[0]: port: expected a number, found nothing",
    );
    check(&GOOD.replace("palisade.dev/v1alpha1", "palisade.dev/v2"), "expected palisade.dev/v1alpha1");
    check(&GOOD.replace("metadata: {name: prod-to-postgres}", "metadata: {}"), "name: expected a name");
    check(&GOOD.replace("mode: OwnChain", "mode: ["), "error: ");
    let (found, diagnostics) = snapshot(&format!("{GOOD}---\n{GOOD}"));
    assert_eq!(found.servers.len(), 1);
    assert!(diagnostics[0].contains("written twice: this one counts, and not that of a.yaml:1"), "{diagnostics:?}");
}

#[test]
fn addresses_of_nodes_keep_their_types() {
    let addresses = "[{type: InternalIP, address: 10.0.0.1}, {type: ExternalIP, address: 10.0.0.1}, {type: InternalIP, address: 10.0.0.2}, \
                     {type: ExternalIP, address: 10.0.0.3}, {type: Hostname, address: 10.0.0.4}, {type: Hostname, address: n1}]";
    let text = format!("apiVersion: v1\nkind: Node\nmetadata: {{name: n1}}\nstatus: {{addresses: {addresses}}}\n");
    let (found, diagnostics) = snapshot(&text);
    assert_eq!(diagnostics, [""; 0]);
    let node = &found.nodes["n1"];
    let types: Vec<&[AddressType]> = node.addresses.iter().map(|address| node.types_of(*address)).collect();
    let expected: [&[AddressType]; 4] =
        [&AddressType::DEFAULT, &[AddressType::InternalIP], &[AddressType::ExternalIP], &[]];
    assert_eq!(types, expected);
}

#[test]
fn what_is_left_out_offline_is_told() {
    let annotated = GOOD.replace("nodeSelector:", "egressAnnotation: example.com/egress\n    nodeSelector:");
    let (found, diagnostics) = snapshot(&annotated);
    assert_eq!(found.servers.len(), 1);
    let told = "warning: NodeAllowlist prod-to-postgres: spec.clusters[0].egressAnnotation: not read here";
    assert!(diagnostics.iter().any(|found| found.contains(told)), "{diagnostics:?}");
    let export = GOOD.replace("mode: OwnChain", "mode: ExportOnly\n  exports: [{path: /a}]");
    let (found, diagnostics) = snapshot(&export.replace("  allow: [{protocol: TCP, port: 5432, endPort: 5433}]\n", ""));
    assert!(found.servers.is_empty());
    let told = "warning: NodeAllowlist prod-to-postgres: spec.mode: it makes no server here";
    assert!(diagnostics.iter().any(|found| found.contains(told)), "{diagnostics:?}");
}
