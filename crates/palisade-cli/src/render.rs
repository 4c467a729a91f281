//! `palisade render`: the ruleset that a node, or a server outside, is to hold.

use std::io::{self, Write as _};

use anyhow::Context as _;
use palisade_compile::{compile, compile_server};
use palisade_core::{NodeName, ServerName, Snapshot};
use palisade_nft::{Generation, Ruleset, Settings, lower, lower_bans, lower_host};

use crate::args::RenderArguments;
use crate::output::{Exit, Hinted};

/// Runs the command.
pub fn run(arguments: &RenderArguments) -> anyhow::Result<Exit> {
    arguments.input.refuse_sharing_stdin(None)?;
    let snapshot = arguments.input.snapshot()?;
    let tables = match arguments.node.strip_prefix("host/") {
        Some(name) => vec![of_server(&snapshot, &name.into())?],
        None => of_node(&snapshot, &arguments.node.as_str().into())?,
    };
    let text = tables.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write the ruleset")?;
    Ok(Exit::Clean)
}

fn of_node(snapshot: &Snapshot, node: &NodeName) -> anyhow::Result<Vec<Ruleset>> {
    if !snapshot.nodes.contains_key(node) {
        let known: Vec<&str> = snapshot.nodes.keys().map(|name| &**name).collect();
        let hint = format!("the nodes are {}", known.join(", "));
        return Err(Hinted { message: format!("there is no node '{node}' in the input"), hint }.into());
    }
    let (tables, settings) = (compile(snapshot, node), Settings::default());
    let beside = [lower_host(&tables.host, &settings), lower_bans(&tables.bans, &settings)];
    let tables = [lower(&tables, &settings, Generation::FIRST)].into_iter();
    Ok(tables.chain(beside.into_iter().filter(|table| !table.is_nothing())).collect())
}

fn of_server(snapshot: &Snapshot, name: &ServerName) -> anyhow::Result<Ruleset> {
    let Some(server) = snapshot.servers.get(name) else {
        let known: Vec<String> = snapshot.servers.keys().map(|name| format!("host/{name}")).collect();
        let hint = if known.is_empty() {
            "the input has no NodeAllowlist, or none that can be read".to_string()
        } else {
            format!("the servers are {}", known.join(", "))
        };
        return Err(Hinted { message: format!("there is no NodeAllowlist '{name}' in the input"), hint }.into());
    };
    Ok(lower_host(&compile_server(snapshot, name, server).host, &Settings::default()))
}
