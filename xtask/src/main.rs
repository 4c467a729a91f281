//! `cargo xtask`: chores of the project.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use xtask::soak::{Soak, Until};

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
}

fn main() -> ExitCode {
    let Command::Soak { minutes, seed } = Arguments::parse().command;
    if let Err(error) = palisade_lab::become_root() {
        eprintln!("error: {error}\nhint: {}", error.hint());
        return ExitCode::from(2);
    }
    let until = Until::Time(Instant::now() + Duration::from_secs(minutes * 60));
    match (Soak { first_seed: seed, until }).run(|line| println!("{line}")) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
