//! What users are told of what happened.

use anyhow::{Context as _, ensure};
use xtask::bed::wait;

use crate::Case;
use crate::palisade::{enforce, lift, metric, palisade, status, too_many_peers};
use crate::support::{PATIENCE, Sandbox, judge};

pub const CASES: &[Case] = &[
    ("a denied packet is told by name and counted", a_denied_packet_is_told),
    ("a policy that cannot be read closes and is told", an_unreadable_policy_is_told),
];

fn a_denied_packet_is_told(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let (web, client) = (sandbox.deploy("web", 1)?.remove(0), sandbox.deploy("client", 1)?.remove(0));
    enforce(sandbox, "closed", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}")?;
    judge(&sandbox.flows(&client, &web, false)?)?;
    let space = &sandbox.namespace;
    let expected = format!(
        "{space}/{client} -> {space}/{web} tcp 8080  denied: {space}/closed isolates {space}/{web} (ingress), no rule matches",
        client = client.name,
        web = web.name
    );
    let mut said = String::new();
    wait(PATIENCE, || {
        said = palisade(sandbox.bed, &web.node, &["denied"])?;
        Ok(said.contains(&expected))
    })?
    .with_context(|| format!("palisade denied says:\n{said}and not\n{expected}"))?;
    let series =
        format!("palisade_denied_packets_total{{direction=\"ingress\",namespace=\"{space}\",policy=\"closed\"}}");
    // One packet at least of each family and protocol.
    wait(PATIENCE, || Ok(metric(sandbox.bed, &web.node, &series)? >= 4.0))?
        .with_context(|| format!("{series} does not count the packets"))?;
    lift(sandbox, "closed")
}

/// The API server takes any number of peers, the agent does not. If it were read, the policy would allow all.
fn an_unreadable_policy_is_told(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let pods = sandbox.deploy("web", 2)?;
    enforce(sandbox, "endless", &too_many_peers())?;
    judge(&sandbox.flows(&pods[0], &pods[1], false)?)?;
    let object = format!("NetworkPolicy {}/endless", sandbox.namespace);
    for node in ["node1", "node2"] {
        let status = status(sandbox.bed, node)?;
        let told = status["findings"].as_array().into_iter().flatten().any(|finding| finding["object"] == object);
        ensure!(told, "palisade status on {node}: {}", status["findings"]);
        ensure!(metric(sandbox.bed, node, "palisade_unreadable_policies")? > 0.0, "the metric of {node}");
    }
    let form = "--output=jsonpath={range .items[*]}{.involvedObject.kind} {.involvedObject.name}{'\\n'}{end}";
    wait(PATIENCE, || {
        let events = sandbox.kubectl(&["get", "events", "--field-selector=reason=Unreadable", form])?;
        Ok(events.lines().any(|line| line == "NetworkPolicy endless"))
    })?
    .context("there is no event")?;
    lift(sandbox, "endless")
}
