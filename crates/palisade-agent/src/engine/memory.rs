//! What survives the agent: the state file, and the marker of a pause.

use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;

use super::Engine;
use crate::host_unit::HostUnit;
use crate::report::Obstacle;
use crate::settings::BootRestore;
use crate::state::{Pause, StateError, Unsaved};

/// The state file is written at most so often: it is only read after a crash or a reboot.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);

/// A long one is written more seldom, so that it is no more than this on average: a million banned ranges are some 30 MB.
const SAVED_BYTES_PER_SECOND: usize = 1 << 20;

/// After it could not be written, it is tried again so much later.
const SAVE_RETRY: Duration = Duration::from_secs(10);
/// What cannot be written is shown under this name.
const OBSTACLE: &str = "state-file";

impl Engine {
    /// Brings the last state into force if the kernel holds no rules of ours of this boot.
    pub(super) fn restore(&mut self) {
        let boot_of_state = match self.directory.load() {
            Ok(None) => return,
            Ok(Some(state)) if *state.node != *self.settings.node => {
                tracing::warn!(node = state.node, "the state file is that of another node; it is not used");
                return;
            }
            Ok(Some(state)) => {
                self.cluster_of_state.clone_from(&state.cluster);
                self.node_ranges.clone_from(&state.node_ranges);
                let boot = state.boot.clone();
                let tables = state.tables_in(&crate::restore::boot_id());
                self.programming.remember(&tables);
                self.restored = Some(tables);
                boot
            }
            Err(error) => return tracing::warn!("{}", crate::watch::chain(&error)),
        };
        if self.paused {
            return;
        }
        let now = Instant::now();
        match self.programming.holds_something() {
            Ok(true) if crate::restore::is_of_this_boot(&boot_of_state, &self.directory) => {
                tracing::info!("the kernel still holds the rules of before; they stay until the lists are in");
            }
            Ok(_) => self.load_restored(now),
            Err(error) => self.failed(&error, now),
        }
    }

    /// Brings the last state into force, until the API server has told everything.
    pub(super) fn load_restored(&mut self, now: Instant) {
        let Some(tables) = &self.restored else { return };
        match self.programming.load_other(tables, now) {
            Ok(done) => {
                self.error = None;
                self.seen.table_is_new(done.is_new);
                tracing::info!(operations = done.operations, "the last state is in force until the lists are in");
                self.note_refused(done.refused, now);
            }
            Err(error) => self.failed(&error, now),
        }
    }

    /// A state of another cluster is put aside: its tables were in force for a moment, and no longer are.
    pub(super) fn forget_other_cluster(&mut self) {
        let Some(before) = self.cluster_of_state.take() else { return };
        if self.cluster.as_ref().is_some_and(|cluster| *cluster != before) {
            self.node_ranges.clear();
            self.programming.forget();
            match self.directory.put_aside() {
                Ok(path) => tracing::warn!("the state file was that of another cluster; it is now {}", path.display()),
                Err(error) => tracing::warn!("{}", crate::watch::chain(&error)),
            }
        }
    }

    /// Has the state file written soon.
    pub(super) fn wants_save(&mut self, now: Instant) {
        let seconds = u64::try_from(self.due.saved_bytes / SAVED_BYTES_PER_SECOND).unwrap_or(0);
        let interval = SAVE_INTERVAL.max(Duration::from_secs(seconds));
        self.due.save.get_or_insert(self.due.saved.map_or(now, |last| last + interval).max(now));
    }

    /// The text of the state file, if it is time to write it.
    pub(super) fn save(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.due.saving || self.confirm.is_trying() || self.due.save.is_none_or(|due| now < due) {
            return None;
        }
        self.due.saved = Some(now);
        let text = self.unsaved();
        self.due.saving = text.is_some();
        self.due.saved_bytes = text.as_ref().map_or(self.due.saved_bytes, Vec::len);
        text
    }

    /// Takes note of what came of writing the state file; one that could not be written is tried again.
    pub(super) fn saved(&mut self, result: Result<(), String>) {
        let now = Instant::now();
        self.due.saving = false;
        let obstacle = result.err().map(|error| {
            if self.repeated.may_write("states that cannot be written", now) {
                tracing::error!("{error}");
            }
            self.due.save.get_or_insert(now + SAVE_RETRY);
            not_saved(error)
        });
        self.obstacles.insert(OBSTACLE, obstacle.into_iter().collect());
    }

    /// The text of the state file, if it is not that of the rules in force. What is still tried does not get there: a reboot would bring it
    /// back.
    fn unsaved(&mut self) -> Option<Vec<u8>> {
        if self.confirm.is_trying() {
            return None;
        }
        self.due.save.take()?;
        let (cluster, node) = (self.cluster.as_deref(), &self.settings.node);
        let boot = crate::restore::boot_id();
        let nodes = self.snapshot().nodes.values();
        let state = Unsaved {
            cluster,
            node,
            boot: &boot,
            saved: Timestamp::now(),
            tables: self.programming.tables(),
            host: self.programming.host_tables(),
            bans: self.programming.ban_tables(),
            node_ranges: &self.node_ranges,
            node_addresses: nodes.flat_map(|node| node.addresses.iter().copied()).collect(),
        };
        crate::state::to_text(&state, self.due.saved_bytes)
            .inspect_err(|error| tracing::error!("cannot write the state: {error}"))
            .ok()
    }

    /// Leaves the kernel as it is, with no cut outstanding; the text of the state file, if it is to be written.
    pub fn leave(&mut self) -> Option<Vec<u8>> {
        if !self.paused && self.programming.cut_due().is_some() {
            // The next agent has everything judged again if this fails.
            let _ = self.programming.cut(Instant::now());
        }
        self.unsaved()
    }

    pub(super) fn pause(&mut self, pause: Pause) -> Result<(), Box<dyn std::error::Error>> {
        // What cannot be remembered is done all the same.
        let remembered = self.directory.set_pause(Some(pause));
        self.take_over_last_counts(Instant::now());
        self.programming.remove()?;
        self.sources.remove()?;
        self.stand_by();
        if pause == Pause::Cleanup && self.settings.boot_restore == BootRestore::Install {
            // Before the answer: whoever asked may end the agent next.
            HostUnit::new(&self.settings.host_root, &self.settings.state_dir).uninstall()?;
        }
        Ok(remembered?)
    }

    /// Enforces nothing from here on; the kernel holds nothing of ours any more.
    pub(super) fn stand_by(&mut self) {
        self.paused = true;
        self.confirm.give_up();
        self.programming.confirm();
        self.tell_confirmed();
        self.in_force_since.clear();
        tracing::warn!("paused: nothing is enforced until 'palisade agent --resume'");
    }

    pub(super) fn resume(&mut self) -> Result<(), StateError> {
        let now = Instant::now();
        self.directory.set_pause(None)?;
        if std::mem::take(&mut self.paused) {
            // That our tables are gone is nothing to repair: they come back as a change does.
            self.pending.drift = None;
            self.programming.doubt();
            self.programming.begin_anew();
        }
        self.sources.doubt(now);
        if !self.is_listed() {
            self.load_restored(now);
        }
        tracing::info!("resumed");
        Ok(())
    }
}

fn not_saved(found: String) -> Obstacle {
    Obstacle {
        name: OBSTACLE.to_string(),
        found,
        means: "policies are enforced; after a reboot the node has an older state, or none".to_string(),
        hint: Some("the state directory needs room, and must be writable".to_string()),
    }
}
