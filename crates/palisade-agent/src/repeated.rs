//! Log lines that a cluster, or a server that is away, can have written without end: some of each kind a minute, and then how
//! many more there were.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How many lines of a kind are written in an interval.
const LINES_MAX: u64 = 10;
/// Intervals of a kind begin with a line of it.
const INTERVAL: Duration = Duration::from_mins(1);

/// What was written of late.
#[derive(Debug, Default)]
pub(crate) struct Repeated {
    kinds: BTreeMap<&'static str, Kind>,
}

#[derive(Debug)]
struct Kind {
    began: Instant,
    lines: u64,
}

impl Repeated {
    /// Whether a line of this kind may be written. A kind is what a reader would call them: `watches that failed`.
    pub(crate) fn may_write(&mut self, kind: &'static str, now: Instant) -> bool {
        let kind = self.kinds.entry(kind).or_insert(Kind { began: now, lines: 0 });
        kind.lines += 1;
        kind.lines <= LINES_MAX
    }

    /// The kinds whose interval is over and of which lines were left out, with how many.
    pub(crate) fn left_out(&mut self, now: Instant) -> Vec<(&'static str, u64)> {
        let mut left_out = Vec::new();
        self.kinds.retain(|name, kind| {
            let is_over = now >= kind.began + INTERVAL;
            if is_over && kind.lines > LINES_MAX {
                left_out.push((*name, kind.lines - LINES_MAX));
            }
            !is_over
        });
        left_out
    }

    /// When there is something to say of lines that were left out.
    pub(crate) fn due(&self) -> Option<Instant> {
        let with_more = self.kinds.values().filter(|kind| kind.lines > LINES_MAX);
        with_more.map(|kind| kind.began + INTERVAL).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_past_the_limit_are_counted_instead() {
        let (mut repeated, start) = (Repeated::default(), Instant::now());
        let written = (0..25).filter(|_| repeated.may_write("watches that failed", start)).count();
        assert_eq!(written, 10);
        assert!(repeated.may_write("refusals of the kernel", start));
        assert_eq!(repeated.due(), Some(start + INTERVAL));
        assert_eq!(repeated.left_out(start + INTERVAL / 2), []);
        assert_eq!(repeated.left_out(start + INTERVAL), [("watches that failed", 15)]);
        assert_eq!((repeated.due(), repeated.left_out(start + 2 * INTERVAL)), (None, vec![]));
        assert!(repeated.may_write("watches that failed", start + INTERVAL));
    }
}
