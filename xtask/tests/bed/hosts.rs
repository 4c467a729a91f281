//! What tests can do to the hosts of a bed.

use std::net::IpAddr;

use anyhow::{Context as _, ensure};
use xtask::bed::{Component, Host, wait};

use crate::Case;
use crate::support::{PATIENCE, PORT, Sandbox, host_connects, place};

pub const CASES: &[Case] = &[
    ("a stopped component leaves pods running", a_stopped_component_leaves_pods_running),
    ("the API server stops and starts", the_api_server_stops_and_starts),
    ("hosts keep their files to themselves", hosts_keep_their_files_to_themselves),
    ("a killed node loses all but its disk and boots", a_killed_node_boots),
];

fn a_stopped_component_leaves_pods_running(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let pods = sandbox.deploy("web", 2)?;
    let agnhost = sandbox.bed.binaries().program("agnhost");
    let answers = |address: IpAddr| host_connects(sandbox.bed.outside(), &agnhost, &place(address, PORT));
    for pod in &pods {
        for component in Component::NODE {
            let host = &sandbox.bed.node(&pod.node)?.host;
            sandbox.bed.stop(&pod.node, component)?;
            let left = host.processes(component.program()).len();
            ensure!(left == 0, "{left} processes of {component:?} are left on {}", pod.node);
            ensure!(answers(pod.addresses[0]), "{} does not answer without {component:?}", pod.name);
            sandbox.bed.start(&pod.node, component)?;
        }
    }
    // Kubelet and its runtime work together again.
    sandbox.deploy("later", 2)?;
    Ok(())
}

fn the_api_server_stops_and_starts(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    sandbox.bed.stop_api_server()?;
    let answer = sandbox.bed.kubectl(&["get", "--raw=/readyz"]);
    sandbox.bed.start_api_server()?;
    ensure!(answer.is_err(), "the API server answers after it was stopped");
    sandbox.deploy("web", 2)?;
    Ok(())
}

fn hosts_keep_their_files_to_themselves(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let [one, two] = ["node1", "node2"].map(|name| sandbox.bed.node(name));
    let (one, two) = (&one?.host, &two?.host);
    ensure!(one.exec(&["hostname"])?.trim() == "node1");
    for directory in ["/etc", "/var/lib", "/run"] {
        let file = format!("{directory}/palisade-bed-test");
        one.exec(&["touch", &file])?;
        ensure!(holds(one, &file) && one.file(&file)?.exists());
        ensure!(!holds(two, &file), "node2 sees {file} of node1");
        ensure!(!std::path::Path::new(&file).exists(), "the machine sees {file} of node1");
    }
    Ok(())
}

fn a_killed_node_boots(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let bed = sandbox.bed;
    let pods = sandbox.deploy("web", 2)?;
    let on_node2 = pods.iter().find(|pod| pod.node == "node2").context("no pod is on node2")?;
    let on_node1 = pods.iter().find(|pod| pod.node == "node1").context("no pod is on node1")?;
    let host = &bed.node("node2")?.host;
    host.exec(&["touch", "/var/lib/kept", "/run/lost"])?;
    host.exec(&["nft", "add table inet lost"])?;

    bed.kill_node("node2")?;
    ensure!(host.exec(&["true"]).is_err(), "node2 runs programs after it was killed");
    ensure!(!sandbox.connects(on_node1, &place(on_node2.addresses[0], PORT)), "a pod of node2 answers");

    bed.boot_node("node2")?;
    ensure!(holds(host, "/var/lib/kept"), "the disk of node2 is lost");
    ensure!(!holds(host, "/run/lost"), "/run of node2 is kept");
    let ruleset = host.exec(&["nft", "list", "ruleset"])?;
    ensure!(ruleset.is_empty(), "node2 boots with {ruleset}");

    for component in Component::NODE {
        bed.start("node2", component)?;
    }
    // Kubelet starts the containers of its pods anew, and their addresses change.
    let answers = wait(PATIENCE, || {
        let pods = sandbox.pods("web")?;
        let server = pods.iter().find(|pod| pod.node == "node2").and_then(|pod| pod.addresses.first());
        Ok(server.is_some_and(|address| sandbox.connects(on_node1, &place(*address, PORT))))
    })?;
    answers.context("no pod of node2 answers after its boot")
}

fn holds(host: &Host, file: &str) -> bool {
    host.exec(&["test", "-e", file]).is_ok()
}
