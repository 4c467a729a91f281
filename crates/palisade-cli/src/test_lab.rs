//! What real packets say of the flows of tests.

use std::collections::BTreeMap;

use palisade_core::{Family, Flow, Snapshot, Verdict};
use palisade_lab::{Case, Lab, Row, become_root, witness};

use crate::lab::lab_error;
use crate::test_report::{Outcome, Wrong};

/// Adds to what is wrong where the witnesses disagree, or a packet could not be sent: such a test proves nothing.
pub fn ask(snapshot: &Snapshot, families: &[Family], outcomes: &mut [Outcome<'_>]) -> anyhow::Result<()> {
    let mut flows: Vec<Flow> = outcomes.iter().flat_map(|outcome| outcome.flows.iter().cloned()).collect();
    flows.sort_unstable();
    flows.dedup();
    let cases = flows.iter().map(|flow| Case::of(snapshot, flow.clone(), families));
    let cases: Vec<Case> = cases.collect::<Result<_, _>>().map_err(|error| anyhow::anyhow!(error.message))?;
    become_root().map_err(lab_error)?;
    let lab = Lab::start(snapshot, families).map_err(lab_error)?;
    let report = witness(&lab, snapshot, &cases, palisade_lab::progress_bar()).map_err(lab_error)?;
    let rows: BTreeMap<&Flow, &Row> = report.rows.iter().map(|row| (&row.flow, row)).collect();
    for outcome in outcomes {
        let found = outcome.flows.iter().filter_map(|flow| wrong(rows.get(flow)?));
        outcome.wrong.extend(found.collect::<Vec<Wrong>>());
    }
    Ok(())
}

fn wrong(row: &Row) -> Option<Wrong> {
    let verdicts = row.verdicts();
    let kernel = verdicts.kernel.map_or("nothing", Verdict::name);
    if row.agrees() && verdicts.kernel.is_some() {
        return None;
    }
    let found = format!("oracle {}, tables {}, kernel {kernel}", verdicts.oracle, verdicts.tables);
    Some(Wrong { flow: row.flow.to_string(), found, reasons: row.skipped().into_iter().map(str::to_string).collect() })
}
