//! SARIF 2.1.0, the format of code scanning (OASIS, Static Analysis Results Interchange Format).

use std::fmt::Write as _;

use palisade_check::{Check, checks};
use palisade_core::{Diagnostic, Level, Place};
use serde::Serialize;

use super::in_words;

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

#[derive(Serialize)]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    column_kind: &'static str,
    results: Vec<Finding>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<Rule>,
}

/// `reportingDescriptor`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    name: &'static str,
    short_description: Message,
    help: Help,
    default_configuration: Configuration,
}

#[derive(Serialize)]
struct Help {
    text: &'static str,
    markdown: &'static str,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
    enabled: bool,
}

#[derive(Serialize)]
struct Message {
    text: String,
}

/// `result`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_id: Option<&'static str>,
    level: &'static str,
    message: Message,
    locations: Vec<Location>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: Artifact,
    region: Region,
}

#[derive(Serialize)]
struct Artifact {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    start_column: usize,
    /// The column after the last.
    end_column: usize,
}

/// The findings as a log of one run.
pub fn log(findings: &[Diagnostic]) -> serde_json::Result<String> {
    let rules = checks::ALL.iter().map(rule).collect();
    let driver = Driver { name: "palisade", version: env!("CARGO_PKG_VERSION"), rules };
    let results = findings.iter().map(finding).collect();
    let run = Run { tool: Tool { driver }, column_kind: "unicodeCodePoints", results };
    serde_json::to_string_pretty(&Log { schema: SCHEMA, version: "2.1.0", runs: [run] })
}

fn rule(check: &Check) -> Rule {
    Rule {
        id: check.id,
        name: check.name(),
        short_description: Message { text: check.summary().to_string() },
        help: Help { text: check.page, markdown: check.page },
        default_configuration: Configuration { level: level(check.level), enabled: !check.opt_in },
    }
}

fn finding(finding: &Diagnostic) -> Finding {
    Finding {
        rule_id: finding.id,
        level: level(finding.level),
        message: Message { text: in_words(finding) },
        locations: finding.place.iter().map(location).collect(),
    }
}

fn location(place: &Place) -> Location {
    let (start_line, start_column) = (place.line, place.column);
    let region = Region { start_line, start_column, end_column: start_column + place.width };
    Location { physical_location: PhysicalLocation { artifact_location: Artifact { uri: uri(&place.file) }, region } }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
    }
}

/// A path as a reference of RFC 3986: relative paths stay relative.
fn uri(path: &str) -> String {
    let mut uri = if path.starts_with('/') { "file://".to_string() } else { String::new() };
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_references() {
        assert_eq!(uri("shop/a b.yaml"), "shop/a%20b.yaml");
        assert_eq!(uri("/srv/ü.yaml"), "file:///srv/%C3%BC.yaml");
    }
}
