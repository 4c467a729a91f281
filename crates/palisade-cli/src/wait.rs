//! `palisade wait`: until a policy or the rules of a pod are in force.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use palisade_agent::wait::{Outcome, Standing, Subject, Wait};
use palisade_core::ObjectName;

use crate::args::OutputFormat;
use crate::output::{Exit, with_hint};

/// Arguments of `wait`.
#[derive(Args, Debug)]
pub struct WaitArguments {
    /// What to wait for.
    #[command(subcommand)]
    pub command: WaitCommand,
}

/// What can be waited for.
#[derive(Debug, Subcommand)]
pub enum WaitCommand {
    /// Until the rules of a pod are in force on its node
    Pod {
        /// The pod
        #[arg(value_name = "NAMESPACE/NAME", value_parser = object_name)]
        name: ObjectName,

        /// How.
        #[command(flatten)]
        how: HowArguments,
    },

    /// Until a host policy, as it is now, is in force on every node
    HostPolicy {
        /// The policy
        #[arg(value_name = "NAME")]
        name: String,

        /// in-force, or delete: until it is gone on every node
        #[arg(long = "for", value_name = "WHAT", value_enum, default_value_t = ForArgument::InForce)]
        #[arg(hide_possible_values = true)]
        until: ForArgument,

        /// How.
        #[command(flatten)]
        how: HowArguments,
    },

    /// Until a ban list, as it is now, is in force on every node
    BanList {
        /// The list
        #[arg(value_name = "NAME")]
        name: String,

        /// in-force, or delete: until it is gone on every node
        #[arg(long = "for", value_name = "WHAT", value_enum, default_value_t = ForArgument::InForce)]
        #[arg(hide_possible_values = true)]
        until: ForArgument,

        /// How.
        #[command(flatten)]
        how: HowArguments,
    },

    /// Until a policy, as it is now, is in force on every node
    Policy {
        /// The policy
        #[arg(value_name = "NAMESPACE/NAME", value_parser = object_name)]
        name: ObjectName,

        /// in-force, or delete: until it is gone on every node
        #[arg(long = "for", value_name = "WHAT", value_enum, default_value_t = ForArgument::InForce)]
        #[arg(hide_possible_values = true)]
        until: ForArgument,

        /// How.
        #[command(flatten)]
        how: HowArguments,
    },
}

/// How to wait.
#[derive(Args, Debug)]
pub struct HowArguments {
    /// The API server [default: what kubectl takes]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// How long: 500ms, 30s, 5m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    timeout: Duration,

    /// text, or json
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text)]
    #[arg(hide_possible_values = true)]
    output: OutputFormat,
}

/// What is to become of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ForArgument {
    /// it is in force
    InForce,
    /// it is gone
    Delete,
}

/// Runs the command.
pub fn run(arguments: WaitArguments) -> anyhow::Result<Exit> {
    let (subject, name, how) = match arguments.command {
        WaitCommand::HostPolicy { name, until, how } => {
            let subject = match until {
                ForArgument::InForce => Subject::HostPolicy,
                ForArgument::Delete => Subject::HostPolicyGone,
            };
            (subject, ObjectName::new("", name), how)
        }
        WaitCommand::BanList { name, until, how } => {
            let subject = match until {
                ForArgument::InForce => Subject::BanList,
                ForArgument::Delete => Subject::BanListGone,
            };
            (subject, ObjectName::new("", name), how)
        }
        WaitCommand::Pod { name, how } => (Subject::Pod, name, how),
        WaitCommand::Policy { name, until: ForArgument::InForce, how } => (Subject::Policy, name, how),
        WaitCommand::Policy { name, until: ForArgument::Delete, how } => (Subject::PolicyGone, name, how),
    };
    let wait = Wait {
        kubeconfig: how.kubeconfig,
        context: how.context,
        subject,
        namespace: name.namespace.to_string(),
        name: name.name.to_string(),
        timeout: how.timeout,
    };
    let outcome = wait.run().map_err(|error| {
        let hint = error.hint().map(str::to_owned);
        with_hint(error, hint)
    })?;
    let text = match how.output {
        OutputFormat::Text => text(&outcome, subject),
        OutputFormat::Json => format!("{}\n", serde_json::to_string(&outcome).context("cannot write the outcome")?),
    };
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write the outcome")?;
    Ok(if outcome.in_force { Exit::Clean } else { Exit::Found })
}

/// One line for the object, and one for each node that is not as it should be.
fn text(outcome: &Outcome, subject: Subject) -> String {
    let state = match (subject.is_to_go(), outcome.in_force) {
        (true, true) => "gone",
        (true, false) => "not gone",
        (false, true) => "in force",
        (false, false) => "not in force",
    };
    let in_force = outcome.nodes.iter().filter(|node| node.standing == Standing::InForce).count();
    let nodes = match (outcome.nodes.len(), in_force) {
        (0, _) => String::new(),
        (1, 1) => format!(" on node {}", outcome.nodes[0].node),
        (all, _) => format!(" on {in_force} of {all} nodes"),
    };
    let (seconds, tenths) = (outcome.waited_ms / 1000, outcome.waited_ms % 1000 / 100);
    let mut text = format!("{}: {state}{nodes} after {seconds}.{tenths} s", outcome.object);
    if let Some(note) = &outcome.note {
        let _ = write!(text, ": {note}");
    }
    text.push('\n');
    for node in outcome.nodes.iter().filter(|node| node.standing != Standing::InForce) {
        let standing = if node.standing == Standing::NoAgent { "no agent" } else { "lags" };
        let why = node.why.as_deref().unwrap_or_default();
        let _ = writeln!(text, "  node {}: {standing}: {why}", node.node);
    }
    text
}

fn object_name(text: &str) -> Result<ObjectName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(ObjectName::new(namespace, name))
        }
        _ => Err("it is written NAMESPACE/NAME".to_string()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    milliseconds(text).map(|time| Duration::from_millis(time.min(MILLISECONDS_MAX)))
}

/// A time such as 500ms, 30s, 5m, 1h, in milliseconds; one that is too long for them is the longest.
pub fn milliseconds(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "it begins with a whole number".to_string())?;
    let milliseconds = match unit {
        "ms" => number,
        "s" | "" => number.saturating_mul(1000),
        "m" => number.saturating_mul(60_000),
        "h" => number.saturating_mul(3_600_000),
        _ => return Err(format!("'{unit}' is no unit; ms, s, m and h are")),
    };
    Ok(milliseconds)
}

/// A year: longer nobody waits, and clocks can be added up.
const MILLISECONDS_MAX: u64 = 365 * 24 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_not_said_to_be_in_force() {
        let outcome =
            |in_force| Outcome { object: "it".into(), in_force, waited_ms: 1_250, nodes: Vec::new(), note: None };
        for subject in [Subject::PolicyGone, Subject::HostPolicyGone, Subject::BanListGone] {
            assert_eq!(text(&outcome(true), subject), "it: gone after 1.2 s\n");
            assert_eq!(text(&outcome(false), subject), "it: not gone after 1.2 s\n");
        }
        for subject in [Subject::Pod, Subject::Policy, Subject::HostPolicy, Subject::BanList] {
            assert_eq!(text(&outcome(true), subject), "it: in force after 1.2 s\n");
            assert_eq!(text(&outcome(false), subject), "it: not in force after 1.2 s\n");
        }
    }

    #[test]
    fn durations() {
        let check = |text, expected: Option<u64>| {
            assert_eq!(duration(text).ok(), expected.map(Duration::from_millis), "{text}");
        };
        check("500ms", Some(500));
        check("30s", Some(30_000));
        check("30", Some(30_000));
        check("5m", Some(300_000));
        check("99999999999999999999s", None);
        check("18446744073709551615h", Some(MILLISECONDS_MAX));
        check("s", None);
        check("3d", None);
    }
}
