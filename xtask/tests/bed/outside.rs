//! A database outside of the cluster that only nodes reach. What is done on the way there is what docs/outside-hosts.md says: its
//! commands are run, word for word.

mod document;
mod other;
mod server;

use std::time::Instant;

use anyhow::{Context as _, ensure};
use xtask::bed::{Bed, Component, wait};

use crate::Case;
use crate::support::{PATIENCE, Sandbox};
use document::{KUBECONFIG, LIST, REMOVE_DELAY, replaced};
use other::Other;
use server::{POSTGRESQL, Programs, Server};

pub const CASES: &[Case] = &[
    ("a PostgreSQL outside answers nodes alone", answers_nodes_alone),
    ("a PostgreSQL outside follows nodes that leave and join", follows_nodes),
    ("a PostgreSQL outside answers the nodes of two clusters", answers_two_clusters),
    // The last one: controllers take a while to see again what the API server has, and make no token of an account meanwhile.
    ("a PostgreSQL outside is guarded without API server", is_guarded_without_api_server),
];

/// A port of the server that nobody guards.
const OTHER: u16 = 8080;
const OTHER_KUBECONFIG: &str = "/etc/palisade/other.kubeconfig";

fn answers_nodes_alone(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let Some(programs) = Programs::found()? else { return Ok(()) };
    let server = Server::guarded(sandbox.bed, programs)?;
    server.listen(OTHER)?;
    for node in sandbox.bed.nodes() {
        server.answers(&node.host)?;
    }
    for stranger in [sandbox.bed.outside(), sandbox.bed.control()] {
        server.is_silent(stranger)?;
        ensure!(server.connects(stranger, OTHER)? == [true; 2], "{} does not reach another port", stranger.name());
    }
    let status = server.run(&server.document.status)?;
    for node in sandbox.bed.nodes() {
        for address in node.addresses() {
            ensure!(status.contains(&address), "palisade host status does not tell of {address}: {status}");
        }
    }
    ensure!(status.contains("cluster prod: 2 nodes, all listed"), "palisade host status says {status}");
    // The user of the document may do no more than is needed.
    let may =
        |words: &str| server.run(&format!("kubectl --kubeconfig={KUBECONFIG} auth can-i {words} --all-namespaces"));
    ensure!(may("list nodes").is_ok_and(|said| said.trim() == "yes"));
    for words in ["get secrets", "list pods", "update nodes"] {
        ensure!(may(words).is_err(), "the user of the document may {words}");
    }
    Ok(())
}

fn follows_nodes(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let Some(programs) = Programs::found()? else { return Ok(()) };
    let (bed, server) = (sandbox.bed, Server::guarded(sandbox.bed, programs)?);
    let [stays, leaves] = [&bed.node("node1")?.host, &bed.node("node2")?.host];
    server.answers(leaves)?;
    let deleted = Instant::now();
    bed.kubectl(&["delete", "node", leaves.name()])?;
    let gone = server.becomes(leaves, [false; 2]);
    let took = deleted.elapsed();
    // Whatever came of it, the bed has its node again.
    let created = create_again(bed, leaves.name());
    gone?;
    created?;
    ensure!(took >= REMOVE_DELAY, "node2 was shut out after {took:?}");
    println!("  a node that was deleted was shut out after {:.1} s", took.as_secs_f64());
    server.becomes(leaves, [true; 2])?;
    server.answers(leaves)?;
    server.answers(stays)
}

/// Creates a Node anew, as the bed did; the rest is its kubelet's, when that starts, but for the taint.
fn create_again(bed: &Bed, name: &str) -> anyhow::Result<()> {
    let ranges = bed.node(name)?.pod_cidrs.join(", ");
    let first = bed.node(name)?.pod_cidrs.first().context("no range of pods")?;
    let spec = format!("{{podCIDR: '{first}', podCIDRs: [{ranges}]}}");
    bed.apply(&format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nspec: {spec}\n"))?;
    bed.stop(name, Component::Kubelet)?;
    bed.start(name, Component::Kubelet)?;
    bed.kubectl(&["wait", "node", name, "--for=condition=Ready", "--timeout=60s"])?;
    bed.kubectl(&["taint", "node", name, "node.kubernetes.io/not-ready-"])?;
    Ok(())
}

fn is_guarded_without_api_server(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let Some(programs) = Programs::found()? else { return Ok(()) };
    let (bed, server) = (sandbox.bed, Server::guarded(sandbox.bed, programs)?);
    bed.stop_api_server()?;
    let outcome = without_api_server(&server);
    bed.start_api_server()?;
    outcome?;
    let tells = || Ok(!server.run(&server.document.status)?.contains("the API server does not tell"));
    wait(PATIENCE, tells)?.context("palisade host does not come back to the API server")?;
    server.answers(&bed.node("node1")?.host)
}

fn without_api_server(server: &Server<'_>) -> anyhow::Result<()> {
    let [node, stranger] = [&server.bed.node("node1")?.host, server.bed.outside()];
    let tells = || Ok(server.run(&server.document.status)?.contains("the API server does not tell"));
    wait(PATIENCE, tells)?.context("palisade host status tells of no failure")?;
    server.answers(node)?;
    server.is_silent(stranger)?;
    // As after a reboot: neither process nor table.
    server.guest.host.kill("palisade")?;
    server.run("nft delete table inet palisade_host")?;
    ensure!(server.connects(stranger, POSTGRESQL)? == [true; 2], "without the table a stranger does not get in");
    server.start_palisade()?;
    server.becomes(stranger, [false; 2])?;
    server.answers(node)?;
    server.is_silent(stranger)
}

/// The host outside is a node of another cluster, and ceases to be one.
fn answers_two_clusters(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let Some(programs) = Programs::found()? else { return Ok(()) };
    let (bed, server) = (sandbox.bed, Server::guarded(sandbox.bed, programs)?);
    let other = Other::start(&server)?;
    let (first, second) = ("prod.kubeconfig}\n", "  - {name: other, kubeconfig: /etc/palisade/other.kubeconfig}\n");
    server.write(OTHER_KUBECONFIG, &other.kubeconfig()?)?;
    server.write(LIST, &replaced(&server.document.list, first, &format!("{first}{second}"))?)?;
    server.guest.host.kill("palisade")?;
    server.start_palisade()?;
    let [own, guest] = [&bed.node("node1")?.host, bed.outside()];
    server.is_silent(guest)?;
    for (name, addresses) in [("stays", ["10.99.0.98", "fd99::98"]), ("leaves", ["10.99.0.1", "fd99::1"])] {
        other.node(name, addresses)?;
    }
    server.becomes(guest, [true; 2])?;
    server.answers(guest)?;
    server.answers(own)?;
    other.kubectl("delete node leaves")?;
    server.becomes(guest, [false; 2])?;
    server.answers(own)
}
