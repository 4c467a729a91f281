//! How the outcomes of tests are told.

use std::io::{self, Write};

use palisade_core::Flow;
use palisade_sources::flow_test::{Expectation, FlowTest};
use serde_json::json;

/// What became of an expectation.
pub struct Outcome<'a> {
    /// The test that has it.
    pub test: &'a FlowTest,
    /// What was expected.
    pub expectation: &'a Expectation,
    /// The flows that it stands for.
    pub flows: Vec<Flow>,
    /// Those that come to something else; none if it holds.
    pub wrong: Vec<Wrong>,
}

/// A flow that comes to something else.
pub struct Wrong {
    /// The flow.
    pub flow: String,
    /// What it comes to.
    pub found: String,
    /// Why.
    pub reasons: Vec<String>,
}

impl Outcome<'_> {
    fn name(&self) -> String {
        format!("{}: {}", self.expectation.text, self.expectation.verdict)
    }

    fn place(&self) -> String {
        format!("{}:{}", self.test.file, self.expectation.line)
    }

    /// What is wrong, each flow with its reasons below.
    fn lines(&self) -> Vec<String> {
        let of = |wrong: &Wrong| {
            let reasons = wrong.reasons.iter().flat_map(|reason| reason.lines()).map(|line| format!("  {line}"));
            [format!("{}: {}", wrong.flow, wrong.found)].into_iter().chain(reasons).collect::<Vec<String>>()
        };
        self.wrong.iter().flat_map(of).collect()
    }
}

/// For people: those that hold in a line, those that do not with why.
pub fn text(out: &mut impl Write, outcomes: &[Outcome<'_>]) -> io::Result<()> {
    for outcome in outcomes {
        let word = if outcome.wrong.is_empty() { "ok  " } else { "FAIL" };
        writeln!(out, "{word} {} {}", outcome.place(), outcome.name())?;
        for line in outcome.lines() {
            writeln!(out, "       {line}")?;
        }
    }
    let (flows, failed) = (outcomes.iter().map(|outcome| outcome.flows.len()).sum::<usize>(), failed(outcomes));
    writeln!(
        out,
        "{} expectations about {flows} flows: {} hold, {failed} do not",
        outcomes.len(),
        outcomes.len() - failed
    )
}

/// One object an expectation.
pub fn json(out: &mut impl Write, outcomes: &[Outcome<'_>]) -> io::Result<()> {
    for outcome in outcomes {
        let wrong = outcome.wrong.iter();
        let wrong = wrong.map(|wrong| json!({"flow": wrong.flow, "found": wrong.found, "reasons": wrong.reasons}));
        let value = json!({
            "test": *outcome.test.name,
            "file": *outcome.test.file,
            "line": outcome.expectation.line,
            "flow": outcome.expectation.text,
            "expected": outcome.expectation.verdict.name(),
            "holds": outcome.wrong.is_empty(),
            "flows": outcome.flows.len(),
            "wrong": wrong.collect::<Vec<_>>(),
        });
        writeln!(out, "{value}")?;
    }
    Ok(())
}

/// As CI systems read it: a suite for each test.
pub fn junit(out: &mut impl Write, outcomes: &[Outcome<'_>]) -> io::Result<()> {
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(out, "<testsuites tests=\"{}\" failures=\"{}\">", outcomes.len(), failed(outcomes))?;
    for suite in outcomes.chunk_by(|one, next| std::ptr::eq(one.test, next.test)) {
        let name = escaped(&suite[0].test.name);
        writeln!(out, "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\">", suite.len(), failed(suite))?;
        for outcome in suite {
            let (case, file) = (escaped(&outcome.name()), escaped(&outcome.test.file));
            write!(
                out,
                "    <testcase classname=\"{name}\" name=\"{case}\" file=\"{file}\" line=\"{}\"",
                outcome.expectation.line
            )?;
            if outcome.wrong.is_empty() {
                writeln!(out, "/>")?;
                continue;
            }
            let message =
                escaped(&format!("{} of {} flows come to something else", outcome.wrong.len(), outcome.flows.len()));
            let lines = escaped(&outcome.lines().join("\n"));
            writeln!(out, ">\n      <failure message=\"{message}\">{lines}</failure>\n    </testcase>")?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

/// <https://testanything.org/tap-version-14-specification.html>
pub fn tap(out: &mut impl Write, outcomes: &[Outcome<'_>]) -> io::Result<()> {
    writeln!(out, "TAP version 14\n1..{}", outcomes.len())?;
    for (number, outcome) in (1..).zip(outcomes) {
        let word = if outcome.wrong.is_empty() { "ok" } else { "not ok" };
        // A # would begin a directive.
        writeln!(out, "{word} {number} - {}", outcome.name().replace('#', "\\#"))?;
        if !outcome.wrong.is_empty() {
            writeln!(out, "  ---\n  at: {}\n  wrong: |", outcome.place())?;
            for line in outcome.lines() {
                writeln!(out, "    {line}")?;
            }
            writeln!(out, "  ...")?;
        }
    }
    Ok(())
}

fn failed(outcomes: &[Outcome<'_>]) -> usize {
    outcomes.iter().filter(|outcome| !outcome.wrong.is_empty()).count()
}

/// As XML takes text; control characters, which it does not take at all, are left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            letter if letter.is_control() => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}
