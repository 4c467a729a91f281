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
    full_description: Message,
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
    partial_fingerprints: Fingerprints,
}

/// What a finding is known again by. Its line is no part of it: lines move.
#[derive(Serialize)]
struct Fingerprints {
    #[serde(rename = "palisadeFinding/v1")]
    finding: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<PhysicalLocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logical_locations: Option<[LogicalLocation; 1]>,
}

/// What is no file: an object of a cluster.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    fully_qualified_name: String,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    start_column: Option<usize>,
    /// The column after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_column: Option<usize>,
}

/// The findings as a log of one run. What concerns no single place is shown at the beginning of a file, `first`: code scanning passes over
/// results without a location. Where there is no file the location is the object, if there is one.
pub fn log(findings: &[Diagnostic], first: Option<&str>) -> serde_json::Result<String> {
    let rules = checks::ALL.iter().map(rule).collect();
    let driver = Driver { name: "palisade", version: env!("CARGO_PKG_VERSION"), rules };
    let results = findings.iter().map(|found| finding(found, first)).collect();
    let run = Run { tool: Tool { driver }, column_kind: "unicodeCodePoints", results };
    serde_json::to_string_pretty(&Log { schema: SCHEMA, version: "2.1.0", runs: [run] })
}

fn rule(check: &Check) -> Rule {
    Rule {
        id: check.id,
        name: check.name(),
        short_description: Message { text: check.summary().to_string() },
        full_description: Message { text: in_full(check) },
        help: Help { text: check.page, markdown: check.page },
        default_configuration: Configuration { level: level(check.level), enabled: !check.opt_in },
    }
}

/// What stands on its page before the examples: what the check catches, and why that matters.
fn in_full(check: &Check) -> String {
    let paragraphs = check.page.split("\n\n").skip(1).take_while(|paragraph| !paragraph.starts_with("```"));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

fn finding(finding: &Diagnostic, first: Option<&str>) -> Finding {
    let in_file = finding.place.as_ref().map(location).or_else(|| first.map(beginning));
    let location = in_file.or_else(|| finding.object.clone().map(of_object));
    Finding {
        rule_id: finding.id,
        level: level(finding.level),
        message: Message { text: in_words(finding) },
        locations: location.into_iter().collect(),
        partial_fingerprints: Fingerprints { finding: super::key(finding).join("\n") },
    }
}

fn location(place: &Place) -> Location {
    let (start_line, start_column, end_column) = (place.line, Some(place.column), Some(place.column + place.width));
    at(&place.file, Region { start_line, start_column, end_column })
}

fn beginning(file: &str) -> Location {
    at(file, Region { start_line: 1, start_column: None, end_column: None })
}

fn at(file: &str, region: Region) -> Location {
    let artifact_location = Artifact { uri: uri(file, std::path::MAIN_SEPARATOR) };
    Location { physical_location: Some(PhysicalLocation { artifact_location, region }), logical_locations: None }
}

fn of_object(object: String) -> Location {
    Location { physical_location: None, logical_locations: Some([LogicalLocation { fully_qualified_name: object }]) }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
    }
}

/// A path as a reference of RFC 3986 and, if it is absolute, RFC 8089: relative paths stay relative, to the root of the repository.
fn uri(path: &str, separator: char) -> String {
    let path = path.replace(separator, "/");
    let path = path.strip_prefix("./").unwrap_or(&path);
    // `C:\x` is file:///C:/x, and `\\server\share` file://server/share.
    let drive = path.get(..3).filter(|drive| separator == '\\' && drive.ends_with(":/"));
    let (mut uri, rest) = match drive {
        Some(drive) => (format!("file:///{drive}"), &path[drive.len()..]),
        None if separator == '\\' && path.starts_with("//") => ("file:".to_string(), path),
        None if path.starts_with('/') => ("file://".to_string(), path),
        None => (String::new(), path),
    };
    for byte in rest.bytes() {
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
        let check = |path, expected: &str| assert_eq!(uri(path, '/'), expected);
        check("shop/a b.yaml", "shop/a%20b.yaml");
        check("./shop/../a:b#?.yaml", "shop/../a%3Ab%23%3F.yaml");
        check("/srv/ü.yaml", "file:///srv/%C3%BC.yaml");
        check(r"shop\a.yaml", "shop%5Ca.yaml");
    }

    #[test]
    fn paths_of_windows_are_references() {
        let check = |path, expected: &str| assert_eq!(uri(path, '\\'), expected);
        check(r".\shop\a b.yaml", "shop/a%20b.yaml");
        check(r"C:\shop\ü.yaml", "file:///C:/shop/%C3%BC.yaml");
        check(r"\\server\share\a.yaml", "file://server/share/a.yaml");
    }
}
