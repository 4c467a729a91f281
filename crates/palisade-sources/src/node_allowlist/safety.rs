//! `spec.safety`: what keeps a mistake of a cluster, or of its API server, from closing or opening the server.

use std::time::Duration;

use ipnet::IpNet;
use palisade_core::Level;

use super::blocks;
use crate::reading::{At, Reading};
use crate::tree::shortened;

/// `maxShrinkPercent`, if the file has none.
const MAX_SHRINK_PERCENT: u8 = 50;
/// `removeDelaySeconds`, if the file has none.
const REMOVE_DELAY: Duration = Duration::from_mins(1);
/// The longest time.
const SECONDS_MAX: i64 = 30 * 24 * 60 * 60;

/// What is believed of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Safety {
    /// `within`: addresses of nodes outside are refused; empty is anywhere.
    pub within: Vec<IpNet>,
    /// `minNodes`: a cluster never comes to fewer; at least 1.
    pub min_nodes: usize,
    /// `maxShrinkPercent`: a list that lacks more of the nodes than this removes none.
    pub max_shrink_percent: u8,
    /// `removeDelaySeconds`: an address stays admitted for so long after its node is gone.
    pub remove_delay: Duration,
    /// `onStale`, with `staleSeconds`.
    pub on_stale: OnStale,
}

/// What becomes of nodes whose API server tells nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStale {
    /// They stay admitted.
    #[default]
    Keep,
    /// They leave when it has told nothing for so long.
    Remove(Duration),
}

impl Default for Safety {
    fn default() -> Safety {
        Safety {
            within: Vec::new(),
            min_nodes: 1,
            max_shrink_percent: MAX_SHRINK_PERCENT,
            remove_delay: REMOVE_DELAY,
            on_stale: OnStale::Keep,
        }
    }
}

pub fn read(at: &At<'_>, reading: &mut Reading) -> Safety {
    let known = ["within", "minNodes", "maxShrinkPercent", "removeDelaySeconds", "onStale", "staleSeconds"];
    let mut safety = Safety { within: blocks(at, "within", reading), ..Safety::default() };
    if at.known_fields(&known, Level::Error, reading).is_none() {
        return safety;
    }
    safety.on_stale = on_stale(at, reading);
    if let Some(number) = number(at, "minNodes", 1, i64::from(u32::MAX), reading) {
        safety.min_nodes = usize::try_from(number).unwrap_or(usize::MAX);
    }
    if let Some(number) = number(at, "maxShrinkPercent", 0, 100, reading) {
        safety.max_shrink_percent = u8::try_from(number).unwrap_or(MAX_SHRINK_PERCENT);
    }
    if let Some(number) = number(at, "removeDelaySeconds", 0, SECONDS_MAX, reading) {
        safety.remove_delay = Duration::from_secs(number.unsigned_abs());
    }
    safety
}

fn on_stale(at: &At<'_>, reading: &mut Reading) -> OnStale {
    let field = at.field("onStale");
    let is_removed = match field.as_ref().map(|field| (field, field.text(reading))) {
        Some((_, Some("Remove"))) => true,
        Some((field, Some(text))) if text != "Keep" => {
            reading.error(field, format!("expected Keep or Remove, found '{}'", shortened(text)));
            false
        }
        _ => false,
    };
    let seconds = at.field("staleSeconds");
    match (is_removed, seconds) {
        (true, None) => reading.error(at, "staleSeconds: expected a number with onStale: Remove, found nothing"),
        (false, Some(field)) => reading.error(&field, "expected onStale: Remove beside it, found none"),
        _ => {}
    }
    match number(at, "staleSeconds", 1, SECONDS_MAX, reading) {
        Some(seconds) if is_removed => OnStale::Remove(Duration::from_secs(seconds.unsigned_abs())),
        _ => OnStale::Keep,
    }
}

/// A whole number between two bounds.
fn number(at: &At<'_>, name: &str, least: i64, most: i64, reading: &mut Reading) -> Option<i64> {
    let at = at.field(name)?;
    let number = at.integer(reading)?;
    if !(least..=most).contains(&number) {
        reading.error(&at, format!("expected a number from {least} to {most}, found {number}"));
        return None;
    }
    Some(number)
}
