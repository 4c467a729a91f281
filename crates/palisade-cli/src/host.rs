//! `palisade host`: on a server outside of clusters, lets their nodes reach its ports.
#![expect(clippy::disallowed_methods, reason = "this file reads what the user names")]

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use palisade_core::{HostPort, Port, PortRange, Selector, Transport};
use palisade_host::cluster::shown;
use palisade_host::{Settings, cleanup, export, store};
use palisade_sources::SourceText;
use palisade_sources::node_allowlist::{AddressType, ClusterSource, NodeAllowlist, Safety};

use crate::logging::LogArguments;
use crate::output::{Exit, Hinted, note};
use crate::{diagnostics, host_status};

/// The name of a list, and of its cluster, that no file names.
const UNNAMED: &str = "nodes";

/// Arguments of `host`.
#[derive(Args, Debug)]
pub struct HostArguments {
    /// What else to do.
    #[command(subcommand)]
    command: Option<HostCommand>,

    /// The list itself.
    #[command(flatten)]
    run: HostRunArguments,
}

/// Subcommands of `host`.
#[derive(Debug, Subcommand)]
enum HostCommand {
    /// Show which nodes are admitted, which are not, and why
    #[command(
        after_help = "Exit status: 0 in force, 1 not, nobody follows the clusters, or one was never listed, 2 nothing is known."
    )]
    Status(host_status::HostStatusArguments),
}

/// How the list is enforced.
#[derive(Args, Debug)]
struct HostRunArguments {
    /// A NodeAllowlist: clusters, and the ports that their nodes reach
    #[arg(long, value_name = "FILE", required_unless_present_any = ["kubeconfig", "cleanup"])]
    config: Option<PathBuf>,

    /// Instead of a file: the one cluster whose nodes are admitted
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "cleanup"], requires = "allow")]
    kubeconfig: Option<PathBuf>,

    /// With --kubeconfig: a port that they reach and nobody else, as tcp/5432 or tcp/5432-5440; may be given several times
    #[arg(long, value_name = "PORT", value_parser = host_port, requires = "kubeconfig")]
    allow: Vec<HostPort>,

    /// Say what is wrong with the file, and do nothing else
    #[arg(long, requires = "config", conflicts_with_all = ["once", "cleanup"])]
    check: bool,

    /// Ask every cluster once, and end
    #[arg(long, conflicts_with = "cleanup")]
    once: bool,

    /// Ask every cluster once, print the addresses one a line (- is standard output), and change nothing
    #[arg(long, value_name = "FILE", value_parser = ["-"], hide_possible_values = true)]
    #[arg(conflicts_with_all = ["check", "once", "cleanup"])]
    export: Option<String>,

    /// Take the rules out of the kernel, and do nothing else
    #[arg(long, conflicts_with = "config")]
    cleanup: bool,

    /// Where the nodes are kept for the next start
    #[arg(long, value_name = "DIR", default_value = store::STATE_DIR)]
    state_dir: PathBuf,

    /// The log.
    #[command(flatten)]
    log: LogArguments,
}

/// Runs the command.
pub fn run(arguments: HostArguments) -> anyhow::Result<Exit> {
    if let Some(HostCommand::Status(arguments)) = arguments.command {
        return host_status::run(&arguments);
    }
    let arguments = arguments.run;
    if arguments.cleanup {
        return take_out();
    }
    let list = match (&arguments.config, &arguments.kubeconfig) {
        (Some(path), _) => match read(path)? {
            Some(list) => list,
            None if arguments.check => return Ok(Exit::Found),
            None => {
                let message = format!("{} cannot be used; nothing is changed", path.display());
                return Err(Hinted { message, hint: "correct what is said above".to_string() }.into());
            }
        },
        (None, Some(kubeconfig)) => of_flags(kubeconfig, arguments.allow)?,
        (None, None) => anyhow::bail!("--config or --kubeconfig says which clusters are meant"),
    };
    if arguments.check {
        return Ok(Exit::Clean);
    }
    if arguments.export.is_some() {
        return print(&list);
    }
    arguments.log.start();
    let is_well = palisade_host::run(Settings { list, state_dir: arguments.state_dir, once: arguments.once })?;
    Ok(if is_well { Exit::Clean } else { Exit::Found })
}

fn take_out() -> anyhow::Result<Exit> {
    let text = if cleanup()? { "the rules are taken out of the kernel" } else { "there are no rules in the kernel" };
    writeln!(io::stdout().lock(), "{text}").context("cannot write the outcome")?;
    Ok(Exit::Clean)
}

/// The addresses as they are now, one a line.
fn print(list: &NodeAllowlist) -> anyhow::Result<Exit> {
    let exported = export(list)?;
    for warning in &exported.warnings {
        note(&format!("warning: {warning}"));
    }
    let lines: String = exported.addresses.iter().map(|net| shown(*net) + "\n").collect();
    io::stdout().write_all(lines.as_bytes()).context("cannot print the addresses")?;
    Ok(Exit::Clean)
}

/// What a file says; what is wrong with it goes to standard error.
fn read(path: &Path) -> anyhow::Result<Option<NodeAllowlist>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let source = SourceText { file: path.display().to_string().into(), text };
    let (list, found) = NodeAllowlist::parse(&source);
    diagnostics::print(&found);
    Ok(list)
}

/// What the flags say that stand for a file.
fn of_flags(kubeconfig: &Path, allow: Vec<HostPort>) -> anyhow::Result<NodeAllowlist> {
    let kubeconfig = std::path::absolute(kubeconfig).context("cannot tell where the kubeconfig is")?;
    let cluster = ClusterSource {
        name: UNNAMED.into(),
        kubeconfig,
        nodes: Selector::everything(),
        address_types: AddressType::DEFAULT.into(),
    };
    let safety = Safety::default();
    Ok(NodeAllowlist { name: UNNAMED.into(), clusters: vec![cluster], static_cidrs: Vec::new(), allow, safety })
}

/// `tcp/5432`, or `tcp/5432-5440`.
fn host_port(text: &str) -> Result<HostPort, String> {
    let read = || {
        let (transport, ports) = text.split_once('/')?;
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |text: &str| text.parse::<u16>().ok().and_then(Port::new);
        let range = PortRange::new(port(first)?, port(last)?)?;
        Some(HostPort { transport: transport.parse::<Transport>().ok()?, range })
    };
    read().ok_or_else(|| "expected a port such as tcp/5432, or tcp/5432-5440".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(host_port(text).ok().map(|port| port.to_string()).as_deref(), expected, "{text}");
        };
        check("tcp/5432", Some("tcp 5432"));
        check("udp/53-60", Some("udp 53-60"));
        for text in ["5432", "tcp/", "tcp/0", "tcp/6-5", "tcp/70000", "icmp/1", "tcp/1-2-3"] {
            check(text, None);
        }
    }
}
