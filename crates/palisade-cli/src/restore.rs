//! `palisade restore`: closes a node at boot, before its kubelet starts.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use palisade_agent::restore::{Restored, restore};

use crate::output::Exit;

/// Arguments of `restore`.
#[derive(Args, Debug)]
pub struct RestoreArguments {
    /// Where the agent's state is [default: /var/lib/palisade/HOSTNAME]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: RestoreArguments) -> anyhow::Result<Exit> {
    let host_name = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let directory = arguments.state_dir.unwrap_or_else(|| palisade_agent::state_directory(&host_name()));
    let restored = restore(&directory)?;
    let text = match restored {
        Restored::Nothing => format!("nothing to restore: there is no state in {}", directory.display()),
        Restored::Paused => "nothing to restore: enforcement is paused".to_string(),
        Restored::NoPodRanges => "nothing to restore: unknown pods were not dropped on this node".to_string(),
        Restored::InForceAlready => "nothing to restore: the kernel holds the rules already".to_string(),
        Restored::AgentRuns(agent) => format!("nothing to restore: an agent runs: {agent}"),
        Restored::Closed { pod_ranges, guarded, banned } => {
            let mut closed: Vec<String> = pod_ranges.iter().map(ToString::to_string).collect();
            closed.extend(guarded.then(|| "guarded ports of nodes".to_string()));
            closed.extend(banned.then(|| "banned addresses".to_string()));
            format!("closed until the agent runs: {}", closed.join(", "))
        }
    };
    writeln!(io::stdout().lock(), "{text}").context("cannot write the outcome")?;
    Ok(Exit::Clean)
}
