//! `palisade check`: what is most likely not meant in manifests, or in a running cluster.

mod baseline;
mod github;
mod sarif;

use std::io::{self, BufWriter, Write as _};

use anyhow::Context as _;
use palisade_check::{Selection, checks};
use palisade_core::{Diagnostic, Level};
use palisade_report::json;
use palisade_sources::SourceText;

use crate::args::{CheckArguments, FindingsFormat};
use crate::diagnostics;
use crate::input::{defaults, manifests, unanswerable};
use crate::output::{Exit, Hinted, note};

use baseline::Baseline;

/// Runs the command.
pub fn run(arguments: &CheckArguments) -> anyhow::Result<Exit> {
    if let Some(id) = &arguments.explain {
        return explain(id);
    }
    for word in arguments.select.iter().chain(&arguments.ignore) {
        known(word)?;
    }
    let baseline = arguments.baseline.as_deref().map(Baseline::read).transpose()?;
    let sources = arguments.texts()?;
    let (parsed, written) = palisade_sources::parse_written(&sources, &defaults());
    let selection =
        Selection { select: arguments.select.clone(), ignore: arguments.ignore.clone(), dialect: arguments.dialect };
    let mut findings = palisade_check::check(&parsed, written, &selection);
    if let Some(mut baseline) = baseline {
        findings.retain(|finding| !baseline.takes(finding));
        if baseline.left() > 0 {
            note(&format!("no more there, of the baseline: {}; write it anew", baseline.left()));
        }
    }
    let first = sources.first().and_then(|source| source.file.name());
    print(arguments.output, &findings, first.map(|name| &**name)).context("cannot write the findings")?;
    note(&summary(parsed.snapshot.policies.len(), &findings));
    if parsed.no_answer {
        return Err(unanswerable());
    }
    let fails = findings.iter().any(|finding| finding.level >= arguments.fail_on.level());
    Ok(if fails { Exit::Found } else { Exit::Clean })
}

impl CheckArguments {
    /// The texts to check.
    fn texts(&self) -> anyhow::Result<Vec<SourceText>> {
        #[cfg(target_os = "linux")]
        if self.live.cluster {
            return crate::live::read_for_checks(&self.live);
        }
        let paths: Vec<_> = self.paths.iter().chain(&self.filenames).cloned().collect();
        manifests(&paths)
    }
}

fn explain(id: &str) -> anyhow::Result<Exit> {
    let Some(check) = checks::find(id) else { return Err(unknown(id)) };
    write!(io::stdout(), "{}", check.page).context("cannot write the page")?;
    Ok(Exit::Clean)
}

/// An error unless a word means a check.
fn known(word: &str) -> anyhow::Result<()> {
    let means = checks::ALL.iter().any(|check| check.is_meant_by(word));
    if means { Ok(()) } else { Err(unknown(word)) }
}

fn unknown(word: &str) -> anyhow::Error {
    let ids: Vec<&str> = checks::ALL.iter().map(|check| check.id).collect();
    let hint = format!("the checks are {}; their groups are V, T, D, E and X", ids.join(", "));
    Hinted { message: format!("there is no check '{word}'"), hint }.into()
}

fn print(format: FindingsFormat, findings: &[Diagnostic], first: Option<&str>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match format {
        FindingsFormat::Text => diagnostics::write(&mut out, findings)?,
        FindingsFormat::Json => findings.iter().try_for_each(|finding| writeln!(out, "{}", json::finding(finding)))?,
        FindingsFormat::Sarif => writeln!(out, "{}", sarif::log(findings, first)?)?,
        FindingsFormat::Github => findings.iter().try_for_each(|finding| writeln!(out, "{}", github::line(finding)))?,
    }
    out.flush()
}

/// What a finding is known again by: its check, its object or else its file, and its message.
fn key(finding: &Diagnostic) -> [String; 3] {
    let about = finding.object.clone().or_else(|| finding.place.as_ref().map(|place| place.file.to_string()));
    [finding.id.unwrap_or_default().to_string(), about.unwrap_or_default(), finding.message.clone()]
}

/// What is found in one text, for formats that have no fields for its parts.
fn in_words(finding: &Diagnostic) -> String {
    let object = finding.object.as_ref().map_or(String::new(), |object| format!("{object}: "));
    let parts = [Some(format!("{object}{}", finding.message)), finding.effect.clone(), finding.hint.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// `22 NetworkPolicies checked: 1 error, 2 warnings`.
pub fn summary(policies: usize, findings: &[Diagnostic]) -> String {
    let counted = |level: Level| {
        let count = findings.iter().filter(|finding| finding.level == level).count();
        (count > 0).then(|| format!("{count} {level}{}", if count == 1 { "" } else { "s" }))
    };
    let counts: Vec<String> = [Level::Error, Level::Warning, Level::Note].into_iter().filter_map(counted).collect();
    let found = if counts.is_empty() { "nothing found".to_string() } else { counts.join(", ") };
    let noun = if policies == 1 { "NetworkPolicy" } else { "NetworkPolicies" };
    format!("{policies} {noun} checked: {found}")
}
