//! `palisade render`: the ruleset that a node is to hold.

use std::io::{self, Write as _};

use anyhow::Context as _;
use palisade_compile::compile;
use palisade_core::NodeName;
use palisade_nft::{Generation, Settings, lower, lower_host};

use crate::args::RenderArguments;
use crate::output::{Exit, Hinted};

/// Runs the command.
pub fn run(arguments: &RenderArguments) -> anyhow::Result<Exit> {
    let snapshot = arguments.input.snapshot()?;
    let node = NodeName::from(arguments.node.as_str());
    if !snapshot.nodes.contains_key(&node) {
        let known: Vec<&str> = snapshot.nodes.keys().map(|name| &**name).collect();
        let hint = format!("the nodes are {}", known.join(", "));
        return Err(Hinted { message: format!("there is no node '{node}' in the input"), hint }.into());
    }
    let (tables, settings) = (compile(&snapshot, &node), Settings::default());
    let pods = lower(&tables, &settings, Generation::FIRST);
    let host = lower_host(&tables.host, &settings);
    let text = if host.is_nothing() { pods.to_string() } else { format!("{pods}\n{host}") };
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write the ruleset")?;
    Ok(Exit::Clean)
}
