//! The fields of JSON output are those that docs/reference/json.md lists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::user::{self, User};

const POD: &str = "
- {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a}]}}";

#[test]
fn explain_prints_the_documented_fields() {
    check("explain", &FLOWS, 2);
}

#[test]
fn lab_prints_the_documented_fields() {
    if user::namespaces_can_be_had(&User::Same) {
        check("lab", &FLOWS, 2);
    }
}

#[test]
fn check_prints_the_documented_fields() {
    let directory = user::directory();
    fs::write(directory.path().join("policy.yaml"), "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\nspec: {}\n---\nkind: CiliumNetworkPolicy\n").unwrap();
    let output = User::Same.command(directory.path()).args(["check", "policy.yaml", "-o", "json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    compare("check", &text);
}

#[test]
fn matrix_prints_the_documented_fields() {
    check("matrix", &["-f", "pods.yaml"], 4);
}

#[test]
fn diff_prints_the_documented_fields() {
    check("diff", &["pods.yaml", "others.yaml"], 8);
}

const FLOWS: [&str; 4] = ["-f", "pods.yaml", "--flows", "flows"];

/// Runs a command that prints so many lines.
fn check(command: &str, arguments: &[&str], lines: usize) {
    let directory = user::directory();
    fs::write(directory.path().join("pods.yaml"), format!("apiVersion: v1\nkind: List\nitems:{POD}")).unwrap();
    let others = POD.replace("name: a", "name: b");
    fs::write(directory.path().join("others.yaml"), format!("apiVersion: v1\nkind: List\nitems:{others}")).unwrap();
    fs::write(directory.path().join("flows"), "default/a -> default/a icmp\ndefault/a -> 224.0.0.1 udp 9").unwrap();
    let output =
        User::Same.command(directory.path()).arg(command).args(arguments).args(["-o", "json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), lines, "{text}{}", String::from_utf8_lossy(&output.stderr));
    compare(command, &text);
}

/// Holds each line against the fields that are documented.
fn compare(command: &str, text: &str) {
    let documented = documented(command);
    for line in text.lines() {
        let mut fields = BTreeSet::new();
        collect("", &serde_json::from_str(line).unwrap(), &mut fields);
        let or_null = |(path, kind): (String, &'static str)| {
            let or_null = |or_null| documented.contains(&(path.clone(), or_null));
            let kind = match kind {
                "string" | "null" if or_null("string or null") => "string or null",
                "number" | "null" if or_null("number or null") => "number or null",
                kind => kind,
            };
            (path, kind)
        };
        let fields: BTreeSet<_> = fields.into_iter().map(or_null).collect();
        assert_eq!(fields, documented, "{line}");
    }
}

/// The fields of an object, those of objects within it too: `families.F.verdict`.
fn collect(path: &str, value: &Value, fields: &mut BTreeSet<(String, &'static str)>) {
    let kind = match value {
        Value::Object(object) => {
            for (key, value) in object {
                let key = if path == "families" { "F" } else { key };
                collect(format!("{path}.{key}").trim_start_matches('.'), value, fields);
            }
            return;
        }
        Value::Array(values) => {
            assert!(values.iter().all(Value::is_string), "{path} holds {values:?}");
            "array of strings"
        }
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Null => "null",
        Value::Number(_) => "number",
    };
    fields.insert((path.to_string(), kind));
}

fn documented(command: &str) -> BTreeSet<(String, &'static str)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/json.md");
    let text = fs::read_to_string(path).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with(&format!("palisade {command}\n"))).unwrap();
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let field = cells.next()?.strip_prefix('`')?.strip_suffix('`')?.to_string();
        let kind = cells.next()?;
        let known = ["string", "string or null", "number or null", "boolean", "array of strings"];
        let kind = known.into_iter().find(|known| *known == kind);
        Some((field, kind.unwrap_or_else(|| panic!("unknown type in {line}"))))
    };
    section.lines().filter_map(row).collect()
}
