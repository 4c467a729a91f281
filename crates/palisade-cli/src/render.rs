//! `palisade render`: the ruleset that a node is to hold.

use std::io::{self, Write as _};

use anyhow::Context as _;
use palisade_compile::compile;
use palisade_core::NodeName;
use palisade_nft::{Generation, Settings, lower, lower_bans, lower_host};

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
    let beside = [lower_host(&tables.host, &settings), lower_bans(&tables.bans, &settings)];
    let tables = [lower(&tables, &settings, Generation::FIRST)].into_iter();
    let tables = tables.chain(beside.into_iter().filter(|table| !table.is_nothing()));
    let text = tables.map(|table| table.to_string()).collect::<Vec<_>>().join("\n");
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write the ruleset")?;
    Ok(Exit::Clean)
}
