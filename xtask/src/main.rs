//! `cargo xtask`: chores of the project.

mod bed_commands;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bed_commands::{BedCommand, Shape};
use clap::{Parser, Subcommand};
use xtask::bed::Bed;
use xtask::soak::{Soak, Until};
use xtask::{crowd, e2e, image, latency};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hold oracle, tables and kernel against one another on random clusters
    Soak {
        /// How long
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// The first seed; a case that was found comes again with its seed
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// A real Kubernetes of several nodes on this machine, for tests; see docs/testbed.md
    #[command(subcommand)]
    Bed(BedCommand),
    /// Build Palisade and write its image, a tar for `bed load`, `docker load` and `podman load`
    Image {
        /// The tar
        #[arg(long, default_value = "target/palisade.tar")]
        out: PathBuf,
        /// The profile of Cargo
        #[arg(long, default_value = "release")]
        profile: String,
    },
    /// Run the NetworkPolicy tests of Kubernetes on the bed that is up, or else on one of their own with Palisade on it, or
    /// on another cluster
    E2e {
        /// The specs to run, as a regular expression on their names
        #[arg(long, default_value = e2e::NETWORK_POLICY)]
        focus: String,
        /// Only a few of them
        #[arg(long, conflicts_with = "focus")]
        smoke: bool,
        /// Another cluster, such as one of kind
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        #[command(flatten)]
        shape: Shape,
    },
    /// Measure how soon a policy is in force on the bed that is up, where some engine enforces it
    Latency {
        /// How often the policy comes and goes
        #[arg(long, default_value_t = 20)]
        pairs: usize,
        /// Make so many pods first that only the API server knows
        #[arg(long, default_value_t = 0)]
        pods: usize,
        /// Make so many policies for them
        #[arg(long, default_value_t = 0, requires = "pods")]
        policies: usize,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Soak { minutes, seed } => return soak(minutes, seed),
        Command::Bed(command) => bed_commands::run(command),
        Command::Image { out, profile } => image::palisade::write(&out, &profile).map(|()| ExitCode::SUCCESS),
        Command::E2e { focus, smoke, kubeconfig, shape } => {
            let focus = if smoke { e2e::SMOKE } else { &focus };
            let say: xtask::bed::Say<'_> = &|line| eprintln!("{line}");
            let passed = match kubeconfig {
                Some(kubeconfig) => e2e::run_elsewhere(&kubeconfig, focus, say),
                None => {
                    Bed::running().or_else(|_| bed_with_palisade(shape, say)).and_then(|bed| e2e::run(&bed, focus, say))
                }
            };
            passed.map(|passed| ExitCode::from(u8::from(!passed)))
        }
        Command::Latency { pairs, pods, policies } => {
            let say: xtask::bed::Say<'_> = &|line| eprintln!("{line}");
            let measured = Bed::running().and_then(|bed| {
                if pods > 0 {
                    crowd::gather(&bed, pods, policies, say)?;
                }
                latency::measure(&bed, pairs, say)
            });
            measured.map(|latencies| print!("{latencies}")).map(|()| ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| failed(&error))
}

fn bed_with_palisade(shape: Shape, say: xtask::bed::Say<'_>) -> anyhow::Result<Bed> {
    let image = PathBuf::from("target/palisade.tar");
    image::palisade::write(&image, "release")?;
    let bed = Bed::up(shape.into(), say)?;
    image::palisade::install(&bed, &image)?;
    Ok(bed)
}

fn soak(minutes: u64, seed: u64) -> ExitCode {
    if let Err(error) = palisade_lab::become_root() {
        eprintln!("error: {error}\nhint: {}", error.hint());
        return ExitCode::from(2);
    }
    let until = Until::Time(Instant::now() + Duration::from_secs(minutes * 60));
    match (Soak { first_seed: seed, until }).run(|line| println!("{line}")) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
