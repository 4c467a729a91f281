//! `palisade explain`: the verdict on flows, by which policy, rule and field.

use std::io::{self, BufWriter, Write as _};

use palisade_core::Verdict;
use palisade_sim::{Explanation, explain};
use serde_json::{Map, Value, json};

use crate::args::{ExplainArguments, OutputFormat};
use crate::input::{GivenFlow, parse_flow, read_flows};
use crate::output::{Exit, Hinted};

/// Runs the command.
pub fn run(arguments: &ExplainArguments) -> anyhow::Result<Exit> {
    let mut flows = Vec::new();
    for text in &arguments.flow {
        flows.push(parse_flow(text.trim(), None)?);
    }
    if let Some(path) = &arguments.flows {
        flows.extend(read_flows(path)?);
    }
    let snapshot = arguments.input.snapshot()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut exit = Exit::Clean;
    for given in &flows {
        let explanation = explain(&snapshot, &given.flow, arguments.family.families())
            .map_err(|error| Hinted { message: format!("'{}': {}", given.text, error.message), hint: error.hint })?;
        if explanation.answer().verdict == Verdict::Deny {
            exit = Exit::Found;
        }
        match arguments.output {
            OutputFormat::Text => writeln!(out, "{explanation}")?,
            OutputFormat::Json => writeln!(out, "{}", to_json(given, &explanation))?,
        }
    }
    out.flush()?;
    Ok(exit)
}

fn to_json(given: &GivenFlow, explanation: &Explanation) -> Value {
    let answer = explanation.answer();
    let families: Map<String, Value> = explanation
        .families()
        .into_iter()
        .map(|(family, answer)| {
            let value = json!({"verdict": answer.verdict.name(), "assumed": answer.assumed});
            (family.digit().to_string(), value)
        })
        .collect();
    json!({
        "flow": given.text,
        "verdict": answer.verdict.name(),
        "assumed": answer.assumed,
        "families": families,
        "reasons": explanation.reasons(),
    })
}
