//! `palisade host`: on a server outside of clusters, lets their nodes reach its ports.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use palisade_core::{HostPort, Port, PortRange, Transport};
use palisade_host::store::{self, Store};
use palisade_host::{Ended, Settings, cleanup, export, unusable};
use palisade_sources::SourceText;
use palisade_sources::node_allowlist::{ClusterSource, Export, ExportFormat, Mode, NodeAllowlist, Safety};

use crate::logging::LogArguments;
use crate::output::{Exit, Hinted, note};
use crate::{diagnostics, host_ask, host_status};

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

    /// Let nodes go that stay admitted since safety kept them: those that 'palisade host status' names now
    #[command(after_help = "Exit status: 0 they may go, 1 there are none, 2 error.")]
    Accept(host_ask::AcceptArguments),

    /// Keep the rules that --confirm-seconds would take back
    #[command(after_help = "Exit status: 0 they stay, 1 none wait to be confirmed, 2 error.")]
    Confirm(host_ask::ConfirmArguments),
}

/// How the list is enforced.
#[derive(Args, Debug)]
struct HostRunArguments {
    /// A NodeAllowlist: clusters, and the ports that their nodes reach
    #[arg(long, value_name = "FILE", required_unless_present_any = ["kubeconfig", "cleanup"])]
    config: Option<PathBuf>,

    /// Instead of a file: the one cluster whose nodes are admitted
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "cleanup"])]
    kubeconfig: Option<PathBuf>,

    /// With --kubeconfig: a port that they reach and nobody else, as tcp/5432 or tcp/5432-5440; may be given several times
    #[arg(long, value_name = "PORT", value_parser = host_port, requires = "kubeconfig")]
    allow: Vec<HostPort>,

    /// Say what is wrong with the file, and do nothing else
    #[arg(long, requires = "config", conflicts_with_all = ["once", "export", "cleanup"])]
    check: bool,

    /// Ask every cluster once, and end
    #[arg(long, conflicts_with = "cleanup")]
    once: bool,

    /// Instead of the kernel: keep the addresses in this file; - asks once and prints them
    #[arg(long, value_name = "FILE", conflicts_with = "cleanup")]
    export: Option<PathBuf>,

    /// With --export: how they are written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::List, requires = "export")]
    format: Format,

    /// With --export: a template of your own
    #[arg(long, value_name = "FILE", requires = "export", conflicts_with = "format")]
    template: Option<PathBuf>,

    /// With --export, and last: a program that is run after each change of the file, with its arguments
    #[arg(long, value_name = "PROGRAM", num_args = 1.., allow_hyphen_values = true, requires = "export")]
    run: Vec<String>,

    /// Take back the rules unless Enter, or 'palisade host confirm', comes within so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    #[arg(conflicts_with_all = ["check", "export", "cleanup"])]
    confirm_seconds: Option<u32>,

    /// Serve /metrics, /healthz and /readyz there
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["check", "once", "cleanup"])]
    listen: Option<SocketAddr>,

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

/// How exported addresses are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One a line
    List,
    /// For 'ipset restore'
    Ipset,
    /// Two sets, for 'include' within a table
    Nft,
    /// One object, with the node of each
    Json,
}

/// Runs the command.
pub fn run(arguments: HostArguments) -> anyhow::Result<Exit> {
    match arguments.command {
        Some(HostCommand::Status(arguments)) => return host_status::run(&arguments),
        Some(HostCommand::Accept(arguments)) => return host_ask::accept(&arguments),
        Some(HostCommand::Confirm(arguments)) => return host_ask::confirm(&arguments),
        None => {}
    }
    let mut arguments = arguments.run;
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
        (None, Some(kubeconfig)) => {
            of_flags(kubeconfig, std::mem::take(&mut arguments.allow), arguments.export.is_some())?
        }
        (None, None) => anyhow::bail!("--config or --kubeconfig says which clusters are meant"),
    };
    if arguments.check {
        // Where the list is checked its kubeconfigs need not be.
        for unusable in unusable(&list.clusters)? {
            note(&format!("warning: {unusable}"));
        }
        return Ok(Exit::Clean);
    }
    let list = match &arguments.export {
        Some(path) if path.as_os_str() == "-" => return print(&list, &arguments.format(), &arguments.state_dir),
        Some(path) => exporting(list, path, &arguments)?,
        None => list,
    };
    arguments.log.start();
    enforce(list, arguments)
}

impl HostRunArguments {
    fn format(&self) -> ExportFormat {
        match (&self.template, self.format) {
            (Some(template), _) => ExportFormat::Template(template.clone()),
            (None, Format::List) => ExportFormat::List,
            (None, Format::Ipset) => ExportFormat::IpsetRestore,
            (None, Format::Nft) => ExportFormat::NftInclude,
            (None, Format::Json) => ExportFormat::Json,
        }
    }
}

fn enforce(list: NodeAllowlist, arguments: HostRunArguments) -> anyhow::Result<Exit> {
    let confirm = arguments.confirm_seconds.map(|seconds| Duration::from_secs(seconds.into()));
    if confirm.is_some() && list.mode == Mode::ExportOnly {
        anyhow::bail!("--confirm-seconds takes back what the kernel holds, and mode ExportOnly leaves it alone");
    }
    if confirm.is_some() && io::stdin().is_terminal() {
        note("Enter keeps the rules");
        let store = Store::at(&arguments.state_dir);
        std::thread::spawn(move || host_ask::confirm_by_enter(&store));
    }
    let HostRunArguments { state_dir, once, listen, .. } = arguments;
    match palisade_host::run(Settings { list, state_dir, once, confirm, listen })? {
        Ended::Well => Ok(Exit::Clean),
        Ended::Unwell => Ok(Exit::Found),
        Ended::WentBack => {
            note("nobody confirmed in time: what the kernel held before is back");
            Ok(Exit::Found)
        }
    }
}

/// The list with this file in place of the kernel and of other files.
fn exporting(list: NodeAllowlist, path: &Path, arguments: &HostRunArguments) -> anyhow::Result<NodeAllowlist> {
    let path = std::path::absolute(path).context("cannot tell where the file is to be")?;
    let export = Export { path, format: arguments.format(), command: arguments.run.clone() };
    Ok(NodeAllowlist { mode: Mode::ExportOnly, allow: Vec::new(), exports: vec![export], ..list })
}

fn take_out() -> anyhow::Result<Exit> {
    let text = if cleanup()? { "the rules are taken out of the kernel" } else { "there are no rules in the kernel" };
    writeln!(io::stdout().lock(), "{text}").context("cannot write the outcome")?;
    Ok(Exit::Clean)
}

/// The addresses as they are now.
fn print(list: &NodeAllowlist, format: &ExportFormat, state_dir: &Path) -> anyhow::Result<Exit> {
    let exported = export(list, state_dir)?;
    for warning in &exported.warnings {
        note(&format!("warning: {warning}"));
    }
    let text = exported.addresses.text(format)?;
    io::stdout().write_all(text.as_bytes()).context("cannot print the addresses")?;
    Ok(Exit::Clean)
}

/// What a file says; what is wrong with it goes to standard error.
fn read(path: &Path) -> anyhow::Result<Option<NodeAllowlist>> {
    let text = palisade_sources::read_text(path).with_context(|| format!("cannot read {}", path.display()))?;
    let source = SourceText { file: path.display().to_string().into(), text };
    let (list, found) = NodeAllowlist::parse(&source);
    diagnostics::print(&found);
    Ok(list)
}

/// What the flags say that stand for a file.
fn of_flags(kubeconfig: &Path, allow: Vec<HostPort>, is_exported: bool) -> anyhow::Result<NodeAllowlist> {
    if allow.is_empty() && !is_exported {
        let message = "--kubeconfig says who is admitted, and nothing says to what".to_string();
        let hint = "--allow tcp/5432 guards a port, --export FILE writes the addresses".to_string();
        return Err(Hinted { message, hint }.into());
    }
    let kubeconfig = std::path::absolute(kubeconfig).context("cannot tell where the kubeconfig is")?;
    Ok(NodeAllowlist {
        name: UNNAMED.into(),
        clusters: vec![ClusterSource::whole(UNNAMED.into(), kubeconfig)],
        static_cidrs: Vec::new(),
        allow,
        mode: Mode::OwnChain,
        exports: Vec::new(),
        safety: Safety::default(),
    })
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
