//! `palisade host status`: which nodes are admitted, which are not, and why.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use palisade_agent::Timestamp;
use palisade_host::cluster::{ClusterState, Stay, shown};
use palisade_host::store::{self, State};
use serde::Serialize;

use crate::args::OutputFormat;
use crate::host_ask::known;
use crate::output::Exit;
use crate::status::{columns, length};

/// Arguments of `host status`.
#[derive(Args, Debug)]
pub struct HostStatusArguments {
    /// Where the nodes are kept
    #[arg(long, value_name = "DIR", default_value = store::STATE_DIR)]
    state_dir: PathBuf,

    /// text, or json: one object
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text)]
    #[arg(hide_possible_values = true)]
    output: OutputFormat,
}

/// What is told.
#[derive(Serialize)]
struct Told<'a> {
    /// Whether somebody follows the clusters.
    running: bool,
    #[serde(flatten)]
    state: &'a State,
}

/// Runs the command.
pub fn run(arguments: &HostStatusArguments) -> anyhow::Result<Exit> {
    let (store, state) = known(&arguments.state_dir)?;
    let told = Told { running: store.is_locked()?, state: &state };
    let text = match arguments.output {
        OutputFormat::Text => text(&told, Timestamp::now()),
        OutputFormat::Json => serde_json::to_string(&told).context("cannot print the status")? + "\n",
    };
    io::stdout().write_all(text.as_bytes()).context("cannot print the status")?;
    let is_known = state.clusters.values().all(|cluster| cluster.listed.is_some());
    Ok(if told.running && is_known && state.in_force_since.is_some() { Exit::Clean } else { Exit::Found })
}

fn text(told: &Told<'_>, now: Timestamp) -> String {
    let state = told.state;
    let name = &state.name;
    let mut text = match (told.running, state.in_force_since) {
        _ if state.mode == "ExportOnly" => {
            let followed = if told.running { "the clusters are followed" } else { "nobody follows the clusters" };
            format!("NodeAllowlist {name}: kept in files alone; {followed}\n")
        }
        (true, Some(since)) => format!("NodeAllowlist {name}: in force, changed {} ago\n", length(since, now)),
        (true, None) => format!("NodeAllowlist {name}: not in force\n"),
        (false, _) => {
            format!("NodeAllowlist {name}: nobody follows the clusters; what the kernel holds stays in force\n")
        }
    };
    let mut line = |said: String| {
        let _ = writeln!(text, "  {}", said.replace('\n', "\n    "));
    };
    if let Some(error) = &state.error {
        line(format!("error: {error}"));
    }
    if let Some(until) = state.unconfirmed_until {
        line(format!("taken back in {}, unless 'palisade host confirm' comes before", length(now, until)));
    }
    state.obstacles.iter().for_each(|obstacle| line(format!("warning: {obstacle}")));
    for (what, items) in [("ports", &state.ports), ("in", &state.sets), ("admitted besides nodes", &state.static_cidrs)]
    {
        if !items.is_empty() {
            line(format!("{what}: {}", items.join(", ")));
        }
    }
    for export in &state.exports {
        line(match &export.error {
            None => format!("file {}: up to date", export.path),
            Some(error) => format!("file {}: {error}", export.path),
        });
    }
    for (name, cluster) in &state.clusters {
        text.push_str(&of_cluster(name, cluster, now));
    }
    text
}

fn of_cluster(name: &str, cluster: &ClusterState, now: Timestamp) -> String {
    let listed = match cluster.listed {
        Some(listed) => format!("all listed {} ago", length(listed, now)),
        None => "never listed, so that none of it is admitted".to_string(),
    };
    let mut text = format!("\ncluster {name}: {} nodes, {listed}\n", cluster.nodes.len());
    if let Some(error) = &cluster.error {
        let _ = writeln!(text, "  the API server does not tell, and what it said holds on: {error}");
    }
    for kept in cluster.lacking.iter().chain(&cluster.too_few) {
        let _ = writeln!(text, "  {kept}\n    hint: 'palisade host accept' lets them go");
    }
    let mut rows = Vec::new();
    for (node, known) in &cluster.nodes {
        for (net, stay) in &known.addresses {
            rows.push(vec![format!("  {node}"), shown(*net), of_stay(*stay, now)]);
        }
        for refusal in &known.refused {
            rows.push(vec![format!("  {node}"), refusal.address.clone(), format!("refused: {}", refusal.reason)]);
        }
    }
    text + &columns(&rows)
}

fn of_stay(stay: Stay, now: Timestamp) -> String {
    match stay.until {
        None => format!("admitted for {}", length(stay.since, now)),
        Some(until) if until > now => format!("gone, admitted for {} yet", length(now, until)),
        Some(_) => "gone, admitted all the same".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told() {
        let stay =
            |until: &str| format!("{{\"kind\":\"InternalIP\",\"since\":\"2026-01-01T00:00:00Z\",\"until\":{until}}}");
        let json = format!(
            r#"{{"version":1,"name":"pg","mode":"OwnChain","ports":["tcp 5432"],"sets":[],"staticCidrs":["192.0.2.1/32"],
            "inForceSince":"2026-01-01T00:00:30Z","error":null,"unconfirmedUntil":"2026-01-01T00:01:10Z",
            "obstacles":["chain input drops\nhint: add"],"exports":[{{"path":"/a","error":null}},{{"path":"/b","error":"ufw failed"}}],"clusters":{{
            "prod":{{"listed":"2026-01-01T00:00:00Z","error":"403 Forbidden","lacking":"the list lacks 2 of 3 nodes","tooFew":null,
            "nodes":{{"n1":{{"addresses":{{"10.0.0.1/32":{}}},"refused":[{{"address":"8.8.8.8","reason":"it is outside"}}]}},
            "n2":{{"addresses":{{"10.0.0.2/32":{}}},"refused":[]}}}}}},
            "test":{{"listed":null,"error":null,"lacking":null,"tooFew":null,"nodes":{{}}}}}}}}"#,
            stay("null"),
            stay("\"2026-01-01T00:01:40Z\""),
        );
        let state: State = serde_json::from_str(&json).unwrap();
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let expected = "\
NodeAllowlist pg: in force, changed 30s ago
  taken back in 10s, unless 'palisade host confirm' comes before
  warning: chain input drops
    hint: add
  ports: tcp 5432
  admitted besides nodes: 192.0.2.1/32
  file /a: up to date
  file /b: ufw failed

cluster prod: 2 nodes, all listed 60s ago
  the API server does not tell, and what it said holds on: 403 Forbidden
  the list lacks 2 of 3 nodes
    hint: 'palisade host accept' lets them go
  n1   10.0.0.1   admitted for 60s
  n1   8.8.8.8    refused: it is outside
  n2   10.0.0.2   gone, admitted for 40s yet

cluster test: 0 nodes, never listed, so that none of it is admitted
";
        assert_eq!(text(&Told { running: true, state: &state }, now), expected);
        let alone = text(&Told { running: false, state: &state }, now);
        assert!(
            alone.starts_with("NodeAllowlist pg: nobody follows the clusters; what the kernel holds stays"),
            "{alone}"
        );
    }
}
