//! `scenarios/*.md`, run by every witness.

use anyhow::{Context as _, bail, ensure};
use palisade_core::{Audit, Family, Verdict};
use palisade_lab::{Case, Lab, Outcome, Testimony, witness};
use palisade_sim::explain;
use palisade_testkit::scenario::{Moment, Scenario};

/// Runs one file; returns how many packets the kernel judged.
///
/// # Errors
///
/// The first thing that is not as the file says, with its line.
pub fn run(scenario: &Scenario) -> anyhow::Result<usize> {
    let mut lab: Option<Lab> = None;
    let mut packets = 0;
    for moment in scenario.moments()? {
        if moment.probes().is_empty() {
            continue;
        }
        match &lab {
            Some(lab) => lab.enforce(&moment.snapshot)?,
            None => lab = Some(Lab::start(&moment.snapshot, &Family::ALL)?),
        }
        let Some(lab) = &lab else { continue };
        packets += probe(scenario, &moment, lab)?;
        let strayed = lab.strayed()?;
        ensure!(strayed.is_empty(), "{}: the kernel of {} strayed", scenario.file, strayed.join(", "));
    }
    ensure!(packets > 0, "{}: no packet could be sent", scenario.file);
    Ok(packets)
}

fn probe(scenario: &Scenario, moment: &Moment<'_>, lab: &Lab) -> anyhow::Result<usize> {
    let cases: Vec<Case> = moment
        .probes()
        .iter()
        .map(|probe| {
            Case::of(&moment.snapshot, probe.flow.clone(), &Family::ALL)
                .with_context(|| format!("{}:{}", scenario.file, probe.line))
        })
        .collect::<anyhow::Result<_>>()?;
    let report = witness(lab, &moment.snapshot, &cases, |_| {})?;
    for (probe, row) in moment.probes().iter().zip(&report.rows) {
        let place = format!("{}:{}: {}", scenario.file, probe.line, probe.flow);
        for testimony in &row.testimonies {
            let expected = probe.verdicts.of(testimony.packet.family);
            let audit = Audit::between(testimony.oracle, testimony.oracle_shadow);
            if testimony.oracle != expected || audit != probe.audit || !testimony.agrees() {
                let audit = probe.audit.map(|audit| format!(", {audit}")).unwrap_or_default();
                bail!("{place}: expected {expected}{audit}, {}", said(testimony));
            }
        }
        if let Some(reason) = &probe.reason {
            let explanation = explain(&moment.snapshot, &probe.flow, &Family::ALL)?;
            let reasons = [explanation.reasons(), explanation.audit_reasons()].concat().join("\n");
            ensure!(reasons.contains(reason), "{place}: no reason contains '{reason}':\n{reasons}");
        }
    }
    let testimonies = report.rows.iter().flat_map(|row| &row.testimonies);
    Ok(testimonies.filter(|testimony| testimony.kernel.verdict().is_some()).count())
}

fn said(testimony: &Testimony) -> String {
    let Testimony { packet, oracle, oracle_shadow, tables, kernel } = testimony;
    let kernel = match kernel {
        Outcome::Answered => Verdict::Allow.to_string(),
        other => other.to_string(),
    };
    let mut said = format!("in {}: oracle {oracle}, tables {}, kernel {kernel}", packet.family, tables.verdict);
    if (*oracle_shadow, tables.shadow.verdict) != (*oracle, tables.verdict) {
        said = format!("{said}; with audited policies: oracle {oracle_shadow}, tables {}", tables.shadow.verdict);
    }
    said
}
