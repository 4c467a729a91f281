//! `palisade lab`: the same flows asked of the oracle, the tables and the kernel.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use palisade_core::{Family, Flow, Snapshot, Verdict};
use palisade_lab::watch::Watch;
use palisade_lab::{Case, Lab, LabError, Outcome, Report, Row, Testimony, Verdicts, become_root, plan, witness};
use palisade_sim::{decide, explain};
use serde_json::{Map, Value, json};

use crate::args::{LabArguments, LabCommand, LabExecArguments, LabRunArguments, OutputFormat};
use crate::input::{GivenFlow, read_flows};
use crate::output::{Exit, Hinted, print_error};
use crate::table;

/// How many disagreements are printed in full.
const DISAGREEMENTS_MAX: usize = 20;

/// Runs the command. No other thread may have been started yet: an ordinary user gets a user namespace first.
pub fn run(arguments: &LabArguments) -> anyhow::Result<Exit> {
    match &arguments.command {
        Some(LabCommand::Exec(arguments)) => exec(arguments),
        None => run_lab(&arguments.run),
    }
}

/// A flow as it was given, or as it prints, and its packets.
struct Question {
    text: String,
    case: Case,
}

fn run_lab(arguments: &LabRunArguments) -> anyhow::Result<Exit> {
    become_root().map_err(|error| Hinted { hint: error.hint(), message: error.to_string() })?;
    let families = arguments.family.families();
    let given = arguments.flows.as_deref().map(read_flows).transpose()?;
    // The watch begins before the first look, so that no change is missed in between.
    let watch = if arguments.watch { Some(Watch::new(&arguments.input.paths)?) } else { None };
    let snapshot = arguments.input.snapshot()?;
    let questions = questions(&snapshot, given.as_deref(), families)?;
    let lab = Lab::start(&snapshot, families).map_err(lab_error)?;
    let report = ask(&lab, &snapshot, &questions)?;
    print(arguments, &snapshot, &questions, &report)?;
    match watch {
        Some(watch) => watch_inputs(arguments, given.as_deref(), watch, &lab, (snapshot, report)),
        None => Ok(if report.disagreements().next().is_none() { Exit::Clean } else { Exit::Found }),
    }
}

fn exec(arguments: &LabExecArguments) -> anyhow::Result<Exit> {
    let code =
        palisade_lab::exec::exec(&arguments.paths, &arguments.pod, &arguments.argv).map_err(|error| {
            match error.hint() {
                Some(hint) => Hinted { message: error.to_string(), hint: hint.to_string() }.into(),
                None => anyhow::Error::new(error),
            }
        })?;
    Ok(Exit::Command(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Stays up: whenever the input changes, enforces it, probes again and shows what is different.
fn watch_inputs(
    arguments: &LabRunArguments,
    given: Option<&[GivenFlow]>,
    mut watch: Watch,
    lab: &Lab,
    (mut snapshot, mut report): (Snapshot, Report),
) -> anyhow::Result<Exit> {
    let _door = lab.open_for_exec(&arguments.input.paths).context("cannot be reached by 'palisade lab exec'")?;
    loop {
        eprintln!("watching {}; end with Ctrl-C", names(&arguments.input.paths));
        watch.wait().context("cannot watch the input")?;
        // An input that gives no answer for a moment, as while an editor writes it, changes nothing.
        let next = match arguments.input.snapshot() {
            Ok(next) => next,
            Err(error) => {
                print_error(&error.context("the last readable input stays in force"));
                continue;
            }
        };
        if next == snapshot {
            continue;
        }
        let questions = match questions(&next, given, arguments.family.families()) {
            Ok(questions) => questions,
            Err(error) => {
                print_error(&error);
                continue;
            }
        };
        lab.enforce(&next).map_err(lab_error)?;
        let now = ask(lab, &next, &questions)?;
        print_changes(arguments, &next, &questions, (&report, &now))?;
        (snapshot, report) = (next, now);
    }
}

/// The flows whose verdict is another, and whatever the witnesses do not agree about.
fn print_changes(
    arguments: &LabRunArguments,
    snapshot: &Snapshot,
    questions: &[Question],
    (before, now): (&Report, &Report),
) -> anyhow::Result<()> {
    if arguments.output == OutputFormat::Json {
        return print(arguments, snapshot, questions, now);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let changes = now.changes_since(before);
    let word = |verdict: Option<Verdict>| verdict.map_or("none", Verdict::name);
    for (flow, was, is) in &changes {
        writeln!(out, "{flow}: {} (was {})", word(*is), word(*was))?;
    }
    writeln!(out, "{} flows changed", changes.len())?;
    print_agreement(&mut out, snapshot, now)?;
    out.flush().context("cannot write the report")
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The flows to probe: those given, else all that show what the policies do.
fn questions(snapshot: &Snapshot, given: Option<&[GivenFlow]>, families: &[Family]) -> anyhow::Result<Vec<Question>> {
    let flows: Vec<(String, Flow)> = match given {
        Some(given) => given.iter().map(|given| (given.text.clone(), given.flow.clone())).collect(),
        None => plan(snapshot, families).into_iter().map(|flow| (flow.to_string(), flow)).collect(),
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
    let Testimony { packet, oracle, tables, kernel } = testimony;
    writeln!(out, "  {} {} -> {}", packet.family, packet.source.address, packet.destination.address)?;
    writeln!(out, "    oracle: {oracle}")?;
    for direction in decide(snapshot, packet).directions {
        writeln!(out, "      {direction}")?;
    }
    writeln!(out, "    tables: {}", tables.verdict)?;
    for step in &tables.steps {
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
