//! Checks of manifests: what is most likely not meant, where it stands, why it matters, and what to write instead.
//!
//! Read in this order: `check` (what a check is, and its page), `checks` (the list of them, one file each), `subject` (a policy as a check
//! sees it), `cluster` (the pods that selectors are held against), `matching` (selectors that select nothing), `containment` (rules that
//! say no more than others), `allowed` (what an object asks to be silent about).
//!
//! A check claims only what holds whatever else a cluster has, or what the input shows; where it would have to guess, it says nothing.

mod allowed;
mod check;
pub mod checks;
mod cluster;
mod containment;
mod matching;
mod subject;

pub use check::{Check, Finding, Group};
pub use subject::Subject;

use std::sync::Arc;

use palisade_core::{Diagnostic, Level, NetworkPolicy};
use palisade_sources::{Parsed, SourceText, Written};

use allowed::Allowed;
use cluster::Cluster;

/// Everything that is to be said about an input, sorted by place: what reading it told, and what the checks found. Each has an id.
pub fn check(sources: &[SourceText], parsed: &Parsed) -> Vec<Diagnostic> {
    let mut written = Written::read(sources);
    let cluster = Cluster::new(&parsed.snapshot, &written);
    let mut found = Vec::new();
    // Of a policy without a name nobody can say where it is written.
    let is_checked = |policy: &&Arc<NetworkPolicy>| policy.unreadable.is_none() && written.has_policy(&policy.name);
    for policy in parsed.snapshot.policies.values().filter(is_checked) {
        let subject = Subject { policy, written: &written, cluster: &cluster };
        for check in checks::ALL {
            let findings = check.find.map(|find| find(&subject)).unwrap_or_default();
            found.extend(findings.into_iter().map(|finding| (check, policy, finding)));
        }
    }
    let allowed = Allowed::read(parsed.snapshot.policies.keys(), &written);
    let mut diagnostics: Vec<Diagnostic> = found
        .into_iter()
        .map(|(check, policy, finding)| {
            let place = written.place(&policy.name, &finding.at);
            Diagnostic { place, ..finding.diagnostic(check, &policy.name) }
        })
        .collect();
    diagnostics.extend(parsed.diagnostics.iter().cloned().map(with_id));
    diagnostics.retain(|diagnostic| !allowed.covers(diagnostic));
    diagnostics.extend(allowed.mistakes(&mut written));
    // What concerns no single place comes last; at one place the worst comes first.
    diagnostics.sort_by(|left, right| {
        let (place, other) = (&left.place, &right.place);
        let by_place = place.is_none().cmp(&other.is_none()).then_with(|| place.cmp(other));
        by_place.then_with(|| right.level.cmp(&left.level)).then_with(|| left.id.cmp(&right.id))
    });
    diagnostics
}

/// What reading told and no other check is about goes by the id of what cannot be read, or else of the input as a whole.
fn with_id(diagnostic: Diagnostic) -> Diagnostic {
    let other = if is_unreadable(&diagnostic) { checks::UNREADABLE } else { checks::INPUT };
    Diagnostic { id: diagnostic.id.or(Some(other)), ..diagnostic }
}

/// Whether a diagnostic is of those that no annotation and no selection of checks hides: the input could not be read.
pub fn is_unreadable(diagnostic: &Diagnostic) -> bool {
    diagnostic.level == Level::Error
}
