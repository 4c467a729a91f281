//! What to go back to, while it is not known whether what came after it cuts the node off from the API server.

use super::{BanTable, HostTable, Programming};
use crate::policy_kind::PolicyKind;

impl Programming {
    /// Whether it is not known yet if what is in force of a kind is good.
    pub fn is_tried(&self, kind: PolicyKind) -> bool {
        match kind {
            PolicyKind::Network => false,
            PolicyKind::Host => self.host.as_ref().is_some_and(HostTable::is_tried),
            PolicyKind::Ban => self.bans.as_ref().is_some_and(BanTable::is_tried),
        }
    }

    /// What comes next of a kind is tried: what is in force now is what to go back to, unless there is something already.
    pub fn begin(&mut self, kind: PolicyKind) {
        let tables = self.compiler.tables();
        match kind {
            PolicyKind::Network => {}
            PolicyKind::Host => self.host.iter_mut().for_each(|table| table.begin(tables)),
            PolicyKind::Ban => self.bans.iter_mut().for_each(|table| table.begin(tables)),
        }
    }

    /// Nothing is in force: what comes next is tried.
    pub fn begin_anew(&mut self) {
        self.host.iter_mut().for_each(HostTable::begin_anew);
        self.bans.iter_mut().for_each(BanTable::begin_anew);
    }

    /// Whether what is wanted of a kind is what was known to be good: then there is nothing to go back to.
    pub fn is_as_before(&mut self, kind: PolicyKind) -> bool {
        let tables = self.compiler.tables();
        match kind {
            PolicyKind::Network => false,
            PolicyKind::Host => self.host.as_mut().is_some_and(|table| table.is_as_before(tables)),
            PolicyKind::Ban => self.bans.as_mut().is_some_and(|table| table.is_as_before(tables)),
        }
    }

    /// What is in force is good.
    pub fn confirm(&mut self) {
        self.host.iter_mut().for_each(HostTable::confirm);
        self.bans.iter_mut().for_each(BanTable::confirm);
    }

    /// What is known to be good of these kinds is wanted again, until they change.
    pub fn go_back(&mut self, kinds: &[PolicyKind]) {
        self.of_kinds(kinds, HostTable::go_back, BanTable::go_back);
    }

    /// What was taken back of these kinds is wanted again.
    pub fn take_again(&mut self, kinds: &[PolicyKind]) {
        self.of_kinds(kinds, HostTable::take_again, BanTable::take_again);
    }

    fn of_kinds(&mut self, kinds: &[PolicyKind], host: impl Fn(&mut HostTable), bans: impl Fn(&mut BanTable)) {
        if kinds.contains(&PolicyKind::Host) {
            self.host.iter_mut().for_each(host);
        }
        if kinds.contains(&PolicyKind::Ban) {
            self.bans.iter_mut().for_each(bans);
        }
    }
}
