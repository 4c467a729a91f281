//! A large cluster of a small machine: nodes, pods and policies that only the API server knows.

use std::fmt::Write as _;

use crate::bed::{ApiServer, Bed, Say};

/// Pods on a node, namespaces, and workloads in a namespace.
const PODS_PER_NODE: usize = 100;
const NAMESPACES: usize = 50;
const WORKLOADS: usize = 20;
/// Connections to the API server.
const CONNECTIONS: usize = 4;

/// Makes so many running pods, spread over nodes and namespaces, and so many policies that allow one workload of a namespace to
/// reach another, and a few blocks to reach it too. They stay until the bed ends.
///
/// # Errors
///
/// The API server refuses something.
pub fn gather(bed: &Bed, pods: usize, policies: usize, say: Say<'_>) -> anyhow::Result<()> {
    let mut fixed = String::new();
    for node in 0..pods.div_ceil(PODS_PER_NODE) {
        let _ = writeln!(fixed, "---\n{{apiVersion: v1, kind: Node, metadata: {{name: crowd-{node}}}}}");
    }
    for namespace in 0..NAMESPACES {
        let _ = writeln!(fixed, "---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: crowd-{namespace}}}}}");
    }
    bed.apply(&fixed)?;
    for namespace in 0..NAMESPACES {
        let namespace = format!("crowd-{namespace}");
        bed.kubectl(&["wait", "serviceaccount/default", "--namespace", &namespace, "--for=create", "--timeout=60s"])?;
    }
    std::thread::scope(|scope| {
        let makers: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                scope.spawn(move || {
                    let mut api = ApiServer::start(bed)?;
                    (connection..pods).step_by(CONNECTIONS).try_for_each(|number| pod(&mut api, number))?;
                    (connection..policies).step_by(CONNECTIONS).try_for_each(|number| policy(&mut api, number))
                })
            })
            .collect();
        makers.into_iter().try_for_each(|maker| maker.join().unwrap_or_else(|_| anyhow::bail!("a thread panicked")))
    })?;
    say(&format!("{pods} pods and {policies} policies are there"));
    Ok(())
}

fn pod(api: &mut ApiServer, number: usize) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/crowd-{}/pods", number % NAMESPACES);
    let (app, node) = (number / NAMESPACES % WORKLOADS, number / PODS_PER_NODE);
    let body = format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "pod-{number}", "labels": {{"app": "app-{app}"}}}},
            "spec": {{"nodeName": "crowd-{node}", "containers": [{{"name": "none", "image": "none"}}]}}}}"#
    );
    api.ask("POST", &path, &body)?;
    let (high, low) = (number / 250, number % 250 + 1);
    let v4 = format!("10.245.{high}.{low}");
    let v6 = format!("fd45::{high:x}:{low:x}");
    let status = format!(
        r#"{{"status": {{"phase": "Running", "podIP": "{v4}", "podIPs": [{{"ip": "{v4}"}}, {{"ip": "{v6}"}}]}}}}"#
    );
    api.ask("PATCH", &format!("{path}/pod-{number}/status"), &status)
}

fn policy(api: &mut ApiServer, number: usize) -> anyhow::Result<()> {
    let namespace = number % NAMESPACES;
    let (app, peer) = (number / NAMESPACES % WORKLOADS, (number / NAMESPACES + 1) % WORKLOADS);
    let body = format!(
        r#"{{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {{"name": "policy-{number}"}},
            "spec": {{"podSelector": {{"matchLabels": {{"app": "app-{app}"}}}}, "policyTypes": ["Ingress"], "ingress": [{{
                "from": [{{"podSelector": {{"matchLabels": {{"app": "app-{peer}"}}}}}}, {{"ipBlock": {{"cidr": "192.0.2.0/24"}}}}],
                "ports": [{{"port": 80}}, {{"port": 8080}}]}}]}}}}"#
    );
    api.ask("POST", &format!("/apis/networking.k8s.io/v1/namespaces/crowd-{namespace}/networkpolicies"), &body)
}
