//! Where denied packets end: they are counted, some are logged, and then they are dropped or rejected.
//!
//! ```text
//! denied_source, denied_destination    the judged subject is at this side of the packet
//!    a connection that passed before is counted as cut, once, by taking the generation from its mark
//!    |--reply----> denied_ingress_reply / denied_egress_reply
//!    |-----------> denied_egress        / denied_ingress          also packets without a connection
//! unknown_source, unknown_destination  the address at this side is in the pod ranges, and no pod of the node has it
//!
//! each:  count packets and bytes of the subject        elements of dynamic sets, made by packets
//!        log a few to NFLOG, with a limit for each subject
//!        reject, if chosen; never an unknown pod: its address may be forged
//!        drop
//! ```
//!
//! **Shadow.** What passed is led through the maps of audited subjects, if there are any, and where these do not admit it, it comes here
//! as well: the chains of groups and rests are those of both pictures. It is told by the mark, which it has by then and what is denied has
//! not: a packet with the mark of what passed was accepted at once. So it goes on, counted and logged:
//!
//! ```text
//! would_deny_egress, would_deny_ingress   count, log, return
//! ```
//!
//! A verdict stands in a rule of its own, always: beside a limit, a log or a dynamic set it would pass by every packet for which
//! those break off, such as one that is over the limit or that finds the set full.
//!
//! A TCP or SCTP packet that enters mid-stream and is denied against its direction counts as sent, for conntrack takes it for that.

use palisade_core::{Direction, Family, Layer};

use super::view::{Orientation, address_type};
use super::{Denied, GENERATION_MASK, Settings};
use crate::ruleset::{
    Chain, Comment, CtState, Dynamic, Field, Name, Rule, Set, SetDefinition, Side, Stateful, Statement, Verdict,
};

/// The counter of connections that passed and were denied later.
pub(crate) const CUT_FLOWS: &str = "cut_flows";

/// How many subjects are told apart. The address of an unknown pod may be any of a large range, chosen by who forges it.
const SUBJECTS_MAX: u32 = 65_536;
/// How long a subject is remembered after its last denied packet, so that addresses that were given up make room.
const COUNTS_KEPT_SECONDS: u32 = 3600;
/// The same for what is left of its limit, which is whole again after a second.
const LIMITS_KEPT_SECONDS: u32 = 60;
/// How many packets of a subject are logged in a second.
const LOGGED_PER_SECOND: u32 = 5;
/// How much of a packet is logged: the headers, of a tunnelled or extended packet too.
const LOGGED_BYTES: u32 = 128;

/// Why a packet was denied, or would be, as the prefix of its log message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Denial {
    /// The policies of a pod do not allow it.
    Policy {
        /// The direction in which the pod was judged.
        direction: Direction,
        /// Whether the packet answers one that opened a connection.
        reply: bool,
    },
    /// The address at this side is one of the node's pods, but of none that the node knows.
    UnknownPod(Side),
    /// The packet opened a connection and passed; with audited policies in force the policies of a pod would not allow it in this
    /// direction.
    WouldDeny(Direction),
}

impl Denial {
    /// Every reason there is.
    pub const ALL: [Denial; 8] = [
        Denial::Policy { direction: Direction::Egress, reply: false },
        Denial::Policy { direction: Direction::Egress, reply: true },
        Denial::Policy { direction: Direction::Ingress, reply: false },
        Denial::Policy { direction: Direction::Ingress, reply: true },
        Denial::UnknownPod(Side::Source),
        Denial::UnknownPod(Side::Destination),
        Denial::WouldDeny(Direction::Egress),
        Denial::WouldDeny(Direction::Ingress),
    ];

    /// The prefix of log messages.
    pub fn prefix(self) -> &'static str {
        match self {
            Denial::Policy { direction: Direction::Egress, reply: false } => "egress",
            Denial::Policy { direction: Direction::Egress, reply: true } => "egress reply",
            Denial::Policy { direction: Direction::Ingress, reply: false } => "ingress",
            Denial::Policy { direction: Direction::Ingress, reply: true } => "ingress reply",
            Denial::UnknownPod(Side::Source) => "unknown source",
            Denial::UnknownPod(Side::Destination) => "unknown destination",
            Denial::WouldDeny(Direction::Egress) => "would deny egress",
            Denial::WouldDeny(Direction::Ingress) => "would deny ingress",
        }
    }

    /// The reason with this prefix.
    pub fn of_prefix(prefix: &str) -> Option<Denial> {
        Denial::ALL.into_iter().find(|denial| denial.prefix() == prefix)
    }

    /// The side of the packet at which the subject is whose packet was denied.
    pub fn subject(self) -> Side {
        match self {
            Denial::Policy { direction, reply: false } | Denial::WouldDeny(direction) => {
                Orientation::Sent.subject(direction)
            }
            Denial::Policy { direction, reply: true } => Orientation::Reply.subject(direction),
            Denial::UnknownPod(side) => side,
        }
    }

    /// The direction under which the packet is counted; an unknown pod sends egress and receives ingress.
    pub fn direction(self) -> Direction {
        match self {
            Denial::Policy { direction, .. } | Denial::WouldDeny(direction) => direction,
            Denial::UnknownPod(Side::Source) => Direction::Egress,
            Denial::UnknownPod(Side::Destination) => Direction::Ingress,
        }
    }

    fn chain(self) -> Name {
        match self {
            Denial::Policy { direction, reply } => format!("denied_{direction}{}", if reply { "_reply" } else { "" }),
            Denial::UnknownPod(side) => format!("unknown_{side}"),
            Denial::WouldDeny(direction) => format!("would_deny_{direction}"),
        }
        .into()
    }

    fn comment(self) -> &'static str {
        match self {
            Denial::Policy { direction: Direction::Egress, reply: false } => "the source may not open this connection",
            Denial::Policy { direction: Direction::Egress, reply: true } => "the destination may not have opened it",
            Denial::Policy { direction: Direction::Ingress, reply: false } => "the destination does not take it",
            Denial::Policy { direction: Direction::Ingress, reply: true } => "the source does not take what it answers",
            Denial::UnknownPod(Side::Source) => "the source has an address of a pod, and no known pod has it",
            Denial::UnknownPod(Side::Destination) => "the destination has an address of a pod, and no known pod has it",
            Denial::WouldDeny(Direction::Egress) => {
                "with audited policies the source might not open what it just opened"
            }
            Denial::WouldDeny(Direction::Ingress) => {
                "with audited policies the destination would not take what it takes"
            }
        }
    }
}

/// The end of a chain that admits nobody else: the subject is at this side.
pub(super) fn deny(subject: Side) -> Rule {
    vec![Statement::Verdict(Verdict::Goto(format!("denied_{subject}").into()))]
}

/// What is done with packets of an address in the pod ranges that no pod has.
pub(super) fn deny_unknown(side: Side) -> Statement {
    Statement::Verdict(Verdict::Goto(Denial::UnknownPod(side).chain()))
}

/// The set in which the packets of each subject are counted that were denied, or would be.
pub(crate) fn counts_set(layer: Layer, direction: Direction, family: Family) -> Name {
    let what = match layer {
        Layer::InForce => "denied",
        Layer::Shadow => "would_deny",
    };
    format!("{what}_{direction}{}", family.digit()).into()
}

/// The set that holds the limit of each subject.
fn limits_set(layer: Layer, direction: Direction, family: Family) -> Name {
    let what = match layer {
        Layer::InForce => "logged",
        Layer::Shadow => "would_deny_logged",
    };
    format!("{what}_{direction}{}", family.digit()).into()
}

/// The counters, with what they count.
pub(super) fn counters() -> [(Name, Option<Comment>); 1] {
    [(CUT_FLOWS.into(), Some(Comment::new("connections that passed and were denied later")))]
}

/// The sets that packets fill.
pub(super) fn sets(settings: Settings) -> Vec<(Name, Set)> {
    let mut sets = Vec::new();
    for layer in [Layer::InForce, Layer::Shadow] {
        for (direction, family) in
            Direction::ALL.into_iter().flat_map(|direction| Family::ALL.map(|family| (direction, family)))
        {
            let (counted, logged) = match layer {
                Layer::InForce => (
                    format!("who was denied {direction} of late, and how often"),
                    format!("whose denied {direction} was logged just now"),
                ),
                Layer::Shadow => (
                    format!("who would have been denied {direction} of late, and how often"),
                    format!("whose {direction} was logged just now that would be denied"),
                ),
            };
            sets.push((counts_set(layer, direction, family), dynamic_set(family, COUNTS_KEPT_SECONDS, &counted)));
            if settings.log_group.is_some() {
                sets.push((limits_set(layer, direction, family), limits(family, &logged)));
            }
        }
    }
    sets
}

fn dynamic_set(family: Family, timeout_seconds: u32, comment: &str) -> Set {
    Set::new(SetDefinition {
        comment: Some(Comment::new(comment)),
        key: vec![address_type(family)],
        verdicts: false,
        interval: false,
        dynamic: Some(Dynamic { size: SUBJECTS_MAX, timeout_seconds }),
    })
}

/// The ends, one for each reason.
pub(super) fn chains(settings: Settings) -> impl Iterator<Item = (Name, Chain)> {
    Denial::ALL.into_iter().map(move |denial| end(denial, settings))
}

/// The chain that groups and rests end in that judge this side. `passed` is what a connection that passed shows, where audited
/// policies are asked too.
pub(super) fn judged_at(side: Side, passed: Option<&Statement>) -> (Name, Chain) {
    let direction = |orientation: Orientation| {
        let is_here = |direction: &Direction| orientation.subject(*direction) == side;
        Direction::ALL.into_iter().find(is_here).unwrap_or(Direction::Egress)
    };
    let end = |denial: Denial| Statement::Verdict(Verdict::Goto(denial.chain()));
    let denied = |orientation| {
        end(Denial::Policy { direction: direction(orientation), reply: orientation == Orientation::Reply })
    };
    let mut rules = Vec::new();
    if let Some(passed) = passed {
        // The test of the first rule of all, which accepted whoever met it by then.
        let would_deny = end(Denial::WouldDeny(direction(Orientation::Sent)));
        rules.push(vec![passed.clone(), Statement::StateIsNot(CtState::Related), would_deny]);
    }
    rules.push(cut());
    rules.push(vec![Statement::IsReply, denied(Orientation::Reply)]);
    rules.push(vec![denied(Orientation::Sent)]);
    let comment = Some(Comment::new(&format!("packets that are denied for the sake of their {side}")));
    (format!("denied_{side}").into(), Chain { comment, hook: None, rules })
}

fn end(denial: Denial, settings: Settings) -> (Name, Chain) {
    let (direction, side) = (denial.direction(), denial.subject());
    let layer = if matches!(denial, Denial::WouldDeny(_)) { Layer::Shadow } else { Layer::InForce };
    let is_unknown = matches!(denial, Denial::UnknownPod(_));
    let mut rules: Vec<Rule> = is_unknown.then(cut).into_iter().collect();
    rules.extend(Family::ALL.map(|family| {
        vec![Statement::Update(Field::Address(family, side), counts_set(layer, direction, family), Stateful::Counter)]
    }));
    if let Some(group) = settings.log_group {
        let log = |family| log(denial.prefix(), group, (family, side), limits_set(layer, direction, family));
        rules.extend(Family::ALL.map(log));
    }
    if layer == Layer::Shadow {
        rules.push(vec![Statement::Verdict(Verdict::Return)]);
        return (denial.chain(), Chain { comment: Some(Comment::new(denial.comment())), hook: None, rules });
    }
    if settings.denied == Denied::Reject && !is_unknown {
        rules.extend(rejection());
    }
    rules.push(vec![Statement::Verdict(Verdict::Drop)]);
    (denial.chain(), Chain { comment: Some(Comment::new(denial.comment())), hook: None, rules })
}

/// Reports a few packets of whoever is at this side; `limits` is a set as [`limits`] makes it.
pub(crate) fn log(prefix: &str, group: u16, (family, side): (Family, Side), limits: Name) -> Rule {
    let limit = Stateful::Limit { per_second: LOGGED_PER_SECOND, burst: LOGGED_PER_SECOND };
    vec![
        Statement::Update(Field::Address(family, side), limits, limit),
        Statement::Log { prefix: prefix.into(), group, bytes: LOGGED_BYTES },
    ]
}

/// The set of the limits of those whose packets are reported.
pub(crate) fn limits(family: Family, comment: &str) -> Set {
    dynamic_set(family, LIMITS_KEPT_SECONDS, comment)
}

/// Ends a packet with an answer. Nobody is told about one that conntrack could not make sense of.
pub(crate) fn rejection() -> [Rule; 2] {
    [Statement::ResetTcp, Statement::Prohibit].map(|answer| vec![Statement::StateIsNot(CtState::Invalid), answer])
}

/// Counts a connection that passed before. What is related has the mark of another connection, and takes nothing from it.
fn cut() -> Rule {
    vec![
        Statement::MarkIsNot { mask: GENERATION_MASK, value: 0 },
        Statement::StateIsNot(CtState::Related),
        Statement::Count(CUT_FLOWS.into()),
        Statement::SetMark { mask: GENERATION_MASK, value: 0 },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_says_who_was_judged() {
        for denial in Denial::ALL {
            assert_eq!(Denial::of_prefix(denial.prefix()), Some(denial));
        }
        assert_eq!(Denial::of_prefix("foreign"), None);
        let check = |prefix, direction, subject| {
            let denial = Denial::of_prefix(prefix).unwrap();
            assert_eq!((denial.direction(), denial.subject()), (direction, subject), "{prefix}");
        };
        check("egress", Direction::Egress, Side::Source);
        check("egress reply", Direction::Egress, Side::Destination);
        check("ingress", Direction::Ingress, Side::Destination);
        check("ingress reply", Direction::Ingress, Side::Source);
        check("unknown source", Direction::Egress, Side::Source);
        check("unknown destination", Direction::Ingress, Side::Destination);
        check("would deny egress", Direction::Egress, Side::Source);
        check("would deny ingress", Direction::Ingress, Side::Destination);
    }

    /// A rule ends where a limit is exceeded or a set is full: a verdict behind that would not be reached.
    #[test]
    fn a_verdict_shares_no_rule_with_what_may_break_off() {
        let settings = Settings { denied: Denied::Reject, log_group: Some(5), ..Settings::default() };
        let passed = Statement::MarkIs { mask: GENERATION_MASK, value: 1 };
        for (name, chain) in chains(settings).chain(Side::ALL.map(|side| judged_at(side, Some(&passed)))) {
            for rule in &chain.rules {
                let breaks_off =
                    |statement: &Statement| matches!(statement, Statement::Update(..) | Statement::Log { .. });
                let decides = |statement: &Statement| {
                    matches!(statement, Statement::Verdict(_) | Statement::ResetTcp | Statement::Prohibit)
                };
                assert!(!(rule.iter().any(breaks_off) && rule.iter().any(decides)), "{name}: {rule:?}");
            }
            let last = chain.rules.last().unwrap();
            let end = |last: &Verdict| match last {
                Verdict::Return => name.starts_with("would_deny_"),
                last => matches!(last, Verdict::Drop | Verdict::Goto(_)),
            };
            assert!(matches!(last.as_slice(), [Statement::Verdict(verdict)] if end(verdict)), "{name}");
        }
    }
}
