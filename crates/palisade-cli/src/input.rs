//! From arguments to a snapshot and to flows. All reading of files and standard input is here.
#![expect(clippy::disallowed_methods, reason = "this file reads what the user names")]

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use palisade_core::{Diagnostic, Flow, Snapshot};
use palisade_sources::{Options, Parsed};

use crate::args::InputArguments;
use crate::diagnostics;
use crate::output::Hinted;

impl InputArguments {
    /// What stands in for what the input leaves out.
    pub fn options(&self) -> Options {
        Options {
            nodes: usize::from(self.nodes),
            pod_cidrs: vec![self.pod_cidr.into(), self.pod_cidr6.into()],
            node_cidrs: vec![self.node_cidr.into(), self.node_cidr6.into()],
            ..Options::default()
        }
    }

    /// Reads the input and prints its diagnostics; an error if it gives no answer at all.
    pub fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let (snapshot, diagnostics) = self.parse()?;
        diagnostics::print(&diagnostics);
        Ok(snapshot)
    }

    /// Reads the input; its diagnostics are printed here only if there is no answer.
    pub fn parse(&self) -> anyhow::Result<(Snapshot, Vec<Diagnostic>)> {
        let texts = palisade_sources::read(&self.paths)?;
        let Parsed { snapshot, diagnostics, no_answer, .. } = palisade_sources::parse(&texts, &self.options());
        if no_answer {
            diagnostics::print(&diagnostics);
            return Err(anyhow!("the input cannot be read well enough to give an answer"));
        }
        Ok((snapshot, diagnostics))
    }
}

/// A flow with the line that the user wrote.
pub struct GivenFlow {
    /// The line, trimmed.
    pub text: String,
    /// The flow.
    pub flow: Flow,
}

/// The flows of a file (`-` is standard input): one a line, empty lines and `#` comments passed over.
pub fn read_flows(path: &Path) -> anyhow::Result<Vec<GivenFlow>> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin().read_to_string(&mut text).context("cannot read flows from standard input")?;
    } else {
        text = fs::read_to_string(path).with_context(|| format!("cannot read flows from {}", path.display()))?;
    }
    let mut flows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            flows.push(parse_flow(line, Some((path, index + 1)))?);
        }
    }
    Ok(flows)
}

/// One flow, from a place in a file or from the command line.
pub fn parse_flow(text: &str, place: Option<(&Path, usize)>) -> anyhow::Result<GivenFlow> {
    let flow = text.parse::<Flow>().map_err(|error| {
        let place = place.map_or(String::new(), |(path, line)| format!("{}:{line}: ", path.display()));
        Hinted { message: format!("{place}{}", error.message), hint: error.hint.to_string() }
    })?;
    Ok(GivenFlow { text: text.to_string(), flow })
}
