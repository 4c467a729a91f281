//! Ban lists on a real cluster: behind kube-proxy and beside it, on every node, whatever their entries come from.
#![expect(clippy::disallowed_methods, reason = "gives nodes the files that lists name")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use xtask::bed::{Bed, Network, wait};

use crate::Case;
use crate::guards::addresses;
use crate::live::cut;
use crate::palisade::{InForce, NAMESPACE, ban, palisade, status};
use crate::services::{cluster_places, flows, judge_in_the_end, node_places, places, pod, service};
use crate::support::{Flow, PATIENCE, PORT, Protocol, Sandbox, UDP_PORT, judge};

pub const CASES: &[Case] = &[
    ("bans hold on every way", bans_hold_on_every_way),
    ("a ban cuts live connections", a_ban_cuts_live_connections),
    ("ban lists have sources", ban_lists_have_sources),
    ("the API server refuses ban lists that cannot be read", unreadable_ban_lists_are_refused),
];

/// The host outside, in both families.
const OUTSIDE: [&str; 2] = ["10.99.0.1", "fd99::1"];
/// Where feeds are, on the host of the control plane.
pub const FEED: &str = "10.99.0.10:8099";

/// Waits until the reason of the condition `Fetched` of a list is this.
fn is_fetched_as(list: &InForce<'_>, reason: &str) -> anyhow::Result<()> {
    let mut said = String::new();
    wait(PATIENCE, || {
        said = list.get("{.status.conditions[?(@.type=='Fetched')].reason}")?;
        Ok(said == reason)
    })?
    .with_context(|| format!("the list is {said:?}, not {reason}"))
}

fn outside_is_banned() -> Value {
    json!({"entries": [{"cidr": format!("{}/32", OUTSIDE[0]), "reason": "scans"}, {"cidr": format!("{}/128", OUTSIDE[1])}]})
}

/// What the host outside reaches: a Service at each node, a socket of a node, and a port of a pod at its node. The case before may not have
/// given back what only one can have: the port, and the socket of the node.
fn ways(sandbox: &Sandbox<'_>, host_port: u16, host: &str) -> anyhow::Result<Ways> {
    sandbox.deploy("web", 2)?;
    service(sandbox, "web", "type: NodePort")?;
    pod(sandbox, "host", host, "", "hostNetwork: true")?;
    pod(sandbox, "port", "node2", &format!("ports: [{{containerPort: {PORT}, hostPort: {host_port}}}]"), "")?;
    let mut to_pods = node_places(sandbox, "web", "node1")?;
    to_pods.extend(node_places(sandbox, "web", "node2")?);
    let place = |address| (Protocol::Tcp, SocketAddr::new(address, host_port));
    to_pods.extend(addresses(sandbox.bed, "node2")?.into_iter().map(place));
    let sockets = addresses(sandbox.bed, host)?;
    let to_sockets = sockets.into_iter().flat_map(|address| places(address, PORT, UDP_PORT)).collect();
    Ok(Ways { outside: sandbox.bed.outside().network()?, to_pods, to_sockets })
}

struct Ways {
    outside: Network,
    to_pods: Vec<(Protocol, SocketAddr)>,
    to_sockets: Vec<(Protocol, SocketAddr)>,
}

impl Ways {
    fn flows(&self, pods: bool, sockets: bool) -> Vec<Flow> {
        let mut all = flows("outside", &self.outside, &self.to_pods, pods);
        all.extend(flows("outside", &self.outside, &self.to_sockets, sockets));
        all
    }
}

/// A list for everybody, and one for some pods alone, which does not concern sockets of nodes. Others go on to reach all.
fn bans_hold_on_every_way(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let ways = ways(sandbox, 18_082, "node1")?;
    let client = sandbox.deploy("client", 1)?.remove(0);
    let inside = || -> anyhow::Result<Vec<Flow>> {
        let network = sandbox.network(&client)?;
        let mut all = flows("client", &network, &cluster_places(sandbox, "web")?, true);
        all.extend(flows("client", &network, &ways.to_pods, true));
        Ok(all)
    };
    judge_in_the_end(&ways.flows(true, true))?;
    let everywhere = ban(sandbox, "everywhere", &outside_is_banned())?;
    judge(&ways.flows(false, false))?;
    judge(&inside()?)?;
    let bans = &status(sandbox.bed, "node1")?["bans"];
    ensure!(bans["lists"] == 1 && bans["denied"].as_u64() > Some(0), "palisade status tells of {bans}");
    let denied = palisade(sandbox.bed, "node1", &["denied"])?;
    let reason = format!("{}: banned by BanList {}", OUTSIDE[0], everywhere.name);
    ensure!(denied.contains(&reason) && denied.contains("(scans)"), "palisade denied says {denied}");
    // The status follows within a second or two.
    sandbox.bed.kubectl(&["wait", "--for=condition=Programmed", "--timeout=60s", "banlist", &everywhere.name])?;
    let shown = sandbox.bed.kubectl(&["get", "banlists"])?;
    let row = shown.lines().last().unwrap_or_default().split_whitespace().collect::<Vec<_>>();
    ensure!(row.len() == 7 && row[1..6] == ["Enforce", "2", "2", "True", "True"], "kubectl get banlists shows {shown}");
    everywhere.lift()?;
    judge(&ways.flows(true, true))?;

    let mut spec = outside_is_banned();
    spec["target"] = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": sandbox.namespace}}});
    let targeted = ban(sandbox, "targeted", &spec)?;
    judge(&ways.flows(false, true))?;
    judge(&inside()?)?;
    targeted.lift()?;
    judge(&ways.flows(true, true))
}

fn a_ban_cuts_live_connections(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let ways = ways(sandbox, 18_083, "node2")?;
    let admitted: Vec<Network> =
        sandbox.deploy("client", 2)?.iter().map(|pod| sandbox.network(pod)).collect::<anyhow::Result<_>>()?;
    let mut kept = None;
    cut(&admitted, std::slice::from_ref(&ways.outside), &ways.to_pods, || {
        kept = Some(ban(sandbox, "live", &outside_is_banned())?);
        Ok(())
    })
}

/// Of each kind one: what it holds is banned; that of a `ConfigMap` and of files goes on to be after they are gone.
fn ban_lists_have_sources(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let ways = ways(sandbox, 18_084, "node1")?;
    judge_in_the_end(&ways.flows(true, true))?;
    let text = format!("# ours\n{} ; scans\n{}\n", OUTSIDE[0], OUTSIDE[1]);

    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "drop"}, "data": {"drop.txt": text}});
    sandbox.bed.apply_in(NAMESPACE, &map.to_string())?;
    let list = ban(sandbox, "map", &json!({"source": {"configMapRef": {"name": "drop"}}}))?;
    judge(&ways.flows(false, false))?;
    is_fetched_as(&list, "Fetched")?;
    sandbox.bed.kubectl(&["--namespace", NAMESPACE, "delete", "configmap", "drop"])?;
    is_fetched_as(&list, "Stale")?;
    judge(&ways.flows(false, false))?;
    list.lift()?;
    judge(&ways.flows(true, true))?;

    let file = |node: &str| sandbox.bed.node(node)?.host.file("/etc/palisade/bans/drop.txt");
    for node in ["node1", "node2"] {
        fs::write(file(node)?, &text)?;
    }
    let list = ban(sandbox, "file", &json!({"source": {"file": {"path": "drop.txt"}}}))?;
    judge(&ways.flows(false, false))?;
    for node in ["node1", "node2"] {
        fs::remove_file(file(node)?)?;
    }
    is_fetched_as(&list, "Stale")?;
    judge(&ways.flows(false, false))?;
    list.lift()?;

    let _feed = Feed::served(sandbox.bed, text)?;
    let url = format!("http://{FEED}/drop.txt");
    let list = ban(sandbox, "feed", &json!({"source": {"http": {"url": url}}}))?;
    judge(&ways.flows(false, false))?;
    is_fetched_as(&list, "Fetched")?;
    let parts = || {
        sandbox.bed.kubectl(&[
            "--namespace",
            NAMESPACE,
            "get",
            "configmaps",
            "--selector=palisade.dev/feed",
            "--output=name",
        ])
    };
    ensure!(parts()?.lines().count() == 1, "the feed is in {}", parts()?);
    list.lift()?;
    judge(&ways.flows(true, true))?;
    wait(PATIENCE, || Ok(parts()?.is_empty()))?.context("what was fetched is left")
}

/// A text that is served at [`FEED`] until this is dropped.
pub struct Feed {
    network: Network,
    is_over: Arc<AtomicBool>,
}

impl Feed {
    /// In the network of the host of the control plane.
    pub fn served(bed: &Bed, text: String) -> anyhow::Result<Feed> {
        let network = bed.control().network()?;
        let bind = || TcpListener::bind(FEED.parse::<SocketAddr>()?).context("cannot serve a feed");
        let (listener, is_over) = (network.within(bind)??, Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&is_over);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(reading) = stream.try_clone() else { continue };
                // The request ends with an empty line.
                let _ = BufReader::new(reading).lines().map_while(Result::ok).find(String::is_empty);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
                let _ = stream.write_all((head + &text).as_bytes());
            }
        });
        Ok(Feed { network, is_over })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It waits for somebody to ask.
        let _ = self.network.within(|| TcpStream::connect(FEED));
    }
}

fn unreadable_ban_lists_are_refused(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    let refused = |spec: Value, why: &str| -> anyhow::Result<()> {
        match ban(sandbox, "refused", &spec) {
            Ok(_) => anyhow::bail!("the API server takes {spec}"),
            Err(error) => {
                let said = format!("{error:#}");
                ensure!(said.contains(why), "of {spec} the API server says {said}");
                Ok(())
            }
        }
    };
    let entry = |entry: Value| json!({"entries": [entry]});
    refused(entry(json!({})), "spec.entries[0].cidr: Required value")?;
    refused(entry(json!({"cidr": "203.0.113.7"})), "cidr must be one")?;
    refused(entry(json!({"cidr": "0.0.0.0/0"})), "needs force: true")?;
    refused(entry(json!({"cidr": "203.0.113.0/24", "expiresAt": "tomorrow"})), "expiresAt")?;
    refused(json!({"entries": [{"cidr": "203.0.113.0/24"}, {"cidr": "203.0.113.0/24"}]}), "Duplicate value")?;
    refused(json!({"exceptCIDRs": ["here"]}), "each must be a CIDR")?;
    refused(json!({"enforcement": "Warn"}), "Unsupported value: \"Warn\"")?;
    refused(json!({"entry": []}), "unknown field \"spec.entry\"")?;
    let source = |source: Value| json!({"source": source});
    refused(source(json!({})), "one of file, configMapRef and http is needed")?;
    refused(
        source(json!({"file": {"path": "a"}, "configMapRef": {"name": "a"}})),
        "one of file, configMapRef and http",
    )?;
    refused(source(json!({"file": {"path": "../shadow"}})), "it must stay below the directory")?;
    refused(source(json!({"file": {"path": "/etc/shadow"}})), "it must stay below the directory")?;
    refused(source(json!({"http": {"url": "ftp://feeds.example"}})), "it must be an address such as")?;
    refused(source(json!({"http": {"url": "https://feeds.example", "intervalSeconds": 1}})), "intervalSeconds")?;
    refused(json!({"limits": {"minEntries": 1}}), "limits are those of a source")?;
    let limits = json!({"source": {"file": {"path": "a"}}, "limits": {"minEntries": 3, "maxEntries": 2}});
    refused(limits, "minEntries must not be more than maxEntries")
}
