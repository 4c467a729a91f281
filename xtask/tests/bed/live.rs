//! Live connections through Services: a change cuts those that it forbids, and no other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use xtask::bed::{Network, wait};
use xtask::probe::{self, Attempt, Probe};

use crate::Case;
use crate::palisade::enforce;
use crate::services::{cluster_places, node_places, service};
use crate::support::{PATIENCE, Protocol, Sandbox};

pub const CASES: &[Case] = &[
    ("a change cuts live connections through a ClusterIP", connections_through_a_cluster_ip),
    ("a change cuts live connections through a NodePort", connections_through_a_node_port),
];

/// Two dozen conversations at a time are to leave a busy machine room.
const PACE: Duration = Duration::from_millis(20);
/// How long an answer is waited for while kube-proxy makes the way.
const OPEN_PATIENCE: Duration = Duration::from_millis(200);
/// How long probes run before and after the change.
const WHILE: Duration = Duration::from_millis(600);
/// How soon a connection is cut.
const CUT: Duration = Duration::from_secs(1);

/// Live connections from one network to some places.
struct Conversations {
    tcp: Vec<Probe<Vec<Instant>>>,
    udp: Vec<Probe<Vec<Attempt>>>,
}

impl Conversations {
    fn start(from: &Network, places: &[(Protocol, SocketAddr)]) -> Conversations {
        let mut these = Conversations { tcp: Vec::new(), udp: Vec::new() };
        for (protocol, to) in places {
            match protocol {
                Protocol::Tcp => these.tcp.push(probe::live_tcp(from, *to, PACE)),
                Protocol::Udp => these.udp.push(probe::live_udp(from, *to, PACE)),
            }
        }
        these
    }

    /// Ends them, and checks that they went on all the time, or ended when the change came.
    fn end(self, cut: Option<&Change>) -> anyhow::Result<()> {
        let end = Instant::now();
        for probe in self.tcp {
            let answers = probe.stop()?;
            match cut {
                None => {
                    let last = answers.last().context("an allowed TCP connection was never answered")?;
                    ensure!(end - *last < WHILE, "an allowed TCP connection ended {:?} before the end", end - *last);
                }
                Some(change) => {
                    ends(answers.iter().copied(), change).context("a TCP connection that is forbidden now")?;
                }
            }
        }
        for probe in self.udp {
            let attempts = probe.stop()?;
            let answered = attempts.iter().filter_map(|attempt| attempt.answered);
            match cut {
                None => {
                    let lost = attempts.len() - answered.count();
                    ensure!(lost == 0, "of {} datagrams of an allowed flow {lost} were lost", attempts.len());
                }
                Some(change) => ends(answered, change).context("a UDP flow that is forbidden now")?,
            }
        }
        Ok(())
    }
}

/// When the change was begun to be applied, and when it was known to be in force.
struct Change {
    begun: Instant,
    in_force: Instant,
}

fn ends(answers: impl Iterator<Item = Instant>, change: &Change) -> anyhow::Result<()> {
    let last = answers.max().context("was never answered")?;
    let late = last.saturating_duration_since(change.in_force);
    ensure!(last > change.begun, "ended {:?} before it was forbidden", change.begun - last);
    ensure!(late < CUT, "ended only {late:?} after the change");
    Ok(())
}

fn connections_through_a_cluster_ip(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    sandbox.deploy("web", 2)?;
    service(sandbox, "web", "")?;
    let places = cluster_places(sandbox, "web")?;
    let (friends, strangers) = (sandbox.deploy("friend", 2)?, sandbox.deploy("stranger", 2)?);
    let networks = |pods: &[crate::support::Pod]| -> anyhow::Result<Vec<Network>> {
        pods.iter().map(|pod| sandbox.network(pod)).collect()
    };
    let policy =
        "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]}";
    cut(&networks(&friends)?, &networks(&strangers)?, &places, || enforce(sandbox, "friends", policy))
}

/// From outside, and from a node that is not the pods': both come with an address of their own.
fn connections_through_a_node_port(sandbox: &Sandbox<'_>) -> anyhow::Result<()> {
    sandbox.deploy("web", 2)?;
    service(sandbox, "web", "type: NodePort\n  externalTrafficPolicy: Local")?;
    let places = node_places(sandbox, "web", "node1")?;
    let (outside, control) = (sandbox.bed.outside().network()?, sandbox.bed.control().network()?);
    let policy = "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 10.99.0.1/32}}, {ipBlock: {cidr: 'fd99::1/128'}}]}]}";
    cut(&[outside], &[control], &places, || enforce(sandbox, "friends", policy))
}

/// Talks from all networks, then lets in only the friends; `enforce` returns when that is in force.
pub fn cut(
    friends: &[Network],
    strangers: &[Network],
    places: &[(Protocol, SocketAddr)],
    enforce: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let ways = || friends.iter().chain(strangers).flat_map(|from| places.iter().map(move |place| (from, place)));
    let open = |(from, (protocol, to)): (&Network, &(Protocol, SocketAddr))| match protocol {
        Protocol::Tcp => probe::connects(from, *to, OPEN_PATIENCE).unwrap_or(false),
        Protocol::Udp => probe::answers_udp(from, *to, OPEN_PATIENCE).unwrap_or(false),
    };
    wait(PATIENCE, || Ok(ways().all(open)))?.context("kube-proxy makes no way")?;

    let lost_before = lost(friends)?;
    let talk = |from: &[Network]| from.iter().map(|from| Conversations::start(from, places)).collect::<Vec<_>>();
    let (allowed, forbidden) = (talk(friends), talk(strangers));
    std::thread::sleep(WHILE);
    let begun = Instant::now();
    enforce()?;
    let change = Change { begun, in_force: Instant::now() };
    std::thread::sleep(CUT + WHILE);
    for conversations in allowed {
        conversations.end(None)?;
    }
    for conversations in forbidden {
        conversations.end(Some(&change))?;
    }
    let lost = lost(friends)? - lost_before;
    ensure!(lost == 0, "{lost} TCP segments of allowed connections were lost");
    Ok(())
}

fn lost(networks: &[Network]) -> anyhow::Result<u64> {
    networks.iter().map(probe::sent_again).sum()
}
