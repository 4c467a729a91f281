//! The reasons on the page are about what its sets say: on random clusters the oracle allows every example of what passes, and denies every
//! one of the rest.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use palisade_core::{Dialect, Snapshot};
use palisade_reach::Reach;
use palisade_report::Report;
use palisade_testkit::random;
use palisade_testkit::rng::Rng;
use serde_json::Value;

fn data(snapshot: &Snapshot) -> Value {
    let report = Report { about: "random", snapshot, findings: &[], left_out: None };
    let page = report.html().unwrap();
    assert_eq!(report.html().unwrap(), page);
    let (_, data) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

#[test]
fn examples_are_allowed_where_something_passes_and_denied_where_not() {
    let mut verdicts = BTreeMap::new();
    for seed in 0..200 {
        let mut snapshot = random::cluster(&mut Rng::new(seed));
        snapshot.host_policies.clear();
        snapshot.ban_lists.clear();
        let data = data(&snapshot);
        let text = |value: &Value| data["texts"][number(value)].as_str().unwrap();
        for row in data["rows"].as_array().unwrap() {
            let examples = data["reasons"][number(&row[4])].as_array().unwrap();
            if examples.is_empty() {
                // A range that is the one address of the pod at the other end.
                let ends = [0, 1].map(|place| &data["ends"][number(&row[place])]);
                let is_single = |end: &&Value| !end["first"].is_null() && end["first"] == end["last"];
                assert!(ends.iter().any(is_single), "seed {seed}: {row}");
            }
            for example in examples {
                let (part, verdict) = (text(&example[0]), text(&example[2]));
                if verdict.ends_with("(assumed)") {
                    continue;
                }
                let expected = if part.starts_with("everything") { "deny" } else { "allow" };
                assert_eq!(verdict, expected, "seed {seed}: {} {part}", text(&example[1]));
                *verdicts.entry(expected).or_insert(0) += 1;
            }
        }
    }
    println!("{verdicts:?}");
    assert!(verdicts["allow"] > 5_000 && verdicts["deny"] > 5_000, "{verdicts:?}");
}

#[test]
fn every_edge_is_a_line_and_what_is_closed_has_one() {
    let mut closed_lines = 0;
    for seed in 0..20 {
        let snapshot = random::cluster(&mut Rng::new(seed));
        let data = data(&snapshot);
        let reach = Reach::new(&snapshot, Dialect::Palisade);
        let name = |value: &Value| data["ends"][number(value)]["name"].as_str().unwrap().to_string();
        let rows = data["rows"].as_array().unwrap().iter();
        let lines = rows.map(|row| ((name(&row[0]), name(&row[1])), data["sets"][number(&row[3])].to_string()));
        let nothing = palisade_report::json::traffic(&palisade_reach::TrafficSet::default()).to_string();
        let (closed, open): (Vec<_>, Vec<_>) = lines.partition(|(_, set)| *set == nothing);
        let edges: Vec<_> = reach.edges().map(|edge| (edge.from.to_string(), edge.to.to_string())).collect();
        let mut shown: Vec<_> = open.into_iter().map(|(ends, _)| ends).collect();
        shown.dedup();
        assert_eq!(shown, edges, "seed {seed}");
        closed_lines += closed.len();
    }
    assert!(closed_lines > 300, "{closed_lines}");
}
