//! Conditions of an object (meta/v1 `Condition`), by type.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// How long a message may be, in characters (meta/v1 `Condition` takes 32,768); it stands in a status that every agent is told.
const MESSAGE_CHARACTERS: usize = 2_048;

/// What a condition says, before it has a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// `type`.
    pub of: &'static str,
    /// `status`.
    pub holds: Holds,
    /// `reason`: one word for programs.
    pub reason: &'static str,
    /// `message`: the same for people; the same words for as long as nothing happens.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody can tell.
    Unknown,
}

impl Holds {
    fn name(self) -> &'static str {
        match self {
            Holds::True => "True",
            Holds::False => "False",
            Holds::Unknown => "Unknown",
        }
    }
}

/// The conditions of a generation, in this order, after those of before. A time is that of the last change of `status`, in whole
/// seconds, as the API server keeps it.
pub fn conditions(
    said: impl IntoIterator<Item = Said>,
    generation: i64,
    before: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let condition = |said: Said| {
        let same = before.iter().find(|known| known.type_ == said.of && known.status == said.holds.name());
        Condition {
            type_: said.of.to_owned(),
            status: said.holds.name().to_owned(),
            reason: said.reason.to_owned(),
            message: said.message.chars().take(MESSAGE_CHARACTERS).collect(),
            observed_generation: Some(generation),
            last_transition_time: same.map_or(Time(now), |known| known.last_transition_time.clone()),
        }
    };
    said.into_iter().map(condition).collect()
}

/// Of these conditions those of these types, in this order: others are somebody else's, and the API server has an order of its own.
pub fn own(found: &[Condition], types: &[&str]) -> Vec<Condition> {
    types.iter().filter_map(|of| found.iter().find(|known| known.type_ == **of)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_that_of_the_last_change_of_status() {
        let time = |seconds: i64| Timestamp::from_millisecond(seconds * 1_000 + 7).unwrap();
        let said = |holds, reason| Said { of: "Programmed", holds, reason, message: String::new() };
        let check = |holds, reason, before: &[Condition], at, expected| {
            let found = conditions([said(holds, reason)], 1, before, time(at));
            assert_eq!(found[0].last_transition_time.0, Timestamp::from_second(expected).unwrap());
            found
        };
        let first = check(Holds::False, "NodesLag", &[], 100, 100);
        let same = check(Holds::False, "NoNodeMatched", &first, 200, 100);
        assert_eq!(same[0].reason, "NoNodeMatched");
        check(Holds::True, "Programmed", &same, 300, 300);
    }

    #[test]
    fn conditions_of_others_are_left_alone() {
        let said = |of| Said { of, holds: Holds::True, reason: "R", message: String::new() };
        let found = conditions([said("B"), said("Other"), said("A")], 1, &[], Timestamp::UNIX_EPOCH);
        let types: Vec<String> = own(&found, &["A", "B", "C"]).into_iter().map(|known| known.type_).collect();
        assert_eq!(types, ["A", "B"]);
    }
}
