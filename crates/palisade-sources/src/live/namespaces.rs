//! Namespaces: one that any object is in exists, described or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_core::{Namespace, NamespaceName};

use super::view::View;
use crate::namespace;
use crate::reading::Reading;

/// The namespaces that exist, and why.
#[derive(Default)]
pub struct Namespaces {
    by_name: BTreeMap<NamespaceName, State>,
}

#[derive(Default)]
struct State {
    /// Whether there is an object of its own.
    described: bool,
    /// How many pods and policies are in it.
    objects: usize,
}

impl Namespaces {
    /// The object of a namespace came, changed or went.
    pub fn describe(
        &mut self,
        name: &NamespaceName,
        namespace: Option<Namespace>,
        reading: &mut Reading,
        view: &mut View,
    ) {
        self.by_name.entry(Arc::clone(name)).or_default().described = namespace.is_some();
        match namespace {
            Some(namespace) => view.namespace(name, Some(Arc::new(namespace))),
            None => self.settle(name, reading, view),
        }
    }

    /// An object came into a namespace.
    pub fn enter(&mut self, name: &NamespaceName, reading: &mut Reading, view: &mut View) {
        let state = self.by_name.entry(Arc::clone(name)).or_default();
        state.objects += 1;
        if state.objects == 1 {
            self.settle(name, reading, view);
        }
    }

    /// An object left a namespace.
    pub fn leave(&mut self, name: &NamespaceName, reading: &mut Reading, view: &mut View) {
        let Some(state) = self.by_name.get_mut(name) else { return };
        state.objects -= 1;
        if state.objects == 0 {
            self.settle(name, reading, view);
        }
    }

    /// The names of the namespaces that objects describe.
    pub fn described(&self) -> impl Iterator<Item = &NamespaceName> {
        self.by_name.iter().filter(|(_, state)| state.described).map(|(name, _)| name)
    }

    /// Brings a namespace that nothing describes up to date with whether anything is in it.
    fn settle(&mut self, name: &NamespaceName, reading: &mut Reading, view: &mut View) {
        match self.by_name.get(name) {
            Some(State { described: true, .. }) => {}
            Some(State { objects: 1.., .. }) => {
                view.namespace(name, Some(Arc::new(namespace::read(name, None, reading))));
            }
            _ => {
                self.by_name.remove(name);
                view.namespace(name, None);
            }
        }
    }
}
