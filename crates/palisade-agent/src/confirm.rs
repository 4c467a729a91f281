//! Confirm or go back: a change of host policies or bans that takes the API server away is taken back.
//!
//! What decides is whether a *new* connection to the API server comes about: one that worked just before the change, and does not for
//! [`PATIENCE`] after it, is a change that has to go. Where none worked before, nobody can tell, and the change stays, unconfirmed. The
//! API server may be away for reasons of its own: where what was before does not bring it back, the change was not to blame and is taken
//! again. Here is what follows from what was seen, and when to look; looking, and the kernel, are the engine's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::policy_kind::PolicyKind;

/// How long after a change no new connection may come about before it is taken back.
const PATIENCE: Duration = Duration::from_secs(5);
/// A change is only taken back after so many attempts: a process that was stopped meanwhile has seen nothing.
const FAILURES_MIN: u32 = 3;
/// Meanwhile attempts begin so far apart at least.
const INTERVAL: Duration = Duration::from_millis(250);
/// While a change is unconfirmed, this far.
const INTERVAL_UNCONFIRMED: Duration = Duration::from_secs(5);
/// What an attempt said that began so long ago holds no more.
const FRESH: Duration = Duration::from_secs(1);
/// A change waits no longer than this for what an attempt says.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// An attempt at a new connection to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// When it began.
    pub began: Instant,
    /// Whether a connection came about.
    pub worked: bool,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The changes are good: what was before is not needed any more.
    Confirm,
    /// They are to be taken back.
    GoBack,
    /// They were not to blame: take them again.
    TakeAgain,
}

/// What changed, by name, of each kind that can cut a node off: host policies, with config files, and ban lists. Policies of pods cannot:
/// they are about packets of pods alone.
pub type Changes = BTreeMap<PolicyKind, BTreeSet<String>>;

/// What is known of the way to the API server, and of the changes that may have taken it away.
#[derive(Debug, Default)]
pub struct Confirm {
    /// Whether there is an API server to lose.
    pub is_wanted: bool,
    last: Option<Probe>,
    /// When the attempt began whose outcome is waited for.
    asked: Option<Instant>,
    /// When the last attempt began.
    began: Option<Instant>,
    /// Since when a change waits to be let through.
    waiting: Option<Instant>,
    state: State,
    /// What is tried, or unconfirmed.
    changes: Changes,
    /// What was taken back, until it changes again.
    pub undone: Changes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Confirmed,
    /// Changes are in force, and a connection worked before them.
    Trying(Trial),
    /// They were taken back, and whether that helps is not known yet.
    Undone(Trial),
    /// They are in force, and no connection worked since before them.
    Unconfirmed(Trial),
}

/// What is to be seen after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trial {
    /// The first of the changes.
    since: Instant,
    /// The last: what began before it says nothing of it.
    changed: Instant,
    failures: u32,
}

impl Trial {
    fn new(now: Instant) -> Trial {
        Trial { since: now, changed: now, failures: 0 }
    }

    /// Takes in an attempt that ended: whether the connection is there, or is lost.
    fn see(&mut self, probe: Probe, ended: Instant) -> Option<bool> {
        if probe.began < self.changed {
            return None;
        }
        self.failures += u32::from(!probe.worked);
        let is_lost = self.failures >= FAILURES_MIN && ended.saturating_duration_since(self.since) >= PATIENCE;
        if probe.worked { Some(true) } else { is_lost.then_some(false) }
    }
}

impl Confirm {
    /// Whether changes of a kind are being looked at.
    pub fn looks_at(&self, kind: PolicyKind) -> bool {
        self.changes.contains_key(&kind)
    }

    /// Whether what is in force may be taken back yet.
    pub fn is_trying(&self) -> bool {
        matches!(self.state, State::Trying(_))
    }

    /// Whether a change that could cut the node off may go to the kernel now, since it is known whether a connection works. If not, an
    /// attempt is asked for, and [`Confirm::due`] says when to ask again.
    pub fn lets_through(&mut self, now: Instant) -> bool {
        let is_known = self.fresh(now).is_some();
        let waited = self.waiting.is_some_and(|since| now >= since + WAIT_MAX);
        if !self.is_wanted || self.is_trying() || is_known || waited {
            self.waiting = None;
            return true;
        }
        self.waiting.get_or_insert(now);
        false
    }

    /// Whether a new connection works, as far as that was found out just now.
    fn fresh(&self, now: Instant) -> Option<bool> {
        self.last.filter(|probe| now.saturating_duration_since(probe.began) <= FRESH).map(|probe| probe.worked)
    }

    /// Changes that could cut the node off are in force as of now. Whether they may be taken back: what was before is needed then.
    pub fn changed(&mut self, changes: Changes, now: Instant) -> bool {
        if !self.is_wanted {
            return false;
        }
        if self.state == State::Confirmed || matches!(self.state, State::Undone(_)) {
            self.changes.clear();
        }
        for (kind, names) in changes {
            // What was taken back is tried with it, and may be what is to blame.
            let undone = self.undone.remove(&kind).unwrap_or_default();
            self.changes.entry(kind).or_default().extend(names.into_iter().chain(undone));
        }
        self.state = match self.state {
            State::Trying(trial) => State::Trying(Trial { changed: now, ..trial }),
            State::Confirmed | State::Undone(_) if self.fresh(now) == Some(true) => State::Trying(Trial::new(now)),
            State::Confirmed | State::Undone(_) => State::Unconfirmed(Trial::new(now)),
            State::Unconfirmed(trial) => State::Unconfirmed(Trial { failures: trial.failures, ..Trial::new(now) }),
        };
        // What was seen before says nothing from here on.
        self.last = None;
        self.is_trying()
    }

    /// Nothing of a kind differs from what was known to be good, whatever changed in between.
    pub fn is_as_before(&mut self, kind: PolicyKind) {
        self.undone.remove(&kind);
        self.changes.remove(&kind);
        if self.changes.is_empty() {
            self.state = State::Confirmed;
        }
    }

    /// An attempt ended.
    pub fn probed(&mut self, probe: Probe, ended: Instant) -> Option<Step> {
        self.asked = None;
        self.last = Some(probe);
        match &mut self.state {
            State::Confirmed => None,
            State::Unconfirmed(trial) => (trial.see(probe, ended)?).then(|| self.confirmed()),
            State::Trying(trial) => {
                let works = trial.see(probe, ended)?;
                Some(if works { self.confirmed() } else { self.go_back(ended) })
            }
            State::Undone(trial) => {
                let works = trial.see(probe, ended)?;
                let failures = trial.failures;
                if works {
                    self.confirmed();
                    return None;
                }
                self.undone.retain(|kind, _| !self.changes.contains_key(kind));
                self.state = State::Unconfirmed(Trial { failures, ..Trial::new(ended) });
                Some(Step::TakeAgain)
            }
        }
    }

    fn confirmed(&mut self) -> Step {
        self.state = State::Confirmed;
        self.changes.clear();
        Step::Confirm
    }

    fn go_back(&mut self, now: Instant) -> Step {
        self.state = State::Undone(Trial::new(now));
        self.undone.extend(self.changes.clone());
        Step::GoBack
    }

    /// Nothing is in force by our doing any more, or not yet.
    pub fn give_up(&mut self) {
        *self = Confirm { is_wanted: self.is_wanted, ..Confirm::default() };
    }

    /// Whether an attempt is to begin now; it has then.
    pub fn begins(&mut self, now: Instant) -> bool {
        let begins = self.next(now).is_some_and(|next| next <= now);
        if begins {
            (self.asked, self.began) = (Some(now), Some(now));
        }
        begins
    }

    /// When something is due if nothing happens.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let waited = self.waiting.map(|since| since + WAIT_MAX).filter(|due| *due > now);
        waited.into_iter().chain(self.next(now)).min()
    }

    /// When the next attempt begins. There is one at a time.
    fn next(&self, now: Instant) -> Option<Instant> {
        if self.asked.is_some() {
            return None;
        }
        let after = |pause| self.began.map_or(now, |began| began + pause);
        match self.state {
            _ if self.waiting.is_some() && self.fresh(now).is_none() => Some(now),
            State::Confirmed => None,
            State::Trying(trial) | State::Undone(trial) | State::Unconfirmed(trial) if self.is_before(trial) => {
                Some(now)
            }
            State::Trying(_) | State::Undone(_) => Some(after(INTERVAL)),
            State::Unconfirmed(_) => Some(after(INTERVAL_UNCONFIRMED)),
        }
    }

    /// Whether no attempt began since the change.
    fn is_before(&self, trial: Trial) -> bool {
        self.began.is_none_or(|began| began < trial.changed)
    }

    /// Whether it is not known yet what becomes of changes of a kind, or they were taken back.
    pub fn is_open(&self, kind: PolicyKind) -> bool {
        self.undone.contains_key(&kind) || (self.is_trying() && self.changes.contains_key(&kind))
    }

    /// What is in force without anybody knowing whether it cuts the node off, and an attempt since has failed: a first answer that is only
    /// slow is nothing to tell.
    pub fn unconfirmed(&self) -> impl Iterator<Item = (PolicyKind, &BTreeSet<String>)> {
        let changes = matches!(self.state, State::Unconfirmed(trial) if trial.failures > 0).then_some(&self.changes);
        changes.into_iter().flatten().map(|(kind, names)| (*kind, names))
    }

    /// What is taken back, or to be taken again.
    pub fn kinds(&self) -> Vec<PolicyKind> {
        self.changes.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests;
