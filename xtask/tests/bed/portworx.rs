//! The example `examples/portworx` on a real cluster.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use xtask::bed::{Bed, wait};

use crate::guards::{Client, Clients, addresses};
use crate::palisade::palisade;
use crate::services::{flows, judge_in_the_end};
use crate::support::{PATIENCE, Protocol, Sandbox, judge, pods, server_pod};

const PORTWORX: &str = include_str!("../../../examples/portworx/policy.yaml");
const NO_HOST_NETWORK: &str = include_str!("../../../examples/portworx/no-host-network.yaml");
/// The pods that the policy admits.
const SYSTEM: [(&str, &str); 6] = [
    ("name", "scheduler"),
    ("component", "stork"),
    ("tier", "control-plane"),
    ("k8s-app", "kube-controller-manager"),
    ("name", "portworx-pvc-controller"),
    ("tier", "px-web-console"),
];

/// The example, as its README has it applied.
pub fn its_api_is_guarded(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let _system = System { bed: sandbox.bed };
    let mut manifests = vec![system_pod("server", ("px", "server"), "node1", "hostNetwork: true", "9001")];
    for (number, label) in SYSTEM.into_iter().enumerate() {
        manifests.push(system_pod(&format!("admitted-{number}"), label, ["node1", "node2"][number % 2], "", "8080"));
    }
    manifests.push(system_pod("other", ("k8s-app", "kube-dns"), "node1", "", "8080"));
    sandbox.bed.apply_in("kube-system", &manifests.join("---"))?;
    sandbox.bed.kubectl(&[
        "-n",
        "kube-system",
        "wait",
        "pod",
        "-l",
        "case=portworx",
        "--for=condition=Ready",
        "--timeout=60s",
    ])?;
    let mut clients = Clients::of(sandbox)?;
    for client in &mut clients.0 {
        client.admitted = client.name.starts_with("node");
    }
    for (app, admitted) in [("admitted", true), ("other", false)] {
        for pod in pods(sandbox.bed, "kube-system", app)? {
            let network = sandbox.bed.pod_network(&pod.uid)?;
            clients.0.push(Client { name: pod.name, network, admitted, pod_on: Some(pod.node) });
        }
    }
    let place = |address| (Protocol::Tcp, SocketAddr::new(address, 9001));
    let api: Vec<_> = addresses(sandbox.bed, "node1")?.into_iter().map(place).collect();
    judge_in_the_end(&clients.flows(&api, false))?;
    sandbox.bed.apply(PORTWORX)?;
    palisade(
        sandbox.bed,
        "node1",
        &["wait", "host-policy", "portworx-api", "--kubeconfig=/run/bed/pki/admin.kubeconfig"],
    )?;
    judge(&clients.flows(&api, true))?;
    let loopback = [(Protocol::Tcp, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9001))];
    judge(&flows("node1", &sandbox.bed.node("node1")?.host.network()?, &loopback, true))?;
    // The API server stays within reach of everybody.
    let kubernetes = sandbox.bed.kubectl(&["get", "service", "kubernetes", "--output=jsonpath={.spec.clusterIP}"])?;
    let server = [(Protocol::Tcp, SocketAddr::new(kubernetes.trim().parse()?, 443))];
    judge(&flows("stranger", &sandbox.network(&sandbox.pods("stranger")?[0])?, &server, true))?;
    users_have_no_host_network(sandbox)
}

/// The API server takes a moment to know of a policy.
fn users_have_no_host_network(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    sandbox.bed.apply(NO_HOST_NETWORK)?;
    let asked = system_pod("users", ("px", "users"), "node2", "hostNetwork: true", "9002");
    let refused = wait(PATIENCE, || {
        let applied = sandbox.apply(&asked);
        if applied.is_ok() {
            sandbox.kubectl(&["delete", "pod", "users", "--grace-period=0", "--force"])?;
        }
        Ok(applied.is_err_and(|error| format!("{error:#}").contains("hostNetwork is for the namespaces of the system")))
    })?;
    refused.context("users may ask for the hosts' network")
}

/// A server in kube-system with this label, and with that of its kind, `app`, before the number of its name.
fn system_pod(name: &str, (key, value): (&str, &str), node: &str, spec: &str, port: &str) -> String {
    let app = name.split('-').next().unwrap_or(name);
    let labels = format!("labels: {{{key}: {value}, app: {app}, case: portworx}}");
    server_pod(name, node, [&labels, spec, &format!("args: [netexec, --http-port={port}, --udp-port=-1]")])
}

/// What the example leaves outside the namespace of the case; deleted when dropped.
struct System<'a> {
    bed: &'a Bed,
}

impl Drop for System<'_> {
    fn drop(&mut self) {
        let pods = ["-n", "kube-system", "delete", "pod", "-l", "case=portworx", "--grace-period=0", "--force"];
        let policies = ["delete", "--ignore-not-found", "hostpolicy/portworx-api"];
        let admission = [
            "delete",
            "--ignore-not-found",
            "validatingadmissionpolicy/no-host-network",
            "validatingadmissionpolicybinding/no-host-network",
        ];
        for words in [&pods[..], &policies, &admission] {
            if let Err(error) = self.bed.kubectl(words) {
                println!("warning: {error:#}");
            }
        }
    }
}
