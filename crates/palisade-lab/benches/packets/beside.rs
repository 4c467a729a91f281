//! What a table costs packets of established flows that stands beside one accept: each kind of packet in turn with the same without it.

use std::time::{Duration, Instant};

use palisade_core::Family;

use crate::cluster::{Admission, Flow, cluster};
use crate::sampling::{Lane, Samples};
use crate::{Result, SMALL};

/// A kind of packet that the table meets.
pub(crate) trait Kind: Copy + 'static {
    /// Every kind.
    const ALL: &[Self];

    fn name(self) -> &'static str;

    /// What a packet that passes is looked up in.
    fn lookups(self) -> usize;

    /// A lane with these flows open, and the table for packets of this kind, if any.
    fn lane(kind: Option<Self>, flows: &[Flow]) -> Result<Lane>;
}

pub(crate) struct Candidate<K> {
    pub(crate) kind: K,
    pub(crate) family: Family,
    pub(crate) samples: Samples,
    lane: Lane,
}

pub(crate) fn measure<K: Kind>(time: Duration) -> Result<Vec<Candidate<K>>> {
    let mut candidates = Vec::new();
    let mut baselines = Vec::new();
    for family in Family::ALL {
        let flows = cluster(SMALL, Admission::ExactPort, family).flows;
        baselines.push((family, K::lane(None, &flows)?));
        for kind in K::ALL {
            let lane = K::lane(Some(*kind), &flows)?;
            candidates.push(Candidate { kind: *kind, family, samples: Samples::default(), lane });
        }
    }
    let start = Instant::now();
    while start.elapsed() < time {
        for Candidate { family, samples, lane, .. } in &mut candidates {
            for (_, baseline) in baselines.iter_mut().filter(|(of, _)| of == family) {
                samples.take(baseline, lane)?;
            }
        }
    }
    for candidate in &candidates {
        let (lost, sent) = candidate.lane.lost()?;
        if lost > 0 {
            return Err(format!("{lost} of {sent} packets {} did not arrive", candidate.kind.name()).into());
        }
    }
    Ok(candidates)
}
