//! Findings that were there before, and are accepted for now: what `--output json` printed once.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use palisade_check::is_unreadable;
use palisade_core::Diagnostic;
use serde_json::Value;

use crate::output::Hinted;

/// How often each finding is accepted. Its line is no part of it: lines move.
#[derive(Debug, Default)]
pub struct Baseline(BTreeMap<[String; 3], usize>);

impl Baseline {
    /// Reads the file.
    pub fn read(path: &Path) -> anyhow::Result<Baseline> {
        let text = palisade_sources::read_text(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut baseline = Baseline::default();
        for (number, line) in (1..).zip(text.lines()) {
            let Some(key) = serde_json::from_str(line).ok().as_ref().and_then(key_of_json) else {
                let message = format!("{}:{number}: expected a finding as --output json prints it", path.display());
                let hint = format!("palisade check PATH… --output json > {}", path.display());
                return Err(Hinted { message, hint }.into());
            };
            *baseline.0.entry(key).or_default() += 1;
        }
        Ok(baseline)
    }

    /// Whether a finding is accepted, once more than before. What cannot be read never is.
    pub fn takes(&mut self, finding: &Diagnostic) -> bool {
        if is_unreadable(finding) {
            return false;
        }
        match self.0.get_mut(&super::key(finding)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }

    /// How many are accepted and not there any more.
    pub fn left(&self) -> usize {
        self.0.values().sum()
    }
}

fn key_of_json(finding: &Value) -> Option<[String; 3]> {
    let text = |field: &str| finding.get(field)?.as_str().map(str::to_string);
    Some([text("id")?, text("object").or_else(|| text("file")).unwrap_or_default(), text("message")?])
}
