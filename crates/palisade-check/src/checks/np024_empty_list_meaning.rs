//! NP024: a list of peers or ports that is written and empty.

use palisade_sources::Form;

use crate::check::Finding;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in subject.rules() {
        for (field, everything) in [(rule.peers_field(), "every peer"), ("ports", "every port of every protocol")] {
            let at = rule.at.clone().field(field);
            if matches!(subject.form(&at), Form::List(0) | Form::Null) {
                found.push(Finding {
                    at,
                    message: format!("an empty list matches {everything}"),
                    reason: format!("an empty list of rules allows nothing, an empty '{field}' within a rule all"),
                    hint: format!("to allow nothing remove the rule, to allow all remove '{field}'"),
                });
            }
        }
    }
    found
}
