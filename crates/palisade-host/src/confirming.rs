//! Rules that wait for somebody to say that they may stay: whoever locked himself out cannot.

use std::time::Duration;

use palisade_agent::Timestamp;

use crate::enforce::Before;

/// Whether rules wait to be confirmed.
#[derive(Debug)]
pub enum Confirming {
    /// They do not.
    No,
    /// The first that change something will, for so long.
    Armed(Duration),
    /// They do, or else what was before comes back.
    Waiting {
        /// What that is.
        before: Before,
        /// Until when.
        until: Timestamp,
    },
}

impl Confirming {
    /// Whether what is held before the next change has to be known.
    pub fn is_armed(&self) -> bool {
        matches!(self, Confirming::Armed(_))
    }

    /// Until when, if they wait.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Confirming::Waiting { until, .. } => Some(*until),
            Confirming::No | Confirming::Armed(_) => None,
        }
    }

    /// Something changed.
    pub fn wait(&mut self, before: Before, now: Timestamp) {
        let Confirming::Armed(within) = *self else { return };
        tracing::warn!(
            "'palisade host confirm' keeps these rules, if it comes within {} seconds; else what was before is back",
            within.as_secs()
        );
        let until = now.checked_add(within).unwrap_or(Timestamp::MAX);
        *self = Confirming::Waiting { before, until };
    }

    /// Somebody says that they may stay.
    pub fn confirm(&mut self) {
        if self.until().is_some() {
            tracing::info!("confirmed: the rules stay");
            *self = Confirming::No;
        }
    }

    /// What to go back to, if nobody confirmed in time.
    pub fn overdue(&mut self, now: Timestamp) -> Option<Before> {
        if self.until().is_none_or(|until| until > now) {
            return None;
        }
        match std::mem::replace(self, Confirming::No) {
            Confirming::Waiting { before, .. } => Some(before),
            Confirming::No | Confirming::Armed(_) => None,
        }
    }
}
