//! NP028: `name=…` required of a namespace that has no such label.

use crate::check::Finding;
use crate::matching::{NAMESPACE_NAME, nonstandard_name};
use crate::subject::Subject;

pub fn find(subject: &Subject<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for selector in subject.selectors().into_iter().filter(|selector| selector.of == "namespaces") {
        let Some(name) = nonstandard_name(selector.selector, subject.cluster) else { continue };
        found.push(Finding {
            at: selector.at,
            message: format!("no namespace has the label name={name}, and there is a namespace {name}"),
            reason: "the item matches nobody: Kubernetes does not label namespaces with 'name'".to_string(),
            hint: format!("write '{NAMESPACE_NAME}: {name}', a label that every namespace has"),
        });
    }
    found
}
