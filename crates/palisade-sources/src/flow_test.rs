//! `FlowTest` (palisade.dev/v1alpha1): what flows are expected to come to, a file for `palisade test`.
//!
//! Nothing is made of a file with anything in it that cannot be read: a test that is left out proves nothing.

use std::sync::Arc;

use palisade_core::{Diagnostic, End, Flow, Level, PodName, Verdict};

use crate::SourceText;
use crate::document;
use crate::metadata::{self, Scope};
use crate::node_allowlist::NOTHING;
use crate::reading::{At, Reading};
use crate::report::{Origin, Report};
use crate::tree::{Span, shortened};
use crate::{host_policy, syntax};

/// `kind`.
pub const KIND: &str = "FlowTest";
/// The fields that a file may have.
const FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "expect"];
/// Stands for every namespace, and for every pod.
const ANY: &str = "*";

/// One document: some expectations under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowTest {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// The file, as the user named it.
    pub file: Arc<str>,
    /// `expect`.
    pub expectations: Vec<Expectation>,
}

/// One item of `expect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The flow as it is written.
    pub text: String,
    /// The flow; an end `web/*` is every pod of a namespace, and `*/*` every pod.
    pub flow: Flow,
    /// What each of its flows is to come to, in each family.
    pub verdict: Verdict,
    /// The line, from 1.
    pub line: u32,
}

/// Which pods an end stands for, if it is written with `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pods<'a> {
    /// Their namespace; `None` is any.
    pub namespace: Option<&'a str>,
}

impl<'a> Pods<'a> {
    /// `None` if the end is an end like any other.
    pub fn of(end: &'a End) -> Option<Pods<'a>> {
        let End::Pod(PodName { namespace, name }) = end else { return None };
        let namespace: &str = namespace.as_ref();
        (name.as_ref() == ANY).then_some(Pods { namespace: Some(namespace).filter(|namespace| *namespace != ANY) })
    }
}

impl FlowTest {
    /// Reads the documents of a text; `None` if anything in it is an error. With them, what is wrong, in the order of the text.
    pub fn parse(source: &SourceText) -> (Option<Vec<FlowTest>>, Vec<Diagnostic>) {
        let mut reading = Reading::default();
        let documents = document::documents(&source.text);
        if documents.is_empty() {
            let nowhere = Span { line: 1, column: 1, width: 0 };
            reading.problem(Level::Error, nowhere, format!("expected a {KIND}, found nothing"));
        }
        let file = source.file.name().cloned().unwrap_or_default();
        let mut tests = Vec::new();
        for document in documents {
            if let Some(broken) = document.broken {
                reading.problem(Level::Error, broken.span, broken.message);
            } else {
                tests.extend(read(&At::root(&document.tree), &file, &mut reading));
            }
        }
        reading.problems.sort_by_key(|problem| (problem.span.line, problem.span.column));
        let is_wrong = reading.problems.iter().any(|problem| problem.level == Level::Error);
        let mut report = Report::new(std::slice::from_ref(source));
        let origin = Origin { source: 0, span: Span::default(), line: 1 };
        report.problems(reading.problems, origin, None, Some(NOTHING));
        ((!is_wrong).then_some(tests), report.diagnostics)
    }
}

fn read(root: &At<'_>, file: &Arc<str>, reading: &mut Reading) -> Option<FlowTest> {
    root.known_fields(&FIELDS, Level::Error, reading)?;
    root.is_to_be("apiVersion", host_policy::VERSION, reading)?;
    root.is_to_be("kind", KIND, reading)?;
    let name = metadata::read(root, Scope::Cluster, syntax::dns_subdomain, reading).name;
    let expect = root.required("expect", "a list of flows, each with allow or deny", reading)?;
    let items = expect.items(reading)?;
    if items.len() == 0 {
        reading.error(&expect, "expected at least one flow, found none");
    }
    let expectations = items.filter_map(|item| expectation(&item, reading)).collect();
    Some(FlowTest { name: name?, file: Arc::clone(file), expectations })
}

/// `shop/orders -> data/postgres tcp 5432: allow`.
fn expectation(at: &At<'_>, reading: &mut Reading) -> Option<Expectation> {
    let [entry] = at.entries(reading)? else {
        reading.error(at, "expected one flow, found several keys or none");
        reading.hint("write each flow as an item of its own: - shop/orders -> data/postgres tcp 5432: allow");
        return None;
    };
    let (key, _) = entry;
    let flow = match key.text.parse::<Flow>() {
        Ok(flow) => Some(flow),
        Err(error) => {
            reading.problem(Level::Error, key.span, error.message);
            reading.hint(error.hint);
            None
        }
    };
    let value = at.entry(entry);
    let verdict = match value.text(reading)? {
        "allow" => Verdict::Allow,
        "deny" => Verdict::Deny,
        other => {
            reading.error(&value, format!("expected allow or deny, found '{}'", shortened(other)));
            return None;
        }
    };
    Some(Expectation { text: key.text.to_string(), flow: flow?, verdict, line: key.span.line })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(expect: &str) -> (Option<Vec<FlowTest>>, Vec<String>) {
        let text = format!("apiVersion: palisade.dev/v1alpha1\nkind: FlowTest\nmetadata: {{name: shop}}\n{expect}");
        let (tests, found) = FlowTest::parse(&SourceText { file: "a.yaml".into(), text });
        (tests, found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn flows_are_read_with_their_lines() {
        let (tests, found) = parse(
            "expect:\n- shop/orders -> data/postgres tcp 5432: allow\n- '*/* -> data/* udp 53': deny\n- 2001:db8::1 -> node/n1 icmp: deny\n",
        );
        assert_eq!(found, [""; 0]);
        let expectations = &tests.unwrap()[0].expectations;
        let lines: Vec<(u32, &str, Verdict)> =
            expectations.iter().map(|one| (one.line, one.text.as_str(), one.verdict)).collect();
        let expected = [
            (5, "shop/orders -> data/postgres tcp 5432", Verdict::Allow),
            (6, "*/* -> data/* udp 53", Verdict::Deny),
            (7, "2001:db8::1 -> node/n1 icmp", Verdict::Deny),
        ];
        assert_eq!(lines, expected);
        assert_eq!(Pods::of(&expectations[0].flow.source), None);
        assert_eq!(Pods::of(&expectations[1].flow.source), Some(Pods { namespace: None }));
        assert_eq!(Pods::of(&expectations[1].flow.destination), Some(Pods { namespace: Some("data") }));
    }

    #[test]
    fn the_schema_has_the_fields_that_are_read() {
        let schema = include_str!("../../../docs/reference/flow-test.schema.json");
        for field in FIELDS {
            assert!(schema.contains(&format!("\n    \"{field}\": {{")), "{field}");
        }
        let page = include_str!("../../../docs/flow-tests.md");
        let text = page.split_once("```yaml\n").unwrap().1.split_once("```").unwrap().0.to_string();
        let (tests, found) = FlowTest::parse(&SourceText { file: "page".into(), text });
        assert!(tests.is_some() && found.is_empty(), "{found:?}");
    }

    #[test]
    fn what_is_wrong_is_refused_where_it_stands() {
        let check = |expect: &str, expected: &str| {
            let (tests, found) = parse(expect);
            assert_eq!(tests, None, "{expect}");
            assert!(found.iter().any(|found| found.contains(expected)), "{expect}: {found:?}");
        };
        check("", "a.yaml:1:1: error: expect: expected a list of flows");
        check("expect: []\n", "a.yaml:4:9: error: expect: expected at least one flow, found none");
        check("expect:\n- shop/a -> tcp 80: allow\n", "a.yaml:5:3: error: ");
        check(
            "expect:\n- shop/a -> b/c tcp 80: alow\n",
            "a.yaml:5:25: error: expect[0][shop/a -> b/c tcp 80]: expected allow or deny, found 'alow'",
        );
        check(
            "expect:\n- {a/b -> c/d icmp: allow, a/c -> c/d icmp: allow}\n",
            "a.yaml:5:3: error: expect[0]: expected one flow",
        );
        check("expects:\n- a\n", "unknown field 'expects'");
        let (tests, found) = FlowTest::parse(&SourceText { file: "a".into(), text: String::new() });
        assert!(tests.is_none() && found[0].to_string().contains("expected a FlowTest, found nothing"));
    }
}
