//! The three witnesses of each flow: the oracle, the compiled tables, the kernel.

use std::collections::BTreeMap;

use palisade_core::{Audit, End, Family, Flow, NodeName, Snapshot, Tables, Traffic, Verdict};
use palisade_sim::{Packet, ResolveError, Trace, decide, resolve, walk};

use crate::error::LabError;
use crate::probe::{Outcome, Progress};
use crate::session::Lab;

/// A flow as asked for, and the packets it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The flow.
    pub flow: Flow,
    /// Its packets, at least one.
    pub packets: Vec<Packet>,
}

impl Case {
    /// Resolves a flow against a snapshot, in these families.
    ///
    /// # Errors
    ///
    /// Where the flow stands for no packet.
    pub fn of(snapshot: &Snapshot, flow: Flow, families: &[Family]) -> Result<Case, ResolveError> {
        let packets = resolve(snapshot, &flow, families)?;
        Ok(Case { flow, packets })
    }
}

/// What the witnesses say about one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Testimony {
    /// The packet.
    pub packet: Packet,
    /// What the policies mean.
    pub oracle: Verdict,
    /// What they would mean with all audited policies in force.
    pub oracle_shadow: Verdict,
    /// What the compiled tables of the nodes say of both, step by step.
    pub tables: Trace,
    /// What became of the real packet.
    pub kernel: Outcome,
}

impl Testimony {
    /// Whether all that spoke say the same. A kernel that could not be asked (the packet was skipped) does not
    /// disagree; one whose answer could not be found out does.
    pub fn agrees(&self) -> bool {
        let kernel = match &self.kernel {
            Outcome::Skipped(_) => true,
            outcome => outcome.verdict() == Some(self.oracle),
        };
        self.oracle == self.tables.verdict && self.oracle_shadow == self.tables.shadow.verdict && kernel
    }
}

/// What the witnesses say about a flow, or about its packets of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// What the policies mean.
    pub oracle: Verdict,
    /// What the compiled tables of the nodes say.
    pub tables: Verdict,
    /// What became of the real packets; `None` if none gave a verdict.
    pub kernel: Option<Verdict>,
}

/// One flow with its testimonies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The flow.
    pub flow: Flow,
    /// One for each packet of the flow.
    pub testimonies: Vec<Testimony>,
}

impl Row {
    /// The flow as a whole: allowed if all its packets are.
    pub fn verdicts(&self) -> Verdicts {
        summary(self.testimonies.iter())
    }

    /// How audited policies would change the verdict of the policies on the flow; `None` if they would not.
    pub fn audit(&self) -> Option<Audit> {
        let all = |verdict: fn(&Testimony) -> Verdict| {
            Verdict::allow_if(self.testimonies.iter().all(|testimony| verdict(testimony) == Verdict::Allow))
        };
        Audit::between(all(|testimony| testimony.oracle), all(|testimony| testimony.oracle_shadow))
    }

    /// The same for each family that the flow has packets of.
    pub fn families(&self) -> BTreeMap<Family, Verdicts> {
        Family::ALL
            .into_iter()
            .map(|family| (family, self.testimonies.iter().filter(move |testimony| testimony.packet.family == family)))
            .filter(|(_, of_family)| of_family.clone().next().is_some())
            .map(|(family, of_family)| (family, summary(of_family)))
            .collect()
    }

    /// Whether the witnesses agree about every packet.
    pub fn agrees(&self) -> bool {
        self.testimonies.iter().all(Testimony::agrees)
    }

    /// Why packets were not sent, each reason once.
    pub fn skipped(&self) -> Vec<&str> {
        let mut reasons: Vec<&str> = self
            .testimonies
            .iter()
            .filter_map(|testimony| match &testimony.kernel {
                Outcome::Skipped(reason) => Some(reason.as_str()),
                _ => None,
            })
            .collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }
}

fn summary<'a>(testimonies: impl Iterator<Item = &'a Testimony>) -> Verdicts {
    let mut verdicts = Verdicts { oracle: Verdict::Allow, tables: Verdict::Allow, kernel: None };
    for testimony in testimonies {
        verdicts.oracle = verdicts.oracle.min(testimony.oracle);
        verdicts.tables = verdicts.tables.min(testimony.tables.verdict);
        verdicts.kernel = match (verdicts.kernel, testimony.kernel.verdict()) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        };
    }
    verdicts
}

/// All flows that were asked for, in that order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One for each case.
    pub rows: Vec<Row>,
}

/// What one end may send to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// What arrives.
    pub allowed: Vec<Traffic>,
    /// What does not.
    pub denied: Vec<Traffic>,
}

impl Report {
    /// The rows about which the witnesses do not agree.
    pub fn disagreements(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.agrees())
    }

    /// Who reaches whom: the kernel's verdict, or the oracle's where no packet could be sent.
    pub fn reach(&self) -> BTreeMap<(&End, &End), Reach> {
        let mut reach: BTreeMap<(&End, &End), Reach> = BTreeMap::new();
        for row in &self.rows {
            let cell = reach.entry((&row.flow.source, &row.flow.destination)).or_default();
            let verdicts = row.verdicts();
            match verdicts.kernel.unwrap_or(verdicts.oracle) {
                Verdict::Allow => cell.allowed.push(row.flow.traffic),
                Verdict::Deny => cell.denied.push(row.flow.traffic),
            }
        }
        reach
    }

    /// The flows whose verdict differs from an earlier report, with the verdict before and now; `None` where a
    /// report has no such flow.
    pub fn changes_since<'a>(&'a self, before: &'a Report) -> Vec<(&'a Flow, Option<Verdict>, Option<Verdict>)> {
        let verdicts = |report: &'a Report| -> BTreeMap<&'a Flow, Verdict> {
            let verdict = |row: &Row| row.verdicts().kernel.unwrap_or(row.verdicts().oracle);
            report.rows.iter().map(|row| (&row.flow, verdict(row))).collect()
        };
        let (before, now) = (verdicts(before), verdicts(self));
        let gone =
            before.iter().filter(|(flow, _)| !now.contains_key(*flow)).map(|(flow, was)| (*flow, Some(*was), None));
        let changed =
            now.iter().map(|(flow, is)| (*flow, before.get(flow).copied(), Some(*is))).filter(|(_, was, is)| was != is);
        gone.chain(changed).collect()
    }
}

/// Asks all three witnesses about every packet of every case. The lab must be enforcing this very snapshot.
///
/// # Errors
///
/// As [`Lab::probe`].
pub fn witness(
    lab: &Lab,
    snapshot: &Snapshot,
    cases: &[Case],
    progress: impl FnMut(Progress),
) -> Result<Report, LabError> {
    let tables: BTreeMap<NodeName, Tables> = lab.tables()?;
    let packets: Vec<Packet> = cases.iter().flat_map(|case| case.packets.iter().cloned()).collect();
    let mut outcomes = lab.probe(&packets, progress)?.into_iter();
    let mut testify = |packet: &Packet| {
        let decision = decide(snapshot, packet);
        Testimony {
            oracle: decision.verdict,
            oracle_shadow: decision.shadow_verdict(),
            tables: walk(&tables, packet),
            kernel: outcomes.next().unwrap_or_else(|| Outcome::Failed("it was not sent".to_string())),
            packet: packet.clone(),
        }
    };
    let rows = cases
        .iter()
        .map(|case| Row { flow: case.flow.clone(), testimonies: case.packets.iter().map(&mut testify).collect() })
        .collect();
    Ok(Report { rows })
}

#[cfg(test)]
mod tests {
    use palisade_sim::{Endpoint, Owner, Way};

    use super::*;

    use Verdict::{Allow, Deny};

    fn row(flow: &str, testimonies: &[(Family, Verdict, Verdict, Outcome)]) -> Row {
        let end = |address: &str| Endpoint { address: address.parse().unwrap(), owner: Owner::Outside, node: None };
        let flow: Flow = flow.parse().unwrap();
        let testimonies = testimonies.iter().map(|(family, oracle, tables, kernel)| Testimony {
            packet: Packet {
                family: *family,
                source: end("192.0.2.1"),
                destination: end("192.0.2.2"),
                traffic: flow.traffic,
                via: None,
            },
            oracle: *oracle,
            oracle_shadow: *oracle,
            tables: trace(*tables, *tables),
            kernel: kernel.clone(),
        });
        Row { testimonies: testimonies.collect(), flow }
    }

    fn trace(verdict: Verdict, shadow: Verdict) -> Trace {
        let shadow = Way { verdict: shadow, steps: Vec::new(), guards: Vec::new(), bans: Vec::new() };
        Trace { verdict, steps: Vec::new(), guards: Vec::new(), bans: Vec::new(), shadow }
    }

    fn check(oracle: Verdict, tables: Verdict, kernel: &Outcome, agrees: bool) {
        let row = row("a/b -> c/d icmp", &[(Family::V4, oracle, tables, kernel.clone())]);
        assert_eq!(row.agrees(), agrees, "{oracle}, {tables}, {kernel}");
    }

    #[test]
    fn agreement_needs_every_witness_that_speaks() {
        check(Allow, Allow, &Outcome::Answered, true);
        check(Deny, Deny, &Outcome::Silent, true);
        check(Deny, Deny, &Outcome::Refused, true);
        check(Allow, Allow, &Outcome::Silent, false);
        check(Deny, Deny, &Outcome::Answered, false);
        check(Allow, Deny, &Outcome::Answered, false);
        check(Allow, Allow, &Outcome::Skipped("it is multicast".to_string()), true);
        check(Allow, Deny, &Outcome::Skipped("it is multicast".to_string()), false);
        check(Allow, Allow, &Outcome::Failed("no control flow".to_string()), false);
    }

    #[test]
    fn agreement_is_about_audited_policies_too() {
        let check = |oracle, tables, agrees, audit| {
            let mut row = row("a/b -> c/d icmp", &[(Family::V4, Allow, Allow, Outcome::Answered)]);
            row.testimonies[0].oracle_shadow = oracle;
            row.testimonies[0].tables = trace(Allow, tables);
            assert_eq!((row.agrees(), row.audit()), (agrees, audit));
        };
        check(Allow, Allow, true, None);
        check(Deny, Deny, true, Some(Audit::WouldDeny));
        check(Allow, Deny, false, None);
        check(Deny, Allow, false, Some(Audit::WouldDeny));
    }

    #[test]
    fn a_flow_is_allowed_if_every_family_is() {
        let row = row(
            "a/b -> c/d icmp",
            &[(Family::V4, Allow, Allow, Outcome::Answered), (Family::V6, Deny, Deny, Outcome::Silent)],
        );
        assert_eq!(row.verdicts(), Verdicts { oracle: Deny, tables: Deny, kernel: Some(Deny) });
        assert_eq!(row.families()[&Family::V4].kernel, Some(Allow));
        assert_eq!(row.families()[&Family::V6].kernel, Some(Deny));
    }

    #[test]
    fn changes_name_flows_that_came_went_or_turned() {
        let report = |rows: &[(&str, Outcome)]| Report {
            rows: rows.iter().map(|(flow, kernel)| row(flow, &[(Family::V4, Allow, Allow, kernel.clone())])).collect(),
        };
        let before = report(&[
            ("a/a -> c/d icmp", Outcome::Answered),
            ("a/b -> c/d icmp", Outcome::Answered),
            ("a/c -> c/d icmp", Outcome::Answered),
        ]);
        let now = report(&[
            ("a/b -> c/d icmp", Outcome::Silent),
            ("a/c -> c/d icmp", Outcome::Answered),
            ("a/d -> c/d icmp", Outcome::Silent),
        ]);
        let changes: Vec<String> =
            now.changes_since(&before).into_iter().map(|(flow, was, is)| format!("{flow} {was:?} {is:?}")).collect();
        assert_eq!(
            changes,
            [
                "a/a -> c/d icmp Some(Allow) None",
                "a/b -> c/d icmp Some(Allow) Some(Deny)",
                "a/d -> c/d icmp None Some(Deny)",
            ]
        );
    }
}
