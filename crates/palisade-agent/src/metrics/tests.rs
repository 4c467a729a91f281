//! The reference of the metrics is what the registry says, and figures do not go backwards.
#![expect(clippy::disallowed_methods, reason = "reads and writes the reference")]

use std::fmt::Write as _;
use std::path::Path;

use super::*;

const INTRODUCTION: &str = "# Metrics

What `palisade agent` serves at `/metrics` of `--listen`, in the OpenMetrics format. Counters end in `_total` there. A figure is as of the scrape.

| metric | type | meaning |
|---|---|---|
";

#[test]
fn the_reference_names_every_metric() {
    let metrics = Metrics::default();
    // A metric with labels is only described once it has a value.
    metrics.watched(Kind::Pod);
    metrics.watch_failed(Kind::Pod);
    metrics.elements(Elements::default());
    metrics.pods(0, 0);
    metrics.config_files(["in-force"].into_iter());
    metrics.ban_sources(["fetched"].into_iter());
    metrics.denied(Direction::Ingress, None, 1, 1);
    metrics.would_deny(Direction::Ingress, None, 1);
    metrics.forged(Attached::Routed, 0);
    let text = metrics.text();
    let mut reference = INTRODUCTION.to_string();
    for line in text.lines() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) else { continue };
        let marker = format!("# TYPE {name} ");
        let kind = text.lines().find_map(|line| line.strip_prefix(&marker)).unwrap();
        let sample = |line: &&str| line.starts_with(name) && line.contains('{');
        let labels = text.lines().find(sample).and_then(|line| line.split(['{', '}']).nth(1)).unwrap_or_default();
        let labels: Vec<&str> = labels.split(',').filter_map(|label| label.split('=').next()).collect();
        let labels =
            labels.into_iter().filter(|label| !label.is_empty() && *label != "le").collect::<Vec<_>>().join(",");
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(reference, "| `{name}{labels}` | {kind} | {} |", help.trim_end_matches('.'));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &reference).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == reference,
        "docs/reference/metrics.md is not what the registry says; UPDATE_GOLDENS=1 writes it anew"
    );
}

#[test]
fn what_was_denied_for_a_policy_goes_with_it() {
    let metrics = Metrics::default();
    let policy = PolicyName::new("db", "allow-web");
    metrics.denied(Direction::Ingress, Some(&policy), 3, 180);
    assert_eq!(metrics.denied_for(), BTreeSet::from([(Direction::Ingress, policy.clone())]));
    metrics.forget_policies(&metrics.denied_for());
    metrics.denied(Direction::Ingress, Some(&policy), 1, 60);
    let labels = "{direction=\"ingress\",namespace=\"db\",policy=\"allow-web\"}";
    assert!(metrics.text().contains(&format!("palisade_denied_packets_total{labels} 4\n")), "{}", metrics.text());
    assert!(metrics.text().contains(&format!("palisade_denied_bytes_total{labels} 240\n")), "{}", metrics.text());
    metrics.forget_policies(&BTreeSet::new());
    assert!(!metrics.text().contains("allow-web"));
}
