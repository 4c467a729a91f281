//! `palisade diff`: which flows a change brings, takes away or alters.

mod why;

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::Path;
#[cfg(target_os = "linux")]
use std::path::PathBuf;

use anyhow::Context as _;
use palisade_core::{Dialect, Family, Snapshot};
use palisade_reach::{Diff, Difference, Reach, Step, united};
use palisade_report::json::{families, party, traffic};
use serde_json::{Value, json};

use crate::args::{DiffArguments, DiffFormat, InputArguments};
#[cfg(target_os = "linux")]
use crate::diagnostics;
use crate::dialects::{refuse_undefined, tell_what_differs};
#[cfg(target_os = "linux")]
use crate::input::answer;
use crate::input::refuse_sharing_stdin;
use crate::matrix::marked;
use crate::output::{Exit, Hinted};
use crate::wanted::{Wanted, tell_what_is_left_out};

use why::Sides;

/// Runs the command.
pub fn run(arguments: &DiffArguments) -> anyhow::Result<Exit> {
    let (one, other) = arguments.dialects()?;
    refuse_undefined(&[one, other])?;
    let (old, new) = arguments.snapshots()?;
    let new = new.as_ref().unwrap_or(&old);
    tell_what_is_left_out(&[&old, new]);
    let wanted = Wanted::new(&arguments.wanted, &[&old, new])?;
    if one != other {
        tell_what_differs(one, other);
    }
    let sides = Sides { old: (&old, one), new: (new, other) };
    let why = |difference: &Difference<'_>| if arguments.why { sides.why(difference) } else { Vec::new() };
    let listed = arguments.allow_listed.as_deref().map(read_lines).transpose()?.unwrap_or_default();
    let (old, new) = (Reach::new(&old, one), Reach::new(new, other));
    let diff = Diff::new(&old, &new);
    let found = diff.differences().filter(|found| wanted.is_between(found.from, found.to)).filter_map(|found| {
        let traffic = found.traffic.map(|step| step.map(|(before, now)| (wanted.of(&before), wanted.of(&now))));
        let differs = traffic.iter().flatten().any(|(before, now)| before != now);
        differs.then_some(Difference { traffic, ..found })
    });
    let found = found.filter(|found| !lines(found).iter().all(|line| listed.contains(line)));
    let found = found.map(|found| (why(&found), found));
    let differs = write(found, arguments.output).context("cannot write the difference")?;
    Ok(if differs { Exit::Different } else { Exit::Clean })
}

impl DiffArguments {
    /// The dialect of the old side and that of the new one.
    fn dialects(&self) -> Result<(Dialect, Dialect), Hinted> {
        let objects = self.paths.iter().map(|path| (path.as_path(), "objects"));
        let (old, new) = (self.old.as_deref().map(|path| (path, "OLD")), self.new.as_deref().map(|path| (path, "NEW")));
        let listed = self.allow_listed.as_deref().map(|path| (path, "--allow-listed"));
        refuse_sharing_stdin(old.into_iter().chain(new).chain(objects).chain(listed))?;
        match (self.dialects.as_slice(), self.old.is_some()) {
            ([], true) => Ok((Dialect::Palisade, Dialect::Palisade)),
            ([one], true) => Ok((*one, *one)),
            ([one, other], false) if one != other => Ok((*one, *other)),
            (_, true) => Err(Hinted {
                message: "OLD and NEW are compared in one dialect".to_string(),
                hint: "to compare two dialects, name the manifests with -f".to_string(),
            }),
            (_, false) => Err(Hinted {
                message: "of one state two dialects are compared".to_string(),
                hint: "palisade diff -f manifests/ --dialect np-guard --dialect palisade; or name OLD and NEW"
                    .to_string(),
            }),
        }
    }

    /// What is compared; one state alone if it is to be read in two ways.
    fn snapshots(&self) -> anyhow::Result<(Snapshot, Option<Snapshot>)> {
        #[cfg(target_os = "linux")]
        if self.live.cluster {
            return self.over_cluster();
        }
        let snapshot = |paths| InputArguments::of(paths, self.left_out.clone()).snapshot();
        let old = snapshot(self.old.clone().map_or_else(|| self.paths.clone(), |path| vec![path]))?;
        let new = self.new.clone().map(|path| snapshot(vec![path])).transpose()?;
        Ok((old, new))
    }

    /// What a cluster has, and the same with manifests laid over it, as `kubectl apply` would: an object of the same kind, namespace and name
    /// is replaced, others stay.
    #[cfg(target_os = "linux")]
    fn over_cluster(&self) -> anyhow::Result<(Snapshot, Option<Snapshot>)> {
        let paths: Vec<PathBuf> = self.old.iter().cloned().collect();
        let options = InputArguments::of(Vec::new(), self.left_out.clone()).options();
        let written = palisade_sources::read(&paths)?;
        // What says nothing by itself says nothing over a cluster.
        answer(palisade_sources::parse(&written, &options))?;
        let mut texts = crate::live::read(&self.live)?;
        let (old, told) = answer(palisade_sources::parse(&texts, &options))?;
        diagnostics::print(&told);
        if paths.is_empty() {
            return Ok((old, None));
        }
        texts.extend(written);
        let (new, mut found) = answer(palisade_sources::parse(&texts, &options))?;
        found.retain(|diagnostic| !told.contains(diagnostic));
        diagnostics::print(&found);
        Ok((old, Some(new)))
    }
}

/// The lines of a file.
fn read_lines(path: &Path) -> anyhow::Result<BTreeSet<String>> {
    let sources = palisade_sources::read_files(&[path.to_path_buf()])?;
    Ok(sources.iter().flat_map(|source| source.text.lines()).map(|line| line.trim().to_string()).collect())
}

/// Writes the differences, each with its reasons; tells whether there was one.
fn write<'r>(found: impl Iterator<Item = (Vec<String>, Difference<'r>)>, format: DiffFormat) -> io::Result<bool> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut differs = false;
    for (why, difference) in found {
        if format == DiffFormat::Markdown && !differs {
            writeln!(out, "| | from | to | before | now |\n|---|---|---|---|---|")?;
        }
        differs = true;
        match format {
            DiffFormat::Text => text(&mut out, &difference, &why)?,
            DiffFormat::Json => writeln!(out, "{}", to_json(&difference, &why))?,
            DiffFormat::Markdown => markdown(&mut out, &difference, &why)?,
        }
    }
    if format == DiffFormat::Markdown && !differs {
        writeln!(out, "The same flows pass as before.")?;
    }
    out.flush()?;
    Ok(differs)
}

fn text(out: &mut impl Write, difference: &Difference<'_>, why: &[String]) -> io::Result<()> {
    lines(difference).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    why.iter().try_for_each(|line| writeln!(out, "    {line}"))
}

/// The difference as text, a line for each family if they differ.
fn lines(difference: &Difference<'_>) -> Vec<String> {
    let Difference { from, to, .. } = difference;
    let line = |(family, (before, now)): (Option<Family>, &Step)| {
        let family = marked(family);
        match (before.is_empty(), now.is_empty()) {
            (true, _) => format!("+ {from} -> {to} {now}{family}"),
            (_, true) => format!("- {from} -> {to} {before}{family}"),
            _ => format!("~ {from} -> {to} {before} => {now}{family}"),
        }
    };
    shown(difference).map(line).collect()
}

/// A row for each family if they differ; the reasons stand in the last of them.
fn markdown(out: &mut impl Write, difference: &Difference<'_>, why: &[String]) -> io::Result<()> {
    let Difference { from, to, .. } = difference;
    let rows: Vec<_> = shown(difference).collect();
    for (index, (family, step)) in rows.iter().enumerate() {
        let (before, now) = step;
        let why = if index + 1 == rows.len() { why.join("<br>") } else { String::new() };
        let now = if why.is_empty() { now.to_string() } else { format!("{now}<br>{why}") };
        writeln!(out, "| {}{} | `{from}` | `{to}` | {before} | {now} |", change(&[step]), marked(*family))?;
    }
    Ok(())
}

fn shown<'d>(difference: &'d Difference<'_>) -> impl Iterator<Item = (Option<Family>, &'d Step)> {
    united(&difference.traffic).into_iter().filter(|(_, (before, now))| before != now)
}

/// `added` if nothing passed before, `removed` if nothing passes now, or `changed`.
fn change(steps: &[&Step]) -> &'static str {
    if steps.iter().all(|(before, _)| before.is_empty()) {
        return "added";
    }
    if steps.iter().all(|(_, now)| now.is_empty()) { "removed" } else { "changed" }
}

fn to_json(difference: &Difference<'_>, why: &[String]) -> Value {
    json!({
        "change": change(&difference.traffic.iter().flatten().collect::<Vec<_>>()),
        "from": party(difference.from),
        "to": party(difference.to),
        "families": families(&difference.traffic, |(before, now)| {
            json!({ "old": traffic(before), "new": traffic(now) })
        }),
        "why": why,
    })
}
