//! `palisade lab`: the same flows asked of the oracle, the tables and the kernel.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;
use palisade_core::{Change, Family, Snapshot};
use palisade_lab::{Case, Lab, LabError, Report, become_root, plan, witness};
use palisade_watch::Watch;

use crate::args::{LabArguments, LabCommand, LabExecArguments, LabRunArguments, OutputFormat};
use crate::diagnostics;
use crate::input::{GivenFlow, all_resolved, read_flows};
use crate::lab_report::{print_agreement, print_changes, print_cluster, print_row, to_json};
use crate::output::{Exit, Hinted, note, print_error, with_hint};
use crate::table;

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

/// What is in force, and what came of it.
struct State {
    snapshot: Snapshot,
    report: Report,
}

fn run_lab(arguments: &LabRunArguments) -> anyhow::Result<Exit> {
    let paths = &arguments.input.paths;
    if arguments.watch && arguments.input.files().any(|path| path == Path::new("-")) {
        let hint = "write the objects to a file, and name that".to_string();
        return Err(Hinted { message: "standard input cannot be watched".to_string(), hint }.into());
    }
    arguments.input.refuse_sharing_stdin(arguments.flows.as_deref())?;
    let given = arguments.flows.as_deref().map(read_flows).transpose()?;
    // The watch begins before the first look, so that no change is missed in between.
    let watch = if arguments.watch {
        Some(Watch::new(&arguments.input.files().cloned().collect::<Vec<_>>()).context("cannot watch the input")?)
    } else {
        None
    };
    let snapshot = arguments.input.snapshot()?;
    let questions = questions(arguments, &snapshot, given.as_deref())?;
    become_root().map_err(lab_error)?;
    let lab = Lab::start(&snapshot, arguments.family.families()).map_err(lab_error)?;
    // Whoever waits for the first report finds the door open.
    let _door = arguments.watch.then(|| lab.open_for_exec(paths)).transpose().map_err(|source| {
        let hint = "another lab of the same files may be running; end it first".to_string();
        Hinted { message: format!("cannot be reached by 'palisade lab exec': {source}"), hint }
    })?;
    let report = ask(&lab, &snapshot, &questions)?;
    print(arguments, &snapshot, &questions, &report)?;
    match watch {
        Some(watch) => watch_inputs(arguments, given.as_deref(), watch, &lab, State { snapshot, report }),
        None => Ok(exit(&report)),
    }
}

fn exec(arguments: &LabExecArguments) -> anyhow::Result<Exit> {
    let code = palisade_lab::exec::exec(&arguments.paths, &arguments.pod, &arguments.argv).map_err(|error| {
        let hint = error.hint().map(str::to_string);
        with_hint(error, hint)
    })?;
    Ok(Exit::Command(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Stays up: whenever the input changes, enforces it, probes again and shows what is different.
fn watch_inputs(
    arguments: &LabRunArguments,
    given: Option<&[GivenFlow]>,
    mut watch: Watch,
    lab: &Lab,
    mut state: State,
) -> anyhow::Result<Exit> {
    let waiting = format!("watching {}; end with Ctrl-C", arguments.input.path_names());
    let mut told = Vec::new();
    note(&waiting);
    loop {
        watch.wait().context("cannot watch the input")?;
        let next = arguments.input.parse().and_then(|(next, diagnostics)| {
            // A file that is saved again unchanged is no news.
            if diagnostics != told {
                diagnostics::print(&diagnostics);
                told = diagnostics;
            }
            Ok((questions(arguments, &next, given)?, next))
        });
        // An input that gives no answer for a moment, as while an editor writes it, changes nothing.
        let (questions, next) = match next {
            Ok((_, next)) if next == state.snapshot => continue,
            Ok(next) => next,
            Err(error) => {
                print_error(&error);
                note("the last readable input stays in force");
                continue;
            }
        };
        lab.enforce(&next).map_err(lab_error)?;
        let report = ask(lab, &next, &questions)?;
        let next = State { snapshot: next, report };
        match arguments.output {
            OutputFormat::Json => print(arguments, &next.snapshot, &questions, &next.report)?,
            OutputFormat::Text => print_difference(arguments.family.families(), &state, &next)?,
        }
        state = next;
        note(&waiting);
    }
}

/// The objects that changed, the flows whose verdict is another, and whatever the witnesses do not agree about.
fn print_difference(families: &[Family], before: &State, now: &State) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut write = || -> io::Result<()> {
        writeln!(out)?;
        for change in before.snapshot.changes_to(&now.snapshot) {
            writeln!(out, "{}", in_words(&before.snapshot, &change))?;
        }
        print_changes(&mut out, families, (&before.snapshot, &before.report), (&now.snapshot, &now.report))?;
        print_agreement(&mut out, &now.snapshot, &now.report)?;
        out.flush()
    };
    write().context("cannot write the report")
}

/// `changed: NetworkPolicy db/pg`, by what was there before.
fn in_words(before: &Snapshot, change: &Change) -> String {
    let (object, was, is) = match change {
        Change::Namespace(name, now) => {
            (format!("Namespace {name}"), before.namespaces.contains_key(name), now.is_some())
        }
        Change::Node(name, now) => (format!("Node {name}"), before.nodes.contains_key(name), now.is_some()),
        Change::Pod(name, now) => (format!("Pod {name}"), before.pods.contains_key(name), now.is_some()),
        Change::Policy(name, now) => {
            (format!("NetworkPolicy {name}"), before.policies.contains_key(name), now.is_some())
        }
        Change::HostPolicy(name, now) => {
            (format!("{} {name}", name.kind()), before.host_policies.contains_key(name), now.is_some())
        }
        Change::BanList(name, now) => (format!("BanList {name}"), before.ban_lists.contains_key(name), now.is_some()),
        Change::Server(name, now) => {
            (format!("NodeAllowlist {name}"), before.servers.contains_key(name), now.is_some())
        }
    };
    let verb = match (was, is) {
        (false, _) => "new",
        (true, true) => "changed",
        (true, false) => "gone",
    };
    format!("{verb}: {object}")
}

/// The flows to probe: those given, else all that show what the policies do.
fn questions(
    arguments: &LabRunArguments,
    snapshot: &Snapshot,
    given: Option<&[GivenFlow]>,
) -> anyhow::Result<Vec<Question>> {
    let families = arguments.family.families();
    let planned: Vec<GivenFlow>;
    let flows = if let Some(given) = given {
        given
    } else {
        planned = plan(snapshot, families).into_iter().map(GivenFlow::from).collect();
        &planned
    };
    if flows.is_empty() {
        let message = format!("there is no pod to try in {}", arguments.input.path_names());
        let hint = "name manifests of pods, or of Deployments and the like; -f examples/shop has both".to_string();
        return Err(Hinted { message, hint }.into());
    }
    let cases = all_resolved(flows, |given| Case::of(snapshot, given.flow.clone(), families))?;
    Ok(flows.iter().zip(cases).map(|(given, case)| Question { text: given.text.clone(), case }).collect())
}

fn ask(lab: &Lab, snapshot: &Snapshot, questions: &[Question]) -> anyhow::Result<Report> {
    let cases: Vec<Case> = questions.iter().map(|question| question.case.clone()).collect();
    witness(lab, snapshot, &cases, palisade_lab::progress_bar()).map_err(lab_error)
}

/// What the lab refuses, with its hint.
pub fn lab_error(error: impl Into<LabError>) -> anyhow::Error {
    let error = error.into();
    let hint = error.hint();
    with_hint(error, hint)
}

fn print(
    arguments: &LabRunArguments,
    snapshot: &Snapshot,
    questions: &[Question],
    report: &Report,
) -> anyhow::Result<()> {
    let rows = questions.iter().map(|question| question.text.as_str()).zip(&report.rows);
    let mut out = BufWriter::new(io::stdout().lock());
    let write = || -> io::Result<()> {
        if arguments.output == OutputFormat::Json {
            for (text, row) in rows {
                writeln!(out, "{}", to_json(snapshot, text, row))?;
            }
            return out.flush();
        }
        if arguments.flows.is_some() {
            for (text, row) in rows {
                print_row(&mut out, text, row)?;
            }
        } else {
            writeln!(out, "{}", table::render(snapshot, report, terminal_width()))?;
        }
        print_cluster(&mut out, snapshot)?;
        print_agreement(&mut out, snapshot, report)?;
        out.flush()
    };
    write().context("cannot write the report")
}

/// The width of the terminal on stdout; a usual one where there is none. Lines far apart are hard to follow.
fn terminal_width() -> usize {
    let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { 100 } else { columns.clamp(40, 120) }
}

/// Whether the witnesses agree about everything.
fn exit(report: &Report) -> Exit {
    if report.disagreements().next().is_none() { Exit::Clean } else { Exit::Found }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use palisade_core::Verdict::{Allow, Deny};
    use palisade_core::{Family, Flow};
    use palisade_lab::{Outcome, Row, Testimony};
    use palisade_sim::{Endpoint, Owner, Packet, Trace, Way};

    use super::*;

    #[test]
    fn a_witness_that_disagrees_is_found() {
        let check = |oracle, tables, kernel, expected| {
            let flow: Flow = "192.0.2.1 -> 192.0.2.2 icmp".parse().unwrap();
            let end = |number| Endpoint {
                address: Ipv4Addr::new(192, 0, 2, number).into(),
                owner: Owner::Outside,
                node: None,
            };
            let packet =
                Packet { family: Family::V4, source: end(1), destination: end(2), traffic: flow.traffic, via: None };
            let shadow = Way { verdict: tables, steps: Vec::new(), guards: Vec::new(), bans: Vec::new() };
            let tables = Trace { verdict: tables, steps: Vec::new(), guards: Vec::new(), bans: Vec::new(), shadow };
            let row =
                Row { flow, testimonies: vec![Testimony { packet, oracle, oracle_shadow: oracle, tables, kernel }] };
            assert_eq!(exit(&Report { rows: vec![row] }), expected);
        };
        check(Allow, Allow, Outcome::Answered, Exit::Clean);
        check(Deny, Deny, Outcome::Silent, Exit::Clean);
        check(Deny, Deny, Outcome::Skipped("multicast".to_string()), Exit::Clean);
        check(Allow, Allow, Outcome::Silent, Exit::Found);
        check(Deny, Deny, Outcome::Answered, Exit::Found);
        check(Allow, Deny, Outcome::Answered, Exit::Found);
        check(Deny, Deny, Outcome::Failed("no control flow".to_string()), Exit::Found);
    }
}
