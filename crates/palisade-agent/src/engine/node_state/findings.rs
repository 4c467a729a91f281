//! What is wrong with policies, for events on them.

use palisade_core::{Level, ObjectName};
use palisade_sources::live::Kind;

use super::{Engine, POLICIES};
use crate::events::{self, Unreadable};

impl Engine {
    /// Something else is wrong with an object than before.
    pub(in crate::engine) fn note_finding(&mut self, kind: Kind, name: &ObjectName) {
        // What is too much for events is told by the report.
        if POLICIES.contains(&kind) && self.telling.untold.len() < events::WAITING_MAX {
            self.telling.untold.insert((kind, name.clone()));
        }
    }

    /// Has events written on policies that cannot be read, where it is for this agent to do so.
    pub(super) fn tell_findings(&mut self) {
        if self.telling.untold.is_empty() || !self.is_listed() {
            return;
        }
        for key in std::mem::take(&mut self.telling.untold) {
            let snapshot = self.snapshot();
            let unreadable = match &key {
                (Kind::HostPolicy, name) => {
                    snapshot.host_policies.get(&(&name.name).into()).is_some_and(|policy| policy.unreadable.is_some())
                }
                (Kind::BanList, name) => {
                    snapshot.ban_lists.get(&name.name).is_some_and(|list| list.unreadable.is_some())
                }
                (_, name) => snapshot.policies.get(name).is_some_and(|policy| policy.unreadable.is_some()),
            };
            let Some(diagnostics) = self.findings.get(&key).filter(|_| unreadable) else { continue };
            if events::speaks(&key.1, &self.settings.node, snapshot.nodes.keys()) {
                let errors = diagnostics.iter().filter(|diagnostic| diagnostic.level == Level::Error);
                let findings = errors.map(|diagnostic| diagnostic.message.clone()).collect();
                // If so many wait already, this one is only in the report.
                let finding = Unreadable { kind: key.0, policy: key.1, findings };
                let _ = self.telling.findings.as_ref().map(|sender| sender.try_send(finding));
            }
        }
    }
}
