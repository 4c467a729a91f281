//! `palisade explain`: the verdict on flows, by which policy, rule and field.

use std::io::{self, BufWriter, Write as _};

use anyhow::Context as _;
use palisade_core::{Audit, Verdict};
use palisade_sim::{Explanation, explain_as};
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
    let explanations = all_resolved(&flows, |given| explain_as(&snapshot, &given.flow, families, dialect))?;
    tell_what_is_not_judged(dialect);
    let denied = explanations.iter().any(|explanation| explanation.answer().verdict == Verdict::Deny);
    print(arguments.output, flows.iter().zip(&explanations)).context("cannot write the answer")?;
    Ok(if denied { Exit::Found } else { Exit::Clean })
}

fn print<'a>(format: OutputFormat, answers: impl Iterator<Item = (&'a GivenFlow, &'a Explanation)>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for (given, explanation) in answers {
        match format {
            OutputFormat::Text => writeln!(out, "{explanation}")?,
            OutputFormat::Json => writeln!(out, "{}", to_json(given, explanation))?,
        }
    }
    out.flush()
}

fn to_json(given: &GivenFlow, explanation: &Explanation) -> Value {
    let answer = explanation.answer();
    let shadow_families = explanation.shadow_families();
    let families: Map<String, Value> = explanation
        .families()
        .into_iter()
        .map(|(family, answer)| {
            let audit = Audit::between(answer.verdict, shadow_families.get(&family).unwrap_or(&answer).verdict);
            let value = json!({
                "verdict": answer.verdict.name(),
                "assumed": answer.assumed,
                "audit": audit.map(Audit::name),
            });
            (family.digit().to_string(), value)
        })
        .collect();
    let audit = explanation.audit();
    json!({
        "flow": given.text,
        "verdict": answer.verdict.name(),
        "assumed": answer.assumed,
        "families": families,
        "reasons": explanation.reasons(),
        "audit": audit.map(Audit::name),
        "auditAssumed": audit.is_some() && explanation.shadow_answer().assumed,
        "auditReasons": explanation.audit_reasons(),
    })
}
