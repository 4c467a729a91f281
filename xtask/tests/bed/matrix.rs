//! What `palisade matrix --cluster` says of a running cluster is what packets between its pods do.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use xtask::image;

use crate::Case;
use crate::palisade::enforce;
use crate::support::{Flow, PORT, Pod, Protocol, Sandbox, UDP_PORT, judge};

pub const CASES: &[Case] = &[("the matrix of a cluster is what packets do", the_matrix_is_what_packets_do)];

const APPS: [&str; 3] = ["web", "db", "other"];

fn the_matrix_is_what_packets_do(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let mut pods: Vec<(&str, Pod)> = Vec::new();
    for app in APPS {
        pods.extend(sandbox.deploy(app, 2)?.into_iter().map(|pod| (app, pod)));
    }
    enforce(
        sandbox,
        "db",
        "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 8080}]}, \
         {from: [{podSelector: {matchLabels: {app: db}}}]}]}",
    )?;
    enforce(
        sandbox,
        "web",
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}], ports: [{port: 8080}]}, \
         {to: [{podSelector: {matchLabels: {app: other}}}], ports: [{protocol: UDP, port: 8081}]}]}",
    )?;
    let tcp = edges(sandbox, &format!("tcp/{PORT}"))?;
    let udp = edges(sandbox, &format!("udp/{UDP_PORT}"))?;
    let edge = |from: &str, to: &str| (from.to_string(), to.to_string());
    ensure!(tcp.contains(&edge("web", "db")) && !udp.contains(&edge("web", "db")), "{tcp:?} {udp:?}");
    ensure!(!tcp.contains(&edge("other", "db")) && udp.contains(&edge("db", "db")), "{tcp:?} {udp:?}");
    let mut flows: Vec<Flow> = Vec::new();
    for (from_app, from) in &pods {
        for (to_app, to) in pods.iter().filter(|(_, to)| to.name != from.name) {
            let passes = |protocol| match protocol {
                Protocol::Tcp => tcp.contains(&edge(from_app, to_app)),
                Protocol::Udp => udp.contains(&edge(from_app, to_app)),
            };
            let all = sandbox.flows(from, to, false)?;
            flows.extend(all.into_iter().map(|flow| Flow { passes: passes(flow.protocol), ..flow }));
        }
    }
    judge(&flows)
}

/// Between which of the applications this traffic passes, in both families.
fn edges(sandbox: &Sandbox<'_>, port: &str) -> anyhow::Result<BTreeSet<(String, String)>> {
    let kubeconfig = sandbox.bed.kubeconfig();
    let transport = port.split_once('/').context("no port")?.0;
    let mut command = sandbox.bed.on_control_network(&image::palisade::build()?);
    command.args(["matrix", "--cluster", "--output", "json", "--port", port, "--kubeconfig"]).arg(kubeconfig);
    let output = command.output().context("cannot run palisade")?;
    ensure!(output.status.success(), "palisade matrix: {}", String::from_utf8_lossy(&output.stderr));
    let mut edges = BTreeSet::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let edge: Value = serde_json::from_str(line)?;
        let app = |end: &str| {
            let name = edge[end]["name"].as_str()?;
            name.strip_prefix(&format!("{}/deployment/", sandbox.namespace)).map(str::to_string)
        };
        if let (Some(from), Some(to)) = (app("from"), app("to")) {
            let ports =
                |family: &str| edge["families"][family][transport].as_array().is_some_and(|ports| !ports.is_empty());
            ensure!(ports("4") == ports("6"), "{line}");
            if ports("4") {
                edges.insert((from, to));
            }
        }
    }
    Ok(edges)
}
