//! The tables that are printed.
#![expect(clippy::disallowed_methods, reason = "/proc says what machine this is")]

use palisade_core::Family;

use crate::bans;
use crate::beside::{self, Kind};
use crate::changes::{Changing, Loading};
use crate::cluster::{Admission, Scale};
use crate::sampling::{Samples, quantile};
use crate::{Candidate, LARGE, MANY_POLICIES, Result, SMALL};

/// The width of the first column.
const NAME: usize = 60;
/// The target for established flows, as a multiple of connection tracking and one accept.
const ESTABLISHED_MAX: f64 = 1.03;
/// How much the cost of a new flow may differ between the smallest and the largest cluster.
const GROWTH_MAX: f64 = 0.10;

pub(crate) fn machine(processor: usize) -> Result<()> {
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    println!(
        "{}, {} of them, Linux {}, load {}; packets are sent on processor {processor}",
        model.unwrap_or("unknown processor"),
        info.lines().filter(|line| line.starts_with("processor")).count(),
        kernel.trim(),
        load.split(' ').next().unwrap_or("?"),
    );
    Ok(())
}

pub(crate) fn new_flows(candidates: &[Candidate]) {
    println!(
        "\nA new flow, against connection tracking and one accept: UDP, 32 bytes, both ends isolated and on the node"
    );
    heading("lookups");
    for candidate in candidates {
        let lookups = candidate.admission.map_or(0, Admission::lookups);
        let target = candidate.admission.map_or(String::new(), |admission| format!("<= {}", admission.target()));
        row(&name(candidate), &lookups.to_string(), &candidate.samples, &target);
    }
    for admission in Admission::ALL {
        let of = |scale: Scale| {
            candidates
                .iter()
                .find(|candidate| {
                    (candidate.admission, candidate.scale, candidate.family) == (Some(admission), scale, Family::V4)
                })
                .map_or(f64::NAN, |candidate| candidate.samples.ratio()[0])
        };
        println!(
            "{:<NAME$} {:+.1} %, with ten times the policies {:+.1} %   target within ±{:.0} %",
            format!("{}: from the smallest to the largest", admission.name()),
            100.0 * (of(LARGE) / of(SMALL) - 1.0),
            100.0 * (of(MANY_POLICIES) / of(SMALL) - 1.0),
            100.0 * GROWTH_MAX,
        );
    }
}

pub(crate) fn established(candidates: &[Candidate]) {
    println!("\nA packet of an established flow, against `ct state established accept`");
    heading("");
    for candidate in candidates {
        let target = candidate.admission.map_or(String::new(), |_| format!("<= {ESTABLISHED_MAX}"));
        row(&name(candidate), "", &candidate.samples, &target);
    }
}

pub(crate) fn beside<K: Kind>(table: &str, candidates: &[beside::Candidate<K>]) {
    println!("\nThe same with {table}, against the same without it");
    heading("lookups");
    for beside::Candidate { kind, family, samples, .. } in candidates {
        let name = format!("{}{}", kind.name(), family_suffix(*family));
        row(&name, &kind.lookups().to_string(), samples, "");
    }
}

pub(crate) fn bans(measured: &[(bans::From, Samples)]) {
    println!(
        "\nA packet with {} blocks banned, none of which it concerns, against the same with {}",
        grouped(bans::MANY),
        grouped(bans::FEW)
    );
    heading("");
    for (from, samples) in measured {
        row(from.name(), "", samples, &format!("<= {}", from.target()));
    }
}

pub(crate) fn heading_of_changes() {
    println!("\nTables into the kernel of a node with up to 100 pods, both families; medians in ms");
    println!(
        "{:<NAME$} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>7}",
        "", "compile", "lower", "diff", "apply", "elements", "commits", "KiB"
    );
}

pub(crate) fn loading(scale: Scale, admission: Admission, loading: &Loading) {
    let median = |times: &[f64]| quantile(times, 0.5);
    println!(
        "{:<NAME$} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>9} {:>8} {:>7}{}",
        scaled(&format!("into an empty kernel: {}", admission.name()), scale),
        median(&loading.compile),
        median(&loading.lower),
        median(&loading.diff),
        median(&loading.apply),
        grouped(loading.elements),
        loading.commits,
        loading.bytes / 1024,
        if scale == LARGE { "   target <= 1000 ms, all together" } else { "" },
    );
}

pub(crate) fn changing(local: bool, changing: &Changing) {
    let median = |times: &[f64]| quantile(times, 0.5);
    println!(
        "{:<NAME$} {:>8.2} {:>8.2} {:>8} {:>8.2} {:>9}   all together {:.2}, 99 % below {:.2}",
        scaled(if local { "a local pod goes or comes" } else { "a remote pod goes or comes" }, LARGE),
        median(&changing.compile),
        median(&changing.lower),
        "",
        median(&changing.apply),
        changing.elements,
        median(&changing.whole),
        quantile(&changing.whole, 0.99),
    );
}

pub(crate) fn diff(milliseconds: f64) {
    println!("{:<NAME$} {:>8} {:>8} {milliseconds:>8.2}", "diff of two whole rulesets, a pod less", "", "");
}

fn heading(lookups: &str) {
    println!(
        "{:<NAME$} {lookups:>7} {:>6} {:>11} {:>7} {:>8} {:>8} {:>8}  target",
        "", "ratio", "quartiles", "ns more", "ns base", "samples", "unsteady"
    );
}

fn row(name: &str, lookups: &str, samples: &Samples, target: &str) {
    let [median, low, high] = samples.ratio();
    println!(
        "{name:<NAME$} {lookups:>7} {median:>6.3} {:>11} {:>+7.0} {:>8.0} {:>8} {:>8}  {target}",
        format!("{low:.3}-{high:.3}"),
        samples.extra_ns(),
        samples.base_ns(),
        samples.count(),
        samples.unsteady,
    );
}

fn name(candidate: &Candidate) -> String {
    let name = candidate.admission.map_or("the baseline against itself", Admission::name);
    scaled(name, candidate.scale) + family_suffix(candidate.family)
}

fn family_suffix(family: Family) -> &'static str {
    if family == Family::V6 { ", IPv6" } else { "" }
}

fn scaled(name: &str, scale: Scale) -> String {
    let policies = if scale.policies == 1 { "policy" } else { "policies" };
    format!("{name}, {} pods, {} {policies}", grouped(scale.pods), grouped(scale.policies))
}

/// A number with its digits in groups of three.
fn grouped(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", grouped(number / 1000), number % 1000) }
}
