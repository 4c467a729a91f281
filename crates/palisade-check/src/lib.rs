//! Checks of manifests: what is most likely not meant, where it stands, why it matters, and what to write instead.
//!
//! Read in this order: `check` (what a check is, and its page), `checks` (the list of them, one file each), `subject` (a policy as a check
//! sees it), `cluster` and `pod_class` (the pods that selectors are held against), `dns`, `matching` (selectors that select nothing), `containment` (rules that
//! say no more than others), `passing` (what rules may let through), `allowed` (what an object asks to be silent about).
//!
//! A check claims only what holds whatever else a cluster has, or what the input shows; where it would have to guess, it says nothing.

mod allowed;
mod check;
pub mod checks;
mod cluster;
mod containment;
mod dns;
mod elsewhere;
mod matching;
mod passing;
mod pod_class;
mod subject;

pub use check::{Check, Find, Finding, Group, Selection};
pub use cluster::Cluster;
pub use subject::Subject;

use std::cmp::Ordering;
use std::sync::Arc;

use palisade_core::{Diagnostic, Level, NetworkPolicy, Place, PolicyName};
use palisade_sources::{ObjectRef, Parsed, Written};

use allowed::Allowed;

/// Everything that is to be said about an input, sorted by place: what reading it told, and what the selected checks found. Each has an id.
///
/// Both come from [`palisade_sources::parse_written`].
pub fn check(parsed: &Parsed, mut written: Written<'_>, selection: &Selection) -> Vec<Diagnostic> {
    let found = findings(parsed, &written, selection);
    let allowed = Allowed::read(parsed.snapshot.policies.keys(), &written);
    let mut diagnostics: Vec<Diagnostic> = found.into_iter().map(|found| found.placed(&mut written)).collect();
    diagnostics.extend(parsed.diagnostics.iter().cloned().map(with_id));
    diagnostics.retain(|diagnostic| !allowed.covers(diagnostic));
    diagnostics.extend(allowed.mistakes(&mut written));
    let is_wanted = |diagnostic: &Diagnostic| {
        let check = diagnostic.id.and_then(checks::find);
        check.is_none_or(|check| selection.has_read(check, is_unreadable(diagnostic)))
    };
    diagnostics.retain(is_wanted);
    diagnostics.sort_by(by_place);
    diagnostics
}

/// A finding, before it is known where it stands.
struct Found<'a> {
    check: &'static Check,
    object: Object<'a>,
    finding: Finding,
}

enum Object<'a> {
    Policy(&'a PolicyName),
    Other(ObjectRef),
}

impl Found<'_> {
    fn placed(self, written: &mut Written<'_>) -> Diagnostic {
        let (place, object) = match &self.object {
            Object::Policy(name) => (written.place(name, &self.finding.at), format!("NetworkPolicy {name}")),
            Object::Other(object) => (written.place_of(object, &self.finding.at), object.to_string()),
        };
        Diagnostic { place, ..self.finding.diagnostic(self.check, object) }
    }
}

/// What the selected checks find.
fn findings<'a>(parsed: &'a Parsed, written: &Written<'_>, selection: &Selection) -> Vec<Found<'a>> {
    let cluster = Cluster::new(&parsed.snapshot, written, selection.dialect);
    let selected: Vec<&Check> = checks::ALL.iter().filter(|check| selection.has(check)).collect();
    let mut found = Vec::new();
    // Of a policy without a name nobody can say where it is written.
    let is_checked = |policy: &&Arc<NetworkPolicy>| policy.unreadable.is_none() && written.has_policy(&policy.name);
    for policy in parsed.snapshot.policies.values().filter(is_checked) {
        let subject = Subject { policy, written, cluster: &cluster };
        for &check in &selected {
            let Find::Policy(find) = check.find else { continue };
            let of_policy = |finding| Found { check, object: Object::Policy(&policy.name), finding };
            found.extend(find(&subject).into_iter().map(of_policy));
        }
    }
    for check in selected {
        let Find::Cluster(find) = check.find else { continue };
        let of_object = |(object, finding)| Found { check, object: Object::Other(object), finding };
        found.extend(find(&cluster).into_iter().map(of_object));
    }
    found
}

/// What concerns no single place comes last; at one place the worst comes first.
fn by_place(left: &Diagnostic, right: &Diagnostic) -> Ordering {
    // All of a cluster may stand on one line: its text is not compared.
    let by_place = match (&left.place, &right.place) {
        (Some(left), Some(right)) => {
            let columns = |place: &Place| (place.line, place.column, place.width);
            left.file.cmp(&right.file).then_with(|| columns(left).cmp(&columns(right)))
        }
        (left, right) => left.is_none().cmp(&right.is_none()),
    };
    by_place.then_with(|| right.level.cmp(&left.level)).then_with(|| left.id.cmp(&right.id))
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
