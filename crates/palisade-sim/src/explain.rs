//! The verdict on a flow as written, with its reasons, for people.

use std::collections::BTreeMap;
use std::fmt;

use palisade_core::{Audit, Dialect, End, Family, Flow, Snapshot, Verdict};

use crate::decide::{decide_as, is_assumed};
use crate::host_reason::HostDecision;
use crate::packet::{Endpoint, Owner, Packet};
use crate::reason::{Decision, DirectionDecision, Outcome};
use crate::resolve::{ResolveError, pods_meant, resolve};
use crate::server_reason::ServerOutcome;

/// What is decided about a flow, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The flow.
    pub flow: Flow,
    /// Every packet that the flow stands for, IPv4 first; at least one.
    pub packets: Vec<(Packet, Decision)>,
}

/// A verdict, and how firm it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `Allow` only if every packet is allowed.
    pub verdict: Verdict,
    /// Whether it rests on an address or a node that the input leaves out.
    pub assumed: bool,
}

/// Judges every packet that a flow stands for in these families.
///
/// # Errors
///
/// What [`resolve`] finds wrong with the ends.
pub fn explain(snapshot: &Snapshot, flow: &Flow, families: &[Family]) -> Result<Explanation, ResolveError> {
    explain_as(snapshot, flow, families, Dialect::Palisade)
}

/// The same as a dialect reads NetworkPolicies, as far as its rules are judged.
///
/// # Errors
///
/// As [`explain`].
pub fn explain_as(
    snapshot: &Snapshot,
    flow: &Flow,
    families: &[Family],
    dialect: Dialect,
) -> Result<Explanation, ResolveError> {
    let mut packets = Vec::new();
    for packet in resolve(snapshot, flow, families)? {
        let mut decision = decide_as(snapshot, &packet, dialect);
        let ends = [(&flow.source, &packet.source), (&flow.destination, &packet.destination)];
        let is_listed = decision.server.as_ref().is_some_and(|server| server.outcome != ServerOutcome::NotGuarded);
        let by_invention = |directions: &[DirectionDecision], host: &[HostDecision]| {
            let is_asked =
                is_listed || !host.is_empty() || directions.iter().any(|direction| !direction.isolated_by.is_empty());
            ends.iter().any(|(end, endpoint)| means_by_invention(snapshot, end, endpoint, is_asked))
                || is_asked && is_led_by_invention(snapshot, &packet)
        };
        decision.assumed |= by_invention(&decision.directions, &decision.host);
        if let Some(shadow) = &mut decision.shadow {
            shadow.assumed |= by_invention(&shadow.directions, &shadow.host);
        }
        packets.push((packet, decision));
    }
    Ok(Explanation { flow: flow.clone(), packets })
}

/// Whether it rests on an invention what the end means: an invented address that the flow spells out, or the
/// invented node of a hostNetwork pod, which matters as soon as a policy asks who the peer is.
fn means_by_invention(snapshot: &Snapshot, end: &End, endpoint: &Endpoint, is_asked: bool) -> bool {
    match end {
        End::Address(address) => is_assumed(snapshot, *address),
        End::Pod(_) | End::Workload(_) if endpoint.owner == Owner::Node => {
            let mut pods = pods_meant(snapshot, end).into_iter();
            is_asked && pods.any(|pod| pod.host_network && pod.assumed.node)
        }
        End::Pod(_) | End::Workload(_) | End::Node(_) | End::Host(_) => false,
    }
}

/// Whether the node of a pod was invented, and it matters to what the packet is led.
fn is_led_by_invention(snapshot: &Snapshot, packet: &Packet) -> bool {
    let invented = |end: &Endpoint| match &end.owner {
        Owner::Pod(name) => snapshot.pods.get(name).is_some_and(|pod| pod.assumed.node),
        Owner::Node | Owner::Server(_) | Owner::Outside => false,
    };
    packet.via.as_ref().is_some_and(|via| via.by_node) && (invented(&packet.source) || invented(&packet.destination))
}

impl Explanation {
    /// The answer to the flow: allowed only if every packet of every family is.
    pub fn answer(&self) -> Answer {
        answer(self.packets.iter())
    }

    /// The answer for each family that both ends have.
    pub fn families(&self) -> BTreeMap<Family, Answer> {
        Family::ALL
            .into_iter()
            .filter(|family| self.of_family(*family).next().is_some())
            .map(|family| (family, answer(self.of_family(family))))
            .collect()
    }

    /// How audited policies would change the answer to the flow; `None` if they would not.
    pub fn audit(&self) -> Option<Audit> {
        Audit::between(self.answer().verdict, self.shadow_answer().verdict)
    }

    /// The answer with all audited policies in force.
    pub fn shadow_answer(&self) -> Answer {
        shadow_answer(self.packets.iter())
    }

    /// The same for each family that both ends have.
    pub fn shadow_families(&self) -> BTreeMap<Family, Answer> {
        self.families().into_keys().map(|family| (family, shadow_answer(self.of_family(family)))).collect()
    }

    /// The reasons, one line each: for each direction who isolates and what decided. A line says of which family
    /// or of which packet it speaks where others have other reasons.
    pub fn reasons(&self) -> Vec<String> {
        self.lines(About::Verdict)
    }

    /// How audited policies would change verdicts and why, one line each, as [`reasons`](Explanation::reasons).
    pub fn audit_reasons(&self) -> Vec<String> {
        self.lines(About::Audit)
    }

    fn lines(&self, about: About) -> Vec<String> {
        let mut reasons = Vec::new();
        for part in self.parts() {
            for group in &part.groups {
                let mut prefix = part.family.map(|family| format!("{family}: ")).unwrap_or_default();
                if part.groups.len() > 1 {
                    prefix = format!("{prefix}{}: ", group.heading());
                }
                let lines = match about {
                    About::Verdict => group.lines(),
                    About::Audit => group.audit_lines(),
                };
                reasons.extend(lines.into_iter().map(|line| format!("{prefix}{line}")));
            }
        }
        reasons
    }

    fn of_family(&self, family: Family) -> impl Iterator<Item = &(Packet, Decision)> {
        self.packets.iter().filter(move |(packet, _)| packet.family == family)
    }

    /// One part for each family, or one for all where they have the same reasons.
    fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        for family in self.families().into_keys() {
            parts.push(Part { family: Some(family), groups: groups(self.of_family(family)) });
        }
        let same = |part: &Part<'_>| part.outline() == parts[0].outline();
        if parts.iter().all(same) {
            parts.truncate(1);
            for part in &mut parts {
                part.family = None;
            }
        }
        parts
    }
}

/// Denied if one packet is; firm as soon as one packet is denied firmly, or all are allowed firmly.
fn answer<'a>(packets: impl Iterator<Item = &'a (Packet, Decision)>) -> Answer {
    sum(packets.map(|(_, decision)| Answer { verdict: decision.verdict, assumed: decision.assumed }))
}

fn shadow_answer<'a>(packets: impl Iterator<Item = &'a (Packet, Decision)>) -> Answer {
    sum(packets.map(|(_, decision)| match &decision.shadow {
        Some(shadow) => Answer { verdict: shadow.verdict, assumed: shadow.assumed },
        None => Answer { verdict: decision.verdict, assumed: decision.assumed },
    }))
}

fn sum(answers: impl Iterator<Item = Answer>) -> Answer {
    let (mut all_allowed, mut any_assumed, mut denied_firmly) = (true, false, false);
    for Answer { verdict, assumed } in answers {
        let allowed = verdict == Verdict::Allow;
        all_allowed &= allowed;
        any_assumed |= assumed;
        denied_firmly |= !allowed && !assumed;
    }
    Answer { verdict: Verdict::allow_if(all_allowed), assumed: any_assumed && !denied_firmly }
}

/// What reasons are for.
#[derive(Clone, Copy)]
enum About {
    Verdict,
    Audit,
}

/// What is printed of one family.
struct Part<'a> {
    /// `None` if it speaks for all families.
    family: Option<Family>,
    groups: Vec<Group<'a>>,
}

/// Packets with the same reasons but for the names of pods.
struct Group<'a> {
    outline: Vec<String>,
    packets: Vec<&'a (Packet, Decision)>,
}

impl Part<'_> {
    /// What tells parts apart: names and addresses of pods left out.
    fn outline(&self) -> Vec<(&[String], usize)> {
        self.groups.iter().map(|group| (group.outline.as_slice(), group.packets.len())).collect()
    }
}

/// Denied packets first, then the larger group.
fn groups<'a>(packets: impl Iterator<Item = &'a (Packet, Decision)>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for judged in packets {
        let outline = outline(judged);
        match groups.iter_mut().find(|group| group.outline == outline) {
            Some(group) => group.packets.push(judged),
            None => groups.push(Group { outline, packets: vec![judged] }),
        }
    }
    groups.sort_by_key(|group| (group.answer().verdict, std::cmp::Reverse(group.packets.len())));
    groups
}

fn outline((packet, decision): &(Packet, Decision)) -> Vec<String> {
    let mut outline = vec![Answer { verdict: decision.verdict, assumed: decision.assumed }.to_string()];
    outline.extend(packet.via.iter().map(|via| format!("via {}, {:?}", via.door, packet.hidden_behind().is_some())));
    outline.extend(audit_heading(decision));
    for DirectionDecision { direction, isolated_by, outcome, .. } in
        decision.directions.iter().chain(decision.audit_directions())
    {
        let policies: Vec<String> = isolated_by.iter().map(|isolator| isolator.policy.to_string()).collect();
        let decided = match outcome {
            Outcome::Exempt(_) => "exempt".to_string(),
            Outcome::Denied { closest: Some(near) } => format!("{} {}", near.policy, near.field()),
            Outcome::NotIsolated | Outcome::Allowed(_) | Outcome::Denied { closest: None } => outcome.to_string(),
        };
        outline.push(format!("{direction}: {}: {decided}", policies.join(",")));
    }
    outline.extend(decision.host.iter().chain(decision.audit_host()).map(ToString::to_string));
    outline.extend(decision.server.as_ref().map(ToString::to_string));
    outline.extend(decision.bans.iter().chain(decision.audit_bans()).map(ToString::to_string));
    outline
}

/// `would deny`, or `would deny (assumed)`; `None` if the verdict would not change.
fn audit_heading(decision: &Decision) -> Option<String> {
    let (audit, shadow) = (decision.audit()?, decision.shadow.as_ref()?);
    Some(format!("{audit}{}", if shadow.assumed { " (assumed)" } else { "" }))
}

impl Group<'_> {
    fn answer(&self) -> Answer {
        answer(self.packets.iter().copied())
    }

    /// The packet, or how many there are and one of them.
    fn heading(&self) -> String {
        let (packet, _) = self.packets[0];
        match self.packets.len() {
            1 => packet.to_string(),
            count => format!("{count} alike, such as {packet}"),
        }
    }

    /// The reasons of its first packet.
    fn lines(&self) -> Vec<String> {
        let (packet, decision) = self.packets[0];
        let mut lines: Vec<String> = packet.way().into_iter().collect();
        let before = lines.len();
        lines.extend(decision.bans.iter().map(ToString::to_string));
        lines.extend(decision.directions.iter().map(ToString::to_string));
        lines.extend(decision.host.iter().map(ToString::to_string));
        lines.extend(decision.server.as_ref().map(ToString::to_string));
        if lines.len() == before {
            lines.push("no NetworkPolicy applies, neither end is a pod".to_string());
        }
        lines
    }

    /// How audited policies would change the verdict of its first packet, and by what.
    fn audit_lines(&self) -> Vec<String> {
        let (_, decision) = self.packets[0];
        let Some(heading) = audit_heading(decision) else { return Vec::new() };
        let mut lines: Vec<String> = decision.audit_bans().iter().map(|ban| format!("{heading}: {ban}")).collect();
        lines.extend(decision.audit_directions().iter().map(|direction| format!("{heading}: {direction}")));
        lines.extend(decision.audit_host().iter().map(|host| format!("{heading}: {host}")));
        lines
    }
}

impl fmt::Display for Answer {
    /// `allow`, or `allow (assumed)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.verdict, if self.assumed { " (assumed)" } else { "" })
    }
}

impl fmt::Display for Explanation {
    /// The flow with its verdict, and the reasons in indented lines; no line end at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.flow, self.answer())?;
        for part in self.parts() {
            let mut indent = "\n  ".to_string();
            if let Some(family) = part.family {
                write!(
                    f,
                    "{indent}{family}: {}",
                    answer(part.groups.iter().flat_map(|group| group.packets.iter().copied()))
                )?;
                indent.push_str("  ");
            }
            for group in &part.groups {
                let mut indent = indent.clone();
                if part.groups.len() > 1 || group.packets.len() > 1 {
                    write!(f, "{indent}{}: {}", group.heading(), group.answer())?;
                    indent.push_str("  ");
                }
                for line in group.lines().into_iter().chain(group.audit_lines()) {
                    write!(f, "{indent}{line}")?;
                }
            }
        }
        Ok(())
    }
}
