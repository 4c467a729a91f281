//! Packets under the address of another pod.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use socket2::{Domain, Protocol, Socket, Type};
use xtask::bed::{Bed, Host, Network, wait};

use crate::Case;
use crate::palisade::{agent, enforce, in_force, metric, status};
use crate::support::{self, Pod, Sandbox, judge};

pub const CASES: &[Case] = &[
    ("a pod that forges its neighbour's address is stopped", forged_sources_are_stopped),
    ("so is one that starts while no agent runs, and its probes are answered", while_no_agent_runs),
];

const FROM_FRIEND: &str =
    "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]}";
const PORT: u16 = 9999;
const TRIES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(3);

/// The liar is on the node of the friend whose address it uses; the server on that node, over the bridge, and on another.
fn forged_sources_are_stopped(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let [friends, liars, servers] = ["friend", "liar", "web"].map(|name| sandbox.deploy(name, 2));
    let (friends, liars, servers) = (friends?, liars?, servers?);
    enforce(sandbox, "web", FROM_FRIEND)?;
    nobody_is_fooled(sandbox, &friends, &liars, &servers)?;
    for node in ["node1", "node2"] {
        let dropped = metric(sandbox.bed, node, "palisade_forged_packets_total")?;
        ensure!(dropped > 0.0, "the agent of {node} counts {dropped} forged packets");
    }
    Ok(())
}

/// That the liars become ready says that the kubelet's probes are answered by pods that no agent knows.
fn while_no_agent_runs(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let [friends, servers] = ["friend", "web"].map(|name| sandbox.deploy(name, 2));
    let (friends, servers) = (friends?, servers?);
    enforce(sandbox, "web", FROM_FRIEND)?;
    for pod in friends.iter().chain(&servers) {
        wait(support::PATIENCE, || is_bound(sandbox, pod))?
            .with_context(|| format!("{} is bound to no interface", pod.name))?;
    }
    let paused = Paused::all(sandbox.bed)?;
    let liars = sandbox.deploy("liar", 2)?;
    nobody_is_fooled(sandbox, &friends, &liars, &servers)?;
    drop(paused);
    // Afterwards they are pods as all others.
    in_force(sandbox, "pod", &liars[0].name, &[])?;
    judge(&sandbox.flows(&friends[0], &liars[0], true)?)
}

/// Whether the agent of its node knows by which interface a pod sends.
fn is_bound(sandbox: &Sandbox<'_>, pod: &Pod) -> anyhow::Result<bool> {
    let name = format!("{}/{}", sandbox.namespace, pod.name);
    let status = status(sandbox.bed, &pod.node)?;
    let pods = status["pods"].as_array().context("no pods in the status")?;
    Ok(pods.iter().any(|reported| reported["pod"] == name.as_str() && reported["interface"].is_string()))
}

/// The agents, which learn of nothing for as long as this lives.
struct Paused<'a>(Vec<(&'a Host, String)>);

impl Paused<'_> {
    fn all(bed: &Bed) -> anyhow::Result<Paused<'_>> {
        let mut paused = Paused(Vec::new());
        for node in bed.nodes() {
            let process = agent(&node.host)?;
            node.host.exec(&["kill", "-STOP", &process])?;
            paused.0.push((&node.host, process));
        }
        Ok(paused)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        for (host, process) in &self.0 {
            if let Err(error) = host.exec(&["kill", "-CONT", process]) {
                println!("warning: {error:#}");
            }
        }
    }
}

/// No server gets what a liar sends under the address of a friend on its node.
fn nobody_is_fooled(sandbox: &Sandbox<'_>, friends: &[Pod], liars: &[Pod], servers: &[Pod]) -> anyhow::Result<()> {
    for friend in friends {
        let liar = liars.iter().find(|liar| liar.node == friend.node).context("no liar on the node")?;
        for server in servers {
            for (source, to) in friend.addresses.iter().zip(&server.addresses) {
                let reached = reached(sandbox, (friend, liar, server), *source, *to)?;
                ensure!(!reached, "{} on {} reaches {} as {source}", liar.name, liar.node, server.node);
            }
        }
    }
    Ok(())
}

/// Whether a server gets what the liar sends as `source`. Then the friend sends, so that its packet is the last.
fn reached(
    sandbox: &Sandbox<'_>,
    (friend, liar, server): (&Pod, &Pod, &Pod),
    source: IpAddr,
    to: IpAddr,
) -> anyhow::Result<bool> {
    let receiver = sandbox.network(server)?.within(|| UdpSocket::bind((to, PORT)))??;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let to = SocketAddr::new(to, PORT);
    for _ in 0..TRIES {
        send(&sandbox.network(liar)?, source, to, b"forged")?;
    }
    send(&sandbox.network(friend)?, source, to, b"true")?;
    let mut buffer = [0; 16];
    let length = receiver.recv(&mut buffer).context("the true packet does not arrive")?;
    Ok(buffer.get(..length) == Some(b"forged"))
}

/// Sends a datagram under any address, which takes no right but `CAP_NET_RAW`.
fn send(from: &Network, source: IpAddr, to: SocketAddr, content: &[u8]) -> anyhow::Result<()> {
    from.within(|| {
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
        match source {
            IpAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            IpAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
        }
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.send_to(content, &to.into()).context("cannot send")?;
        Ok(())
    })?
}
