//! Text to documents: every form that kubectl reads, and what is left of broken ones.
#![allow(clippy::unwrap_used, clippy::format_collect, reason = "a test may fail, and need not be fast")]

use palisade_core::{Diagnostic, Level};
use palisade_sources::{Options, Parsed, SourceText, parse};

fn read(text: &str) -> Parsed {
    parse(&[SourceText { file: "a.yaml".into(), text: text.to_string() }], &Options::default())
}

fn pod(name: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n")
}

fn json_pod(name: &str) -> String {
    format!(r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}"}}}}"#)
}

/// Reads the text, which gives these pods and diagnostics.
fn check(text: &str, pods: &[&str], diagnostics: &[&str]) -> Parsed {
    let parsed = read(text);
    let found: Vec<String> = parsed.snapshot.pods.keys().map(ToString::to_string).collect();
    assert_eq!(found, pods, "{text}");
    let found: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(found, diagnostics, "{text}");
    parsed
}

#[test]
fn every_form_that_kubectl_reads() {
    let (a, b) = (pod("a"), pod("b"));
    let (ja, jb) = (json_pod("a"), json_pod("b"));
    let both = ["default/a", "default/b"];
    for text in [
        format!("{a}---\n{b}"),
        format!("---\n{a}---\n---\n# only a comment\n---\n{b}---\n"),
        format!("# Source: chart/templates/a.yaml\n{a}--- # next\n{b}..."),
        format!("%YAML 1.1\n---\n{a}...\n---\n{b}"),
        format!("\u{feff}{a}---\r\n{}", b.replace('\n', "\r\n")),
        format!("{a}---\n{jb}"),
        format!("{ja}{jb}"),
        format!("{ja}\n{jb}\n"),
        format!("  {ja}\n---\n{jb}\n"),
        format!("{{kind: Pod, apiVersion: v1, metadata: {{name: a}}}}\n---\n{b}"),
        format!(r#"{{"kind": "List", "apiVersion": "v1", "items": [{ja}, {jb}]}}"#),
        r#"{"kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]}"#.to_string(),
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n- apiVersion: v1\n  kind: PodList\n  items: [{metadata: {name: b}}]\n".to_string(),
        "apiVersion: v1\nkind: Pod\nmetadata: &m {name: a}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\n".to_string(),
        format!("{ja}\n{}", jb.replace(": ", "\t:\t").replace(", ", "\n,\t")),
    ] {
        assert!(!check(&text, &both, &[]).no_answer);
    }
}

#[test]
fn what_is_not_ours_is_passed_over() {
    let a = pod("a");
    for text in [
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: 1, a: 2}\n",
        "apiVersion: serving.knative.dev/v1\nkind: Service\nspec: 5\n",
        "apiVersion: example.com/v1\nkind: Pod\nmetadata: {}\n",
        "apiVersion: v1\nkind: ConfigMapList\nitems: [{metadata: {name: x}}]\n",
        "apiVersion: example.com/v1\nkind: BlockList\nblocks: []\n",
    ] {
        assert!(!check(&format!("{a}---\n{text}"), &["default/a"], &[]).no_answer);
    }
    let passed_over = "a.yaml:6:1: warning: expected a Kubernetes object, found";
    check(&format!("{a}---\n- 1\n"), &["default/a"], &[&format!("{passed_over} a list")]);
    check(&format!("{a}---\nhello\n"), &["default/a"], &[&format!("{passed_over} 'hello'")]);
    check(&format!("{a}---\nreplicas: 1\n"), &["default/a"], &[&format!("{passed_over} no kind")]);
}

#[test]
fn traps_of_yaml_are_warnings() {
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {n: x, 'on': z}}\n",
        &["default/a"],
        &["a.yaml:3:30: warning: Pod default/a: metadata.labels.false: the key is 'false', a boolean of YAML"],
    );
    check(
        "kind: Pod\nmetadata: {name: a}\n",
        &["default/a"],
        &["a.yaml:1:1: warning: Pod default/a: apiVersion: expected that of a Pod, found nothing"],
    );
}

#[test]
fn empty_input_is_no_broken_input() {
    for text in ["", "\n", "# nothing\n", "---\n---\n"] {
        let parsed = read(text);
        assert!(!parsed.no_answer, "{text:?}");
        assert_eq!(parsed.snapshot.nodes.len(), 2);
    }
}

#[test]
fn a_broken_document_takes_no_other_with_it() {
    let (a, b) = (pod("a"), pod("b"));
    let broken = "apiVersion: v1\nkind: Secret\ndata: [\n";
    let error = "a.yaml:8:1: error: not valid YAML: ";
    let parsed = read(&format!("{a}---\n{broken}---\n{b}"));
    assert_eq!(parsed.snapshot.pods.len(), 2);
    assert_eq!(parsed.diagnostics.len(), 1);
    assert!(!parsed.no_answer);
    let text = parsed.diagnostics[0].to_string();
    assert!(text.starts_with(&error[..7]) && text.contains("not valid YAML"), "{text}");

    let json = check(
        &format!("{}\n{{\"kind\": 1,,}}\n{}\n", json_pod("a"), json_pod("b")),
        &["default/a", "default/b"],
        &["a.yaml:2:12: error: not valid JSON: key must be a string"],
    );
    assert!(json.no_answer, "nobody knows what it was");
}

#[test]
fn a_broken_policy_isolates_its_namespace() {
    let header = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n";
    let check = |text: &str, name: Option<&str>| {
        let parsed = read(text);
        let names: Vec<String> = parsed.snapshot.policies.keys().map(ToString::to_string).collect();
        assert_eq!(names, name.into_iter().collect::<Vec<_>>(), "{text}");
        assert_eq!(parsed.no_answer, name.is_none(), "{text}");
        assert_eq!(parsed.diagnostics.len(), 1, "{text}: {:?}", parsed.diagnostics);
        assert_eq!(parsed.diagnostics[0].level, Level::Error);
        for policy in parsed.snapshot.policies.values() {
            assert!(policy.subjects.requirements().is_empty() && policy.unreadable.is_some());
            assert_eq!(policy.rules.ingress, Some(Vec::new()));
            assert_eq!(policy.rules.egress, Some(Vec::new()));
        }
    };
    let broken_spec = "spec:\n  podSelector: {}\n  ingress:\n  - from: [\n";
    check(&format!("{header}metadata:\n  name: p\n  namespace: db\n{broken_spec}"), Some("db/p"));
    check(&format!("{header}metadata:\n  name: p\n{broken_spec}"), Some("default/p"));
    check(&format!("{header}{broken_spec}metadata:\n  name: p\n  namespace: db\n"), Some("db/p"));
    check(&format!("{header}spec:\n  ingress:\n - {{}}\nmetadata: {{name: p, namespace: db}}\n"), Some("db/p"));
    check(&format!("{header}metadata: {{name: p\nspec: {{}}\n"), None);
    check(&format!("{header}metadata: [p\n"), None);
    check(&format!("{header}spec:\n  podSelector: {{}}\n metadata:\n  name: p\n  namespace: db\n"), None);
    check(&format!("{header}metadata: {{name: p, namespace: 5}}\nspec: {{}}\n"), None);
    check(&format!("{header}metadata: {{name: p}}\nspec: {{}}\n{header}metadata: {{name: q}}\nspec: {{}}\n"), None);
    check("apiVersion: v1\nkind: List\nitems:\n- {\n", None);
    check("apiVersion: networking.k8s.io/v1\nkind: [NetworkPolicy]\nmetadata: {name: p}\n", None);
}

#[test]
fn nothing_that_parses_is_no_answer() {
    for text in ["{", "[", "a: b: c", "\"", "hello", "5", "- a", "[1, 2]", "{\"a\": }", "key: [", "a: *b", "{}", "a: 1"]
    {
        assert!(read(text).no_answer, "{text:?}");
    }
}

#[test]
fn what_is_too_large_is_a_clear_error() {
    let only = |parsed: &Parsed| -> Diagnostic {
        assert_eq!(parsed.diagnostics.len(), 1);
        parsed.diagnostics[0].clone()
    };
    let level = |level: usize| format!("l{level}: &l{level} [{}]\n", vec![format!("*l{}", level - 1); 9].join(", "));
    let bomb = format!("kind: ConfigMap\nl0: &l0 [x]\n{}", (1..9).map(level).collect::<String>());
    assert!(only(&read(&bomb)).message.contains("values"), "{:?}", only(&read(&bomb)).message);
    for deep in ["[".repeat(100_000), "{\"a\":".repeat(100_000), "- ".repeat(3_000), "a:\n".repeat(3)] {
        read(&deep);
    }
    let nested: String = (0..500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(only(&read(&format!("kind: ConfigMap\n{nested}"))).message.contains("nested deeper than 120 levels"));
    let many: String = (0..5_000).map(|number| pod(&format!("p{number}")) + "---\n").collect();
    assert_eq!(read(&many).snapshot.pods.len(), 5_000);
}

#[test]
fn anchors_and_merge_keys() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n    labels: &labels {app: x, tier: web}\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: b\n    labels:\n      <<: *labels\n      app: z\n";
    let parsed = check(text, &["default/a", "default/b"], &[]);
    let labels: Vec<String> = parsed
        .snapshot
        .pods
        .values()
        .map(|pod| pod.labels.iter().map(|(k, v)| format!("{k}={v} ")).collect())
        .collect();
    assert_eq!(labels, ["app=x tier=web ", "app=z tier=web "]);
    check(
        "apiVersion: v1\nkind: ConfigMap\ndata: {<<: 5}\n",
        &[],
        &["a.yaml:3:12: error: not valid YAML: '<<' merges a mapping or a list of them, found the number 5"],
    );
}

#[test]
fn an_object_written_twice_is_a_warning_and_the_last_counts() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {first: x}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {second: z}}\n";
    let parsed = check(
        text,
        &["default/a"],
        &["a.yaml:7:18: warning: Pod default/a: written twice: this one counts, and not that of a.yaml:3"],
    );
    assert!(parsed.snapshot.pods.values().all(|pod| pod.labels.contains_key("second")));
}
