//! Random clusters, one after another in the same lab, until a witness disagrees.
//!
//! That the lab goes on from one cluster to the next is part of the test: whatever was in force before, the kernel
//! must end up with what a fresh start would give.

use std::time::Instant;

use anyhow::{Context as _, bail};
use palisade_core::{Family, Snapshot};
use palisade_lab::{Case as Probe, Lab, Report, witness};
use palisade_testkit::manifest::to_yaml;
use palisade_testkit::random::{self, Case};
use palisade_testkit::rng::Rng;
use palisade_testkit::shrink::shrink;

const FLOWS: usize = 100;
/// How often a disagreement is tried again, smaller; each try builds a lab.
const SHRINK_TRIES_MAX: usize = 150;

/// A run over seeds that follow one another.
pub struct Soak {
    /// The first seed.
    pub first_seed: u64,
    /// When to end.
    pub until: Until,
}

/// When a soak ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many real packets.
    Packets(usize),
    /// At this moment.
    Time(Instant),
}

impl Soak {
    /// Runs; `say` gets a line of progress now and then. Returns how many packets were sent.
    ///
    /// # Errors
    ///
    /// A disagreement, with the seed and a case made small; or a lab that cannot be had.
    pub fn run(&self, mut say: impl FnMut(&str)) -> anyhow::Result<usize> {
        let lab = Lab::start(&Snapshot::default(), &Family::ALL)?;
        let (mut seed, mut packets) = (self.first_seed, 0);
        while !self.is_over(packets) {
            let mut case = random::case(seed, FLOWS);
            // In every third cluster nobody is reached but through Services and ports of nodes.
            if seed % 3 == 0 {
                random::through_services(&mut case, &mut Rng::new(seed), FLOWS);
            }
            // In another third they go to servers outside, and come from them.
            if seed % 3 == 1 {
                random::to_servers(&mut case, &mut Rng::new(seed), FLOWS);
            }
            let report = judge(&lab, &case).with_context(|| format!("seed {seed}"))?;
            if report.disagreements().next().is_some() {
                drop(lab);
                bail!(
                    "the witnesses disagree with seed {seed}:\n{}{}",
                    said(&report),
                    described(case, self.first_seed)
                );
            }
            let strayed = lab.strayed()?;
            if !strayed.is_empty() {
                bail!("seed {seed}: the kernel of {} does not hold what was written", strayed.join(", "));
            }
            packets += sent(&report);
            seed += 1;
            if seed % 20 == 0 {
                say(&format!("seeds {} to {seed}: {packets} packets, all witnesses agree", self.first_seed));
            }
        }
        Ok(packets)
    }

    fn is_over(&self, packets: usize) -> bool {
        match self.until {
            Until::Packets(wanted) => packets >= wanted,
            Until::Time(end) => Instant::now() >= end,
        }
    }
}

fn judge(lab: &Lab, case: &Case) -> anyhow::Result<Report> {
    lab.enforce(&case.snapshot)?;
    // What was made smaller may have lost an end of a flow.
    let probes: Vec<Probe> =
        case.flows.iter().filter_map(|flow| Probe::of(&case.snapshot, flow.clone(), &Family::ALL).ok()).collect();
    Ok(witness(lab, &case.snapshot, &probes, |_| {})?)
}

/// The packets about which the kernel had its say.
fn sent(report: &Report) -> usize {
    let testimonies = report.rows.iter().flat_map(|row| &row.testimonies);
    testimonies.filter(|testimony| testimony.kernel.verdict().is_some()).count()
}

fn said(report: &Report) -> String {
    report.disagreements().map(|row| format!("{row:#?}\n")).collect::<Vec<_>>().concat()
}

/// The case made small, as YAML, with what each witness says of it.
fn described(case: Case, first_seed: u64) -> String {
    let alone =
        |case: &Case| Lab::start(&case.snapshot, &Family::ALL).map_err(Into::into).and_then(|lab| judge(&lab, case));
    let mut tries = 0;
    let small = shrink(case, |case| {
        tries += 1;
        tries <= SHRINK_TRIES_MAX && alone(case).is_ok_and(|report| report.disagreements().next().is_some())
    });
    let said = match alone(&small) {
        Ok(report) if report.disagreements().next().is_none() => {
            format!("in a lab of its own they agree: it takes the clusters before it, from seed {first_seed} on\n")
        }
        Ok(report) => format!("made small:\n{}", said(&report)),
        Err(error) => format!("{error:#}\n"),
    };
    let Snapshot { services, servers, .. } = &small.snapshot;
    format!("{said}{}{services:#?}{servers:#?}", to_yaml(&small.snapshot))
}
