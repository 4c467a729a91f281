//! One HTML page about manifests: who reaches whom, why, and what checks find.
//!
//! Read in this order: `json` (exact sets and findings as JSON, as the commands print them, too), `example` (flows that stand for others, with
//! their reasons), `texts` (each text once), `flows` (every line of the matrix), `page` (what makes it a page).
//!
//! The page decides nothing: its sets are those of `palisade-reach`, its reasons those of `palisade-sim`. It asks no network, and what it
//! shows of manifests is text, never markup.

mod example;
mod flows;
pub mod json;
mod page;
mod texts;

use palisade_core::{Diagnostic, Dialect, Snapshot};
use palisade_reach::Reach;
use serde::Serialize;
use serde_json::Value;

use flows::Flows;

/// What a page is about.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// What was read, in the user's words: `examples/shop`.
    pub about: &'a str,
    /// What it says.
    pub snapshot: &'a Snapshot,
    /// What was found in it.
    pub findings: &'a [Diagnostic],
    /// What of it the page leaves out, as a sentence; `None` if nothing.
    pub left_out: Option<&'a str>,
}

/// What the script of the page reads.
#[derive(Serialize)]
struct Data<'a> {
    about: &'a str,
    policies: usize,
    left_out: Option<&'a str>,
    #[serde(flatten)]
    flows: Flows,
    findings: Vec<Value>,
}

impl Report<'_> {
    /// The whole page. The same input gives the same page, to the byte.
    ///
    /// # Errors
    ///
    /// If it cannot be written as JSON.
    pub fn html(&self) -> serde_json::Result<String> {
        let reach = Reach::new(self.snapshot, Dialect::Palisade);
        let data = Data {
            about: self.about,
            policies: self.snapshot.policies.len(),
            left_out: self.left_out,
            flows: Flows::new(self.snapshot, &reach),
            findings: self.findings.iter().map(json::finding_with_name).collect(),
        };
        page::page(&data)
    }
}
