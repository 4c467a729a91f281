//! The reference of flags, written from the command line itself: `UPDATE_GOLDENS=1 cargo test -p palisade-cli` renews it.
#![expect(clippy::disallowed_methods, reason = "a test that reads and writes the project's own reference")]

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};

use crate::args::Arguments;

/// The commands on a node and of a cluster, in the order of the reference.
const COMMANDS: [&str; 9] = ["agent", "status", "denied", "wait", "ban", "unban", "bans", "host", "restore"];

#[test]
fn the_reference_lists_every_flag() {
    let mut command = Arguments::command();
    command.build();
    let mut text = "# Commands on a node\n\nWritten from the command line itself.\n".to_string();
    for name in COMMANDS {
        describe(&mut text, "palisade", command.find_subcommand(name).unwrap());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/commands.md");
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, text, "docs/reference/commands.md is not that of the command line; UPDATE_GOLDENS=1 renews it");
}

/// A command, then those of its own.
fn describe(text: &mut String, parent: &str, command: &Command) {
    let name = format!("{parent} {}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(text, "\n## `{name}`\n\n{about}.\n");
    let arguments: Vec<&Arg> = command.get_arguments().filter(|argument| argument.get_id() != "help").collect();
    if !arguments.is_empty() {
        text.push_str("\n| flag | meaning | default |\n|---|---|---|\n");
    }
    for argument in arguments {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let (meaning, said) = help.split_once(" [default: ").unwrap_or((&help, ""));
        let default = match said.trim_end_matches(']') {
            "" => default(argument),
            said => said.to_owned(),
        };
        let _ = writeln!(text, "| {} | {} | {default} |", flag(argument), cell(meaning, argument));
    }
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        describe(text, &name, command);
    }
}

fn flag(argument: &Arg) -> String {
    let takes_value = argument.get_action().takes_values();
    let value = match argument.get_value_names().unwrap_or_default() {
        [name, ..] if takes_value => format!(" {name}"),
        _ => String::new(),
    };
    match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(long)) => format!("`-{short}`, `--{long}{value}`"),
        (None, Some(long)) => format!("`--{long}{value}`"),
        _ => format!("`{}`", value.trim_start()),
    }
}

/// The meaning, and what the values mean where there are a few.
fn cell(meaning: &str, argument: &Arg) -> String {
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| argument.get_action().takes_values() && !argument.is_hide_possible_values_set())
        .filter_map(|value| value.get_help().map(|help| format!("`{}`: {help}", value.get_name())))
        .collect();
    let text = if values.is_empty() { meaning.to_string() } else { format!("{meaning}. {}", values.join("; ")) };
    text.replace('|', "\\|")
}

fn default(argument: &Arg) -> String {
    let values = argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
    if argument.get_action().takes_values() { values.collect::<Vec<_>>().join(", ") } else { String::new() }
}
