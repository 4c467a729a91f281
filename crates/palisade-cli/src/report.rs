//! `palisade report`: one HTML page about manifests.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use palisade_check::Selection;
use palisade_report::Report;

use crate::args::InputArguments;
use crate::check::summary;
use crate::input::answer;
use crate::output::{Exit, note};
use crate::wanted::what_is_left_out;

/// Arguments of `report`.
#[derive(Args, Debug)]
pub struct ReportArguments {
    /// The input.
    #[command(flatten)]
    pub input: InputArguments,

    /// The file to write, in the place of the one before; - is stdout
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Runs the command.
pub fn run(arguments: &ReportArguments) -> anyhow::Result<Exit> {
    arguments.input.refuse_sharing_stdin(None)?;
    let sources = arguments.input.texts_for_checks()?;
    let (parsed, written) = arguments.input.parse_written(&sources)?;
    let findings = palisade_check::check(&parsed, written, &Selection::default());
    let (snapshot, _) = answer(parsed)?;
    let left_out = what_is_left_out(&[&snapshot]);
    let about = arguments.input.path_names();
    let report = Report { about: &about, snapshot: &snapshot, findings: &findings, left_out: left_out.as_deref() };
    let page = report.html().context("cannot write the page")?;
    write(&arguments.out, page.as_bytes())?;
    note(&summary(snapshot.policies.len(), &findings));
    Ok(Exit::Clean)
}

fn write(out: &Path, page: &[u8]) -> anyhow::Result<()> {
    if out == Path::new("-") {
        return io::stdout().lock().write_all(page).context("cannot write the page");
    }
    replace(out, page).with_context(|| format!("cannot write {}", out.display()))
}

/// Puts a file in the place of the one before, whole or not at all: it is written beside it, and then renamed. What a link leads to is
/// replaced, and not the link; a device or a pipe is written to.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = match fs::metadata(path) {
        Ok(found) if !found.is_file() => return File::options().write(true).open(path)?.write_all(content),
        Ok(_) => fs::canonicalize(path)?,
        Err(_) => path.to_path_buf(),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = File::create_new(&new).and_then(|mut file| file.write_all(content));
    let replaced = written.and_then(|()| fs::rename(&new, &path));
    if replaced.is_err() {
        // What it failed of is told; that this fails as well says nothing more.
        let _ = fs::remove_file(&new);
    }
    replaced
}
