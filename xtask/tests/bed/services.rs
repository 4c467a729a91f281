//! Services, ports of hosts, the network of nodes and the kubelet beside policies: judged after DNAT, and before a source is
//! rewritten on the way out.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, ensure};
use xtask::bed::{Network, wait};

use crate::Case;
use crate::palisade::{enforce, in_force};
use crate::support::{Flow, PATIENCE, PORT, Protocol, Sandbox, UDP_PORT, judge, server_pod};

pub const CASES: &[Case] = &[
    ("policies apply behind a ClusterIP", policies_apply_behind_a_cluster_ip),
    ("policies apply behind a NodePort", policies_apply_behind_a_node_port),
    ("policies apply to a pod that asks its own Service", policies_apply_to_a_hairpin),
    ("policies apply behind a hostPort", policies_apply_behind_a_host_port),
    ("pods of the hosts' network are nodes", pods_of_the_host_network_are_nodes),
];

/// Of two replicas behind a Service, each is asked by one of so many attempts, but for one time in a thousand.
const ATTEMPTS: usize = 10;
const FROM_CLIENT: &str =
    "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}";
/// The host outside, in both families.
const FROM_OUTSIDE: &str = "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 10.99.0.1/32}}, {ipBlock: {cidr: 'fd99::1/128'}}]}]}";

/// A Service of pods with the label `app`; `more` goes into its spec.
pub fn service(sandbox: &Sandbox<'_>, app: &str, more: &str) -> anyhow::Result<()> {
    sandbox.apply(&format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {app}}}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {{app: {app}}}
  ports:
  - {{name: tcp, port: 80, targetPort: {PORT}, protocol: TCP}}
  - {{name: udp, port: 81, targetPort: {UDP_PORT}, protocol: UDP}}
  {more}
"
    ))
}

/// The cluster's addresses of a Service, with both ports.
pub fn cluster_places(sandbox: &Sandbox<'_>, app: &str) -> anyhow::Result<Vec<(Protocol, SocketAddr)>> {
    let listed = sandbox.kubectl(&["get", "service", app, "--output=jsonpath={.spec.clusterIPs[*]}"])?;
    let addresses: Vec<IpAddr> = listed.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(addresses.len() == 2, "Service {app} has the addresses {addresses:?}");
    Ok(addresses.iter().flat_map(|address| places(*address, 80, 81)).collect())
}

/// The `NodePort` places of a Service on a node.
pub fn node_places(sandbox: &Sandbox<'_>, app: &str, node: &str) -> anyhow::Result<Vec<(Protocol, SocketAddr)>> {
    let listed = sandbox.kubectl(&["get", "service", app, "--output=jsonpath={.spec.ports[*].nodePort}"])?;
    let ports: Vec<u16> = listed.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [tcp, udp] = ports[..] else { anyhow::bail!("Service {app} has the ports {ports:?}") };
    let addresses = sandbox.bed.node(node)?.addresses();
    let addresses = addresses.iter().map(|address| address.parse()).collect::<Result<Vec<IpAddr>, _>>()?;
    Ok(addresses.iter().flat_map(|address| places(*address, tcp, udp)).collect())
}

pub fn places(address: IpAddr, tcp: u16, udp: u16) -> [(Protocol, SocketAddr); 2] {
    [(Protocol::Tcp, SocketAddr::new(address, tcp)), (Protocol::Udp, SocketAddr::new(address, udp))]
}

/// Flows from one network to several places, each tried so often that every replica is asked.
pub fn flows(name: &str, from: &Network, places: &[(Protocol, SocketAddr)], passes: bool) -> Vec<Flow> {
    let flow = |(protocol, to): &(Protocol, SocketAddr)| Flow {
        name: name.to_string(),
        from: from.clone(),
        protocol: *protocol,
        to: *to,
        passes,
    };
    places.iter().flat_map(|place| (0..ATTEMPTS).map(move |_| flow(place))).collect()
}

/// Waits until kube-proxy has made a way, then tries whether all goes as expected.
pub fn judge_in_the_end(flows: &[Flow]) -> anyhow::Result<()> {
    wait(PATIENCE, || Ok(judge(flows).is_ok()))?;
    judge(flows)
}

fn policies_apply_behind_a_cluster_ip(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    sandbox.deploy("web", 2)?;
    service(sandbox, "web", "")?;
    let places = cluster_places(sandbox, "web")?;
    let (clients, strangers) = (sandbox.deploy("client", 2)?, sandbox.deploy("stranger", 2)?);
    let expected = |strangers_pass| -> anyhow::Result<Vec<Flow>> {
        let mut expected = Vec::new();
        for (pods, passes) in [(&clients, true), (&strangers, strangers_pass)] {
            for pod in pods {
                expected.extend(flows(&pod.name, &sandbox.network(pod)?, &places, passes));
            }
        }
        Ok(expected)
    };
    judge_in_the_end(&expected(true)?)?;
    enforce(sandbox, "web", FROM_CLIENT)?;
    judge(&expected(false)?)
}

/// With `externalTrafficPolicy: Local` a client keeps its address. With `Cluster` it has that of the node which it asked, for
/// replicas on other nodes.
fn policies_apply_behind_a_node_port(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    sandbox.deploy("web", 2)?;
    let outside = sandbox.bed.outside().network()?;
    let to_all_nodes = |passes| -> anyhow::Result<Vec<Flow>> {
        let mut expected = flows("outside", &outside, &node_places(sandbox, "web", "node1")?, passes);
        expected.extend(flows("outside", &outside, &node_places(sandbox, "web", "node2")?, passes));
        Ok(expected)
    };
    service(sandbox, "web", "type: NodePort\n  externalTrafficPolicy: Local")?;
    judge_in_the_end(&to_all_nodes(true)?)?;
    enforce(sandbox, "web", FROM_CLIENT)?;
    judge(&to_all_nodes(false)?)?;
    enforce(sandbox, "web", FROM_OUTSIDE)?;
    judge(&to_all_nodes(true)?)?;

    service(sandbox, "web", "type: NodePort\n  externalTrafficPolicy: Cluster")?;
    let blocks = "[{ipBlock: {cidr: 10.99.0.0/24}}, {ipBlock: {cidr: 'fd99::/64'}}]";
    let from_segment = format!("{{podSelector: {{matchLabels: {{app: web}}}}, ingress: [{{from: {blocks}}}]}}");
    enforce(sandbox, "web", &from_segment)?;
    judge_in_the_end(&to_all_nodes(true)?)?;
    enforce(sandbox, "web", FROM_CLIENT)?;
    judge(&to_all_nodes(false)?)
}

fn policies_apply_to_a_hairpin(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let pods = sandbox.deploy("web", 1)?;
    service(sandbox, "web", "")?;
    let network = sandbox.network(&pods[0])?;
    let places = cluster_places(sandbox, "web")?;
    judge_in_the_end(&flows("itself", &network, &places, true))?;
    enforce(sandbox, "web", FROM_CLIENT)?;
    judge(&flows("itself", &network, &places, false))?;
    // Its own address stays open.
    judge(&sandbox.flows(&pods[0], &pods[0], true)?)?;
    let itself = "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}";
    enforce(sandbox, "web", itself)?;
    judge(&flows("itself", &network, &places, true))
}

fn policies_apply_behind_a_host_port(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    pod(sandbox, "web", "node1", &format!("ports: [{{containerPort: {PORT}, hostPort: 18080}}]"), "")?;
    let outside = sandbox.bed.outside().network()?;
    let place = |address: &String| Ok((Protocol::Tcp, SocketAddr::new(address.parse()?, 18080)));
    let places = sandbox.bed.node("node1")?.addresses().iter().map(place).collect::<anyhow::Result<Vec<_>>>()?;
    judge_in_the_end(&flows("outside", &outside, &places, true))?;
    enforce(sandbox, "web", FROM_CLIENT)?;
    judge(&flows("outside", &outside, &places, false))?;
    enforce(sandbox, "web", FROM_OUTSIDE)?;
    judge(&flows("outside", &outside, &places, true))
}

fn pods_of_the_host_network_are_nodes(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    pod(sandbox, "host", "node1", "", "hostNetwork: true")?;
    let web = sandbox.deploy("web", 2)?;
    let deny = "{podSelector: {}, policyTypes: [Ingress]}";
    enforce(sandbox, "all", deny)?;
    let mut expected = Vec::new();
    let [node1, node2] = ["node1", "node2"].map(|name| sandbox.bed.node(name));
    for (name, node) in [("node1", node1?), ("node2", node2?)] {
        let network = node.host.network()?;
        for pod in &web {
            let places: Vec<_> = pod.addresses.iter().flat_map(|address| places(*address, PORT, UDP_PORT)).collect();
            // Its own pods a node reaches, those of others not.
            expected.extend(flows(name, &network, &places, pod.node == name));
        }
    }
    let host = sandbox.bed.node("node1")?.addresses();
    for address in &host {
        // The policy selects this pod, too, but it has no address of its own.
        expected.extend(flows(
            "outside",
            &sandbox.bed.outside().network()?,
            &places(address.parse()?, PORT, UDP_PORT),
            true,
        ));
    }
    judge(&expected)
}

/// Runs a server with this name as its label `app` on a node, and waits until its rules are in force.
pub fn pod(sandbox: &Sandbox<'_>, name: &str, node: &str, container: &str, spec: &str) -> anyhow::Result<()> {
    let labels = format!("labels: {{app: {name}}}");
    let container = format!("args: [netexec, --http-port={PORT}, --udp-port={UDP_PORT}]\n    {container}");
    sandbox.apply(&server_pod(name, node, [&labels, spec, &container]))?;
    sandbox.kubectl(&["wait", "pod", name, "--for=condition=Ready", "--timeout=60s"])?;
    in_force(sandbox, "pod", name, &[]).context("palisade wait")
}
