//! `palisade host accept` and `palisade host confirm`: what people say to the program that runs.

use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use palisade_host::request;
use palisade_host::store::{self, State, Store};

use crate::output::{Exit, Hinted};

/// Arguments of `host accept`.
#[derive(Args, Debug)]
pub struct AcceptArguments {
    /// Of this cluster alone
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,

    /// Where the nodes are kept
    #[arg(long, value_name = "DIR", default_value = store::STATE_DIR)]
    state_dir: PathBuf,
}

/// Arguments of `host confirm`.
#[derive(Args, Debug)]
pub struct ConfirmArguments {
    /// Where the nodes are kept
    #[arg(long, value_name = "DIR", default_value = store::STATE_DIR)]
    state_dir: PathBuf,
}

/// Lets the nodes go that are kept now.
pub fn accept(arguments: &AcceptArguments) -> anyhow::Result<Exit> {
    let (store, state) = known(&arguments.state_dir)?;
    if let Some(name) = arguments.cluster.as_deref().filter(|name| !state.clusters.contains_key(*name)) {
        let known: Vec<&str> = state.clusters.keys().map(AsRef::as_ref).collect();
        let message = format!("the list has no cluster {name}");
        return Err(Hinted { message, hint: format!("it has {}", known.join(", ")) }.into());
    }
    let kept = request::kept(&state, arguments.cluster.as_deref());
    let mut out = io::stdout().lock();
    for (cluster, nodes) in &kept {
        let names: Vec<&str> = nodes.iter().map(AsRef::as_ref).collect();
        writeln!(out, "cluster {cluster}: {} may go", names.join(", ")).context("cannot print the outcome")?;
    }
    if kept.is_empty() {
        writeln!(out, "no node stays against what its API server says").context("cannot print the outcome")?;
        return Ok(Exit::Found);
    }
    request::accept(&store, &kept)?;
    Ok(Exit::Clean)
}

/// Keeps the rules.
pub fn confirm(arguments: &ConfirmArguments) -> anyhow::Result<Exit> {
    let (store, state) = known(&arguments.state_dir)?;
    if state.unconfirmed_until.is_none() || !store.is_locked()? {
        writeln!(io::stdout().lock(), "no rules wait to be confirmed").context("cannot print the outcome")?;
        return Ok(Exit::Found);
    }
    request::confirm(&store)?;
    writeln!(io::stdout().lock(), "the rules stay").context("cannot print the outcome")?;
    Ok(Exit::Clean)
}

/// Keeps the rules as soon as somebody presses Enter, who thus still has a terminal.
pub fn confirm_by_enter(store: &Store) {
    for line in io::stdin().lock().lines() {
        // Without a line there is no terminal any more; a request that cannot be made is none.
        let Ok(_) = line else { return };
        let is_waiting = store.load().ok().flatten().is_some_and(|state| state.unconfirmed_until.is_some());
        if is_waiting && request::confirm(store).is_ok() {
            return;
        }
    }
}

/// What is known in a state directory.
pub fn known(state_dir: &Path) -> anyhow::Result<(Store, State)> {
    let store = Store::at(state_dir);
    let Some(state) = store.load()? else {
        let message = format!("nothing is known in {}", state_dir.display());
        let hint = "'palisade host' is to run on this server; --state-dir says where it keeps the nodes".to_string();
        return Err(Hinted { message, hint }.into());
    };
    Ok((store, state))
}
