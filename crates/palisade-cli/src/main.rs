//! The `palisade` command.

mod args;
#[cfg(target_os = "linux")]
mod classes;
mod diagnostics;
mod explain;
mod input;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(target_os = "linux")]
mod lab_report;
mod output;
#[cfg(target_os = "linux")]
mod render;
#[cfg(target_os = "linux")]
mod table;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Arguments, Command};
use output::Exit;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Explain(arguments) => explain::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Lab(arguments) => lab::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Render(arguments) => render::run(&arguments),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            // Whoever closed our output has read enough; that is no failure to report.
            if !output::is_broken_pipe(&error) {
                output::print_error(&error);
            }
            Exit::NoAnswer.into()
        }
    }
}
