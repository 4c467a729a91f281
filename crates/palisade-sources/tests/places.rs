//! Every diagnostic points at the very text it is about, in YAML and in JSON.
#![allow(clippy::unwrap_used, clippy::format_collect, reason = "a test may fail, and need not be fast")]

use palisade_core::Place;
use palisade_sources::{Options, SourceText, parse};

/// Reads the text, in which `«…»` marks what the only diagnostic must point at.
fn check(marked: &str) {
    let start = marked.find('«').unwrap();
    let text = marked.replace(['«', '»'], "");
    let length = marked[start..].find('»').unwrap() - '«'.len_utf8();
    let before = &text[..start];
    let line = before.matches('\n').count() + 1;
    let column = before.lines().last().filter(|_| !before.ends_with('\n')).map_or(0, |line| line.chars().count()) + 1;
    let width = text[start..start + length].chars().count();
    let shown = text.lines().nth(line - 1).unwrap().to_string();
    let parsed = parse(&[SourceText { file: "dir/a b.yaml".into(), text }], &Options::default());
    let places: Vec<_> = parsed.diagnostics.iter().filter_map(|found| found.place.clone()).collect();
    let expected = Place { file: "dir/a b.yaml".into(), line, column, width, text: shown.into(), text_column: 1 };
    assert_eq!(places, [expected], "{marked}\n{:#?}", parsed.diagnostics);
}

const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n";

#[test]
fn places_in_yaml() {
    check(&format!("{POLICY}spec:\n  ingress:\n  - from:\n    - ipBlock:\n        cidr: «10.0.0.0/33»\n"));
    check(&format!("{POLICY}spec:\n  ingress:\n  - from:\n    - ipBlock:\n        cidr: «\"10.0.0.0/33\"» # so\n"));
    check(&format!("{POLICY}spec:\n  ingress:\n  - ports:\n    - protocol: UDP\n      port: «70000»\n"));
    check(&format!("{POLICY}spec:\n  «ingres»:\n  - {{}}\n"));
    check(
        &format!("{POLICY}spec: {{podSelector: {{matchLabels: {{\"ä\": x, app: «5»}}}}}}\n").replace("\"ä\"", "\"a\""),
    );
    check(&format!("{POLICY}spec: {{podSelector: {{matchLabels: {{app: «5»}}}}}}\n---\nkind: ConfigMap\n"));
    check(&format!("# ünïcödé\n---\n{POLICY}spec:\n  policyTypes: [Egress, «egress»]\n"));
    check(&format!(
        "{POLICY}spec:\n  ingress:\n  - from:\n    - «podSelector: {{}}»\n      ipBlock: {{cidr: 10.0.0.0/8}}\n"
    ));
    check(
        "apiVersion: v1\r\nkind: Pod\r\nmetadata:\r\n  name: a\r\n  labels: {é: x, app: «true»}\r\n"
            .replace("é", "e")
            .as_str(),
    );
    check("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations: {text: ünïcödé, «text»: again}\n");
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - ports:\n    - containerPort: «'80'»\n",
    );
    check("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers: []\n  «containers»: []\n");
    check("kind: ConfigMap\n---\nkind: List\napiVersion: v1\nitems: «5»\n");
    check("\u{feff}apiVersion: v1\nkind: Pod\nmetadata: {name: «A»}\n".trim_start_matches('\u{feff}'));
}

#[test]
fn places_in_json() {
    let policy = |spec: &str| {
        format!(
            "{{\n  \"apiVersion\": \"networking.k8s.io/v1\", \"kind\": \"NetworkPolicy\",\n  \"metadata\": {{\"name\": \"p\"}},\n  \"spec\": {spec}\n}}\n"
        )
    };
    let bad = policy("{\"ingress\": [{\"from\": [{\"ipBlock\": {\"cidr\": «\"10.0.0.0/33\"»}}]}]}");
    check(&bad);
    check(&bad.replace("  ", "\t"));
    check(&policy("{«\"ingres\"»: []}"));
    check(&policy("{\"policyTypes\": [\"Ingress\", «5»]}"));
    let good = policy("{}").replace("\"p\"", "\"q\"");
    check(&format!("{good}{bad}"));
    check(&format!("{}  {}", good.replace('\n', " "), bad.replace('\n', " ")));
    check(&format!("kind: ConfigMap\n---\n{bad}---\n{good}"));
    check(&format!("{{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [{good},\n{bad}]}}"));
    let twice = "{\"kind\": \"Pod\", \"apiVersion\": \"v1\", \"metadata\": {\"name\": «\"a\"»}}\n";
    check(&format!("{}{twice}", twice.replace(['«', '»'], "")));
}

#[test]
fn where_a_text_breaks() {
    check("apiVersion: v1\nkind: ConfigMap\ndata:\n  a: b«:» c\n");
    check("{\"kind\": \"Pod\", \"metadata\": {\"name\": \"ä\"}«]»\n");
}
