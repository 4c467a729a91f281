//! `palisade completion` and `palisade man`: what shells and `man` are to know of the command line, written from it.

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Arguments;
use crate::output::Exit;

/// Arguments of `completion`.
#[derive(Args, Debug)]
pub struct CompletionArguments {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Args, Debug)]
pub struct ManArguments {
    /// A directory that is there, for a page of each command
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Prints the script.
pub fn completion(arguments: &CompletionArguments) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "palisade", &mut script);
    io::Write::write_all(&mut io::stdout().lock(), &script).context("cannot print the script")?;
    Ok(Exit::Clean)
}

/// Writes the pages.
pub fn man(arguments: &ManArguments) -> anyhow::Result<Exit> {
    let directory = &arguments.directory;
    let pages = clap_mangen::generate_to(Arguments::command(), directory);
    pages.with_context(|| format!("cannot write pages to {}", directory.display()))?;
    Ok(Exit::Clean)
}
