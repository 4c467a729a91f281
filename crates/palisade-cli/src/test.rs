//! `palisade test`: whether flows come to what a file says.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use palisade_core::{Dialect, End, Family, Flow, PodName, Snapshot};
use palisade_sim::explain_as;
use palisade_sources::flow_test::{Expectation, FlowTest, Pods};

use crate::args::{FamilyArgument, InputArguments, dialect};
use crate::diagnostics;
use crate::dialects::{refuse_without_flows, tell_what_is_not_judged};
use crate::input::refuse_sharing_stdin;
use crate::output::{Exit, Hinted};
use crate::test_report;
use crate::test_report::{Outcome, Wrong};

/// Arguments of `test`.
#[derive(Args, Debug)]
pub struct TestArguments {
    /// What flows are to come to: files of the kind `FlowTest`
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// The input.
    #[command(flatten)]
    input: InputArguments,

    /// Ask real packets, too, as 'palisade lab' does
    #[cfg(target_os = "linux")]
    #[arg(long)]
    lab: bool,

    /// Families to judge: 4, 6 or both
    #[arg(long, value_name = "FAMILY", value_enum, default_value_t = FamilyArgument::Both, hide_possible_values = true)]
    family: FamilyArgument,

    /// Whose reading, see docs/dialects.md
    #[arg(long, value_name = "NAME", value_parser = dialect(), default_value_t = Dialect::Palisade)]
    #[cfg_attr(target_os = "linux", arg(conflicts_with = "lab"))]
    dialect: Dialect,

    /// text, json: one object an expectation, junit or tap
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = TestFormat::Text)]
    #[arg(hide_possible_values = true)]
    output: TestFormat,
}

/// How outcomes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TestFormat {
    /// for people
    Text,
    /// for programs: one JSON object a line
    Json,
    /// `JUnit` XML
    Junit,
    /// the Test Anything Protocol, version 14
    Tap,
}

impl TestArguments {
    fn refuse_sharing_stdin(&self) -> Result<(), Hinted> {
        let tests = self.files.iter().map(|path| (path.as_path(), "expectations"));
        let objects = self.input.files().map(|path| (path.as_path(), "objects"));
        refuse_sharing_stdin(tests.chain(objects))
    }
}

/// Runs the command.
pub fn run(arguments: &TestArguments) -> anyhow::Result<Exit> {
    arguments.refuse_sharing_stdin()?;
    refuse_without_flows(arguments.dialect)?;
    let tests = read(&arguments.files)?;
    let snapshot = arguments.input.snapshot()?;
    let (families, dialect) = (arguments.family.families(), arguments.dialect);
    tell_what_is_not_judged(dialect);
    let mut outcomes = Vec::new();
    for test in &tests {
        for expectation in &test.expectations {
            let flows = flows(&snapshot, test, expectation)?;
            let wrong = judge(&snapshot, test, expectation, &flows, (families, dialect))?;
            outcomes.push(Outcome { test, expectation, flows, wrong });
        }
    }
    #[cfg(target_os = "linux")]
    if arguments.lab {
        crate::test_lab::ask(&snapshot, families, &mut outcomes)?;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match arguments.output {
        TestFormat::Text => test_report::text(&mut out, &outcomes),
        TestFormat::Json => test_report::json(&mut out, &outcomes),
        TestFormat::Junit => test_report::junit(&mut out, &outcomes),
        TestFormat::Tap => test_report::tap(&mut out, &outcomes),
    };
    written.and_then(|()| out.flush()).context("cannot write the outcome")?;
    let holds = outcomes.iter().all(|outcome| outcome.wrong.is_empty());
    Ok(if holds { Exit::Clean } else { Exit::Found })
}

/// The tests of the files; what is wrong with them goes to standard error.
fn read(files: &[PathBuf]) -> anyhow::Result<Vec<FlowTest>> {
    let mut tests = Some(Vec::new());
    for source in palisade_sources::read_files(files)? {
        let (read, found) = FlowTest::parse(&source);
        diagnostics::print(&found);
        tests = tests.zip(read).map(|(mut tests, read)| {
            tests.extend(read);
            tests
        });
    }
    tests.ok_or_else(|| {
        let hint = "correct what is said above".to_string();
        Hinted { message: "a test cannot be read, and none is run".to_string(), hint }.into()
    })
}

/// The flows that an expectation stands for: one, or one for each pair of pods. A pod and itself are no pair.
fn flows(snapshot: &Snapshot, test: &FlowTest, expectation: &Expectation) -> anyhow::Result<Vec<Flow>> {
    let Flow { source, destination, traffic } = &expectation.flow;
    let is_one = Pods::of(source).is_none() && Pods::of(destination).is_none();
    let destinations = ends(snapshot, destination);
    let mut flows = Vec::new();
    for source in ends(snapshot, source) {
        let others = destinations.iter().filter(|destination| is_one || **destination != source);
        let flow =
            |destination: &End| Flow { source: source.clone(), destination: destination.clone(), traffic: *traffic };
        flows.extend(others.map(flow));
    }
    if flows.is_empty() {
        let message = format!(
            "{}:{}: '{}' is about no flow: no pod is meant by *",
            test.file, expectation.line, expectation.text
        );
        let hint = "a test that asks nothing proves nothing: take it out, or name pods that there are".to_string();
        return Err(Hinted { message, hint }.into());
    }
    Ok(flows)
}

fn ends(snapshot: &Snapshot, end: &End) -> Vec<End> {
    let Some(Pods { namespace }) = Pods::of(end) else { return vec![end.clone()] };
    let is_meant = |name: &PodName| namespace.is_none_or(|wanted| wanted == name.namespace.as_ref());
    let pods = snapshot.pods.iter().filter(|(name, pod)| is_meant(name) && !pod.finished);
    pods.map(|(name, _)| End::Pod(name.clone())).collect()
}

/// Where the oracle says otherwise.
fn judge(
    snapshot: &Snapshot,
    test: &FlowTest,
    expectation: &Expectation,
    flows: &[Flow],
    (families, dialect): (&[Family], Dialect),
) -> anyhow::Result<Vec<Wrong>> {
    let mut wrong = Vec::new();
    // What a dialect leaves open holds if it holds in both readings.
    let readings = [Some(dialect), dialect.broadest()].into_iter().flatten();
    for (flow, dialect) in flows.iter().flat_map(|flow| readings.clone().map(move |reading| (flow, reading))) {
        let explanation = explain_as(snapshot, flow, families, dialect).map_err(|error| Hinted {
            message: format!("{}:{}: {}", test.file, expectation.line, error.message),
            hint: error.hint,
        })?;
        let families = explanation.families();
        if families.values().any(|answer| answer.verdict != expectation.verdict) {
            let verdicts: Vec<String> =
                families.iter().map(|(family, answer)| format!("{} in {family}", answer.verdict)).collect();
            wrong.push(Wrong { flow: flow.to_string(), found: verdicts.join(", "), reasons: explanation.reasons() });
        }
    }
    Ok(wrong)
}
