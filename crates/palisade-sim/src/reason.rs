//! Why a packet may pass or not: typed values that print as sentences.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::{
    Audit, BanEntry, BanListName, Deviation, Dialect, Direction, NamespaceName, NodeName, Peer, PodName, PolicyName,
    Port, PortMatch, Traffic, Transport, Verdict,
};

use crate::host_reason::HostDecision;
pub use crate::matching::{Labelled, Unmet};
use crate::packet::Endpoint;
use crate::server_reason::ServerDecision;

/// The answer to a packet, with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may pass.
    pub verdict: Verdict,
    /// Whether another invented address or node could have turned the verdict.
    pub assumed: bool,
    /// What was judged: egress of the source if that is a pod, then ingress of the destination if that is one.
    /// Both must allow; where nothing was judged, no policy has a say.
    pub directions: Vec<DirectionDecision>,
    /// What guards the ports of nodes that the packet goes to, in its order: one that it is sent to and translated at, and one that it arrives at.
    pub host: Vec<HostDecision>,
    /// What the list of a server says, if the packet goes to one. No list is audited.
    pub server: Option<ServerDecision>,
    /// The bans that the packet meets; each of them denies it.
    pub bans: Vec<Banned>,
    /// What would be with all audited policies in force; `None` if no audited policy selects what is judged,
    /// and no audited list bans an end.
    pub shadow: Option<Shadow>,
}

/// What would be with all audited policies in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// Whether the packet would pass.
    pub verdict: Verdict,
    /// Whether another invented address or node could have turned the verdict.
    pub assumed: bool,
    /// What would be judged, in the order of [`Decision::directions`].
    pub directions: Vec<DirectionDecision>,
    /// What would guard the ports of nodes that the packet goes to.
    pub host: Vec<HostDecision>,
    /// The bans that the packet would meet.
    pub bans: Vec<Banned>,
}

impl Decision {
    /// The verdict with all audited policies in force.
    pub fn shadow_verdict(&self) -> Verdict {
        self.shadow.as_ref().map_or(self.verdict, |shadow| shadow.verdict)
    }

    /// How the verdict would change with all audited policies in force; `None` if it would not.
    pub fn audit(&self) -> Option<Audit> {
        Audit::between(self.verdict, self.shadow_verdict())
    }

    /// What decides that the verdict would change: what would deny it then, or what denies it now, as it would be; empty if it would
    /// not change.
    pub fn audit_directions(&self) -> Vec<&DirectionDecision> {
        let (Some(audit), Some(shadow)) = (self.audit(), &self.shadow) else { return Vec::new() };
        // Both list the same pods in the same order.
        let pairs = self.directions.iter().zip(&shadow.directions);
        let decides = |(now, then): &(&DirectionDecision, &DirectionDecision)| match audit {
            Audit::WouldDeny => !then.outcome.allows(),
            Audit::WouldAllow => !now.outcome.allows(),
        };
        pairs.filter(decides).map(|(_, then)| then).collect()
    }

    /// The same of what guards ports of nodes: what decides that the verdict would change, as it would be.
    pub fn audit_host(&self) -> Vec<&HostDecision> {
        let (Some(audit), Some(shadow)) = (self.audit(), &self.shadow) else { return Vec::new() };
        let port = |decision: &HostDecision| (decision.node.clone(), decision.traffic);
        let denied_now =
            |then: &HostDecision| self.host.iter().any(|now| port(now) == port(then) && !now.outcome.admits());
        let decides = |then: &&HostDecision| match audit {
            Audit::WouldDeny => !then.outcome.admits(),
            Audit::WouldAllow => denied_now(then),
        };
        shadow.host.iter().filter(decides).collect()
    }

    /// The same of bans: those that would deny the packet, if the verdict would change.
    pub fn audit_bans(&self) -> &[Banned] {
        match (self.audit(), &self.shadow) {
            (Some(Audit::WouldDeny), Some(shadow)) => &shadow.bans,
            _ => &[],
        }
    }
}

/// A list that bans an end of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banned {
    /// The list.
    pub list: BanListName,
    /// The entry, the first of the list that does.
    pub entry: BanEntry,
    /// The end.
    pub address: IpAddr,
    /// The pod at the other end that is in the target of the list; `None` if the list has no target.
    pub pod: Option<PodName>,
    /// Whether the list is audited, so that it has a say in the shadow verdict alone.
    pub audit: bool,
}

/// What the policies of one pod say, in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectionDecision {
    /// The direction.
    pub direction: Direction,
    /// The pod whose policies were asked.
    pub subject: PodName,
    /// Every policy that isolates the pod in this direction, by name.
    pub isolated_by: Vec<Isolator>,
    /// What came out.
    pub outcome: Outcome,
}

/// A policy that isolates a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolator {
    /// The policy.
    pub policy: PolicyName,
    /// Why the policy could not be read, if so: it isolates, and allows nothing.
    pub unreadable: Option<String>,
    /// Whether it is audited, so that it has a say in the shadow verdict alone.
    pub audit: bool,
}

/// What one direction comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Allowed: no policy isolates the pod.
    NotIsolated,
    /// Allowed although the pod is isolated.
    Exempt(Exemption),
    /// Allowed by a rule, the first that does.
    Allowed(Grant),
    /// Denied.
    Denied {
        /// The rule that came closest; `None` if no isolating policy has a rule.
        closest: Option<Near>,
    },
}

impl Outcome {
    /// Whether it lets the packet pass.
    pub fn allows(&self) -> bool {
        !matches!(self, Outcome::Denied { .. })
    }
}

/// Traffic of an isolated pod that no policy can forbid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// The peer is the node that the pod runs on.
    OwnNode(NodeName),
    /// The peer is the pod itself.
    Itself,
}

/// The rule that allowed a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its policy.
    pub policy: PolicyName,
    /// Where in the policy: `spec.ingress` or `spec.egress`.
    pub direction: Direction,
    /// The index of the rule.
    pub rule: usize,
    /// The item of `from` or `to` that matched; `None` if the rule has none and so matches every peer.
    pub peer: Option<(usize, Peer)>,
    /// The item of `ports` that matched; `None` if the rule has none and so matches every port.
    pub port: Option<(usize, PortMatch)>,
}

/// The rule that came closest to allowing a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    /// Its policy.
    pub policy: PolicyName,
    /// Where in the policy: `spec.ingress` or `spec.egress`.
    pub direction: Direction,
    /// The index of the rule.
    pub rule: usize,
    /// What did not match.
    pub missed: Missed,
}

/// What of a rule did not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The port matched, no peer did.
    Peer(PeerMiss),
    /// A peer matched, no port did.
    Port(PortMiss),
    /// Neither matched.
    Both(PeerMiss, PortMiss),
}

/// The peer of a rule that came closest, and what failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMiss {
    /// The index into `from` or `to`; `None` if the list has no item.
    pub peer: Option<usize>,
    /// What failed.
    pub problem: PeerProblem,
}

/// Why a peer of a rule does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerProblem {
    /// The list has no item.
    NoPeers,
    /// Selectors match pods only, and hostNetwork pods never.
    NoPod(Endpoint),
    /// Node selectors match nodes only.
    NoNode(Endpoint),
    /// Without `namespaceSelector`, only pods of the policy's own namespace match.
    OtherNamespace {
        /// The pod.
        pod: PodName,
        /// The policy's namespace.
        namespace: NamespaceName,
    },
    /// The snapshot does not have the pod's namespace.
    UnknownNamespace(NamespaceName),
    /// A label of the pod or of its namespace is not as required.
    Labels(Box<Unmet>),
    /// The address is not in `cidr`.
    OutOfBlock {
        /// The peer's address.
        address: IpAddr,
        /// `ipBlock.cidr`.
        cidr: IpNet,
    },
    /// The address is in `cidr`, and in `except`.
    Excepted {
        /// The peer's address.
        address: IpAddr,
        /// The item of `ipBlock.except`.
        except: IpNet,
    },
    /// The block holds the address, and a dialect says that it does not hold whoever has it.
    Dialect {
        /// The peer.
        peer: Box<Endpoint>,
        /// Whose reading is asked for.
        dialect: Dialect,
        /// The rule of it.
        deviation: &'static Deviation,
    },
}

/// Why no port of a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMiss {
    /// The index into `ports` if there is only one; else `None`.
    pub port: Option<usize>,
    /// What failed.
    pub problem: PortProblem,
}

/// Why ports do not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortProblem {
    /// The traffic is none of these.
    NoneOf {
        /// The traffic.
        traffic: Traffic,
        /// What the rule lists.
        ports: Vec<PortMatch>,
    },
    /// A named port, and the destination is no pod that could declare it.
    NoPod {
        /// The destination.
        destination: Endpoint,
        /// The port's name.
        name: Arc<str>,
    },
    /// A named port that the destination pod declares with other numbers, or not at all.
    NamedElsewhere {
        /// The destination.
        pod: PodName,
        /// The transport.
        transport: Transport,
        /// The port's name.
        name: Arc<str>,
        /// The numbers it has there.
        declared: Vec<Port>,
        /// The packet's port.
        number: Port,
    },
}

impl fmt::Display for Banned {
    /// One line: `203.0.113.9: banned by BanList abuse, 203.0.113.0/24 (scans)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: banned ", self.address)?;
        if let Some(pod) = &self.pod {
            write!(f, "for {pod} ")?;
        }
        write!(f, "by BanList {}", self.list)?;
        write_marks(f, self.audit, None, "")?;
        write!(f, ", {}", self.entry)
    }
}

impl fmt::Display for DirectionDecision {
    /// One line: `ingress of db/pg: isolated by db/default-deny; denied, …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}: ", self.direction, self.subject)?;
        if self.isolated_by.is_empty() {
            return write!(f, "{}", self.outcome);
        }
        f.write_str("isolated by ")?;
        comma_separated(f, &self.isolated_by)?;
        write!(f, "; {}", self.outcome)
    }
}

impl fmt::Display for Isolator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.policy)?;
        write_marks(f, self.audit, self.unreadable.as_deref(), "allows nothing")
    }
}

/// What is unusual of a policy, in brackets.
pub(crate) fn write_marks(
    f: &mut fmt::Formatter<'_>,
    audit: bool,
    unreadable: Option<&str>,
    so_it: &str,
) -> fmt::Result {
    if audit {
        f.write_str(" (audit)")?;
    }
    match unreadable {
        None => Ok(()),
        Some(message) => write!(f, " (unreadable, so it {so_it}: {message})"),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::NotIsolated => f.write_str("not isolated"),
            Outcome::Exempt(Exemption::OwnNode(node)) => write!(f, "exempt, node {node} is the node it runs on"),
            Outcome::Exempt(Exemption::Itself) => f.write_str("exempt, it is the pod itself"),
            Outcome::Allowed(grant) => write!(f, "allowed by {grant}"),
            Outcome::Denied { closest: Some(near) } => write!(f, "denied, closest is {near}"),
            Outcome::Denied { closest: None } => f.write_str("denied, no rule allows anything"),
        }
    }
}

impl fmt::Display for Grant {
    /// `db/allow-web ingress[0] (from[0]: pods app=front; ports[0]: tcp 5432)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}[{}] (", self.policy, self.direction, self.rule)?;
        match &self.peer {
            Some((index, peer)) => write!(f, "{}[{index}]: {peer}; ", peers_field(self.direction))?,
            None => write!(f, "no {}: everyone; ", peers_field(self.direction))?,
        }
        match &self.port {
            Some((index, port)) => write!(f, "ports[{index}]: {port})"),
            None => f.write_str("no ports: all traffic)"),
        }
    }
}

impl Near {
    /// The field of the policy that did not match, such as `ingress[0].from[1]`.
    pub fn field(&self) -> String {
        let rule = format!("{}[{}]", self.direction, self.rule);
        let (list, index) = match &self.missed {
            Missed::Peer(miss) => (peers_field(self.direction), miss.peer),
            Missed::Port(miss) => ("ports", miss.port),
            Missed::Both(..) => return rule,
        };
        match index {
            Some(index) => format!("{rule}.{list}[{index}]"),
            None => format!("{rule}.{list}"),
        }
    }
}

impl fmt::Display for Near {
    /// `db/allow-web ingress[0].from[1]: pod web/front has no label app=api`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.policy, self.field(), self.missed)
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missed::Peer(miss) => write!(f, "{}", miss.problem),
            Missed::Port(miss) => write!(f, "{}", miss.problem),
            Missed::Both(peer, port) => write!(f, "{}, and {}", peer.problem, port.problem),
        }
    }
}

impl fmt::Display for PeerProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerProblem::NoPeers => f.write_str("the list names nobody"),
            PeerProblem::NoPod(endpoint) => write!(f, "{endpoint} is no pod that a selector could match"),
            PeerProblem::NoNode(endpoint) => write!(f, "{endpoint} is no node"),
            PeerProblem::OtherNamespace { pod, namespace } => write!(f, "pod {pod} is not in namespace {namespace}"),
            PeerProblem::UnknownNamespace(namespace) => write!(f, "the labels of namespace {namespace} are not known"),
            PeerProblem::Labels(unmet) => write!(f, "{unmet}"),
            PeerProblem::OutOfBlock { address, cidr } => write!(f, "{address} is not in {cidr}"),
            PeerProblem::Excepted { address, except } => write!(f, "{address} is in except {except}"),
            PeerProblem::Dialect { peer, dialect, deviation } => {
                write!(f, "{peer} is in it, and with {dialect} {} ({})", deviation.says, deviation.id)
            }
        }
    }
}

impl fmt::Display for PortProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortProblem::NoneOf { traffic: Traffic::Icmp, .. } => {
                f.write_str("icmp is allowed only by rules without ports")
            }
            PortProblem::NoneOf { traffic, ports } => {
                write!(f, "{traffic} is {}", if ports.len() == 1 { "not " } else { "none of " })?;
                comma_separated(f, ports)
            }
            PortProblem::NoPod { destination, name } => {
                write!(f, "{destination} is no pod that has a port named {name}")
            }
            PortProblem::NamedElsewhere { pod, transport, name, declared, .. } if declared.is_empty() => {
                write!(f, "pod {pod} declares no {transport} port named {name}")
            }
            PortProblem::NamedElsewhere { pod, transport, name, declared, number } => {
                write!(f, "{transport} port {name} of pod {pod} is ")?;
                comma_separated(f, declared)?;
                write!(f, ", not {number}")
            }
        }
    }
}

/// The field of a rule that lists its peers.
fn peers_field(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    }
}

pub(crate) fn comma_separated<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}
