//! NP022: no `policyTypes`, and nothing about egress.

use palisade_core::Direction;
use palisade_sources::Form;

use crate::check::Finding;
use crate::subject::{Subject, spec};

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let types = subject.form(&spec().field("policyTypes"));
    let is_omitted = matches!(types, Form::Absent | Form::Null | Form::List(0));
    // An empty list of egress rules is NP021.
    let says_nothing = matches!(subject.form(&spec().field(Direction::Egress.name())), Form::Absent | Form::Null);
    let finding = || Finding {
        at: spec(),
        message: "policyTypes is not set, and there is no egress rule".to_string(),
        reason: "the policy isolates for ingress alone: what its pods send stays as it is".to_string(),
        hint: "write 'policyTypes: [Ingress]' if that is meant, or '[Ingress, Egress]' to close egress".to_string(),
    };
    (is_omitted && says_nothing).then(finding).into_iter().collect()
}
