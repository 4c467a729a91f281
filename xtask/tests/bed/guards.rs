//! Host policies on a real cluster: sockets of nodes, NodePorts and hostPorts, behind kube-proxy, on every node.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, ensure};
use xtask::bed::{Bed, Host, Network};

use crate::Case;
use crate::live::cut;
use crate::palisade::{guard, palisade, status};
use crate::portworx;
use crate::services::{cluster_places, flows, judge_in_the_end, node_places, places, pod, service};
use crate::support::{Flow, PORT, Protocol, Sandbox, UDP_PORT, judge};

pub const CASES: &[Case] = &[
    ("host policies guard sockets of nodes", host_policies_guard_sockets_of_nodes),
    ("host policies guard NodePorts", host_policies_guard_node_ports),
    ("host policies follow nodes that join and leave", host_policies_follow_nodes),
    ("host policies guard hostPorts", host_policies_guard_host_ports),
    ("a host policy cuts live connections", a_host_policy_cuts_live_connections),
    ("Portworx's API is for its nodes and a few system pods", portworx::its_api_is_guarded),
    ("the API server refuses host policies that cannot be read", unreadable_host_policies_are_refused),
];

const HOST_PORT: u16 = 18081;

/// A policy that admits every node, and the pods with the label `app: friend` of the sandbox.
fn friends(sandbox: &Sandbox<'_>, ports: &str) -> String {
    let namespace = format!("{{matchLabels: {{kubernetes.io/metadata.name: {}}}}}", sandbox.namespace);
    let pods = format!("{{namespaceSelector: {namespace}, podSelector: {{matchLabels: {{app: friend}}}}}}");
    format!("{{ports: {ports}, from: [{{nodes: {{}}}}, {{pods: {pods}}}]}}")
}

pub fn addresses(bed: &Bed, node: &str) -> anyhow::Result<Vec<IpAddr>> {
    Ok(bed.node(node)?.addresses().iter().map(|address| address.parse()).collect::<Result<_, _>>()?)
}

/// Who is there: friends and strangers on every node, the nodes, and a host outside.
pub struct Clients(pub Vec<Client>);

pub struct Client {
    pub name: String,
    pub network: Network,
    pub admitted: bool,
    /// The node, if it is a pod.
    pub pod_on: Option<String>,
}

impl Clients {
    pub fn of(sandbox: &Sandbox<'_>) -> anyhow::Result<Clients> {
        let mut clients = Vec::new();
        for (app, admitted) in [("friend", true), ("stranger", false)] {
            for pod in sandbox.deploy(app, 2)? {
                let (name, network) = (format!("{app} on {}", pod.node), sandbox.network(&pod)?);
                clients.push(Client { name, network, admitted, pod_on: Some(pod.node) });
            }
        }
        let host = |host: &Host, admitted| -> anyhow::Result<Client> {
            Ok(Client { name: host.name().to_string(), network: host.network()?, admitted, pod_on: None })
        };
        for node in sandbox.bed.nodes() {
            clients.push(host(&node.host, true)?);
        }
        clients.push(host(sandbox.bed.outside(), false)?);
        Ok(Clients(clients))
    }

    /// Flows to ports of nodes, which strangers may open unless these are guarded.
    pub fn flows(&self, places: &[(Protocol, SocketAddr)], guarded: bool) -> Vec<Flow> {
        let of = |client: &Client| flows(&client.name, &client.network, places, !guarded || client.admitted);
        self.0.iter().flat_map(of).collect()
    }

    /// The same to sockets of a node. To a pod of its own a server of datagrams answers from the address of the bridge, which no
    /// client takes.
    fn flows_to_sockets(&self, node: &str, sockets: &[(Protocol, SocketAddr)], guarded: bool) -> Vec<Flow> {
        let is_answered =
            |client: &Client, protocol| protocol == Protocol::Tcp || client.pod_on.as_deref() != Some(node);
        let of = |client: &Client| {
            let places: Vec<_> =
                sockets.iter().copied().filter(|(protocol, _)| is_answered(client, *protocol)).collect();
            flows(&client.name, &client.network, &places, !guarded || client.admitted)
        };
        self.0.iter().flat_map(of).collect()
    }
}

fn host_policies_guard_sockets_of_nodes(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    pod(sandbox, "host", "node1", "", "hostNetwork: true")?;
    let clients = Clients::of(sandbox)?;
    let sockets: Vec<_> =
        addresses(sandbox.bed, "node1")?.into_iter().flat_map(|address| places(address, PORT, UDP_PORT)).collect();
    judge_in_the_end(&clients.flows_to_sockets("node1", &sockets, false))?;
    let ports = format!("[{{port: {PORT}}}, {{protocol: UDP, port: {UDP_PORT}}}]");
    let guard = guard(sandbox, "sockets", &friends(sandbox, &ports))?;
    judge(&clients.flows_to_sockets("node1", &sockets, true))?;
    let host = &status(sandbox.bed, "node1")?["host"];
    ensure!(host["policies"] == 1 && host["denied"].as_u64() > Some(0), "palisade status tells of {host}");
    let denied = palisade(sandbox.bed, "node1", &["denied"])?;
    ensure!(denied.contains("guarded by HostPolicy") && denied.contains("node/node1"), "palisade denied says {denied}");
    guard.lift()?;
    judge(&clients.flows_to_sockets("node1", &sockets, false))
}

/// A `NodePort` is guarded on the node that is asked. The way through the `ClusterIP` leads to no port of a node.
fn host_policies_guard_node_ports(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    sandbox.deploy("web", 2)?;
    service(sandbox, "web", "type: NodePort")?;
    let clients = Clients::of(sandbox)?;
    let mut node_ports = node_places(sandbox, "web", "node1")?;
    node_ports.extend(node_places(sandbox, "web", "node2")?);
    judge_in_the_end(&clients.flows(&node_ports, false))?;
    let port = |wanted: Protocol| {
        let found = node_ports.iter().find(|(protocol, _)| *protocol == wanted);
        found.map(|(_, place)| place.port()).context("no port")
    };
    let ports = format!("[{{port: {}}}, {{protocol: UDP, port: {}}}]", port(Protocol::Tcp)?, port(Protocol::Udp)?);
    let _guard = guard(sandbox, "node-ports", &friends(sandbox, &ports))?;
    judge(&clients.flows(&node_ports, true))?;
    // The host outside has no way to a ClusterIP.
    let outside = sandbox.bed.outside().name();
    let inside = Clients(clients.0.into_iter().filter(|client| client.name != outside).collect());
    judge(&inside.flows(&cluster_places(sandbox, "web")?, false))
}

/// The host outside becomes a node, as far as the API server knows, and ceases to be one.
fn host_policies_follow_nodes(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    pod(sandbox, "host", "node2", "", "hostNetwork: true")?;
    let bed = sandbox.bed;
    let outside = bed.outside().network()?;
    let places: Vec<_> =
        addresses(bed, "node2")?.into_iter().map(|address| (Protocol::Tcp, SocketAddr::new(address, PORT))).collect();
    let flows = |passes| flows("outside", &outside, &places, passes);
    judge_in_the_end(&flows(true))?;
    let _guard = guard(sandbox, "nodes", &format!("{{ports: [{{port: {PORT}}}], from: [{{nodes: {{}}}}]}}"))?;
    judge(&flows(false))?;
    bed.apply("apiVersion: v1\nkind: Node\nmetadata: {name: guest}\n")?;
    let _node = Guest(bed);
    let addresses = r#"{"status":{"addresses":[{"type":"InternalIP","address":"10.99.0.1"},{"type":"ExternalIP","address":"fd99::1"}]}}"#;
    bed.kubectl(&["patch", "node", "guest", "--subresource=status", "--type=merge", "--patch", addresses])?;
    judge_in_the_end(&flows(true))?;
    bed.kubectl(&["delete", "node", "guest"])?;
    judge_in_the_end(&flows(false))
}

/// A node that is one for the API server alone; deleted when dropped.
struct Guest<'a>(&'a Bed);

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.kubectl(&["delete", "node", "guest", "--ignore-not-found"]) {
            println!("warning: {error:#}");
        }
    }
}

fn host_policies_guard_host_ports(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    pod(sandbox, "web", "node1", &format!("ports: [{{containerPort: {PORT}, hostPort: {HOST_PORT}}}]"), "")?;
    let clients = Clients::of(sandbox)?;
    let place = |address| (Protocol::Tcp, SocketAddr::new(address, HOST_PORT));
    let host_ports: Vec<_> = addresses(sandbox.bed, "node1")?.into_iter().map(place).collect();
    judge_in_the_end(&clients.flows(&host_ports, false))?;
    let ports = format!("[{{port: {}, endPort: {HOST_PORT}}}]", HOST_PORT - 1);
    let _guard = guard(sandbox, "host-ports", &friends(sandbox, &ports))?;
    judge(&clients.flows(&host_ports, true))
}

/// Of clients outside and in pods, at sockets and at NodePorts.
fn a_host_policy_cuts_live_connections(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    pod(sandbox, "host", "node1", "", "hostNetwork: true")?;
    sandbox.deploy("web", 2)?;
    service(sandbox, "web", "type: NodePort")?;
    let socket = |address| (Protocol::Tcp, SocketAddr::new(address, PORT));
    let mut at: Vec<_> = addresses(sandbox.bed, "node1")?.into_iter().map(socket).collect();
    at.extend(node_places(sandbox, "web", "node1")?);
    let network =
        |app| -> anyhow::Result<Vec<_>> { sandbox.deploy(app, 2)?.iter().map(|pod| sandbox.network(pod)).collect() };
    let (admitted, mut denied) = (network("friend")?, network("stranger")?);
    denied.push(sandbox.bed.outside().network()?);
    let guarded: Vec<String> = at
        .iter()
        .map(|(protocol, place)| {
            format!("{{protocol: {}, port: {}}}", format!("{protocol:?}").to_uppercase(), place.port())
        })
        .collect();
    let spec = friends(sandbox, &format!("[{}]", guarded.join(", ")));
    let mut kept = None;
    cut(&admitted, &denied, &at, || {
        kept = Some(guard(sandbox, "live", &spec)?);
        Ok(())
    })
}

fn unreadable_host_policies_are_refused(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let refused = |spec: &str, why: &str| -> anyhow::Result<()> {
        match guard(sandbox, "refused", spec) {
            Ok(_) => anyhow::bail!("the API server takes {spec}"),
            Err(error) => {
                let said = format!("{error:#}");
                ensure!(said.contains(why), "of {spec} the API server says {said}");
                Ok(())
            }
        }
    };
    refused("{from: [{nodes: {}}]}", "spec.ports: Required value")?;
    refused("{ports: []}", "spec.ports")?;
    refused("{ports: [{port: 90, endPort: 80}]}", "endPort must not be less than port")?;
    refused("{ports: [{port: 0}]}", "spec.ports[0].port")?;
    refused("{ports: [{port: http}]}", "spec.ports[0].port")?;
    refused("{ports: [{port: 80, protocol: ICMP}]}", "Unsupported value: \"ICMP\"")?;
    refused("{ports: [{port: 80}], from: [{}]}", "just one of nodes, pods and ipBlock must be given")?;
    refused("{ports: [{port: 80}], from: [{nodes: {}, pods: {}}]}", "just one of nodes, pods and ipBlock")?;
    refused("{ports: [{port: 80}], from: [{ipBlock: {cidr: 10.0.0.0/40}}]}", "cidr must be one")?;
    let hole = "{ports: [{port: 80}], from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}";
    refused(hole, "each of except must be a CIDR within cidr")?;
    refused("{ports: [{port: 80}], enforcement: Warn}", "Unsupported value: \"Warn\"")?;
    let scopes = "scope must be HostSockets alone, or all of";
    refused("{ports: [{port: 80}], scope: [NodePorts]}", scopes)?;
    refused("{ports: [{port: 80}], scope: [HostSockets, HostPorts]}", scopes)?;
    refused("{ports: [{port: 80}], scope: [Sockets]}", "Unsupported value: \"Sockets\"")?;
    refused("{ports: [{port: 80}], scope: []}", "spec.scope")?;
    refused("{ports: [{port: 80}], form: [{nodes: {}}]}", "unknown field \"spec.form\"")?;
    for scope in ["[HostSockets]", "[HostPorts, NodePorts, HostSockets]"] {
        let _guard = guard(sandbox, "scoped", &format!("{{ports: [{{port: 9000}}], scope: {scope}}}"))?;
    }
    let _guard =
        guard(sandbox, "shown", "{ports: [{port: 9000, endPort: 9022}], enforcement: Audit, otherwise: Reject}")?;
    // The status follows within a second or two.
    sandbox.bed.kubectl(&["wait", "--for=condition=Programmed", "--timeout=60s", "--all", "hostpolicies"])?;
    let shown = sandbox.bed.kubectl(&["get", "hostpolicies"])?;
    let row = shown.lines().last().unwrap_or_default().split_whitespace().collect::<Vec<_>>();
    let expected = ["Audit", "9000", "Reject", "2", "2", "True", "True"];
    ensure!(row.len() == 9 && row[1..8] == expected, "kubectl get hostpolicies shows {shown}");
    Ok(())
}
