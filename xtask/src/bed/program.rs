//! Programs of the machine, run to their end.
#![expect(clippy::disallowed_methods, reason = "the bed is made of programs")]

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail};

/// A program that is still to get its arguments.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    Command::new(name)
}

/// Runs to the end; gives what it wrote to its standard output.
///
/// # Errors
///
/// It cannot be started or fails; the error holds what it said.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", shown(command)))?;
    judged(command, &output)
}

/// As [`run`], with `input` as the standard input.
///
/// # Errors
///
/// As [`run`].
pub fn run_with_input(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let failed = format!("cannot run {}", shown(command));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| failed.clone())?;
    let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output().with_context(|| failed.clone())?;
    let text = judged(command, &output)?;
    // A program that ends well without reading everything is right; one that fails says better why.
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context(failed),
        _ => Ok(text),
    }
}

/// As [`run`], with `input` as the standard input.
///
/// # Errors
///
/// As [`run`].
pub fn run_with_file(command: &mut Command, input: File) -> anyhow::Result<String> {
    let output = command.stdin(input).output().with_context(|| format!("cannot run {}", shown(command)))?;
    judged(command, &output)
}

fn judged(command: &Command, output: &Output) -> anyhow::Result<String> {
    if !output.status.success() {
        // Some say on their standard output what is wrong.
        let [said, complaint] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        let why = if complaint.trim().is_empty() { said } else { complaint };
        bail!("{} failed ({}): {}", shown(command), output.status, why.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command line, as one would type it.
pub fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let _ = write!(line, " {}", argument.to_string_lossy());
    }
    line
}
