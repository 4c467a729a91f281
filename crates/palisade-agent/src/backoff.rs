//! How soon what failed is tried again.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, Instant};

use kube::runtime::utils::Backoff;

const FIRST: Duration = Duration::from_millis(250);
const LAST: Duration = Duration::from_secs(8);
/// What went well for so long is no longer held against what went wrong before.
const STEADY: Duration = Duration::from_secs(30);

/// Twice as long each time, up to a bound; each time with chance in it, so that thousands of agents do not come back at the
/// same moment.
#[derive(Clone, Debug)]
pub struct Patience {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Patience {
    /// From about one pause to about the other.
    pub fn between(first: Duration, last: Duration) -> Patience {
        Patience { first, last, next: first }
    }

    /// How long to wait now.
    pub fn pause(&mut self) -> Duration {
        let longest = self.next;
        self.next = (longest * 2).min(self.last);
        // Between a half and the whole of it.
        let chance = u32::try_from(RandomState::new().build_hasher().finish() % 1_000).unwrap_or_default();
        longest / 2 + longest / 2 * chance / 1_000
    }
}

impl Default for Patience {
    /// That of the watches: the bound is short, since rules that are not followed cost more than a request.
    fn default() -> Patience {
        Patience::between(FIRST, LAST)
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.pause())
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Patience with what is to go on for long: it begins again only after that went well for a while, so that what ends each
/// time it has begun is not begun without a pause.
#[derive(Debug, Default)]
pub struct Steadiness {
    patience: Patience,
    well_since: Option<Instant>,
}

impl Steadiness {
    /// With these pauses.
    pub fn with(patience: Patience) -> Steadiness {
        Steadiness { patience, well_since: None }
    }

    /// It goes well, as far as is known.
    pub fn goes_well(&mut self, now: Instant) {
        self.well_since.get_or_insert(now);
    }

    /// It has to begin anew.
    pub fn begins(&mut self) {
        self.well_since = None;
    }

    /// It ended; how long to wait now.
    pub fn pause(&mut self, now: Instant) -> Duration {
        if self.well_since.take().is_some_and(|since| now.saturating_duration_since(since) >= STEADY) {
            self.patience.reset();
        }
        self.patience.pause()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_a_bound_and_begins_again() {
        let mut patience = Patience::default();
        let waits: Vec<Duration> = patience.by_ref().take(20).collect();
        assert!(waits[0] <= FIRST && waits[0] >= FIRST / 2, "{waits:?}");
        assert!(waits[6..].iter().all(|wait| *wait >= LAST / 2 && *wait <= LAST), "{waits:?}");
        patience.reset();
        assert!(patience.pause() <= FIRST);
    }

    #[test]
    fn what_went_well_for_a_moment_only_is_waited_for_longer() {
        let (mut steadiness, start) = (Steadiness::default(), Instant::now());
        for _ in 0..10 {
            steadiness.goes_well(start);
            steadiness.pause(start + STEADY / 2);
        }
        assert!(steadiness.pause(start) >= LAST / 2);
        // The time of a new beginning does not count, however long it takes.
        steadiness.goes_well(start);
        steadiness.begins();
        assert!(steadiness.pause(start + STEADY) >= LAST / 2);
        steadiness.goes_well(start);
        steadiness.goes_well(start + STEADY / 2);
        assert!(steadiness.pause(start + STEADY) <= FIRST);
    }
}
