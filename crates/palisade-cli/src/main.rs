//! The `palisade` command.

#[cfg(target_os = "linux")]
mod agent;
mod args;
#[cfg(target_os = "linux")]
mod ban_policies;
#[cfg(target_os = "linux")]
mod bans;
mod check;
#[cfg(target_os = "linux")]
mod classes;
#[cfg(target_os = "linux")]
mod denied;
mod diagnostics;
mod dialects;
mod diff;
mod explain;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod host_ask;
#[cfg(target_os = "linux")]
mod host_status;
mod input;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(target_os = "linux")]
mod lab_report;
#[cfg(target_os = "linux")]
mod live;
#[cfg(target_os = "linux")]
mod logging;
mod matrix;
mod output;
#[cfg(all(test, target_os = "linux"))]
mod reference;
#[cfg(target_os = "linux")]
mod render;
mod report;
#[cfg(target_os = "linux")]
mod restore;
mod shell;
#[cfg(target_os = "linux")]
mod status;
#[cfg(target_os = "linux")]
mod table;
mod test;
#[cfg(target_os = "linux")]
mod test_lab;
mod test_report;
#[cfg(target_os = "linux")]
mod wait;
mod wanted;
#[cfg(target_os = "linux")]
mod yaml;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use args::{Arguments, Command};
use output::Exit;

/// The arguments; under the name `kubectl-palisade` we are the plugin of kubectl that is called `kubectl palisade`.
fn arguments() -> Arguments {
    let name = std::env::args_os().next().map(PathBuf::from);
    let is_plugin = name.is_some_and(|path| path.file_name().is_some_and(|name| name == "kubectl-palisade"));
    let command = Arguments::command();
    let command = if is_plugin { command.bin_name("kubectl palisade") } else { command };
    let matches = command.get_matches();
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn main() -> ExitCode {
    let arguments = arguments();
    let outcome = match arguments.command {
        #[cfg(target_os = "linux")]
        Command::Agent(arguments) => agent::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Status(arguments) => status::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Denied(arguments) => denied::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Wait(arguments) => wait::run(arguments),
        #[cfg(target_os = "linux")]
        Command::Restore(arguments) => restore::run(arguments),
        #[cfg(target_os = "linux")]
        Command::Ban(arguments) => bans::ban(arguments),
        #[cfg(target_os = "linux")]
        Command::Unban(arguments) => bans::unban(&arguments),
        #[cfg(target_os = "linux")]
        Command::Bans(arguments) => bans::bans(&arguments),
        #[cfg(target_os = "linux")]
        Command::Host(arguments) => host::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Matrix(arguments) => matrix::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Completion(arguments) => shell::completion(&arguments),
        Command::Man(arguments) => shell::man(&arguments),
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
