//! What stands beside us on this server, and may make of no effect what is in force.

use palisade_agent::chain;
use palisade_core::HostPort;
use palisade_nft::{default_drops, foreign_tables};
use palisade_sources::node_allowlist::{Mode, NodeAllowlist};

use crate::enforce;

/// What people are told, each with what to do about it.
pub fn obstacles(list: &NodeAllowlist) -> Vec<String> {
    let found = match list.mode {
        Mode::OwnChain => default_drop(&list.allow),
        Mode::SetOnly(_) => own_table(),
        // It may not have the right to look into the kernel.
        Mode::ExportOnly => Ok(Vec::new()),
    };
    found.unwrap_or_else(|error| vec![format!("what stands beside us cannot be told: {error}")])
}

/// Firewalls that drop what they do not name: what is admitted in our table has to be admitted there as well.
fn default_drop(allow: &[HostPort]) -> Result<Vec<String>, String> {
    let tables = foreign_tables().map_err(|error| chain(&error))?;
    let rules = |table: &dyn std::fmt::Display, chain: &str| {
        let rule =
            |port: &HostPort| format!("nft add rule {table} {chain} {} dport {} accept", port.transport, port.range);
        allow.iter().map(rule).collect::<Vec<_>>().join("; ")
    };
    let told = default_drops(&tables).map(|(table, chain)| {
        format!(
            "chain {chain} of table {table} drops what its rules do not name, nodes of the list included\nhint: if it does not admit \
             them, add there, too: {}",
            rules(table, chain)
        )
    });
    Ok(told.collect())
}

/// A table that an earlier run left, with the nodes of then.
fn own_table() -> Result<Vec<String>, String> {
    let is_there = enforce::is_there().map_err(|error| chain(&error))?;
    let told = "table inet palisade_host, of mode OwnChain, is in the kernel, and nobody keeps it up to date\nhint: 'palisade host --cleanup' takes it out";
    Ok(is_there.then(|| told.to_string()).into_iter().collect())
}
