//! NP021: rules of a direction that `policyTypes` does not name.

use palisade_core::Direction;
use palisade_sources::Form;

use crate::check::Finding;
use crate::subject::{Subject, spec};

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let ignored = |direction: &Direction| {
        let at = spec().field(direction.name());
        let Form::List(count) = subject.form(&at) else { return None };
        let kind = if *direction == Direction::Ingress { "Ingress" } else { "Egress" };
        subject.policy.rules[*direction].is_none().then(|| Finding {
            at,
            message: match count {
                0 => format!("the list has no say: policyTypes does not name {kind}"),
                _ => format!("the rules have no say: policyTypes does not name {kind}"),
            },
            reason: format!("the policy does not isolate for {direction}: all of it stays open"),
            hint: format!("add {kind} to policyTypes, or remove '{direction}'"),
        })
    };
    Direction::ALL.iter().filter_map(ignored).collect()
}
