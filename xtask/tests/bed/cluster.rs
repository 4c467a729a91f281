//! What a cluster does by itself, without Palisade: later cases rest on it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context as _, ensure};
use ipnet::IpNet;
use xtask::bed::wait;
use xtask::image::Image;

use crate::Case;
use crate::support::{PATIENCE, PORT, Sandbox, host_connects, place};

pub const CASES: &[Case] = &[
    ("pods reach each other in both families", pods_reach_each_other),
    ("a NodePort answers in both families", a_node_port_answers),
    ("pods have addresses of their node's ranges", pods_have_addresses_of_their_node),
    ("a loaded image runs", a_loaded_image_runs),
    ("pods that only the API knows are left alone", pods_of_the_api_are_left_alone),
];

fn pods_reach_each_other(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let pods = sandbox.deploy("web", 4)?;
    ensure!(pods.len() == 4, "{} pods run, not 4", pods.len());
    for node in sandbox.bed.nodes() {
        let here = pods.iter().filter(|pod| pod.node == node.host.name()).count();
        ensure!(here == 2, "{here} of 4 pods are on {}, not 2", node.host.name());
    }
    // Whoever answers at an address of its own is who was asked.
    let addresses: BTreeSet<IpAddr> = pods.iter().flat_map(|pod| pod.addresses.iter().copied()).collect();
    ensure!(addresses.len() == 8, "4 pods have the addresses {addresses:?}");
    for client in &pods {
        for server in pods.iter().filter(|server| server.name != client.name) {
            for address in &server.addresses {
                sandbox.connects_in_the_end(client, &place(*address, PORT))?;
            }
        }
    }
    // What nobody listens on does not answer, so an answer means something.
    ensure!(!sandbox.connects(&pods[0], &place(pods[1].addresses[0], PORT + 1)), "a port that nobody serves answers");
    Ok(())
}

fn a_node_port_answers(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    sandbox.deploy("web", 2)?;
    sandbox.apply(&format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: {PORT}}}]
"
    ))?;
    let port = sandbox.kubectl(&["get", "service", "web", "--output=jsonpath={.spec.ports[0].nodePort}"])?.parse()?;
    let agnhost = sandbox.bed.binaries().program("agnhost");
    for node in sandbox.bed.nodes() {
        for address in node.addresses() {
            let place = place(address.parse::<IpAddr>()?, port);
            let answers = wait(PATIENCE, || Ok(host_connects(sandbox.bed.outside(), &agnhost, &place)))?;
            answers.with_context(|| format!("{place} does not answer"))?;
        }
    }
    Ok(())
}

fn pods_have_addresses_of_their_node(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    for pod in sandbox.deploy("web", 2)? {
        let ranges: Vec<IpNet> =
            sandbox.bed.node(&pod.node)?.pod_cidrs.iter().map(|range| range.parse()).collect::<Result<_, _>>()?;
        ensure!(ranges.len() == 2, "{} has the ranges {ranges:?}", pod.node);
        for address in &pod.addresses {
            let is_in = ranges.iter().any(|range| range.contains(address));
            ensure!(is_in, "{} on {} has {address}, not of {ranges:?}", pod.name, pod.node);
        }
    }
    Ok(())
}

fn a_loaded_image_runs(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let name = "localhost/bed-test:1";
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("image.tar");
    let content = [("/bin/idle", sandbox.bed.binaries().program("pause"))];
    Image { name, entrypoint: &["/bin/idle"], arguments: &[], files: &content }.write(&file)?;
    sandbox.bed.load(&file)?;
    for node in sandbox.bed.nodes() {
        sandbox.apply(&format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: idle-{node}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers: [{{name: idle, image: '{name}', imagePullPolicy: Never}}]
",
            node = node.host.name()
        ))?;
    }
    sandbox.kubectl(&["wait", "pod", "--all", "--for=condition=Ready", "--timeout=60s"])?;
    Ok(())
}

/// A large cluster is made of such pods: their Node is an object without a machine, and no controller minds.
fn pods_of_the_api_are_left_alone(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    sandbox.apply("{apiVersion: v1, kind: Node, metadata: {name: paper}}")?;
    let outcome = paper_pod_stays(sandbox);
    sandbox.bed.kubectl(&["delete", "node", "paper"])?;
    outcome
}

fn paper_pod_stays(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    sandbox.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: paper}
spec:
  nodeName: paper
  tolerations: []
  containers: [{name: none, image: none}]
",
    )?;
    let status = r#"{"status": {"phase": "Running", "podIPs": [{"ip": "10.244.200.1"}], "podIP": "10.244.200.1"}}"#;
    sandbox.kubectl(&["patch", "pod", "paper", "--subresource=status", "--patch", status])?;
    // Eviction by taint would come at once: this one tolerates nothing.
    sandbox.bed.kubectl(&["taint", "node", "paper", "test=yes:NoExecute"])?;
    sandbox.deploy("web", 1)?;
    let seen =
        sandbox.kubectl(&["get", "pod", "paper", "--output=jsonpath={.status.phase} {.metadata.deletionTimestamp}"])?;
    ensure!(seen.trim() == "Running", "the pod is {seen}");
    Ok(())
}
