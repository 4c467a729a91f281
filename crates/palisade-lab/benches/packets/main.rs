//! What the data plane costs: packets of new and of established flows, and changes of the tables.
//!
//! `cargo bench -p palisade-lab --bench packets` takes about five minutes, with `-- --quick` about one, with `-- --bans` what bans cost alone
//! one. Everything happens in network namespaces of its own, with the tables that a node would have, compiled from
//! clusters of several sizes and written to the kernel by the product's own code. An ordinary user may run it.

mod bans;
mod beside;
mod changes;
mod cluster;
mod frame;
mod guards;
mod report;
mod router;
mod sampling;
mod sources;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use palisade_core::{Family, Port};
use palisade_nft::ruleset::{Chain, CtState, Hook, Ruleset, Statement, Verdict};
use palisade_nft::{Generation, Settings, lower};

use cluster::{Admission, Cluster, Flow, Scale, cluster};
use frame::Traffic;
use router::Router;
use sampling::{Lane, Samples};

/// What cannot be done, said once.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How much is measured.
#[derive(Clone, Copy)]
struct Plan {
    scales: &'static [Scale],
    /// How long new flows are measured.
    new_flows: Duration,
    /// How long established flows are measured.
    established: Duration,
    /// How long each table is measured that stands beside that of policies.
    beside: Duration,
    loads: usize,
    changes: usize,
    bans_alone: bool,
}

const SMALL: Scale = Scale { pods: 10, policies: 1 };
const LARGE: Scale = Scale { pods: 10_000, policies: 1_000 };
const MANY_POLICIES: Scale = Scale { pods: 10_000, policies: 10_000 };

const FULL: Plan = Plan {
    scales: &[SMALL, Scale { pods: 100, policies: 10 }, Scale { pods: 1_000, policies: 100 }, LARGE, MANY_POLICIES],
    new_flows: Duration::from_secs(75),
    established: Duration::from_secs(25),
    beside: Duration::from_secs(25),
    loads: 9,
    changes: 200,
    bans_alone: false,
};
const QUICK: Plan = Plan {
    scales: &[SMALL, LARGE, MANY_POLICIES],
    new_flows: Duration::from_secs(16),
    established: Duration::from_secs(5),
    beside: Duration::from_secs(5),
    loads: 3,
    changes: 40,
    bans_alone: false,
};

/// How many flows are kept alive to measure established ones; their entries fit into the caches.
const LIVE_FLOWS: u64 = 256;

/// Something that is measured against the baseline.
struct Candidate {
    /// `None` is the baseline once more.
    admission: Option<Admission>,
    scale: Scale,
    family: Family,
    flows: Vec<Flow>,
    lane: Lane,
    /// What the baseline gets in the turns with this candidate.
    baseline_traffic: Traffic,
    samples: Samples,
}

fn main() -> ExitCode {
    // Cargo passes `--bench`.
    let asks = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let plan = Plan { bans_alone: asks("--bans"), ..if asks("--quick") { QUICK } else { FULL } };
    if let Err(error) = palisade_lab::become_root() {
        eprintln!("error: {error}: {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default());
        eprintln!("hint: {}", error.hint());
        return ExitCode::FAILURE;
    }
    match measure(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(plan: &Plan) -> Result<()> {
    let processor = stay_on_one_processor()?;
    report::machine(processor)?;
    if plan.bans_alone {
        report::bans(&bans::measure(plan.beside)?);
        return Ok(());
    }
    let mut candidates = candidates(plan)?;
    measure_new_flows(plan, &mut candidates)?;
    report::new_flows(&candidates);
    candidates.retain(|candidate| matches!(candidate.admission, None | Some(Admission::ExactPort)));
    measure_established(plan, &mut candidates)?;
    report::established(&candidates);
    drop(candidates);
    report::beside(
        "the table of sources of a node with 100 routed pods",
        &beside::measure::<sources::By>(plan.beside)?,
    );
    report::beside(
        "the table of host policies, a port of 100 nodes guarded",
        &beside::measure::<guards::To>(plan.beside)?,
    );
    report::bans(&bans::measure(plan.beside)?);
    report::heading_of_changes();
    for scale in [SMALL, LARGE, MANY_POLICIES] {
        for admission in [Admission::ExactPort, Admission::Block] {
            report::loading(scale, admission, &changes::load(scale, admission, plan.loads)?);
        }
    }
    for local in [false, true] {
        report::changing(local, &changes::change(LARGE, local, plan.changes)?);
    }
    report::diff(changes::diff_of_rulesets(LARGE, plan.loads)?);
    Ok(())
}

/// Binds this thread to the last processor it may use, and asks for precedence there.
fn stay_on_one_processor() -> Result<usize> {
    use rustix::thread::CpuSet;

    let allowed = rustix::thread::sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).ok_or("no processor may be used")?;
    let mut only = CpuSet::new();
    only.set(last);
    rustix::thread::sched_setaffinity(None, &only)?;
    // An ordinary user does not get it, and needs more samples then.
    let _ = rustix::process::setpriority_process(None, -20);
    Ok(last)
}

fn candidates(plan: &Plan) -> Result<Vec<Candidate>> {
    let mut wanted = vec![(None, SMALL, Family::V4), (None, LARGE, Family::V4)];
    for admission in Admission::ALL {
        wanted.extend(plan.scales.iter().map(|scale| (Some(admission), *scale, Family::V4)));
    }
    wanted.push((Some(Admission::ExactPort), LARGE, Family::V6));
    wanted.into_iter().map(|(admission, scale, family)| candidate(admission, scale, family)).collect()
}

fn candidate(admission: Option<Admission>, scale: Scale, family: Family) -> Result<Candidate> {
    let Cluster { tables, flows, .. } = cluster(scale, admission.unwrap_or(Admission::ExactPort), family);
    let mut router = Router::new()?;
    if admission.is_some() {
        router.enforce(&lower(&tables, &Settings::default(), Generation::FIRST))?;
        check(&router, &flows)?;
    } else {
        router.enforce(&accept(CtState::New))?;
    }
    Ok(Candidate {
        admission,
        scale,
        family,
        lane: Lane::new(router, Traffic::new_flows(&flows))?,
        baseline_traffic: Traffic::new_flows(&flows),
        flows,
        samples: Samples::default(),
    })
}

/// What the tables admit passes, and the port above does not: what is measured is in force.
fn check(router: &Router, flows: &[Flow]) -> Result<()> {
    let pass = |flows: &[Flow]| -> Result<u64> {
        let before = router.arrived()?;
        let mut traffic = Traffic::new_flows(flows);
        for _ in flows {
            router.send(traffic.advance())?;
        }
        Ok(router.arrived()? - before)
    };
    let admitted = pass(flows)?;
    let far = |flow: &Flow| Flow { port: Port::MAX.get(), ..*flow };
    let denied = pass(&flows.iter().map(far).collect::<Vec<_>>())?;
    if (admitted, denied) != (flows.len() as u64, 0) || flows.is_empty() {
        return Err(
            format!("of {} flows each, {admitted} passed where all should, {denied} where none", flows.len()).into()
        );
    }
    Ok(())
}

/// The rules of a baseline: connection tracking, and one accept.
fn accept(state: CtState) -> Ruleset {
    let rule = vec![Statement::StateIs(state), Statement::Verdict(Verdict::Accept)];
    let chain = Chain { hook: Some(Hook::Forward), rules: vec![rule], comment: None };
    Ruleset { chains: [("forward".into(), chain)].into(), ..Ruleset::default() }
}

fn measure_new_flows(plan: &Plan, candidates: &mut [Candidate]) -> Result<()> {
    let mut router = Router::new()?;
    router.enforce(&accept(CtState::New))?;
    let mut baseline = Lane::new(router, Traffic::new_flows(&candidates[0].flows))?;
    take_turns(plan.new_flows, &mut baseline, candidates, |baseline, candidate| {
        // Else the table of connection tracking would fill.
        baseline.router.forget_flows()?;
        candidate.lane.router.forget_flows()
    })
}

fn measure_established(plan: &Plan, candidates: &mut [Candidate]) -> Result<()> {
    let mut router = Router::new()?;
    router.enforce(&accept(CtState::Established))?;
    let mut baseline = Lane::new(router, Traffic::new_flows(&candidates[0].flows))?;
    for candidate in candidates.iter_mut() {
        candidate.samples = Samples::default();
        if candidate.admission.is_none() {
            candidate.lane.router.enforce(&accept(CtState::Established))?;
        }
        candidate.lane.router.forget_flows()?;
        open_flows(&mut candidate.lane, &candidate.flows)?;
        baseline.router.forget_flows()?;
    }
    let flows = candidates.iter().map(|candidate| candidate.flows.clone()).collect::<Vec<_>>();
    for (candidate, flows) in candidates.iter_mut().zip(flows) {
        open_flows(&mut baseline, &flows)?;
        candidate.baseline_traffic = Traffic::same_flows(&flows, LIVE_FLOWS);
    }
    take_turns(plan.established, &mut baseline, candidates, |_, _| Ok(()))
}

/// Sends a packet of each flow and an answer; from then on all flows of the lane are established.
fn open_flows(lane: &mut Lane, flows: &[Flow]) -> Result<()> {
    let packets = u32::try_from(LIVE_FLOWS)?;
    for traffic in [Traffic::same_flows(flows, LIVE_FLOWS), Traffic::answers(flows, LIVE_FLOWS)] {
        lane.traffic = traffic;
        lane.send(packets)?;
    }
    lane.traffic = Traffic::same_flows(flows, LIVE_FLOWS);
    Ok(())
}

/// Measures every candidate against the baseline again and again, until the time is over.
fn take_turns(
    time: Duration,
    baseline: &mut Lane,
    candidates: &mut [Candidate],
    mut after_turn: impl FnMut(&Lane, &Candidate) -> Result<()>,
) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        for candidate in &mut *candidates {
            std::mem::swap(&mut baseline.traffic, &mut candidate.baseline_traffic);
            candidate.samples.take(baseline, &mut candidate.lane)?;
            std::mem::swap(&mut baseline.traffic, &mut candidate.baseline_traffic);
            after_turn(baseline, candidate)?;
        }
    }
    let (mut lost, mut sent) = baseline.lost()?;
    for candidate in &*candidates {
        let of_candidate = candidate.lane.lost()?;
        (lost, sent) = (lost + of_candidate.0, sent + of_candidate.1);
    }
    if lost > 0 {
        return Err(format!("{lost} of {sent} packets did not arrive: these figures mean nothing").into());
    }
    Ok(())
}
