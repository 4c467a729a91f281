use std::collections::BTreeMap;
use std::path::Path;

use palisade_core::{Family, Transport};
use palisade_lab::{Case, Outcome, Row, Testimony, plan};
use palisade_sim::{decide, walk};
use palisade_sources::{Options, SourceText, parse, read};

use super::*;

fn port(transport: Transport, port: u16) -> Traffic {
    Traffic::Port(transport, Port::new(port).unwrap())
}

/// The table of a cluster by the verdicts of the oracle alone.
fn table(sources: &[SourceText], width: usize) -> String {
    let snapshot = parse(sources, &Options::default()).snapshot;
    let row = |flow| {
        let case = Case::of(&snapshot, flow, &Family::ALL).unwrap();
        let testify = |packet| {
            let decision = decide(&snapshot, &packet);
            Testimony {
                oracle: decision.verdict,
                oracle_shadow: decision.shadow_verdict(),
                tables: walk(&BTreeMap::new(), &packet),
                kernel: Outcome::Skipped("nobody asks it".to_string()),
                packet,
            }
        };
        Row { flow: case.flow, testimonies: case.packets.into_iter().map(testify).collect() }
    };
    let rows = plan(&snapshot, &Family::ALL).into_iter().map(row).collect();
    render(&snapshot, &Report { rows }, width)
}

fn shop() -> Vec<SourceText> {
    read(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop")]).unwrap()
}

fn cluster(text: &str) -> Vec<SourceText> {
    vec![SourceText { file: "cluster.yaml".into(), text: text.to_string() }]
}

fn check(table: &str, expected: &[&str]) {
    for line in expected {
        assert!(table.lines().any(|found| found == *line), "'{line}' is missing in\n{table}");
    }
}

#[test]
fn the_shop_fits_its_terminal() {
    for width in [60, 80, 120] {
        for line in table(&shop(), width).lines() {
            assert!(line.chars().count() <= width, "wider than {width}: {line}");
        }
    }
}

#[test]
fn the_shop_reads_well_at_80_columns() {
    check(
        &table(&shop(), 80),
        &[
            "  data/postgres x2",
            "    everything  each other",
            "    tcp 5432    data/backup, shop/orders",
            "    tcp 53; udp 53  every pod",
            "    tcp 8080  kube-system/coredns, everybody outside",
            "  all outside",
            "  part of 203.0.113.0/24, part of 2001:db8:b::/48",
            "    all tcp  data/backup",
            "  nothing is open on data/backup",
            "                                 1  2  3   4   5  6   7  8  9 10  11 12 13 14 15",
            "outside the cluster",
            "   8 front                       .  .  .   +   +  .   +  -  .  +   .  .  .  .  .",
            "  15 other addresses             .  .  .   .   .  .   .  +  .  .",
        ],
    );
}

#[test]
fn without_policies_everyone_reaches_everyone() {
    let text = table(
        &cluster(
            "
{apiVersion: v1, kind: Pod, metadata: {namespace: web, name: a}, spec: {containers: [{name: a}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: web, name: b}, spec: {containers: [{name: a}]}}",
        ),
        80,
    );
    check(&text, &["  web/a, web/b", "    everything  everyone", "  any address", "    everything  every pod"]);
    check(&text, &["  1 a           - #  #", "  3 any address # #"]);
}

#[test]
fn replicas_that_differ_stay_apart() {
    let replicas = "
apiVersion: apps/v1
kind: Deployment
metadata: {namespace: web, name: front}
spec:
  replicas: 2
  selector: {matchLabels: {app: front}}
  template: {metadata: {labels: {app: front}}, spec: {containers: [{name: a}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: web, name: all}
spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: CIDR}}, {ipBlock: {cidr: '::/0'}}]}]}
";
    check(&table(&cluster(&replicas.replace("CIDR", "203.0.113.0/24")), 80), &["  web/front x2"]);
    // The addresses of the first node: the replica there reaches the other.
    let apart = table(&cluster(&replicas.replace("CIDR", "10.244.0.0/24")), 80);
    assert!(!apart.contains("x2") && apart.contains("web/front-"), "{apart}");
}

#[test]
fn too_many_ends_have_no_matrix() {
    let pod = |number| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p{number}}}, spec: {{containers: [{{name: a}}]}}}}\n---\n"
        )
    };
    let text = table(&cluster(&(0..MATRIX_ENDS_MAX).map(pod).collect::<String>()), 80);
    check(&text, &["(no matrix: 61 ends are too many to read)"]);
}

#[test]
fn traffic_is_summed_up_by_protocol() {
    use Transport::{Tcp, Udp};
    let traffic = [port(Tcp, 443), Traffic::Icmp, port(Udp, 53), port(Tcp, 80)];
    assert_eq!(listed(&traffic), "tcp 80, 443; udp 53; icmp");
    let tried = BTreeSet::from([port(Tcp, 80), port(Tcp, 443), port(Udp, 53), port(Udp, 54)]);
    assert_eq!(summary(&traffic, &tried), "all tcp; udp 53; icmp");
}

#[test]
fn long_text_is_shortened() {
    assert_eq!(shortened("web/front", 9), "web/front");
    assert_eq!(shortened("web/front", 5), "web/…");
}

#[test]
fn long_lists_go_on_below_their_beginning() {
    let mut text = String::new();
    wrapped(&mut text, "  tcp 80  ", "shop/cart, shop/front, shop/orders", 24);
    assert_eq!(text, "  tcp 80  shop/cart,\n          shop/front,\n          shop/orders\n");
    let mut text = String::new();
    wrapped(&mut text, "  tcp 80, 443, 8080, 8443  ", "a/b, c/d", 24);
    assert_eq!(text, "  tcp 80, 443, 8080, 8443\n        a/b, c/d\n");
}
