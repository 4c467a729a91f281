//! Tests on a real Kubernetes. The cases of a suite share a bed and are run one after another, each in a Kubernetes
//! namespace of its own; a word as argument runs only the cases with that word in their names or in that of
//! their suite.
//!
//! Where a bed cannot be had, they are skipped; `PALISADE_REQUIRE_KERNEL` makes that a failure, and lets the programs
//! of the bed be built, which takes minutes.

mod bans;
mod cluster;
mod forged;
mod guards;
mod hosts;
mod leftovers;
mod lifecycle;
mod live;
mod matrix;
mod outside;
mod palisade;
mod policies;
mod portworx;
mod rights;
mod services;
mod support;
mod telling;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use palisade_testkit::kernel;
use support::Sandbox;
use xtask::bed::{self, Bed, Binaries, Options, ProxyMode};
use xtask::image;

/// A test: its name, and what it does with the bed. It leaves the bed as it found it.
type Case = (&'static str, fn(&Sandbox<'_>) -> anyhow::Result<()>);

/// Cases on a bed of one kind.
struct Suite {
    name: &'static str,
    options: Options,
    /// Whether Palisade is installed.
    palisade: bool,
    cases: &'static [&'static [Case]],
}

const NFTABLES: Options = Options { nodes: 2, proxy_mode: ProxyMode::Nftables, ip_masq: false };

const SUITES: [Suite; 4] = [
    Suite {
        name: "a bare cluster",
        options: NFTABLES,
        palisade: false,
        cases: &[cluster::CASES, outside::CASES, hosts::CASES],
    },
    Suite {
        name: "palisade beside kube-proxy in nftables mode",
        options: NFTABLES,
        palisade: true,
        cases: &[
            policies::CASES,
            matrix::CASES,
            services::CASES,
            live::CASES,
            forged::CASES,
            guards::CASES,
            bans::CASES,
            telling::CASES,
            rights::CASES,
            lifecycle::CASES,
        ],
    },
    Suite {
        name: "palisade beside kube-proxy in iptables mode",
        options: Options { proxy_mode: ProxyMode::Iptables, ..NFTABLES },
        palisade: true,
        cases: &[services::CASES, live::CASES, guards::CASES, bans::CASES],
    },
    Suite {
        name: "palisade where pods are masqueraded",
        options: Options { ip_masq: true, ..NFTABLES },
        palisade: true,
        cases: &[guards::CASES, bans::CASES],
    },
];

fn main() -> ExitCode {
    let is_required = std::env::var_os("PALISADE_REQUIRE_KERNEL").is_some();
    if let Some(reason) = why_not(is_required) {
        return kernel::skipped(reason);
    }
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let mut passed = true;
    for suite in &SUITES {
        let is_chosen = |(name, _): &Case| name.contains(&filter) || suite.name.contains(&filter);
        let cases: Vec<Case> = suite.cases.concat().into_iter().filter(is_chosen).collect();
        if !cases.is_empty() {
            println!("{}", suite.name);
            passed &= suite.run(&cases);
        }
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn why_not(is_required: bool) -> Option<String> {
    if let Err(error) = bed::examine() {
        return Some(format!("{error:#}"));
    }
    match Binaries::found() {
        Ok(None) if !is_required => Some("the programs of the bed are not built\nhint: cargo xtask bed build".into()),
        Ok(_) => None,
        Err(error) => Some(format!("{error:#}")),
    }
}

impl Suite {
    fn run(&self, cases: &[Case]) -> bool {
        let start = Instant::now();
        let bed = match self.bed() {
            Ok(bed) => bed,
            Err(error) => return told("a bed comes up", start, &Err(error)),
        };
        told("a bed comes up", start, &Ok(()));
        let mut passed = true;
        for (index, (name, case)) in cases.iter().enumerate() {
            let start = Instant::now();
            let outcome = Sandbox::new(&bed, &format!("case-{index}")).and_then(|sandbox| case(&sandbox));
            passed &= told(name, start, &outcome);
        }
        let start = Instant::now();
        let before_end = leftovers::Traces::found(&bed);
        drop(bed);
        passed & told("a bed leaves nothing", start, &before_end.and_then(|before| leftovers::nothing_is_left(&before)))
    }

    fn bed(&self) -> anyhow::Result<Bed> {
        let image: Option<PathBuf> = self.palisade.then(palisade::image).transpose()?;
        let bed = Bed::up(self.options.clone(), &|line| println!("{line}"))?;
        image.map(|image| image::palisade::install(&bed, &image)).transpose()?;
        Ok(bed)
    }
}

fn told(name: &str, start: Instant, outcome: &anyhow::Result<()>) -> bool {
    let took = start.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => println!("{name} ... ok ({took:.1} s)"),
        Err(error) => println!("{name} ... FAILED ({took:.1} s): {error:#}"),
    }
    outcome.is_ok()
}
