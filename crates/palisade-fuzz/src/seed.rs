//! Texts that are right, from the files that users read.
#![expect(clippy::disallowed_methods, reason = "reads the project's own files")]

use std::fs;
use std::path::{Path, PathBuf};

/// Manifests: those of the examples and of the scenarios, and what neither of them has.
pub fn manifests() -> Vec<String> {
    let mut seeds: Vec<String> = UNUSUAL.map(str::to_string).to_vec();
    seeds.extend(files("examples", "yaml").iter().map(|path| text(path)));
    seeds.extend(blocks("scenarios", "yaml"));
    seeds
}

/// Config files of kube-restrict-ip.
pub fn configs() -> Vec<String> {
    let mut seeds = blocks("scenarios", "config");
    seeds.push("restrictedPorts: ['9100', 9100]\nallowedNetworks: [10.0.0.0/8, fd00::1]\ncheckInterval: 1m30s\nipChain: A\nscope: HostSocketsAndNodePorts\n".to_string());
    seeds
}

/// Files of servers outside of clusters.
pub fn node_allowlists() -> Vec<String> {
    vec![text(&root().join("examples/outside-host/host.yaml"))]
}

/// What flows are expected to come to.
pub fn flow_tests() -> Vec<String> {
    files("examples/tests", "yaml").iter().map(|path| text(path)).collect()
}

/// Feeds of ban lists, in each of their formats.
pub fn feeds() -> Vec<String> {
    FEEDS.map(str::to_string).to_vec()
}

/// Flows, as they stand in the files of the examples.
pub fn flows() -> Vec<String> {
    let written =
        ["shop", "kube-restrict-ip", "outside-host"].map(|name| root().join("examples").join(name).join("flows"));
    let written = written.iter().filter(|path| path.exists()).map(|path| text(path));
    let lines: Vec<String> = written.flat_map(|text| text.lines().map(str::to_string).collect::<Vec<_>>()).collect();
    lines.into_iter().chain(FLOWS.map(str::to_string)).collect()
}

/// Traffic, as `--port` takes it.
pub fn traffic() -> Vec<String> {
    ["tcp/80", "udp/5000-5010", "sctp", "icmp"].map(str::to_string).to_vec()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// The files below a directory with an extension, in the order of their names.
fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root().join(directory)]);
    while let Some(directory) = open.pop() {
        let entries =
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("cannot read {}: {error}", directory.display()));
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The code blocks of a language in the pages of a directory.
fn blocks(directory: &str, language: &str) -> Vec<String> {
    let pages: Vec<String> = files(directory, "md").iter().map(|path| text(path)).collect();
    let fence = format!("```{language}\n");
    let blocks = pages.iter().flat_map(|page| page.split(&fence).skip(1));
    blocks.filter_map(|rest| rest.split("```").next().map(str::to_string)).collect()
}

/// Anchors, merge keys, tags, block scalars, JSON one after the other, ranges of ports, and nothing at all.
const UNUSUAL: [&str; 6] = [
    "",
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n  namespace: db\n  annotations: {palisade.dev/allow: 'NP023,NP045'}\nspec:\n  podSelector:\n    matchLabels: {app: pg}\n  policyTypes: [Ingress, Egress]\n  ingress:\n  - from:\n    - podSelector: {matchExpressions: [{key: app, operator: In, values: [web, api]}]}\n      namespaceSelector: {}\n    - ipBlock:\n        cidr: 10.0.0.0/8\n        except: [\"10.1.0.0/16\"]\n    ports:\n    - {port: 5432, endPort: 5440}\n    - {port: http, protocol: UDP}\n",
    "apiVersion: v1\nkind: Pod\nmetadata: &m\n  name: a\n  labels: &l {app: pg, n: 'x'}\nspec:\n  nodeName: w1\n  containers:\n  - ports: [{name: http, containerPort: 80}]\nstatus: {podIP: 10.1.1.1, podIPs: [{ip: 'fd00::1'}]}\n---\nkind: Pod\napiVersion: v1\nmetadata: {<<: *m, name: b, labels: *l}\n",
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  replicas: 3\n  template:\n    metadata:\n      labels: {app: x}\n    spec:\n      containers: []\n---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: d}\nspec: {template: {}}\n",
    "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{\"kind\": \"Node\", \"apiVersion\": \"v1\", \"metadata\": {\"name\": \"w1\"}, \"spec\": {\"podCIDRs\": [\"10.2.0.0/30\"]}, \"status\": {\"addresses\": [{\"type\": \"InternalIP\", \"address\": \"10.0.0.1\"}]}}]}\n{\"kind\": \"Namespace\", \"apiVersion\": \"v1\", \"metadata\": {\"name\": \"é\\u00e9\"}}\n",
    "# comment\n%YAML 1.1\n--- |\n text\n...\n---\n!!map {? a : b, \"c\": >-\n  folded }\n",
];

const FEEDS: [&str; 5] = [
    "# comment\n192.0.2.0/24 ; SBL1\n198.51.100.7\n2001:db8::/32\n192.0.2.1 - 192.0.2.9\n",
    "ip,reason,expires\n192.0.2.1,scan,2030-01-01T00:00:00Z\n\"192.0.2.2\",\"a, b\",1893456000\n",
    "Start\tEnd\tNetmask\n192.0.2.0\t192.0.2.255\t24\n",
    "{\"ip\": \"192.0.2.1\", \"reason\": \"x\"}\n{\"cidr\": \"2001:db8::/48\"}\n",
    "",
];

const FLOWS: [&str; 6] = [
    "web/front -> db/pg tcp 5432",
    "web/deployment/front -> 2001:db8::1 udp 53",
    "node/n1 -> pod:node/n1 icmp",
    "host/edge -> db/pg sctp 1",
    "10.0.0.1 -> ::ffff:10.0.0.2 tcp 65535",
    "",
];
