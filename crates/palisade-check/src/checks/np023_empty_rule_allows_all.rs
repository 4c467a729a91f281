//! NP023: a rule without peers.

use palisade_core::Ports;
use palisade_sources::Form;

use crate::check::Finding;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in subject.rules() {
        let field = rule.peers_field();
        // A rule that is null is told when it is read, an empty list is NP024.
        let is_written = subject.form(&rule.at) == Form::Other;
        let is_absent = subject.form(&rule.at.clone().field(field)) == Form::Absent;
        if rule.rule.peers.is_some() || !is_written || !is_absent {
            continue;
        }
        let what = if rule.rule.ports == Ports::All { "everything" } else { "every peer at these ports" };
        found.push(Finding {
            at: rule.at,
            message: format!("a rule without '{field}' allows {what}"),
            reason: "pods of every namespace and addresses outside of the cluster are among them".to_string(),
            hint: format!(
                "name the peers in '{field}'; if all are meant, annotate the policy 'palisade.dev/allow: NP023'"
            ),
        });
    }
    found
}
