//! What a packet costs, as a multiple of the same packet with other rules.
//!
//! Machines change their speed within seconds, most of all when they are shared. So every sample is a few hundred
//! packets between two such samples of the baseline, and counts as a multiple of their mean; where these two differ
//! too much the speed changed just then, and the sample is thrown away.

use rustix::time::{ClockId, clock_gettime};

use crate::Result;
use crate::frame::Traffic;
use crate::router::Router;

/// The packets before each sample that are not timed: they bring rules and elements back into the caches.
const WARM_PACKETS: u32 = 300;
/// The packets of a sample.
const TIMED_PACKETS: u32 = 500;
/// How many samples a turn has.
const SAMPLES_IN_TURN: u32 = 2;
/// The two samples around one differ by no more than this.
const DIFFERENCE_MAX: f64 = 0.08;

/// A router with the traffic it gets.
pub(crate) struct Lane {
    pub(crate) router: Router,
    pub(crate) traffic: Traffic,
    sent: u64,
    arrived_before: u64,
}

/// Samples of one kind of packet with one ruleset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    /// As multiples of the baseline.
    ratios: Vec<f64>,
    /// Nanoseconds more than the baseline.
    extra: Vec<f64>,
    /// Nanoseconds of the baseline.
    base: Vec<f64>,
    /// How many were thrown away.
    pub(crate) unsteady: usize,
}

impl Lane {
    pub(crate) fn new(router: Router, traffic: Traffic) -> Result<Lane> {
        let arrived_before = router.arrived()?;
        Ok(Lane { router, traffic, sent: 0, arrived_before })
    }

    /// How many packets did not arrive, of how many.
    pub(crate) fn lost(&self) -> Result<(u64, u64)> {
        let arrived = self.router.arrived()? - self.arrived_before;
        Ok((self.sent.saturating_sub(arrived), self.sent))
    }

    /// Sends packets without timing them.
    pub(crate) fn send(&mut self, packets: u32) -> Result<()> {
        for _ in 0..packets {
            self.router.send(self.traffic.advance())?;
        }
        self.sent += u64::from(packets);
        Ok(())
    }

    /// The processor time of one packet in nanoseconds.
    fn sample(&mut self) -> Result<f64> {
        self.send(WARM_PACKETS)?;
        let start = thread_time();
        self.send(TIMED_PACKETS)?;
        Ok((thread_time() - start) / f64::from(TIMED_PACKETS))
    }
}

impl Samples {
    /// Takes turns between baseline and candidate.
    pub(crate) fn take(&mut self, baseline: &mut Lane, candidate: &mut Lane) -> Result<()> {
        let mut before = baseline.sample()?;
        for _ in 0..SAMPLES_IN_TURN {
            let sample = candidate.sample()?;
            let after = baseline.sample()?;
            let mean = f64::midpoint(before, after);
            if (before - after).abs() > DIFFERENCE_MAX * mean {
                self.unsteady += 1;
            } else {
                self.ratios.push(sample / mean);
                self.extra.push(sample - mean);
                self.base.push(mean);
            }
            before = after;
        }
        Ok(())
    }

    pub(crate) fn count(&self) -> usize {
        self.ratios.len()
    }

    /// The median and the quartiles of the multiples of the baseline.
    pub(crate) fn ratio(&self) -> [f64; 3] {
        [quantile(&self.ratios, 0.5), quantile(&self.ratios, 0.25), quantile(&self.ratios, 0.75)]
    }

    /// The median of what comes on top of the baseline, in nanoseconds.
    pub(crate) fn extra_ns(&self) -> f64 {
        quantile(&self.extra, 0.5)
    }

    /// The median of the baseline, in nanoseconds.
    pub(crate) fn base_ns(&self) -> f64 {
        quantile(&self.base, 0.5)
    }
}

/// The value below which this part of the values lies; not a number if there are none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (part * sorted.len() as f64) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// The processor time of this thread in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "a float holds nanoseconds exactly for a hundred days")]
fn thread_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
