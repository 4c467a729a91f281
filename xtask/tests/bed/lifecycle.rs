//! Agents come and go, the API server is away, nodes lose power: what is enforced meanwhile.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use xtask::bed::{Bed, Component, Host, wait};
use xtask::probe::{self, Attempt, Probe};

use crate::Case;
use crate::palisade::{NAMESPACE, agent, enforce, in_force, lift, manifests, palisade, ready, status};
use crate::support::{PATIENCE, PORT, Pod, Sandbox, UDP_PORT, judge, server_pod};

pub const CASES: &[Case] = &[
    ("agents are upgraded and killed, and packets notice nothing", upgrade_and_kill),
    ("the API server is away, and packets notice nothing", the_api_server_is_away),
    ("a flushed ruleset is repaired", a_flushed_ruleset_is_repaired),
    ("after a power loss no pod is open", after_a_power_loss),
    ("what is cleaned up stays so until it is resumed", cleanup_and_resume),
    ("what is uninstalled leaves nothing", uninstalled),
];

const PACE: Duration = Duration::from_millis(2);
const FRIENDS: &str =
    "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]}";

/// New connections and a live flow that pass, and new connections that never do, all the time.
struct Watchers {
    allowed: Vec<Probe<Vec<Attempt>>>,
    denied: Vec<Probe<Vec<Attempt>>>,
}

impl Watchers {
    fn start(sandbox: &Sandbox<'_>) -> anyhow::Result<Watchers> {
        let (web, friends) = (sandbox.deploy("web", 2)?, sandbox.deploy("friend", 2)?);
        let stranger = sandbox.deploy("stranger", 1)?.remove(0);
        enforce(sandbox, "friends", FRIENDS)?;
        let mut these = Watchers { allowed: Vec::new(), denied: Vec::new() };
        // One family on the way over the bridge, the other between nodes.
        for (friend, server) in friends.iter().zip(web.iter().rev()) {
            let network = sandbox.network(friend)?;
            let [v4, v6] = server.addresses[..] else { anyhow::bail!("{} has one address", server.name) };
            these.allowed.push(probe::connect(&network, SocketAddr::new(v4, PORT), PACE));
            these.allowed.push(probe::live_udp(&network, SocketAddr::new(v6, UDP_PORT), PACE));
        }
        let network = sandbox.network(&stranger)?;
        for server in &web {
            these.denied.push(probe::connect(&network, SocketAddr::new(server.addresses[0], PORT), PACE));
        }
        Ok(these)
    }

    /// Ends them, and checks that no answer was missing and none was wrong.
    fn end(self) -> anyhow::Result<()> {
        let (mut lost, mut open, mut tried) = (0, 0, 0);
        for probe in self.allowed {
            let attempts = probe.stop()?;
            tried += attempts.len();
            lost += attempts.iter().filter(|attempt| attempt.answered.is_none()).count();
        }
        for probe in self.denied {
            let attempts = probe.stop()?;
            tried += attempts.len();
            open += attempts.iter().filter(|attempt| attempt.answered.is_some()).count();
        }
        println!("  {tried} probes");
        ensure!(lost == 0 && open == 0, "of {tried} probes {lost} were lost and {open} passed that must not");
        Ok(())
    }
}

fn upgrade_and_kill(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let bed = sandbox.bed;
    let ctr = bed.binaries().program("ctr").display().to_string();
    for node in bed.nodes() {
        let next =
            ["--namespace=k8s.io", "images", "tag", "--force", "localhost/palisade:dev", "localhost/palisade:next"];
        node.host.exec(&[&[ctr.as_str()], &next[..]].concat())?;
    }
    let watchers = Watchers::start(sandbox)?;
    let change = |image: &str| -> anyhow::Result<()> {
        let image = format!("agent=localhost/palisade:{image}");
        bed.kubectl(&["--namespace", NAMESPACE, "set", "image", "daemonset/palisade-agent", &image])?;
        ready(bed)
    };
    change("next")?;
    for node in bed.nodes() {
        let before = agent(&node.host)?;
        node.host.exec(&["kill", "-KILL", &before])?;
        wait(PATIENCE, || Ok(agent(&node.host).is_ok_and(|now| now != before)))?.context("no agent starts again")?;
    }
    wait(PATIENCE, || Ok(status(bed, "node1").is_ok() && status(bed, "node2").is_ok()))?.context("no agent answers")?;
    watchers.end()?;
    change("dev")
}

fn the_api_server_is_away(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let watchers = Watchers::start(sandbox)?;
    sandbox.bed.stop_api_server()?;
    std::thread::sleep(Duration::from_millis(500));
    // An agent that starts while nobody tells it anything has the rules of before.
    let host = &sandbox.bed.node("node1")?.host;
    let before = agent(host)?;
    host.exec(&["kill", "-KILL", &before])?;
    wait(PATIENCE, || Ok(agent(host).is_ok_and(|now| now != before)))?.context("no agent starts again")?;
    sandbox.bed.start_api_server()?;
    wait(PATIENCE, || Ok(status(sandbox.bed, "node1").is_ok() && status(sandbox.bed, "node2").is_ok()))?;
    watchers.end()?;
    // What changes then is followed.
    let pods = [sandbox.pods("stranger")?, sandbox.pods("web")?].concat();
    lift(sandbox, "friends")?;
    judge(&sandbox.flows(&pods[0], &pods[1], true)?)
}

fn a_flushed_ruleset_is_repaired(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let (web, stranger) = (sandbox.deploy("web", 1)?.remove(0), sandbox.deploy("stranger", 1)?.remove(0));
    enforce(sandbox, "friends", FRIENDS)?;
    let host = &sandbox.bed.node(&web.node)?.host;
    let table = || host.exec(&["nft", "--stateless", "list", "table", "inet", "palisade"]);
    // Chains come last. What stands before them holds who was denied of late, which goes with the table.
    let rules = |text: &str| text.split_once("\tchain ").map_or(0, |(_, chains)| chains.lines().count());
    let before = rules(&table()?);
    ensure!(before > 0, "there are no chains in the table");
    host.exec(&["nft", "delete", "table", "inet", "palisade"])?;
    // The generation in them goes on; the rest is the same.
    wait(PATIENCE, || Ok(table().is_ok_and(|now| rules(&now) == before)))?.context("the table does not come again")?;
    judge(&sandbox.flows(&stranger, &web, false)?)?;
    let status = status(sandbox.bed, &web.node)?;
    ensure!(status["repairs"][0]["by"] == "nft", "palisade status tells of {}", status["repairs"]);
    Ok(())
}

/// How many addresses are tried, after the last one that was given to a pod of the node: one of them is the next pod's.
const NEXT_ADDRESSES: u8 = 8;

fn after_a_power_loss(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let bed = sandbox.bed;
    let closed = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}";
    enforce(sandbox, "closed", closed)?;
    on_node2(sandbox)?;
    let without = power_loss(sandbox, false)?;
    let window = without.iter().max().zip(without.iter().min()).map(|(last, first)| *last - *first);
    println!("  without palisade-restore.service a pod was open for {window:?} ({} connections)", without.len());
    let with = power_loss(sandbox, true)?;
    ensure!(with.is_empty(), "{} connections reached an isolated pod while node2 booted", with.len());
    ensure!(status(bed, "node2")?["bootGap"] == "closed");
    // The pod was among those that were tried, and is there.
    lift(sandbox, "closed")?;
    let pod = web(sandbox)?;
    ensure!(probe::connects(&bed.outside().network()?, SocketAddr::new(pod.addresses[0], PORT), PATIENCE)?);
    Ok(())
}

/// One server on node2.
fn on_node2(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    bed_server(sandbox)?;
    sandbox.kubectl(&["wait", "pod", "web", "--for=condition=Ready", "--timeout=60s"])?;
    in_force(sandbox, "pod", "web", &[])
}

fn bed_server(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let ready = format!("readinessProbe: {{httpGet: {{path: /, port: {PORT}}}, periodSeconds: 1}}");
    let container = format!("args: [netexec, --http-port={PORT}]\n    {ready}");
    sandbox.apply(&server_pod("web", "node2", ["labels: {app: web}", "", &container]))
}

fn web(sandbox: &Sandbox<'_>) -> anyhow::Result<Pod> {
    sandbox.pods("web")?.pop().context("the pod is gone")
}

/// Has node2 lose power and boot, with or without the unit on it, and gives when connections from outside to its pods came
/// about until the agent is there again.
fn power_loss(sandbox: &Sandbox<'_>, restore: bool) -> anyhow::Result<Vec<Instant>> {
    let bed = sandbox.bed;
    let before = web(sandbox)?.addresses;
    let IpAddr::V4(last) = last_address(&bed.node("node2")?.host)?.max(before[0]) else {
        anyhow::bail!("{before:?} do not begin with an IPv4 address")
    };
    bed.kill_node("node2")?;
    bed.boot_node("node2")?;
    if restore {
        // As palisade-restore.service does.
        let said = palisade(bed, "node2", &["restore", "--state-dir=/var/lib/palisade/node2"])?;
        println!("  {}", said.trim());
    }
    let outside = bed.outside().network()?;
    let next = (1..=NEXT_ADDRESSES).map(|step| Ipv4Addr::from(u32::from(last) + u32::from(step)));
    let tried: Vec<Ipv4Addr> = next.collect();
    let probes: Vec<_> = tried
        .iter()
        .map(|address| probe::connect(&outside, SocketAddr::new((*address).into(), PORT), PACE * 5))
        .collect();
    let started = start(bed, sandbox, &before);
    let mut open = Vec::new();
    for probe in probes {
        open.extend(probe.stop()?.iter().filter(|attempt| attempt.answered.is_some()).map(|attempt| attempt.at));
    }
    started?;
    let now = web(sandbox)?.addresses;
    ensure!(tried.iter().any(|address| now.contains(&IpAddr::V4(*address))), "{now:?} is none of {tried:?}");
    Ok(open)
}

fn start(bed: &Bed, sandbox: &Sandbox<'_>, before: &[IpAddr]) -> anyhow::Result<()> {
    for component in Component::NODE {
        bed.start("node2", component)?;
    }
    wait(PATIENCE, || Ok(web(sandbox)?.addresses.first().is_some_and(|now| *now != before[0])))?
        .context("the pod does not start again")?;
    wait(PATIENCE, || Ok(status(bed, "node2").is_ok()))?.context("no agent answers on node2")?;
    sandbox.kubectl(&["wait", "pod", "web", "--for=condition=Ready", "--timeout=60s"])?;
    in_force(sandbox, "pod", "web", &[])
}

/// The last IPv4 address that the CNI plugin gave to a pod of the node; it goes on from there.
fn last_address(host: &Host) -> anyhow::Result<IpAddr> {
    Ok(host.exec(&["cat", "/var/lib/cni/networks/pods/last_reserved_ip.0"])?.trim().parse()?)
}

fn cleanup_and_resume(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let bed = sandbox.bed;
    let (web, stranger) = (sandbox.deploy("web", 1)?.remove(0), sandbox.deploy("stranger", 1)?.remove(0));
    enforce(sandbox, "friends", FRIENDS)?;
    judge(&sandbox.flows(&stranger, &web, false)?)?;
    let node = bed.node(&web.node)?;
    palisade(bed, &web.node, &["agent", "--cleanup"])?;
    ensure!(tables(&node.host)?.is_empty(), "after --cleanup {} has {:?}", web.node, tables(&node.host)?);
    // An agent that starts anew leaves it so.
    node.host.exec(&["kill", "-KILL", &agent(&node.host)?])?;
    wait(PATIENCE, || Ok(phase(bed, &web.node)? == "Paused"))?.context("NodeState does not tell of the pause")?;
    ensure!(tables(&node.host)?.is_empty());
    // The program on the node is gone, too; the agent's pod has one.
    let listed = ["get", "pods", &format!("--field-selector=spec.nodeName={}", web.node), "--output=name"];
    let pod = bed.kubectl(&[&["--namespace", NAMESPACE], &listed[..]].concat())?;
    let resume = ["exec", pod.trim(), "--", "/palisade", "agent", "--resume"];
    bed.kubectl(&[&["--namespace", NAMESPACE], &resume[..]].concat())?;
    wait(PATIENCE, || Ok(status(bed, &web.node).is_ok()))?.context("nothing is in force after --resume")?;
    judge(&sandbox.flows(&stranger, &web, false)?)
}

fn phase(bed: &Bed, node: &str) -> anyhow::Result<String> {
    bed.kubectl(&["get", "nodestate", node, "--output=jsonpath={.status.phase}"])
}

/// Our tables on a host.
fn tables(host: &Host) -> anyhow::Result<Vec<String>> {
    let listed = host.exec(&["nft", "list", "tables"])?;
    Ok(listed.lines().filter(|line| line.ends_with(" palisade")).map(str::to_string).collect())
}

/// As docs/operations.md tells it. The last case: it takes Palisade off the bed.
fn uninstalled(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let bed = sandbox.bed;
    for node in bed.nodes() {
        let name = node.host.name();
        ensure!(!tables(&node.host)?.is_empty(), "{name} has no table of ours");
        palisade(bed, name, &["agent", "--cleanup"])?;
    }
    bed.kubectl(&["delete", "-k", &manifests().to_string_lossy(), "--timeout=60s"])?;
    for node in bed.nodes() {
        let left = tables(&node.host)?;
        ensure!(left.is_empty(), "{} has {left:?}", node.host.name());
        let units = node.host.exec(&["find", "/etc/systemd", "-name", "*palisade*"])?;
        ensure!(units.is_empty(), "{} has {units}", node.host.name());
    }
    Ok(())
}
