//! Oracle, tables and kernel on every scenario, and on random clusters.
//!
//! `PALISADE_REQUIRE_KERNEL` makes it a failure if network namespaces cannot be had.

use std::process::ExitCode;
use std::sync::Mutex;

use palisade_testkit::{kernel, scenario};
use xtask::scenarios;
use xtask::soak::{Soak, Until};

/// Real packets on random clusters.
const PACKETS: usize = 4_000;
/// Scenarios wait for silence most of the time, so several run at once.
const THREADS: usize = 4;

fn main() -> ExitCode {
    if let Err(error) = palisade_lab::become_root() {
        return kernel::skipped(format!("{error}: {}", error.hint()));
    }
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let mut passed = run_scenarios(&filter);
    if "random".contains(&filter) {
        passed &= told("random clusters", &Soak { first_seed: 0, until: Until::Packets(PACKETS) }.run(|_| {}));
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_scenarios(filter: &str) -> bool {
    let all = match scenario::all() {
        Ok(all) => all,
        Err(error) => return told("scenarios", &Err(error.into())),
    };
    let queue = Mutex::new(all.into_iter().filter(|scenario| scenario.file.contains(filter)));
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let work = || {
        let mut passed = true;
        while let Some(scenario) = next() {
            passed &= told(&scenario.file, &scenarios::run(&scenario));
        }
        passed
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(false)).fold(true, |all, passed| all & passed)
    })
}

fn told(name: &str, outcome: &anyhow::Result<usize>) -> bool {
    match outcome {
        Ok(packets) => println!("{name} ... ok ({packets} packets)"),
        Err(error) => println!("{name} ... FAILED: {error:#}"),
    }
    outcome.is_ok()
}
