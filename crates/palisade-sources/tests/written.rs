//! Policies as they are written, and where their fields stand.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use palisade_core::PolicyName;
use palisade_sources::{FieldPath, Form, Options, SourceText, parse_written};

const YAML: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: p
spec:
  podSelector:
    matchLabels: {app: a}
  ingress:
  - from: []
    ports: [{port: 80}]
  egress:
  - to:
";

const JSON: &str = r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "items": [
  {"metadata": {"name": "p"}, "spec": {"ingress": [{"from": []}]}},
  {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "seen"}}
]}"#;

fn source(file: &str, text: &str) -> [SourceText; 1] {
    [SourceText { file: file.into(), text: text.to_string() }]
}

fn spec() -> FieldPath {
    FieldPath::root().field("spec")
}

fn place(text: &str, path: &FieldPath) -> (usize, usize, usize) {
    let sources = source("p.yaml", text);
    let place = parse_written(&sources, &Options::default()).1.place(&PolicyName::new("default", "p"), path).unwrap();
    (place.line, place.column, place.width)
}

#[test]
fn what_is_empty_is_told_from_what_is_absent() {
    let sources = source("p.yaml", YAML);
    let (_, written) = parse_written(&sources, &Options::default());
    let form = |path: FieldPath| written.form(&PolicyName::new("default", "p"), &path);
    assert_eq!(form(spec().field("ingress").item(0).field("from")), Form::List(0));
    assert_eq!(form(spec().field("egress").item(0).field("to")), Form::Null);
    assert_eq!(form(spec().field("policyTypes")), Form::Absent);
    assert_eq!(form(spec().field("egress").item(1).field("to")), Form::Absent);
    assert_eq!(form(spec().field("podSelector").field("matchLabels").field("app")), Form::Text("a"));
}

#[test]
fn fields_have_places_in_yaml() {
    assert_eq!(place(YAML, &spec().field("podSelector")), (6, 3, 11), "the value begins below its key");
    assert_eq!(place(YAML, &spec().field("ingress").item(0).field("ports").item(0)), (10, 13, 11));
    assert_eq!(place(YAML, &spec().field("egress").item(0).field("to")), (12, 5, 2), "there is no value");
    assert_eq!(place(YAML, &FieldPath::root().field("metadata").field("namespace")).0, 3, "the closest that is there");
    assert_eq!(place(YAML, &FieldPath::root()), (4, 9, 1), "an object is shown by its name");
}

#[test]
fn fields_have_places_in_lists_of_json() {
    assert_eq!(place(JSON, &spec().field("ingress").item(0).field("from")), (2, 61, 7), "to the end of the line");
}

#[test]
fn namespaces_that_have_an_object_are_known() {
    let sources = source("p.json", JSON);
    let (_, written) = parse_written(&sources, &Options::default());
    assert!(written.has_namespace("seen"));
    assert!(!written.has_namespace("default"));
}

#[test]
fn a_path_prints_as_kubectl_writes_it() {
    assert_eq!(spec().field("ingress").item(0).field("from").item(1).to_string(), "spec.ingress[0].from[1]");
}
