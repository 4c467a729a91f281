//! What the witnesses of a lab say, as text for people and as JSON for programs.

use std::collections::BTreeMap;
use std::io::{self, Write};

use palisade_core::{Audit, End, Family, Flow, Snapshot, Traffic, Verdict};
use palisade_lab::{Outcome, Report, Row, Testimony, Verdicts};
use palisade_sim::{decide, explain};
use serde_json::{Map, Value, json};

use crate::table::listed;

/// How many disagreements are printed in full.
const DISAGREEMENTS_MAX: usize = 20;
/// How many reasons for flows that were not sent are printed.
const SKIPPED_MAX: usize = 10;
/// How many lines of changes are printed.
const CHANGES_MAX: usize = 40;

/// One line for a flow: `web/front -> db/pg tcp 5432: allow`, with what each witness and each family says where
/// they differ.
pub fn print_row(out: &mut impl Write, text: &str, row: &Row) -> io::Result<()> {
    let verdicts = row.verdicts();
    let families = row.families();
    let apart = |one: &Verdicts| one.oracle != verdicts.oracle || one.kernel != verdicts.kernel;
    let mut words = spelled_out(verdicts, row.testimonies.iter());
    if families.values().any(apart) {
        let part = |(family, verdicts): (&Family, &Verdicts)| {
            format!("{family}: {}", spelled_out(*verdicts, of_family(row, *family)))
        };
        words = format!("{words} ({})", families.iter().map(part).collect::<Vec<_>>().join("; "));
    }
    if let Some(audit) = row.audit() {
        words = format!("{words}, {audit}");
    }
    writeln!(out, "{text}: {words}")
}

/// What the cluster is: `12 pods on 2 nodes, 22 policies`; and how many servers are outside, if any.
pub fn print_cluster(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let Snapshot { pods, nodes, policies, servers, .. } = snapshot;
    let policies = match policies.len() {
        1 => "1 policy".to_string(),
        count => format!("{count} policies"),
    };
    let servers =
        if servers.is_empty() { String::new() } else { format!(", {} outside", counted(servers.len(), "server")) };
    writeln!(out, "{} on {}, {policies}{servers}", counted(pods.len(), "pod"), counted(nodes.len(), "node"))
}

/// What the witnesses say all in all: disagreements in full, what was not sent, and the sum.
pub fn print_agreement(out: &mut impl Write, snapshot: &Snapshot, report: &Report) -> io::Result<()> {
    let disagreements: Vec<&Row> = report.disagreements().collect();
    for row in disagreements.iter().take(DISAGREEMENTS_MAX) {
        writeln!(out, "disagreement: {}", row.flow)?;
        for testimony in row.testimonies.iter().filter(|testimony| !testimony.agrees()) {
            print_testimony(out, snapshot, testimony)?;
        }
    }
    if disagreements.len() > DISAGREEMENTS_MAX {
        writeln!(out, "disagreement: {} flows more", disagreements.len() - DISAGREEMENTS_MAX)?;
    }
    print_skipped(out, report)?;
    let count = |test: &dyn Fn(&&Row) -> bool| report.rows.iter().filter(test).count();
    let packets: usize = report.rows.iter().map(|row| row.testimonies.len()).sum();
    let allowed = count(&|row| row.verdicts().oracle == Verdict::Allow);
    let flows = report.rows.len();
    writeln!(
        out,
        "{}, {}: {allowed} allowed, {} denied",
        counted(flows, "flow"),
        counted(packets, "packet"),
        flows - allowed
    )?;
    match (disagreements.len(), count(&|row| row.verdicts().kernel.is_some())) {
        (0, 0) => writeln!(out, "oracle and tables agree; no packet could be sent"),
        (0, _) => writeln!(out, "oracle, tables and kernel agree"),
        (count, _) => writeln!(out, "the witnesses disagree on {count} of {}", counted(flows, "flow")),
    }
}

fn print_testimony(out: &mut impl Write, snapshot: &Snapshot, testimony: &Testimony) -> io::Result<()> {
    let Testimony { packet, oracle, oracle_shadow, tables, kernel } = testimony;
    writeln!(out, "  {} {} -> {}", packet.family, packet.source.address, packet.destination.address)?;
    if let Some(way) = packet.way() {
        writeln!(out, "    {way}")?;
    }
    writeln!(out, "    oracle: {oracle}")?;
    let decision = decide(snapshot, packet);
    for ban in &decision.bans {
        writeln!(out, "      {ban}")?;
    }
    for direction in &decision.directions {
        writeln!(out, "      {direction}")?;
    }
    for host in &decision.host {
        writeln!(out, "      {host}")?;
    }
    if let Some(server) = &decision.server {
        writeln!(out, "      {server}")?;
    }
    writeln!(out, "    tables: {}", tables.verdict)?;
    for ban in &tables.bans {
        writeln!(out, "      {ban}")?;
    }
    for guard in &tables.guards {
        writeln!(out, "      {guard}")?;
    }
    for step in &tables.steps {
        writeln!(out, "      {step}")?;
    }
    if *oracle_shadow != tables.shadow.verdict {
        writeln!(out, "    oracle, with audited policies: {oracle_shadow}")?;
        for ban in decision.shadow.iter().flat_map(|shadow| &shadow.bans) {
            writeln!(out, "      {ban}")?;
        }
        for direction in decision.shadow.iter().flat_map(|shadow| &shadow.directions) {
            writeln!(out, "      {direction}")?;
        }
        for host in decision.shadow.iter().flat_map(|shadow| &shadow.host) {
            writeln!(out, "      {host}")?;
        }
        writeln!(out, "    tables, with audited policies: {}", tables.shadow.verdict)?;
        for ban in &tables.shadow.bans {
            writeln!(out, "      {ban}")?;
        }
        for guard in &tables.shadow.guards {
            writeln!(out, "      {guard}")?;
        }
        for step in &tables.shadow.steps {
            writeln!(out, "      {step}")?;
        }
    }
    match kernel.verdict() {
        Some(verdict) => writeln!(out, "    kernel: {verdict}\n      {kernel}"),
        None => writeln!(out, "    kernel: {kernel}"),
    }
}

/// Why packets were not sent, each reason once with the number of flows.
fn print_skipped(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in report.rows.iter().flat_map(Row::skipped) {
        *reasons.entry(reason).or_default() += 1;
    }
    for (reason, count) in reasons.iter().take(SKIPPED_MAX) {
        writeln!(out, "not sent: {}, as {reason}", counted(*count, "flow"))?;
    }
    if reasons.len() > SKIPPED_MAX {
        let rest = reasons.values().skip(SKIPPED_MAX).sum();
        writeln!(out, "not sent: {} more, for {} other reasons", counted(rest, "flow"), reasons.len() - SKIPPED_MAX)?;
    }
    Ok(())
}

/// `1 flow`, `3 flows`.
fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// What is open now and was not (`+`), and what was open and is no more (`-`).
pub fn print_changes(
    out: &mut impl Write,
    families: &[Family],
    before: (&Snapshot, &Report),
    now: (&Snapshot, &Report),
) -> io::Result<()> {
    // What only one report has tried is no change by itself; the policies tell the other verdict.
    let by_policies = |snapshot: &Snapshot, flow: &Flow| {
        explain(snapshot, flow, families).ok().map(|explanation| explanation.answer().verdict)
    };
    let mut changes: BTreeMap<(&End, &End, bool), Vec<Traffic>> = BTreeMap::new();
    for (flow, was, is) in now.1.changes_since(before.1) {
        let (was, is) = (was.or_else(|| by_policies(before.0, flow)), is.or_else(|| by_policies(now.0, flow)));
        let (was_open, is_open) = (was == Some(Verdict::Allow), is == Some(Verdict::Allow));
        // A pod always reaches itself.
        if was_open != is_open && flow.source != flow.destination {
            let Flow { source, destination, traffic } = flow;
            changes.entry((source, destination, is_open)).or_default().push(*traffic);
        }
    }
    if changes.is_empty() {
        writeln!(out, "no verdict changed")?;
    }
    for ((source, destination, opened), traffic) in changes.iter().take(CHANGES_MAX) {
        let sign = if *opened { '+' } else { '-' };
        writeln!(out, "{sign} {source} -> {destination} {}", listed(traffic))?;
    }
    if changes.len() > CHANGES_MAX {
        writeln!(out, "… and {} more such lines", changes.len() - CHANGES_MAX)?;
    }
    Ok(())
}

/// One object for a flow.
pub fn to_json(snapshot: &Snapshot, text: &str, row: &Row) -> Value {
    let families: Map<String, Value> = row
        .families()
        .into_iter()
        .map(|(family, verdicts)| {
            let value = json!({
                "oracle": verdicts.oracle.name(),
                "tables": verdicts.tables.name(),
                "kernel": kernel_word(verdicts, of_family(row, family)),
            });
            (family.digit().to_string(), value)
        })
        .collect();
    let judged: Vec<Family> = row.families().into_keys().collect();
    let (reasons, audit_reasons) = explain(snapshot, &row.flow, &judged)
        .map(|explanation| (explanation.reasons(), explanation.audit_reasons()))
        .unwrap_or_default();
    let verdicts = row.verdicts();
    json!({
        "flow": text,
        "oracle": verdicts.oracle.name(),
        "tables": verdicts.tables.name(),
        "kernel": kernel_word(verdicts, row.testimonies.iter()),
        "families": families,
        "reasons": reasons,
        "audit": row.audit().map(Audit::name),
        "auditReasons": audit_reasons,
        "agree": row.agrees(),
        "skipped": row.skipped(),
    })
}

fn of_family(row: &Row, family: Family) -> impl Iterator<Item = &Testimony> + Clone {
    row.testimonies.iter().filter(move |testimony| testimony.packet.family == family)
}

/// `allow`, or what each witness says where they differ or where the kernel could not be asked.
fn spelled_out<'a>(verdicts: Verdicts, testimonies: impl Iterator<Item = &'a Testimony> + Clone) -> String {
    let agree = testimonies.clone().all(Testimony::agrees);
    let Verdicts { oracle, tables, kernel } = verdicts;
    match kernel_word(verdicts, testimonies.clone()) {
        _ if agree && kernel.is_some() => oracle.to_string(),
        "skipped" if agree => {
            let mut outcomes = testimonies.map(|testimony| &testimony.kernel);
            let reason = outcomes.find(|outcome| matches!(outcome, Outcome::Skipped(_)));
            format!("{oracle}, kernel {}", reason.map_or("skipped".to_string(), ToString::to_string))
        }
        kernel => format!("oracle {oracle}, tables {tables}, kernel {kernel}"),
    }
}

/// What the kernel says: `allow`, `deny`, `skipped`, or `failed` where it could not be found out.
fn kernel_word<'a>(verdicts: Verdicts, mut testimonies: impl Iterator<Item = &'a Testimony>) -> &'static str {
    match verdicts.kernel {
        Some(verdict) => verdict.name(),
        None if testimonies.any(|testimony| matches!(testimony.kernel, Outcome::Failed(_))) => "failed",
        None => "skipped",
    }
}
