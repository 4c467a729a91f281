//! `palisade explain`: the verdict on flows, by which policy, rule and field.

use std::io::{self, BufWriter, Write as _};

use anyhow::Context as _;
use palisade_core::{Audit, Dialect, Family, Snapshot, Verdict};
use palisade_sim::{Answer, Explanation, ResolveError, explain_as};
use serde_json::{Map, Value, json};

use crate::args::{ExplainArguments, OutputFormat};
use crate::dialects::{refuse_without_flows, tell_what_is_not_judged};
use crate::input::{GivenFlow, all_resolved, parse_flows, read_flows};
use crate::output::Exit;

/// Runs the command.
pub fn run(arguments: &ExplainArguments) -> anyhow::Result<Exit> {
    let dialect = arguments.dialect;
    refuse_without_flows(dialect)?;
    arguments.input.refuse_sharing_stdin(arguments.flows.as_deref())?;
    let mut flows = parse_flows(&arguments.flow)?;
    if let Some(path) = &arguments.flows {
        flows.extend(read_flows(path)?);
    }
    let snapshot = arguments.input.snapshot()?;
    let families = arguments.family.families();
    let judged = all_resolved(&flows, |given| Judged::new(&snapshot, given, families, dialect))?;
    tell_what_is_not_judged(dialect);
    let denied = judged.iter().any(|judged| judged.explanation.answer().verdict == Verdict::Deny);
    print(arguments.output, flows.iter().zip(&judged)).context("cannot write the answer")?;
    Ok(if denied { Exit::Found } else { Exit::Clean })
}

/// What is decided about a flow.
struct Judged {
    explanation: Explanation,
    /// The same in the broadest reading, where a dialect leaves open which of the two it is, and the verdicts differ.
    broadest: Option<Explanation>,
}

impl Judged {
    fn new(
        snapshot: &Snapshot,
        given: &GivenFlow,
        families: &[Family],
        dialect: Dialect,
    ) -> Result<Judged, ResolveError> {
        let explanation = explain_as(snapshot, &given.flow, families, dialect)?;
        let broadest = dialect.broadest().map(|broadest| explain_as(snapshot, &given.flow, families, broadest));
        let broadest = broadest.transpose()?;
        let broadest = broadest.filter(|broadest| broadest.answer().verdict != explanation.answer().verdict);
        Ok(Judged { explanation, broadest })
    }

    /// The verdict in a word.
    fn verdict(&self) -> &'static str {
        if self.broadest.is_some() { "undefined" } else { self.explanation.answer().verdict.name() }
    }

    /// The same of one family.
    fn verdict_in(&self, family: Family, answer: Answer) -> &'static str {
        let broadest = self.broadest.as_ref().and_then(|broadest| broadest.families().get(&family).copied());
        let differs = broadest.is_some_and(|broadest| broadest.verdict != answer.verdict);
        if differs { "undefined" } else { answer.verdict.name() }
    }

    fn text(&self) -> String {
        let Some(broadest) = &self.broadest else { return self.explanation.to_string() };
        let mut lines = vec![format!("{}: undefined", self.explanation.flow)];
        for (name, explanation) in [("narrowly", &self.explanation), ("broadly", broadest)] {
            lines.push(format!("  read {name}: {}", explanation.answer()));
            lines.extend(explanation.reasons().into_iter().map(|reason| format!("    {reason}")));
        }
        lines.join("\n")
    }
}

fn print<'a>(format: OutputFormat, answers: impl Iterator<Item = (&'a GivenFlow, &'a Judged)>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for (given, judged) in answers {
        match format {
            OutputFormat::Text => writeln!(out, "{}", judged.text())?,
            OutputFormat::Json => writeln!(out, "{}", to_json(given, judged))?,
        }
    }
    out.flush()
}

fn to_json(given: &GivenFlow, judged: &Judged) -> Value {
    let explanation = &judged.explanation;
    let answer = explanation.answer();
    let shadow_families = explanation.shadow_families();
    let families: Map<String, Value> = explanation
        .families()
        .into_iter()
        .map(|(family, answer)| {
            let audit = Audit::between(answer.verdict, shadow_families.get(&family).unwrap_or(&answer).verdict);
            let value = json!({
                "verdict": judged.verdict_in(family, answer),
                "assumed": answer.assumed,
                "audit": audit.map(Audit::name),
            });
            (family.digit().to_string(), value)
        })
        .collect();
    let audit = explanation.audit();
    json!({
        "flow": given.text,
        "verdict": judged.verdict(),
        "assumed": answer.assumed,
        "families": families,
        "reasons": explanation.reasons(),
        "audit": audit.map(Audit::name),
        "auditAssumed": audit.is_some() && explanation.shadow_answer().assumed,
        "auditReasons": explanation.audit_reasons(),
    })
}
