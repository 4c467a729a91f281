//! `palisade lab`: the same flows asked of the oracle, the tables and the kernel.

use std::io::{self, BufWriter, Write};

use anyhow::Context as _;
use palisade_core::{Family, Flow, Snapshot};
use palisade_lab::witness::{Case, Report, Row, Testimony, Verdicts, witness};
use palisade_lab::{Lab, LabError, Outcome, plan, rootless};
use palisade_sim::{decide, explain};
use serde_json::{Map, Value, json};

use crate::args::{LabArguments, LabCommand, LabExecArguments, LabRunArguments, OutputFormat};
use crate::input::{GivenFlow, read_flows};
use crate::output::{Exit, Hinted};
use crate::table;

/// How many disagreements are printed in full.
const DISAGREEMENTS_MAX: usize = 20;

/// Runs the command. No other thread may have been started yet: an ordinary user gets a user namespace first.
pub fn run(arguments: LabArguments) -> anyhow::Result<Exit> {
    match (arguments.command, arguments.run) {
        (Some(LabCommand::Exec(arguments)), _) => exec(&arguments),
        (None, Some(arguments)) => run_lab(&arguments),
        (None, None) => Err(Hinted {
            message: "there is nothing to build a lab from".to_string(),
            hint: "name manifests with -f PATH, as in 'palisade lab -f examples/shop'".to_string(),
        }
        .into()),
    }
}

/// A flow as it was given, or as it prints, and its packets.
struct Question {
    text: String,
    case: Case,
}

fn run_lab(arguments: &LabRunArguments) -> anyhow::Result<Exit> {
    rootless::become_root().map_err(|error| Hinted { hint: error.hint(), message: error.to_string() })?;
    let families = arguments.family.families();
    let given = arguments.flows.as_deref().map(read_flows).transpose()?;
    let snapshot = arguments.input.snapshot()?;
    let questions = questions(&snapshot, given.as_deref(), families)?;
    let lab = Lab::start(&snapshot, families).map_err(lab_error)?;
    let report = ask(&lab, &snapshot, &questions)?;
    print(arguments, &snapshot, &questions, &report)?;
    Ok(if report.disagreements().next().is_none() { Exit::Clean } else { Exit::Found })
}

/// The flows to probe: those given, else all that show what the policies do.
fn questions(
    snapshot: &Snapshot,
    given: Option<&[GivenFlow]>,
    families: &[Family],
) -> anyhow::Result<Vec<Question>> {
    let flows: Vec<(String, Flow)> = match given {
        Some(given) => given.iter().map(|given| (given.text.clone(), given.flow.clone())).collect(),
        None => plan::plan(snapshot, families).into_iter().map(|flow| (flow.to_string(), flow)).collect(),
    };
    let question = |(text, flow): (String, Flow)| {
        let case = Case::of(snapshot, flow, families)
            .map_err(|error| Hinted { message: format!("'{text}': {}", error.message), hint: error.hint })?;
        Ok(Question { text, case })
    };
    flows.into_iter().map(question).collect()
}

fn ask(lab: &Lab, snapshot: &Snapshot, questions: &[Question]) -> anyhow::Result<Report> {
    let cases: Vec<Case> = questions.iter().map(|question| question.case.clone()).collect();
    witness(lab, snapshot, &cases, palisade_lab::progress_bar()).map_err(lab_error)
}

fn lab_error(error: LabError) -> anyhow::Error {
    match error.hint() {
        Some(hint) => {
            let message = format!("{:#}", anyhow::Error::new(error));
            Hinted { message, hint }.into()
        }
        None => error.into(),
    }
}

fn print(
    arguments: &LabRunArguments,
    snapshot: &Snapshot,
    questions: &[Question],
    report: &Report,
) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let rows = questions.iter().zip(&report.rows);
    match arguments.output {
        OutputFormat::Json => {
            for (question, row) in rows {
                writeln!(out, "{}", to_json(snapshot, &question.text, row))?;
            }
        }
        OutputFormat::Text => {
            if arguments.flows.is_some() {
                for (question, row) in rows {
                    writeln!(out, "{}: {}", question.text, in_words(row))?;
                }
            } else {
                writeln!(out, "{}", table::render(report, terminal_width()))?;
            }
            print_agreement(&mut out, snapshot, report)?;
        }
    }
    out.flush().context("cannot write the report")
}

/// The width of the terminal on stdout; a usual one where there is none.
fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(io::stdout()).map_or(100, |size| usize::from(size.ws_col).max(40))
}

/// `allow`, or what each witness and each family says where they differ.
fn in_words(row: &Row) -> String {
    let verdicts = row.verdicts();
    let mut words = match verdicts.kernel {
        Some(kernel) if row.agrees() => kernel.to_string(),
        _ => spelled_out(verdicts, row),
    };
    let families = row.families();
    if families.values().any(|of_family| of_family.oracle != verdicts.oracle || of_family.kernel != verdicts.kernel) {
        let families = families.iter().map(|(family, verdicts)| format!("{family}: {}", spelled_out(*verdicts, row)));
        words = format!("{words} ({})", families.collect::<Vec<_>>().join("; "));
    }
    words
}

fn spelled_out(verdicts: Verdicts, row: &Row) -> String {
    format!("oracle {}, tables {}, kernel {}", verdicts.oracle, verdicts.tables, kernel_word(verdicts, row))
}

/// What the kernel says: `allow`, `deny`, `skipped`, or `failed` where it could not be found out.
fn kernel_word(verdicts: Verdicts, row: &Row) -> &'static str {
    match verdicts.kernel {
        Some(verdict) => verdict.name(),
        None if row.testimonies.iter().any(|testimony| matches!(testimony.kernel, Outcome::Failed(_))) => "failed",
        None => "skipped",
    }
}

fn print_agreement(out: &mut impl Write, snapshot: &Snapshot, report: &Report) -> io::Result<()> {
    let disagreements: Vec<&Row> = report.disagreements().collect();
    for row in disagreements.iter().take(DISAGREEMENTS_MAX) {
        writeln!(out, "disagreement: {}", row.flow)?;
        for testimony in row.testimonies.iter().filter(|testimony| !testimony.agrees()) {
            print_testimony(out, snapshot, testimony)?;
        }
    }
    if disagreements.len() > DISAGREEMENTS_MAX {
        writeln!(out, "… and {} more flows", disagreements.len() - DISAGREEMENTS_MAX)?;
    }
    for reason in skipped(report) {
        writeln!(out, "skipped: {reason}")?;
    }
    let (flows, packets) = (report.rows.len(), report.rows.iter().map(|row| row.testimonies.len()).sum::<usize>());
    match disagreements.len() {
        0 => writeln!(out, "oracle, tables and kernel agree on {flows} flows ({packets} packets)"),
        count => writeln!(out, "the witnesses disagree on {count} of {flows} flows ({packets} packets)"),
    }
}

fn print_testimony(out: &mut impl Write, snapshot: &Snapshot, testimony: &Testimony) -> io::Result<()> {
    let Testimony { packet, oracle, tables, kernel, trace } = testimony;
    writeln!(out, "  {} {} -> {}", packet.family, packet.source.address, packet.destination.address)?;
    writeln!(out, "    oracle: {oracle}")?;
    for direction in decide(snapshot, packet).directions {
        writeln!(out, "      {direction}")?;
    }
    writeln!(out, "    tables: {tables}")?;
    for step in &trace.steps {
        writeln!(out, "      {step}")?;
    }
    writeln!(out, "    kernel: {kernel}")
}

/// Why flows were not sent, each reason once with the number of flows.
fn skipped(report: &Report) -> Vec<String> {
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for reason in report.rows.iter().flat_map(Row::skipped) {
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
    reasons.into_iter().map(|(reason, count)| format!("{count} flows, {reason}")).collect()
}

fn to_json(snapshot: &Snapshot, text: &str, row: &Row) -> Value {
    let object = |verdicts: Verdicts| {
        json!({
            "oracle": verdicts.oracle.name(),
            "tables": verdicts.tables.name(),
            "kernel": kernel_word(verdicts, row),
        })
    };
    let families: Map<String, Value> =
        row.families().into_iter().map(|(family, verdicts)| (family.digit().to_string(), object(verdicts))).collect();
    let judged: Vec<Family> = row.families().into_keys().collect();
    let reasons = explain(snapshot, &row.flow, &judged).map(|explanation| explanation.reasons()).unwrap_or_default();
    let verdicts = row.verdicts();
    let mut value = json!({
        "flow": text,
        "oracle": verdicts.oracle.name(),
        "tables": verdicts.tables.name(),
        "kernel": kernel_word(verdicts, row),
        "agree": row.agrees(),
        "families": families,
        "reasons": reasons,
    });
    if !row.skipped().is_empty() {
        value["skipped"] = json!(row.skipped());
    }
    value
}
