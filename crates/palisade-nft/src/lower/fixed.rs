//! The chains that every node has, whatever its tables hold.

use std::collections::BTreeMap;

use palisade_core::{Direction, Family};

use super::{GENERATION_MASK, Generation, Orientation, View};
use crate::ruleset::{
    Chain, Comment, CtState, Elements, Field, Hook, Key, Lookup, Name, Rule, Statement, Value, Verdict,
};

/// The protocol number of ICMP.
const ICMP: u8 = 1;
/// The protocol number of `ICMPv6`.
const ICMPV6: u8 = 58;
/// Router and neighbour discovery, and redirects (RFC 4861): IPv6 does not work without.
const NEIGHBOUR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;

/// The chains by name.
pub(super) fn chains(generation: Generation) -> BTreeMap<Name, Chain> {
    let mut chains: BTreeMap<Name, Chain> = generation_chains(generation).into_iter().collect();
    chains.extend([judge_again(), judge_reply(), unknown_direction(), related(), denied()]);
    for orientation in Orientation::ALL {
        chains.extend(Direction::ALL.map(|direction| look_up(direction, orientation)));
    }
    chains
}

/// The chains that name the generation; with a new one nothing else changes.
pub(super) fn generation_chains(generation: Generation) -> [(Name, Chain); 3] {
    let (mask, value) = (GENERATION_MASK, generation.mark());
    let remember = vec![Statement::SetMark { mask, value }, Statement::Verdict(Verdict::Accept)];
    let mut forward = chain(
        "forward",
        "connections judged under the rules in force pass, new ones are judged",
        [
            // A connection that a conntrack helper expects begins with the mark of its master, unjudged.
            vec![
                Statement::MarkIs { mask, value },
                Statement::StateIsNot(CtState::Related),
                Statement::Verdict(Verdict::Accept),
            ],
            // One test takes everything unusual away, so that new connections are spared the questions about it.
            vec![Statement::StateIsNot(CtState::New), Statement::Verdict(goto("judge_again"))],
            vec![Statement::Verdict(jump("egress"))],
            vec![Statement::Verdict(jump("ingress"))],
            // Conntrack picks up connections mid-stream (nf_conntrack_tcp_loose, SCTP heartbeats) and takes the
            // sender of the first packet it sees for the opener.
            vec![Statement::NotOpeningTcp, Statement::Verdict(goto("judge_reply"))],
            vec![Statement::NotOpeningSctp, Statement::Verdict(goto("judge_reply"))],
            remember.clone(),
        ],
    );
    forward.1.hook = Some(Hook::Forward);
    let passed = chain("passed", "remembers with the connection which rules let it pass", [remember]);
    let error_of_connection = chain(
        "error_of_connection",
        "an ICMP error passes with the connection it is about, if that was judged under the rules in force",
        [vec![Statement::MarkIs { mask, value }, Statement::Verdict(Verdict::Accept)]],
    );
    [forward, passed, error_of_connection]
}

/// The end of a chain that admits nobody else.
pub(super) fn deny() -> Rule {
    vec![Statement::Verdict(goto("denied"))]
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

fn unknown_direction() -> (Name, Chain) {
    let discovery: Elements =
        NEIGHBOUR_DISCOVERY.map(|number| (Key::Single(Value::Icmpv6Type(number)), None)).collect();
    chain(
        "unknown_direction",
        "packets without a connection: allowed if they are allowed both ways",
        [
            vec![
                Statement::In(vec![Field::Icmpv6Type], Lookup::Literal(discovery)),
                Statement::Verdict(Verdict::Accept),
            ],
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

fn denied() -> (Name, Chain) {
    chain("denied", "where every denied packet ends", [vec![Statement::Verdict(Verdict::Drop)]])
}

/// One judgement: the exact ports first, then the subjects.
fn look_up(direction: Direction, orientation: Orientation) -> (Name, Chain) {
    let view = |family| View { direction, family, orientation };
    let ports = Family::ALL.map(|family| {
        let fields = vec![view(family).subject(), Field::Protocol, Field::Port(orientation.port())];
        vec![Statement::VerdictMap(fields, Lookup::Named(view(family).ports_map()))]
    });
    let pods = Family::ALL.map(|family| {
        vec![Statement::VerdictMap(vec![view(family).subject()], Lookup::Named(view(family).pods_map()))]
    });
    let comment = match direction {
        Direction::Egress => "what the end that opens the connection may open",
        Direction::Ingress => "what the other end takes",
    };
    chain(&format!("{direction}{}", orientation.suffix()), comment, ports.into_iter().chain(pods))
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
