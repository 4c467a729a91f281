//! From what was taken in to what is in force: repairs, programming, and what is due later.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use palisade_core::Change;
use palisade_nft::ApplyError;

use super::{Engine, Errands};
use crate::programming::Programmed;
use crate::report::Repair;

/// After the kernel refused, it is tried again so much later.
const RETRY: Duration = Duration::from_secs(1);
/// After a sweep of connection marks failed, the next one begins so much later.
const SWEEP_RETRY: Duration = Duration::from_mins(1);
/// Repairs are at least so far apart, so that a program that fights us does not take the node's processor.
const REPAIR_INTERVAL: Duration = Duration::from_millis(100);
/// How many repairs are remembered for the status.
const REPAIRS_KEPT: usize = 16;
/// How many changes wait before the lists are complete; more are compiled meanwhile, which costs more than all at once.
const WAITING_MAX: usize = 50_000;

impl Engine {
    /// Brings into force what was taken in, and does what is due. Returns when it wants to be called again even if
    /// nothing happens.
    pub fn settle(&mut self, now: Instant) -> (Errands, Option<Instant>) {
        let mut errands = Errands::default();
        self.expire(now);
        if self.is_stopped() {
            self.stand_by();
        }
        if self.paused {
            self.note_changes();
        } else {
            self.repair(now);
            self.bind(now);
            if self.is_listed() {
                self.program(now);
                self.review(now);
            } else {
                self.wait_for_lists(now);
            }
            errands.sweep = self.sweep(now);
            errands.save = self.save(now);
            errands.probe = self.confirm.begins(now);
        }
        self.tell();
        for (kind, lines) in self.repeated.left_out(now) {
            tracing::warn!("{lines} more {kind} within a minute");
        }
        (errands, self.wake(now))
    }

    /// Whether an emergency stop took the rules away beside us. The marker is looked for when something is wrong with them.
    fn is_stopped(&self) -> bool {
        let is_wrong = self.pending.drift.is_some() || self.due.retry.is_some();
        !self.paused && is_wrong && self.directory.pause().is_some()
    }

    /// When something is due that would be done then: a time that nothing serves would be waited for without a pause.
    fn wake(&self, now: Instant) -> Option<Instant> {
        let due = &self.due;
        let (listed, refused) = (self.is_listed(), due.retry.is_some());
        let mut wakes = vec![self.repeated.due(), self.expiry_due(now)];
        if !self.paused {
            wakes.extend([
                due.save.filter(|_| !due.saving && !self.confirm.is_trying()),
                self.repair_due(),
                due.sweep_again.filter(|_| self.programming.wants_sweep().is_some()),
            ]);
            wakes.push(due.retry.filter(|_| listed || self.restored.is_some()));
            wakes.push(self.programming.cut_due().filter(|_| listed && !refused));
            wakes.push(self.sources.due().filter(|_| listed));
            wakes.push(due.review.filter(|_| listed && !refused));
            wakes.push(self.confirm.due(now));
        }
        wakes.into_iter().flatten().min()
    }

    /// Takes changes into account that are not brought into force now.
    fn note_changes(&mut self) {
        let changes = std::mem::take(&mut self.pending.changes);
        if !changes.is_empty() {
            self.programming.note(&changes);
        }
        self.pending.arrived.clear();
    }

    /// Before the API server has told everything, what is in force stays; it is only put right.
    fn wait_for_lists(&mut self, now: Instant) {
        self.pending.arrived.clear();
        if self.pending.changes.len() > WAITING_MAX {
            self.note_changes();
        }
        if self.due.retry.is_some_and(|due| due <= now) {
            self.due.retry = None;
            self.load_restored(now);
        }
    }

    /// The generation whose marks alone a sweep is to leave, if one is to begin.
    fn sweep(&mut self, now: Instant) -> Option<palisade_nft::Generation> {
        let waits = self.due.sweep.is_some() || self.due.sweep_again.is_some_and(|due| now < due);
        if waits {
            return None;
        }
        self.due.sweep = self.programming.wants_sweep();
        self.due.sweep
    }

    pub(super) fn swept(&mut self, result: Result<palisade_nft::Swept, String>) {
        let Some(generation) = self.due.sweep.take() else { return };
        match result {
            Ok(swept) => {
                tracing::debug!(?swept, "marks of former generations are cleared");
                self.due.sweep_again = None;
                self.programming.swept(generation);
            }
            Err(error) => {
                let now = Instant::now();
                self.due.sweep_again = Some(now + SWEEP_RETRY);
                if self.repeated.may_write("failed sweeps", now) {
                    tracing::error!("cannot clear the marks of former generations: {error}");
                }
            }
        }
    }

    fn repair_due(&self) -> Option<Instant> {
        self.pending.drift.as_ref()?;
        self.due.repaired.map(|last| last + REPAIR_INTERVAL)
    }

    /// Puts the table right after another program changed it.
    fn repair(&mut self, now: Instant) {
        if self.repair_due().is_some_and(|due| now < due) {
            return;
        }
        let Some(by) = self.pending.drift.take() else { return };
        self.due.repaired = Some(now);
        self.sources.doubt(now);
        self.programming.doubt();
        let repaired = match (&self.restored, self.is_listed()) {
            (_, true) => self.programming.load(now),
            (Some(tables), false) => self.programming.load_other(tables, now),
            (None, false) => return,
        };
        match repaired {
            Ok(Programmed { operations: 0, refused, .. }) => self.note_refused(refused, now),
            Ok(Programmed { operations, is_new, refused, .. }) => {
                self.seen.table_is_new(is_new);
                if self.repeated.may_write("repairs", now) {
                    tracing::warn!(by, operations, "another program changed a table of palisade; it is repaired");
                }
                self.metrics.repaired();
                self.repairs.push_front(Repair { at: Timestamp::now(), by, operations });
                self.repairs.truncate(REPAIRS_KEPT);
                self.note_refused(refused, now);
            }
            Err(error) => self.failed(&error, now),
        }
    }

    /// Brings the changes that wait into force.
    fn program(&mut self, now: Instant) {
        // While the kernel refuses host policies or bans alone, those of pods do not wait.
        let is_held_up = self.pending.changes.is_empty() || !self.programming.policies_are_in_force();
        if is_held_up && self.due.retry.is_some_and(|due| now < due) {
            return;
        }
        if self.waits_for_probe(now) {
            return;
        }
        self.due.retry = None;
        let first = self.restored.is_some() || !self.programming.is_in_force() || self.follows_newly();
        if self.pending.changes.is_empty() && !first {
            self.error = None;
            if self.programming.cut_due().is_some_and(|due| due <= now)
                && let Err(error) = self.programming.cut(now)
            {
                self.failed(&error, now);
            }
            return;
        }
        if self.restored.take().is_some() || self.cluster_of_state.is_some() {
            self.forget_other_cluster();
        }
        let mut changes = std::mem::take(&mut self.pending.changes);
        self.hold_ranges(&mut changes, first, now);
        let tried = self.begin_trial(&changes);
        match self.programming.update(&changes, now) {
            Ok(done) => self.programmed(&changes, done),
            Err(error) => {
                self.note_not_in_force(&changes);
                self.failed(&error, now);
            }
        }
        self.try_out(tried);
    }

    pub(super) fn programmed(&mut self, changes: &[Change], done: Programmed) {
        self.error = None;
        let finished = Instant::now();
        let since = |then| finished.saturating_duration_since(then);
        let latency = self.pending.arrived.iter().min().copied().map(since).unwrap_or_default();
        for arrived in self.pending.arrived.drain(..) {
            self.metrics.programmed(since(arrived));
        }
        self.seen.table_is_new(done.is_new);
        let longest_commit = done.longest_commit.as_secs_f64();
        let operations = done.operations;
        if let Some(listed) = self.pending.listed.take() {
            let after_lists = since(listed).as_secs_f64();
            tracing::info!(operations, after_lists, longest_commit, "the policies of the cluster are in force");
            // The last state may be that of an agent which enforced more.
            self.wants_save(finished);
        } else {
            tracing::debug!(operations, latency = latency.as_secs_f64(), longest_commit, "changes are in force");
        }
        if done.operations > 0 {
            self.metrics.applied(done.operations);
            self.wants_save(finished);
        }
        self.note_room(finished);
        self.note_in_force(changes, &done);
        self.note_refused(done.refused, finished);
    }

    /// Takes note of what the kernel refused of host policies or bans, while the rest was done.
    pub(super) fn note_refused(&mut self, refused: Option<ApplyError>, now: Instant) {
        if let Some(error) = refused {
            self.failed(&error, now);
        }
    }

    pub(super) fn failed(&mut self, error: &dyn std::error::Error, now: Instant) {
        let text = crate::watch::chain(error);
        if self.repeated.may_write("refusals of the kernel", now) {
            tracing::error!("the rules are not in force: {text}");
        }
        self.metrics.refused();
        self.error = Some(text);
        self.due.retry = Some(now + RETRY);
    }
}
