//! `cargo xtask bed`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use xtask::bed::{Bed, Binaries, Host, NODES_MAX, Options, ProxyMode};

#[derive(Debug, Subcommand)]
pub enum BedCommand {
    /// Build the programs of the bed, if they are not built yet
    Build,
    /// Bring up a bed, in place of one that is up
    Up(Shape),
    /// Remove the bed with all that belongs to it
    Down,
    /// Run kubectl as the cluster's administrator
    Kubectl {
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run a program on a host of the bed: node1, node2, ..., control, or outside
    Exec {
        /// The host
        host: String,
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Load an image, a tar as `cargo xtask image` and `docker save` write it, on every node
    Load {
        /// The tar
        image: PathBuf,
    },
}

/// What a bed is to be like.
#[derive(Debug, Args)]
pub struct Shape {
    /// How many nodes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
    nodes: u8,
    /// How kube-proxy makes Services work
    #[arg(long, value_enum, default_value_t = ProxyMode::Nftables)]
    proxy_mode: ProxyMode,
    /// Pods leave their node under its address
    #[arg(long)]
    ip_masq: bool,
}

impl From<Shape> for Options {
    fn from(shape: Shape) -> Options {
        Options { nodes: shape.nodes, proxy_mode: shape.proxy_mode, ip_masq: shape.ip_masq }
    }
}

/// Carries a command out; the exit code is that of the program that was run, if any.
pub fn run(command: BedCommand) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let say = |line: &str| eprintln!("{line} ({:.1} s)", start.elapsed().as_secs_f64());
    match command {
        BedCommand::Build => {
            Binaries::built(&say)?;
        }
        BedCommand::Up(shape) => {
            Bed::up(shape.into(), &say)?.keep()?;
            say("the bed is up: cargo xtask bed kubectl get nodes");
        }
        BedCommand::Down => Bed::down(&say)?,
        BedCommand::Kubectl { arguments } => return handed_over(Bed::running()?.kubectl_command().args(arguments)),
        BedCommand::Exec { host, command } => {
            let bed = Bed::running()?;
            let (program, arguments) = command.split_first().context("no program to run")?;
            return handed_over(found(&bed, &host)?.command(program)?.args(arguments));
        }
        BedCommand::Load { image } => Bed::running()?.load(&image)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn found<'a>(bed: &'a Bed, host: &str) -> anyhow::Result<&'a Host> {
    match host {
        "control" => Ok(bed.control()),
        "outside" => Ok(bed.outside()),
        node => Ok(&bed.node(node)?.host),
    }
}

fn handed_over(command: &mut Command) -> anyhow::Result<ExitCode> {
    let status = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
