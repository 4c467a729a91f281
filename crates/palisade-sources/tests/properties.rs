//! Whatever the input, reading ends, answers the same twice, and points into the text.

use proptest::prelude::*;

use palisade_sources::{FieldPath, Options, SourceText, Written, parse};

const MANIFESTS: [&str; 5] = [
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n  namespace: db\nspec:\n  podSelector:\n    matchLabels: {app: pg}\n  policyTypes: [Ingress, Egress]\n  ingress:\n  - from:\n    - podSelector: {matchExpressions: [{key: app, operator: In, values: [web, api]}]}\n      namespaceSelector: {}\n    - ipBlock:\n        cidr: 10.0.0.0/8\n        except: [\"10.1.0.0/16\"]\n    ports:\n    - {port: 5432, endPort: 5440}\n    - {port: http, protocol: UDP}\n",
    "apiVersion: v1\nkind: Pod\nmetadata: &m\n  name: a\n  labels: &l {app: pg, n: 'x'}\nspec:\n  nodeName: w1\n  containers:\n  - ports: [{name: http, containerPort: 80}]\nstatus: {podIP: 10.1.1.1, podIPs: [{ip: 'fd00::1'}]}\n---\nkind: Pod\napiVersion: v1\nmetadata: {<<: *m, name: b, labels: *l}\n",
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  replicas: 3\n  template:\n    metadata:\n      labels: {app: x}\n    spec:\n      containers: []\n---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: d}\nspec: {template: {}}\n",
    "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{\"kind\": \"Node\", \"apiVersion\": \"v1\", \"metadata\": {\"name\": \"w1\"}, \"spec\": {\"podCIDRs\": [\"10.2.0.0/30\"]}, \"status\": {\"addresses\": [{\"type\": \"InternalIP\", \"address\": \"10.0.0.1\"}]}}]}\n{\"kind\": \"Namespace\", \"apiVersion\": \"v1\", \"metadata\": {\"name\": \"é\\u00e9\"}}\n",
    "# comment\n%YAML 1.1\n--- |\n text\n...\n---\n!!map {? a : b, \"c\": >-\n  folded }\n",
];

/// Reads twice, and checks that what comes out hangs together.
fn check(text: &str) {
    let sources = [SourceText { file: "a".into(), text: text.to_string() }];
    let options = Options::default();
    let (first, second) = (parse(&sources, &options), parse(&sources, &options));
    assert_eq!(first.snapshot, second.snapshot);
    assert_eq!(first.diagnostics, second.diagnostics);
    let lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).split('\n').collect();
    for place in first.diagnostics.iter().filter_map(|found| found.place.as_ref()) {
        let line = lines[place.line - 1].strip_suffix('\r').unwrap_or(lines[place.line - 1]);
        let length = line.chars().count();
        let shown: String = line.chars().skip(place.text_column - 1).take(place.text.chars().count()).collect();
        assert_eq!(*place.text, *shown);
        assert!(place.width >= 1 && place.column >= 1, "{place:?}");
        assert!(place.column + place.width <= length + 1 || place.width == 1, "{place:?}");
    }
    for pod in first.snapshot.pods.values() {
        assert!(pod.node.as_ref().is_some_and(|node| first.snapshot.nodes.contains_key(node)));
    }
    for policy in first.snapshot.policies.values().filter(|policy| policy.unreadable.is_some()) {
        let rules = policy.rules.ingress.iter().chain(&policy.rules.egress).flatten();
        assert_eq!(rules.count(), 0, "an unreadable policy allows nothing");
        assert!(policy.rules.ingress.is_some() || policy.rules.egress.is_some(), "and isolates");
    }
    let mut written = Written::read(&sources);
    for policy in first.snapshot.policies.values().filter(|policy| policy.unreadable.is_none()) {
        let is_invented = policy.name.name.starts_with("unnamed-");
        let place = written.place(&policy.name, &FieldPath::root().field("spec").field("podSelector"));
        assert!(place.is_some() || is_invented, "{} is read, and not as it is written", policy.name);
    }
}

/// A manifest, cut up and put together wrongly: pieces removed, doubled, swapped, or with characters in between.
fn mutated() -> impl Strategy<Value = String> {
    let edit =
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4, "[ \\-:{}\\[\\]\"'&*!|>%#,\n\tay0~é]{0,4}");
    (prop::sample::select(MANIFESTS.to_vec()), prop::collection::vec(edit, 1..5)).prop_map(|(text, edits)| {
        let mut characters: Vec<char> = text.chars().collect();
        for (from, to, kind, insert) in edits {
            let (from, to) = (from.index(characters.len() + 1), to.index(characters.len() + 1));
            let (from, to) = (from.min(to), to.max(from));
            match kind {
                0 => drop(characters.drain(from..to.min(from + 12))),
                1 => drop(characters.splice(from..from, insert.chars())),
                2 => {
                    let piece: Vec<char> = characters[from..to].to_vec();
                    drop(characters.splice(to..to, piece));
                }
                _ => characters.truncate(to.max(20)),
            }
        }
        characters.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_manifests_never_panic(text in mutated()) {
        check(&text);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&text);
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn structured_noise_never_panics(text in "([ \\n\\-]{0,3}(kind|metadata|spec|items|name|Pod|List|NetworkPolicy|[\\[\\]{}:,\"'&*!<>|%#~]|[a-z0-9.]{1,3}|: ){1,3}){0,20}") {
        check(&text);
    }
}

#[test]
fn the_manifests_themselves_hang_together() {
    for text in MANIFESTS {
        check(text);
    }
}
