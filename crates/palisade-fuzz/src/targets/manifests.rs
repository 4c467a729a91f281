//! Manifests: what they come to hangs together, and every check of it ends.

use std::sync::LazyLock;

use palisade_check::Selection;
use palisade_core::{Diagnostic, Dialect, Level, Snapshot};
use palisade_reach::Reach;
use palisade_sources::{FieldPath, Options, Written, parse, parse_written};

use super::{assert_places, source};
use crate::{mutation, seed};

/// Manifests with mistakes.
pub fn manifests(bytes: &[u8]) {
    static SEEDS: LazyLock<Vec<String>> = LazyLock::new(seed::manifests);
    check(mutation::text(bytes, &SEEDS));
}

/// The bytes themselves, so that nothing is as it should be.
pub fn text(bytes: &[u8]) {
    check(String::from_utf8_lossy(bytes).into_owned());
}

fn check(text: String) {
    let sources = [source(text)];
    let options = Options::default();
    let (first, mut written) = parse_written(&sources, &options);
    let second = parse(&sources, &options);
    assert_eq!(first.snapshot, second.snapshot);
    assert_eq!(first.diagnostics, second.diagnostics);
    assert_places(&sources[0].text, &first.diagnostics);
    assert_closed(&first.snapshot);
    assert_written(&first.snapshot, &mut written);

    // Every check, also those that are opt-in.
    let selection = Selection { select: vec!["NP".to_string()], dialect: Dialect::Cilium, ..Selection::default() };
    let found = palisade_check::check(&first, written, &selection);
    assert_places(&sources[0].text, &found);
    let errors = |found: &[Diagnostic]| found.iter().filter(|one| one.level == Level::Error).count();
    assert!(errors(&found) >= errors(&first.diagnostics), "a check hides what cannot be read");
    let reach = Reach::new(&first.snapshot, Dialect::Palisade);
    assert!(reach.edges().take(1_000).all(|edge| !edge.from.to_string().is_empty()));
}

/// What cannot be read isolates and allows nothing; pods are on nodes that there are.
fn assert_closed(snapshot: &Snapshot) {
    for pod in snapshot.pods.values() {
        assert!(pod.node.as_ref().is_some_and(|node| snapshot.nodes.contains_key(node)));
    }
    for policy in snapshot.policies.values().filter(|policy| policy.unreadable.is_some()) {
        let rules = policy.rules.ingress.iter().chain(&policy.rules.egress).flatten();
        assert_eq!(rules.count(), 0, "an unreadable policy allows nothing");
        assert!(policy.rules.ingress.is_some() || policy.rules.egress.is_some(), "and isolates");
    }
}

/// What is read is found again as it is written.
fn assert_written(snapshot: &Snapshot, written: &mut Written<'_>) {
    for policy in snapshot.policies.values().filter(|policy| policy.unreadable.is_none()) {
        let is_invented = policy.name.name.starts_with("unnamed-");
        let place = written.place(&policy.name, &FieldPath::root().field("spec").field("podSelector"));
        assert!(place.is_some() || is_invented, "{} is read, and not as it is written", policy.name);
    }
}
