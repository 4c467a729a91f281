//! Denied packets by name: who sent what to whom, and which policies do not let it, or would not.

mod bans;
mod host;

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use palisade_core::{Audit, Direction, Family, Port, Snapshot, Traffic, Transport};
use palisade_nft::ruleset::Side;
use palisade_nft::{Ban, Denial, Guarded, Headers, KernelError, Log, LoggedPacket};
use palisade_sim::reason::Isolator;
use palisade_sim::{DirectionDecision, Endpoint, Owner, Packet, decide, owners};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::listening::Source;
use crate::message::Message;
use crate::report::Obstacle;

/// How many packets are named in a second; it takes a look at every pod of the cluster.
const NAMED_PER_SECOND: usize = 100;
/// How soon the thread that waits for packets sees that nobody wants them any more, and tells of those that it left out.
const PATIENCE: Duration = Duration::from_secs(1);
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A packet that was denied, or would be, as the flow that it belongs to.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DeniedPacket {
    /// When.
    pub time: Timestamp,
    /// Who opened the flow: `web/front`, `node/n1`, or an address.
    pub source: String,
    /// To whom.
    pub destination: String,
    /// `tcp`, `udp`, `sctp`, `icmp`, or the number of another protocol.
    pub protocol: String,
    /// The port of the destination, if there is one.
    pub port: Option<u16>,
    /// The direction in which the pod was judged.
    pub direction: String,
    /// The pod whose policies deny it, or at the other end of what is banned; `None` if no pod has the address, or a port of a node is
    /// guarded.
    pub pod: Option<String>,
    /// The node whose port is guarded; `None` if a pod was judged.
    #[serde(default)]
    pub node: Option<String>,
    /// The policies that isolate the pod in this direction, the host policies that guard the port, or the lists that ban an end.
    pub policies: Vec<String>,
    /// How the verdict would change with all audited policies in force: `would deny` (it passed), `would allow` (it was denied); `None` if
    /// it would not.
    pub audit: Option<String>,
    /// Why, in one sentence.
    pub reason: String,
    /// The ends of the flow.
    pub addresses: Addresses,
}

/// The ends of a flow.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Addresses {
    /// Who opened it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
}

impl fmt::Display for DeniedPacket {
    /// `web/batch -> db/pg tcp 5432  denied: db/allow-web isolates db/pg (ingress), no rule matches`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {}", self.source, self.destination, self.protocol)?;
        if let Some(port) = self.port {
            write!(f, " {port}")?;
        }
        match self.audit.as_deref() {
            Some(audit) if audit == Audit::WouldDeny.name() => write!(f, "  {audit}: {}", self.reason),
            Some(audit) => write!(f, "  denied, audited policies {audit} it: {}", self.reason),
            None => write!(f, "  denied: {}", self.reason),
        }
    }
}

/// Names a logged packet by the cluster as it is now; `None` if it is none of those that our rules log.
pub fn name(snapshot: &Snapshot, logged: &LoggedPacket) -> Option<DeniedPacket> {
    let headers = logged.headers?;
    if let Some(guarded) = Guarded::of_prefix(&logged.prefix) {
        return Some(host::name(snapshot, guarded, &headers, time(logged)));
    }
    if let Some(ban) = Ban::of_prefix(&logged.prefix) {
        return Some(bans::name(snapshot, ban, &headers, time(logged)));
    }
    let denial = Denial::of_prefix(&logged.prefix)?;
    let is_reply = matches!(denial, Denial::Policy { reply: true, .. });
    let (source, destination, port) = if is_reply {
        (headers.destination, headers.source, headers.source_port)
    } else {
        (headers.source, headers.destination, headers.destination_port)
    };
    let subject = match denial.subject() {
        Side::Source => headers.source,
        Side::Destination => headers.destination,
    };
    let [from, to] = [source, destination].map(|address| endpoint(snapshot, address));
    let mut denied = DeniedPacket {
        time: time(logged),
        source: from.to_string(),
        destination: to.to_string(),
        protocol: protocol(headers.protocol),
        port,
        direction: denial.direction().name().to_string(),
        pod: pod(snapshot, subject),
        node: None,
        policies: Vec::new(),
        audit: None,
        reason: String::new(),
        addresses: Addresses { source, destination },
    };
    denied.reason = match denial {
        Denial::UnknownPod(_) => unknown(&denied, subject),
        Denial::WouldDeny(_) | Denial::Policy { .. } => {
            if matches!(denial, Denial::WouldDeny(_)) {
                denied.audit = Some(Audit::WouldDeny.name().to_string());
            }
            by_policy(snapshot, &mut denied, (from, to), &headers, denial.direction())
        }
    };
    Some(denied)
}

fn time(logged: &LoggedPacket) -> Timestamp {
    logged.time.and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_else(Timestamp::now)
}

fn endpoint(snapshot: &Snapshot, address: IpAddr) -> Endpoint {
    let first = owners(snapshot, address).into_iter().next();
    first.unwrap_or(Endpoint { address, owner: Owner::Outside, node: None })
}

fn pod(snapshot: &Snapshot, address: IpAddr) -> Option<String> {
    match endpoint(snapshot, address).owner {
        Owner::Pod(name) => Some(name.to_string()),
        Owner::Node | Owner::Server(_) | Owner::Outside => None,
    }
}

fn protocol(number: u8) -> String {
    match Transport::ALL.into_iter().find(|transport| transport.number() == number) {
        Some(transport) => transport.name().to_string(),
        None if number == ICMP || number == ICMPV6 => "icmp".to_string(),
        None => number.to_string(),
    }
}

fn unknown(denied: &DeniedPacket, subject: IpAddr) -> String {
    match &denied.pod {
        None => format!("{subject} is in the pod range of this node, and no known pod has it"),
        Some(pod) => format!("no known pod had {subject}; by now {pod} has it"),
    }
}

fn by_policy(
    snapshot: &Snapshot,
    denied: &mut DeniedPacket,
    (source, destination): (Endpoint, Endpoint),
    headers: &Headers,
    direction: Direction,
) -> String {
    let Some(pod) = denied.pod.clone() else {
        return format!("the pod that had the address is gone by now ({direction})");
    };
    let family = Family::of(source.address);
    let Some(traffic) = traffic(headers.protocol, denied.port) else {
        return format!("{pod} is isolated ({direction}), and the packet has no port that a rule could match");
    };
    let decision = decide(snapshot, &Packet { family, source, destination, traffic, via: None });
    let here = |judged: &&DirectionDecision| {
        judged.direction == direction && judged.subject.to_string() == pod && !judged.outcome.allows()
    };
    let directions = if denied.audit.is_some() {
        // It passed: the others have denied it.
        decision.shadow.as_ref().map(|shadow| &shadow.directions)
    } else {
        denied.audit = decision.audit().filter(|audit| *audit == Audit::WouldAllow).map(|audit| audit.to_string());
        Some(&decision.directions)
    };
    let Some(judged) = directions.into_iter().flatten().find(here) else {
        return format!("it was so when the packet came; by the rules of now {pod} allows it ({direction})");
    };
    denied.policies = judged.isolated_by.iter().map(|isolator| isolator.policy.to_string()).collect();
    isolated(judged, &pod)
}

/// `None` without the port that the protocol has. A protocol that no rule can name passes where ICMP would: by rules without ports.
fn traffic(protocol: u8, port: Option<u16>) -> Option<Traffic> {
    match Transport::ALL.into_iter().find(|transport| transport.number() == protocol) {
        Some(transport) => Some(Traffic::Port(transport, Port::new(port?)?)),
        None => Some(Traffic::Icmp),
    }
}

/// `db/allow-web isolates db/pg (ingress), no rule matches`.
fn isolated(judged: &DirectionDecision, pod: &str) -> String {
    let direction = judged.direction;
    let named = |unreadable: bool| {
        let wanted = |isolator: &&Isolator| isolator.unreadable.is_some() == unreadable;
        let name = |isolator: &Isolator| format!("{}{}", isolator.policy, if isolator.audit { " (audit)" } else { "" });
        judged.isolated_by.iter().filter(wanted).map(name).collect::<Vec<_>>()
    };
    let (readable, unreadable) = (named(false), named(true));
    let mut parts = Vec::new();
    if !readable.is_empty() {
        let verb = if readable.len() == 1 { "isolates" } else { "isolate" };
        parts.push(format!("{} {verb} {pod} ({direction}), no rule matches", readable.join(", ")));
    }
    if !unreadable.is_empty() {
        let verb = if unreadable.len() == 1 { "isolates" } else { "isolate" };
        let names = unreadable.join(", ");
        parts.push(format!("{names} cannot be read, so that it {verb} {pod} ({direction}) and allows nothing"));
    }
    parts.join("; ")
}

/// Denied packets as the kernel logs them; of those that are too many, how many.
#[derive(Debug)]
pub struct DeniedLog {
    group: u16,
    log: Option<Log>,
    second: Instant,
    named: usize,
    left_out: u64,
}

impl DeniedLog {
    /// Those of a group, to which nobody listens yet.
    pub fn of(group: u16) -> DeniedLog {
        DeniedLog { group, log: None, second: Instant::now(), named: 0, left_out: 0 }
    }
}

impl Source for DeniedLog {
    const OF: &str = "denials";

    fn open(&mut self, _: &mpsc::Sender<Message>) -> Result<(), KernelError> {
        // A group belongs to one socket.
        self.log = None;
        self.log = Some(Log::open(self.group)?);
        Ok(())
    }

    fn hear(&mut self, engine: &mpsc::Sender<Message>) -> Result<(), KernelError> {
        let Some(log) = &mut self.log else { return self.open(engine) };
        let logged = log.next(PATIENCE)?;
        if self.second.elapsed() >= PATIENCE {
            (self.second, self.named) = (Instant::now(), 0);
        }
        // The API server's word goes first: a full inbox takes no packets.
        if let Some(logged) = logged {
            self.named += 1;
            if self.named > NAMED_PER_SECOND || engine.try_send(Message::Denied(logged)).is_err() {
                self.left_out += 1;
                return Ok(());
            }
        }
        if self.left_out > 0 && engine.try_send(Message::NotNamed(self.left_out)).is_ok() {
            self.left_out = 0;
        }
        Ok(())
    }

    fn obstacle(&self, why: &str) -> Obstacle {
        Obstacle {
            name: "log-group".to_string(),
            found: format!("denied packets are not seen: {why}"),
            means: "policies are enforced; 'palisade denied' shows no packets".to_string(),
            hint: Some("--log-group names another group".to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
