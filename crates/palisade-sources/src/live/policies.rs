//! Policies and the limits of their namespaces. Which policies are past a limit depends on the others of the
//! namespace, so each is kept as it was read.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_core::{Diagnostic, NamespaceName, NetworkPolicy, PolicyName};

use super::Kind;
use super::findings::Findings;
use super::view::View;
use crate::limits::{self, Limits, Size};
use crate::network_policy;

/// The policies as they were read.
#[derive(Default)]
pub struct Policies {
    by_name: BTreeMap<PolicyName, State>,
}

struct State {
    /// The policy without regard to the others.
    policy: Arc<NetworkPolicy>,
    /// What it comes to.
    size: Size,
    /// What is wrong with it by itself.
    diagnostics: Vec<Diagnostic>,
    /// The limit that it is past.
    past: Option<String>,
}

impl Policies {
    /// Whether there is a policy of this name.
    pub fn contains(&self, name: &PolicyName) -> bool {
        self.by_name.contains_key(name)
    }

    /// A policy came or changed.
    pub fn put(
        &mut self,
        policy: NetworkPolicy,
        diagnostics: Vec<Diagnostic>,
        limits: &Limits,
        view: &mut View,
        findings: &mut Findings,
    ) {
        let (name, size) = (policy.name.clone(), Size::of(&policy));
        let before = self.by_name.remove(&name).map(|state| state.policy).filter(|before| **before == policy);
        let policy = before.unwrap_or_else(|| Arc::new(policy));
        self.by_name.insert(name.clone(), State { policy, size, diagnostics, past: None });
        for other in self.apply_limits(&name.namespace, Some(&name), limits) {
            self.settle(&other, view, findings);
        }
        self.settle(&name, view, findings);
    }

    /// A policy went.
    pub fn remove(&mut self, name: &PolicyName, limits: &Limits, view: &mut View, findings: &mut Findings) {
        self.by_name.remove(name);
        self.settle(name, view, findings);
        for other in self.apply_limits(&name.namespace, None, limits) {
            self.settle(&other, view, findings);
        }
    }

    /// Tells again which policies of a namespace are past a limit, after one of them was put or removed; those for
    /// which that is news. All beyond the number of policies that a namespace may have are past it, and stay so, but
    /// for the one that is next in turn: nothing is looked at beyond that one.
    fn apply_limits(
        &mut self,
        namespace: &NamespaceName,
        put: Option<&PolicyName>,
        limits: &Limits,
    ) -> Vec<PolicyName> {
        let first = PolicyName::new(Arc::clone(namespace), "");
        let looked_at = limits.policies_per_namespace.saturating_add(1);
        let in_turn = self.by_name.range(first..).take_while(|(name, _)| name.namespace == *namespace);
        let mut told: Vec<(&PolicyName, &State)> = in_turn.take(looked_at).collect();
        if let Some(put) = put.filter(|put| told.last().is_some_and(|(last, _)| *last < *put)) {
            told.extend(self.by_name.get_key_value(put));
        }
        let sized: Vec<(&NetworkPolicy, Size)> = told.iter().map(|(_, state)| (&*state.policy, state.size)).collect();
        let past = limits::past(&sized, limits);
        let news = told.iter().zip(past).filter(|((_, state), past)| state.past != *past);
        let news: Vec<(PolicyName, Option<String>)> = news.map(|((name, _), past)| ((*name).clone(), past)).collect();
        for (name, past) in &news {
            if let Some(state) = self.by_name.get_mut(name) {
                state.past.clone_from(past);
            }
        }
        news.into_iter().map(|(name, _)| name).collect()
    }

    /// Brings the snapshot and the findings up to date with a policy.
    fn settle(&self, name: &PolicyName, view: &mut View, findings: &mut Findings) {
        let Some(state) = self.by_name.get(name) else {
            view.policy(name, None);
            return findings.set(Kind::NetworkPolicy, name, Vec::new());
        };
        let mut diagnostics = state.diagnostics.clone();
        let policy = match &state.past {
            Some(message) if state.policy.unreadable.is_none() => {
                let closed = network_policy::closed_copy(&state.policy, message.clone());
                diagnostics.push(limits::diagnostic(&closed, message.clone()));
                Arc::new(closed)
            }
            _ => Arc::clone(&state.policy),
        };
        view.policy(name, Some(policy));
        findings.set(Kind::NetworkPolicy, name, diagnostics);
    }
}
