//! What is wrong with which object.

use std::collections::BTreeMap;

use palisade_core::{Diagnostic, ObjectName};

use super::{Finding, Kind};

/// The diagnostics of every object that has any, and which of them are news.
#[derive(Default)]
pub struct Findings {
    by_object: BTreeMap<(Kind, ObjectName), Vec<Diagnostic>>,
    pub changed: Vec<Finding>,
}

impl Findings {
    /// What is wrong with an object now.
    pub fn set(&mut self, kind: Kind, name: &ObjectName, diagnostics: Vec<Diagnostic>) {
        if diagnostics.is_empty() && self.by_object.is_empty() {
            return;
        }
        let key = (kind, name.clone());
        if self.by_object.get(&key).map_or(&[][..], Vec::as_slice) == diagnostics {
            return;
        }
        self.changed.push(Finding { kind, name: name.clone(), diagnostics: diagnostics.clone() });
        if diagnostics.is_empty() {
            self.by_object.remove(&key);
        } else {
            self.by_object.insert(key, diagnostics);
        }
    }

    /// The objects of a kind with which something is wrong.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &ObjectName> {
        self.by_object.keys().filter(move |(of, _)| *of == kind).map(|(_, name)| name)
    }
}
