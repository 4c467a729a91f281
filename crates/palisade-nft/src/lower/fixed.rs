//! The chains that every node has, whatever its tables hold.

use std::collections::BTreeMap;

use ipnet::IpNet;
use palisade_core::tables::Subjects;
use palisade_core::{Direction, Family, Layer, PerDirection};

use super::view::{Orientation, View, prefix};
use super::{Established, GENERATION_MASK, Generation, Settings, denied};
use crate::ruleset::{
    Chain, Comment, CtState, Elements, Field, Hook, Key, Lookup, Name, Rule, Side, Statement, Value, Verdict,
};

/// The protocol number of ICMP.
const ICMP: u8 = 1;
/// The protocol number of `ICMPv6`.
const ICMPV6: u8 = 58;
/// Router and neighbour discovery, and redirects (RFC 4861): IPv6 does not work without.
const NEIGHBOUR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;

/// The chains by name.
pub(super) fn chains(
    settings: Settings,
    generation: Generation,
    pod_ranges: &[IpNet],
    audited: Audited,
) -> BTreeMap<Name, Chain> {
    let mut chains = BTreeMap::from([forward(settings, generation, audited)]);
    chains.extend(passed(settings, generation));
    chains.extend(denied_chains(settings, generation, audited));
    chains.extend([judge_again(), judge_reply(), unknown_direction(), related()]);
    chains.extend(denied::chains(settings));
    chains.extend(look_ups(pod_ranges));
    chains.extend(Direction::ALL.map(|direction| look_up(Layer::Shadow, direction, Orientation::Sent, &[])));
    chains
}

/// The chains that name the pod ranges.
pub(super) fn look_ups(pod_ranges: &[IpNet]) -> impl Iterator<Item = (Name, Chain)> {
    Orientation::ALL.into_iter().flat_map(move |orientation| {
        Direction::ALL.map(|direction| look_up(Layer::InForce, direction, orientation, pod_ranges))
    })
}

/// Whether an audited policy selects a pod of the node, so that packets are asked more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audited {
    Nobody,
    Somebody,
}

impl Audited {
    pub(super) fn of(shadow: &PerDirection<Subjects>) -> Audited {
        let nobody = Direction::ALL.into_iter().all(|direction| shadow[direction].is_empty());
        if nobody { Audited::Nobody } else { Audited::Somebody }
    }
}

/// The chain of the hook. It names the generation, and tells whether the shadow is asked.
pub(super) fn forward(settings: Settings, generation: Generation, audited: Audited) -> (Name, Chain) {
    let mark = Statement::SetMark { mask: GENERATION_MASK, value: generation.mark() };
    let judged = judged(settings, generation);
    let last: Vec<Rule> = match audited {
        Audited::Nobody => vec![vec![mark, Statement::Verdict(Verdict::Accept)]],
        // With the mark of what passed: by it the chains of groups and rests, which both pictures share, tell where packets go that
        // they do not admit.
        Audited::Somebody => vec![
            vec![mark],
            vec![Statement::Verdict(jump("audit_egress"))],
            vec![Statement::Verdict(jump("audit_ingress"))],
            vec![Statement::Verdict(Verdict::Accept)],
        ],
    };
    let rules = [
        // A connection that a conntrack helper expects begins with the mark of its master, unjudged.
        vec![judged, Statement::StateIsNot(CtState::Related), Statement::Verdict(Verdict::Accept)],
        // One test takes everything unusual away, so that new connections are spared the questions about it.
        vec![Statement::StateIsNot(CtState::New), Statement::Verdict(goto("judge_again"))],
        vec![Statement::Verdict(jump("egress"))],
        vec![Statement::Verdict(jump("ingress"))],
        // Conntrack picks up connections mid-stream (nf_conntrack_tcp_loose, SCTP heartbeats) and takes the
        // sender of the first packet it sees for the opener.
        vec![Statement::NotOpeningTcp, Statement::Verdict(goto("judge_reply"))],
        vec![Statement::NotOpeningSctp, Statement::Verdict(goto("judge_reply"))],
    ];
    let comment = "connections that were judged pass, new ones are judged";
    let (name, mut forward) = chain("forward", comment, rules.into_iter().chain(last));
    forward.hook = Some(Hook::Forward);
    (name, forward)
}

/// The other chains that always name the generation.
pub(super) fn passed(settings: Settings, generation: Generation) -> [(Name, Chain); 2] {
    let mark = Statement::SetMark { mask: GENERATION_MASK, value: generation.mark() };
    [
        chain(
            "passed",
            "remembers with the connection which rules let it pass",
            [vec![mark, Statement::Verdict(Verdict::Accept)]],
        ),
        chain(
            "error_of_connection",
            "an ICMP error passes with the connection it is about, if that was judged",
            [vec![judged(settings, generation), Statement::Verdict(Verdict::Accept)]],
        ),
    ]
}

/// The chains that groups and rests end in; they name the generation where somebody is audited.
pub(super) fn denied_chains(settings: Settings, generation: Generation, audited: Audited) -> [(Name, Chain); 2] {
    let judged = match audited {
        Audited::Nobody => None,
        Audited::Somebody => Some(judged(settings, generation)),
    };
    Side::ALL.map(|side| denied::judged_at(side, judged.as_ref()))
}

/// What a connection shows that these rules let pass.
fn judged(settings: Settings, generation: Generation) -> Statement {
    match settings.established {
        Established::Cut => Statement::MarkIs { mask: GENERATION_MASK, value: generation.mark() },
        Established::Keep => Statement::MarkIsNot { mask: GENERATION_MASK, value: 0 },
    }
}

fn judge_again() -> (Name, Chain) {
    let states: Elements = [
        (CtState::Invalid, goto("unknown_direction")),
        (CtState::Related, jump("related")),
        (CtState::Untracked, goto("unknown_direction")),
    ]
    .into_iter()
    .map(|(state, verdict)| (Key::Single(Value::State(state)), Some(verdict)))
    .collect();
    chain(
        "judge_again",
        "packets that open no connection: of one that other rules let pass, of a related one, or of none",
        [
            vec![Statement::VerdictMap(vec![Field::State], Lookup::Literal(states))],
            vec![Statement::IsReply, Statement::Verdict(goto("judge_reply"))],
            vec![Statement::Verdict(jump("egress"))],
            vec![Statement::Verdict(jump("ingress"))],
            vec![Statement::Verdict(goto("passed"))],
        ],
    )
}

fn judge_reply() -> (Name, Chain) {
    chain(
        "judge_reply",
        "judges a packet that travels against its connection: addresses swapped, source port as port",
        [
            vec![Statement::Verdict(jump("egress_reply"))],
            vec![Statement::Verdict(jump("ingress_reply"))],
            vec![Statement::Verdict(goto("passed"))],
        ],
    )
}

/// Lets neighbour discovery pass.
pub(crate) fn neighbour_discovery() -> Rule {
    let discovery: Elements =
        NEIGHBOUR_DISCOVERY.map(|number| (Key::Single(Value::Icmpv6Type(number)), None)).collect();
    vec![Statement::In(vec![Field::Icmpv6Type], Lookup::Literal(discovery)), Statement::Verdict(Verdict::Accept)]
}

fn unknown_direction() -> (Name, Chain) {
    chain(
        "unknown_direction",
        "packets without a connection: allowed if they are allowed both ways",
        [
            neighbour_discovery(),
            vec![Statement::Verdict(jump("egress"))],
            vec![Statement::Verdict(jump("ingress"))],
            vec![Statement::Verdict(jump("egress_reply"))],
            vec![Statement::Verdict(jump("ingress_reply"))],
            vec![Statement::Verdict(Verdict::Accept)],
        ],
    )
}

fn related() -> (Name, Chain) {
    let protocols: Elements =
        [ICMP, ICMPV6].map(|number| (Key::Single(Value::Protocol(number)), None)).into_iter().collect();
    chain(
        "related",
        "what is about a connection, or announced by one; the latter is judged",
        [vec![
            Statement::In(vec![Field::Protocol], Lookup::Literal(protocols)),
            Statement::Verdict(goto("error_of_connection")),
        ]],
    )
}

/// One judgement: the exact ports first, then the subjects, then whether the address must be one of them.
fn look_up(layer: Layer, direction: Direction, orientation: Orientation, pod_ranges: &[IpNet]) -> (Name, Chain) {
    let view = |family| View { layer, direction, family, orientation };
    let ports = Family::ALL.map(|family| {
        let fields = vec![view(family).subject(), Field::Protocol, Field::Port(orientation.port())];
        vec![Statement::VerdictMap(fields, Lookup::Named(view(family).ports_map()))]
    });
    let pods = Family::ALL.map(|family| {
        vec![Statement::VerdictMap(vec![view(family).subject()], Lookup::Named(view(family).pods_map()))]
    });
    let subject = orientation.subject(direction);
    let unknown =
        pod_ranges.iter().map(|range| vec![Statement::InNetwork(subject, *range), denied::deny_unknown(subject)]);
    let comment = match (layer, direction) {
        (Layer::InForce, Direction::Egress) => "what the end that opens the connection may open",
        (Layer::InForce, Direction::Ingress) => "what the other end takes",
        (Layer::Shadow, Direction::Egress) => {
            "what the end that opens the connection might open, with audited policies"
        }
        (Layer::Shadow, Direction::Ingress) => "what the other end would take, with audited policies",
    };
    chain(
        &format!("{}{direction}{}", prefix(layer), orientation.suffix()),
        comment,
        ports.into_iter().chain(pods).chain(unknown),
    )
}

fn chain(name: &str, comment: &str, rules: impl IntoIterator<Item = Rule>) -> (Name, Chain) {
    (name.into(), Chain { comment: Some(Comment::new(comment)), hook: None, rules: rules.into_iter().collect() })
}

fn jump(chain: &str) -> Verdict {
    Verdict::Jump(chain.into())
}

fn goto(chain: &str) -> Verdict {
    Verdict::Goto(chain.into())
}
