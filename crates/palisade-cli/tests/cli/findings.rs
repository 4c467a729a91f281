//! What `palisade check` prints for machines, and its pages.

use std::collections::BTreeSet;
use std::fs;

use palisade_check::checks;
use serde_json::Value;

use crate::user::{self, User};

const NO_TYPES: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: a, name: p}\nspec:\n  podSelector: {}\n  egress:\n  - to: [{ipBlock: {cidr: 10.1.2.3/8}}]\n";

fn check(arguments: &[&str]) -> String {
    let directory = user::directory();
    fs::write(directory.path().join("a b.yaml"), NO_TYPES).unwrap();
    let output = User::Same.command(directory.path()).arg("check").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn sarif_names_the_rule_and_the_region() {
    let log: Value = serde_json::from_str(&check(&["a b.yaml", "--output", "sarif"])).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let ids: BTreeSet<&str> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert_eq!(ids, checks::ALL.iter().map(|check| check.id).collect());
    let [result] = &run["results"].as_array().unwrap()[..] else { panic!("{run}") };
    assert_eq!(result["ruleId"], "NP004");
    assert_eq!(result["level"], "warning");
    let location = &result["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], "a%20b.yaml");
    let region = &location["region"];
    assert_eq!(
        (&region["startLine"], &region["startColumn"], &region["endColumn"]),
        (&7.into(), &27.into(), &37.into())
    );
}

#[test]
fn sarif_of_clean_input_has_no_result() {
    let log: Value = serde_json::from_str(&check(&["a b.yaml", "--ignore", "V", "--output", "sarif"])).unwrap();
    assert_eq!(log["runs"][0]["results"], Value::Array(Vec::new()));
}

#[test]
fn every_check_has_its_page() {
    for known in checks::ALL {
        assert_eq!(check(&["--explain", known.id]), known.page);
    }
}
