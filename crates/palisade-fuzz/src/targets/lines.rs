//! What is read line by line: feeds of ban lists, flows, traffic.

use std::sync::LazyLock;

use palisade_core::{BanLimits, Flow};
use palisade_reach::TrafficSet;
use palisade_sources::feed::{self, FeedError};

use crate::{mutation, seed};

/// Feeds, each after another one: within their limits, and more good lines than bad ones.
pub fn feeds(bytes: &[u8]) {
    static SEEDS: LazyLock<Vec<String>> = LazyLock::new(seed::feeds);
    let (before, now) = bytes.split_at(bytes.len() / 2);
    let limits = BanLimits { entries_min: 0, entries_max: 1_000, change_percent_max: Some(50) };
    let before = feed::read(&mutation::text(before, &SEEDS), &limits, None).map(|feed| feed.entries);
    match feed::read(&mutation::text(now, &SEEDS), &limits, before.as_deref().ok()) {
        Ok(feed) => assert!(feed.entries.len() <= limits.entries_max && feed.skipped.lines <= feed.entries.len()),
        Err(FeedError::TooDifferent { percent, .. }) => assert!(percent > 50),
        Err(_) => {}
    }
}

/// Flows: what is read prints as text that reads as the same.
pub fn flows(bytes: &[u8]) {
    static SEEDS: LazyLock<Vec<String>> = LazyLock::new(seed::flows);
    let text = mutation::text(bytes, &SEEDS);
    if let Ok(flow) = text.parse::<Flow>() {
        assert_eq!(flow.to_string().parse::<Flow>(), Ok(flow), "{text}");
    }
}

/// Traffic: what is read is something, and an error shows what was found.
pub fn traffic(bytes: &[u8]) {
    static SEEDS: LazyLock<Vec<String>> = LazyLock::new(seed::traffic);
    let text = mutation::text(bytes, &SEEDS);
    match text.parse::<TrafficSet>() {
        Ok(set) => assert!(!set.is_empty() && set.union(&set) == set, "{text}"),
        Err(error) => assert!(error.to_string().contains(&text)),
    }
}
