//! What the server makes up for a new object: its uid and its time of creation.
#![expect(clippy::disallowed_methods, reason = "an API server stamps objects with the time of the machine")]

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::{SystemTime, UNIX_EPOCH},
};

/// Gives uids: no two servers share one, as no two clusters do.
#[derive(Debug)]
pub(crate) struct Identities {
    server: u64,
    given: u64,
}

impl Identities {
    pub fn new() -> Self {
        // The seed of the standard hasher is the one source of randomness at hand without a dependency.
        Self { server: RandomState::new().build_hasher().finish(), given: 0 }
    }

    /// The next uid, in the form of RFC 9562.
    pub fn next_uid(&mut self) -> String {
        self.given += 1;
        let server = self.server;
        let (high, middle, low) = (server >> 32, (server >> 16) & 0xffff, server & 0x0fff);
        format!("{high:08x}-{middle:04x}-4{low:03x}-8000-{:012x}", self.given)
    }
}

/// The time of now as `metadata.creationTimestamp` has it (RFC 3339, seconds, UTC).
pub(crate) fn now() -> String {
    format_time(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

fn format_time(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a date of the Gregorian calendar, with years that begin in March.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(format_time(0), "1970-01-01T00:00:00Z");
        assert_eq!(format_time(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(format_time(1_767_225_599), "2025-12-31T23:59:59Z");
    }

    #[test]
    fn uids_differ_between_servers() {
        let (mut one, mut other) = (Identities::new(), Identities::new());
        let uids = [one.next_uid(), one.next_uid(), other.next_uid()];
        assert!(uids[0] != uids[1] && uids[0] != uids[2] && uids[1] != uids[2], "{uids:?}");
        assert_eq!(uids[0].len(), 36);
    }
}
