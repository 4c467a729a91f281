//! NP010: a policy that does not say its namespace.

use palisade_sources::{FieldPath, Form};

use crate::check::Finding;
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let at = FieldPath::root().field("metadata").field("namespace");
    match subject.form(&at) {
        Form::Absent | Form::Null | Form::Text("") => vec![Finding {
            at: FieldPath::root(),
            message: "metadata.namespace is not set".to_string(),
            reason: "it goes to whatever namespace is current where it is applied; here it is read as default"
                .to_string(),
            hint: "write 'namespace: default' if that is meant".to_string(),
        }],
        Form::Text(_) | Form::List(_) | Form::Other => Vec::new(),
    }
}
