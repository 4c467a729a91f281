//! What `palisade check --output sarif` prints is SARIF 2.1.0, and has what code scanning asks for besides.

use std::collections::BTreeSet;
use std::fs;

use palisade_check::checks;
use serde_json::{Value, json};

use crate::user::{self, User};

/// A warning alone: host bits in a block.
const WARNING: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: a, name: p}\nspec:\n  podSelector: {}\n  egress:\n  - to: [{ipBlock: {cidr: 10.1.2.3/8}}]\n";
/// An error, and a policy of another engine, which is of no single place.
const ERROR: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: a, name: q}\nspec: {podSelectors: 😀, podSelector: {}}\n---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {namespace: a, name: r}\n";
/// A note: a version that is gone.
const NOTE: &str = "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {namespace: a, name: s}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n";
const BROKEN: &str = "kind: [\n";

/// The log of `palisade check` in a directory with these files, which is valid; and the results in it.
fn log(files: &[(&str, &str)], arguments: &[&str]) -> (Value, Vec<Value>) {
    let directory = user::directory();
    for (name, text) in files {
        fs::create_dir_all(directory.path().join(name).parent().unwrap()).unwrap();
        fs::write(directory.path().join(name), text).unwrap();
    }
    let arguments = ["check", "--output", "sarif"].iter().chain(arguments);
    let output = User::Same.command(directory.path()).args(arguments).output().unwrap();
    let log: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_valid(&log);
    let results = log["runs"][0]["results"].as_array().unwrap().clone();
    for result in &results {
        assert!(result["ruleId"].is_string() && result["locations"].as_array().unwrap().len() == 1, "{result}");
        assert!(place(result)["region"]["startLine"].as_u64().unwrap() >= 1);
    }
    (log, results)
}

/// Holds a log against the schema.
pub fn assert_valid(log: &Value) {
    // A bracket that is too much, in the pattern of a language tag: most dialects of regular expressions refuse it.
    let schema = include_str!("sarif/sarif-schema-2.1.0.json").replace("{2}]?$", "{2}$");
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let schema = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let errors: Vec<String> =
        schema.iter_errors(log).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

fn place(result: &Value) -> &Value {
    &result["locations"][0]["physicalLocation"]
}

#[test]
fn a_finding_names_its_rule_and_its_region() {
    let (log, results) = log(&[("a b.yaml", WARNING)], &["a b.yaml"]);
    assert_eq!(log["version"], "2.1.0");
    assert_eq!(log["runs"][0]["columnKind"], "unicodeCodePoints");
    let [result] = &results[..] else { panic!("{log}") };
    assert_eq!((&result["ruleId"], &result["level"]), (&json!("NP004"), &json!("warning")));
    let region = json!({"startLine": 7, "startColumn": 27, "endColumn": 37});
    assert_eq!(place(result), &json!({"artifactLocation": {"uri": "a%20b.yaml"}, "region": region}));
}

/// GitHub wants each of them with an id, both descriptions and a help text.
#[test]
fn every_check_is_a_rule() {
    let (log, results) = log(&[("a.yaml", WARNING)], &["a.yaml", "--ignore", "V"]);
    assert_eq!(results, [] as [Value; 0], "nothing is found");
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let ids: BTreeSet<&str> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert_eq!(ids, checks::ALL.iter().map(|check| check.id).collect());
    for rule in rules {
        for text in [&rule["shortDescription"]["text"], &rule["fullDescription"]["text"], &rule["help"]["text"]] {
            assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{rule}");
        }
    }
}

#[test]
fn every_level_is_told_and_what_has_no_place_is_at_the_beginning() {
    let (_, results) = log(&[("ü/ e.yaml", ERROR), ("w.yaml", WARNING), ("x.yaml", NOTE)], &["ü", "w.yaml", "x.yaml"]);
    let levels: BTreeSet<&str> = results.iter().map(|result| result["level"].as_str().unwrap()).collect();
    assert_eq!(levels, BTreeSet::from(["error", "note", "warning"]), "{results:#?}");
    let foreign = results.iter().find(|result| result["message"]["text"].as_str().unwrap().contains("Cilium")).unwrap();
    let first = json!({"artifactLocation": {"uri": "%C3%BC/%20e.yaml"}, "region": {"startLine": 1}});
    assert_eq!(place(foreign), &first);
}

#[test]
fn what_cannot_be_read_is_told() {
    let (_, results) = log(&[("c.yaml", BROKEN)], &["./c.yaml"]);
    assert_eq!(results.len(), 1);
    assert_eq!(
        (&results[0]["level"], &place(&results[0])["artifactLocation"]["uri"]),
        (&json!("error"), &json!("c.yaml"))
    );
}

#[test]
fn what_is_silenced_is_no_result() {
    let allowed = WARNING.replace("name: p}", "name: p, annotations: {palisade.dev/allow: NP004}}");
    assert_eq!(log(&[("a.yaml", &allowed)], &["a.yaml"]).1, [] as [Value; 0]);
    let known = json!({
        "id": "NP004",
        "object": "NetworkPolicy a/p",
        "message": "spec.egress[0].to[0].ipBlock.cidr: the block of 10.1.2.3 is 10.0.0.0/8",
    });
    let arguments = ["a.yaml", "--baseline", "known.json"];
    let (_, results) = log(&[("a.yaml", WARNING), ("known.json", &format!("{known}\n"))], &arguments);
    assert_eq!(results, [] as [Value; 0]);
}

#[test]
fn a_finding_is_known_again_where_its_line_moves() {
    let fingerprint = |text: &str| {
        let (_, results) = log(&[("a.yaml", text)], &["a.yaml"]);
        (place(&results[0])["region"]["startLine"].clone(), results[0]["partialFingerprints"].clone())
    };
    let (before, after) = (fingerprint(WARNING), fingerprint(&format!("# moved\n{WARNING}")));
    assert_ne!(before.0, after.0);
    assert_eq!(before.1, after.1);
    assert_ne!(after.1, fingerprint(&WARNING.replace("name: p", "name: other")).1);
}

#[test]
fn the_schema_refuses_what_is_no_sarif() {
    let (mut log, _) = log(&[("a.yaml", WARNING)], &["a.yaml"]);
    log["runs"][0]["results"][0]["level"] = json!("fatal");
    assert!(std::panic::catch_unwind(|| assert_valid(&log)).is_err());
}
