//! The annotation `palisade.dev/allow`: ids of checks that are to be silent about a policy.

use std::collections::BTreeMap;

use palisade_core::{Diagnostic, Level, PolicyName};
use palisade_sources::{FieldPath, Form, Written};

use crate::checks;

const ANNOTATION: &str = "palisade.dev/allow";

/// What each policy allows, by the object that diagnostics name.
pub struct Allowed(BTreeMap<String, (PolicyName, Vec<String>)>);

impl Allowed {
    /// Reads the annotations of policies.
    pub fn read<'a>(policies: impl Iterator<Item = &'a PolicyName>, written: &Written<'_>) -> Allowed {
        let ids = |policy: &PolicyName| match written.form(policy, &path()) {
            Form::Text(text) => Some(text.split(',').map(|id| id.trim().to_string()).collect()),
            _ => None,
        };
        let entry = |policy: &PolicyName| Some((object(policy), (policy.clone(), ids(policy)?)));
        Allowed(policies.filter_map(entry).collect())
    }

    /// Whether the object of a diagnostic asks for silence. What cannot be read is told all the same: it is not what was meant.
    pub fn covers(&self, diagnostic: &Diagnostic) -> bool {
        let (Some(object), Some(id)) = (&diagnostic.object, diagnostic.id) else { return false };
        let ids = self.0.get(object).map(|(_, ids)| ids);
        !crate::is_unreadable(diagnostic) && ids.is_some_and(|ids| ids.iter().any(|allowed| allowed == id))
    }

    /// Words in the annotations that are no id.
    pub fn mistakes(&self, written: &mut Written<'_>) -> Vec<Diagnostic> {
        let mut mistakes = Vec::new();
        for (object, (policy, ids)) in &self.0 {
            for id in ids.iter().filter(|id| checks::find(id).is_none()) {
                mistakes.push(Diagnostic {
                    id: Some(checks::INPUT),
                    object: Some(object.clone()),
                    place: written.place(policy, &path()),
                    effect: Some("no check is silent for it".to_string()),
                    hint: Some("write ids with commas between them: 'NP023,NP045'".to_string()),
                    ..Diagnostic::new(Level::Warning, format!("annotation {ANNOTATION}: there is no check '{id}'"))
                });
            }
        }
        mistakes
    }
}

fn object(policy: &PolicyName) -> String {
    format!("NetworkPolicy {policy}")
}

fn path() -> FieldPath {
    FieldPath::root().field("metadata").field("annotations").field(ANNOTATION)
}
