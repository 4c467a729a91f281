//! What a source of a ban list says: text in the formats that public feeds have.
//!
//! Line by line, each by itself: an address or a block (`192.0.2.0/24`), a range (`192.0.2.1 - 192.0.2.9`), columns of which one is a
//! block (CSV, with or without a header, or parted by tabs), or a JSON object. What stands beside a block is its reason, a comment behind
//! it (`192.0.2.0/24 ; SBL1`) included. Whatever is in a feed, nothing else is affected by it: lines that cannot be read ban nothing, and a
//! text of which most lines cannot, as a page of an error, is no feed.

pub(crate) mod line;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::{BanEntry, BanLimits};

use crate::ban_list::shortest_prefix;
use line::{Line, Written};

/// The lines that name no block and are told; of others only how many there are.
const TOLD: usize = 3;

/// What a feed holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// What is banned, in the order of the text.
    pub entries: Vec<BanEntry>,
    /// What could not be read.
    pub skipped: Skipped,
}

/// Lines that ban nothing although they are no comments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many.
    pub lines: usize,
    /// The first of them: the number of the line, and what is wrong with it. What it says is not told to anybody: it may be no feed.
    pub first: Vec<(usize, &'static str)>,
}

/// Why a text is no feed, or none that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedError {
    /// Most of its lines name no block.
    NoFeed(Skipped),
    /// It has less than `minEntries`.
    TooFew {
        /// How many it has.
        found: usize,
        /// How many it has to have.
        min: usize,
    },
    /// It has more than `maxEntries`.
    TooMany {
        /// How many it may have.
        max: usize,
    },
    /// It has too little in common with the last good one.
    TooDifferent {
        /// How many entries came or went, in percent.
        percent: usize,
        /// How many may.
        max: u32,
    },
}

/// Reads a text; `before` is what is in force of the same source.
///
/// # Errors
///
/// If it is not to be taken for a list.
pub fn read(text: &str, limits: &BanLimits, before: Option<&[BanEntry]>) -> Result<Feed, FeedError> {
    let mut reading = Reading::default();
    for (number, text) in text.lines().enumerate() {
        reading.line(number + 1, text);
        if reading.feed.entries.len() > limits.entries_max {
            return Err(FeedError::TooMany { max: limits.entries_max });
        }
    }
    let feed = reading.feed;
    let found = feed.entries.len();
    if feed.skipped.lines > found {
        return Err(FeedError::NoFeed(feed.skipped));
    }
    if found < limits.entries_min {
        return Err(FeedError::TooFew { found, min: limits.entries_min });
    }
    if let (Some(max), Some(before)) = (limits.change_percent_max, before) {
        let percent = percent_changed(before, &feed.entries);
        if percent > usize::try_from(max).unwrap_or(usize::MAX) {
            return Err(FeedError::TooDifferent { percent, max });
        }
    }
    Ok(feed)
}

/// How many blocks came or went, in percent of those before.
fn percent_changed(before: &[BanEntry], now: &[BanEntry]) -> usize {
    let blocks = |entries: &[BanEntry]| entries.iter().map(|entry| entry.cidr).collect::<BTreeSet<IpNet>>();
    let (before, now) = (blocks(before), blocks(now));
    before.symmetric_difference(&now).count() * 100 / before.len().max(1)
}

#[derive(Default)]
struct Reading {
    feed: Feed,
    /// The last reason: neighbours often have the same.
    reason: Option<Arc<str>>,
    columns: line::Columns,
    /// Whether a line was seen that is more than a comment: the first may be a header.
    begun: bool,
}

impl Reading {
    fn line(&mut self, number: usize, text: &str) {
        match line::read(text, &mut self.columns, !self.begun) {
            Line::Nothing => return,
            Line::Header => {}
            Line::Endless => self.skip(number, "it says until when, which is neither a time nor seconds since 1970"),
            Line::Unreadable => self.skip(number, "it names no address, block or range"),
            Line::Entry(written) => self.entry(number, written),
        }
        self.begun = true;
    }

    fn entry(&mut self, number: usize, Written { range, reason, expires }: Written<'_>) {
        let blocks = range.blocks();
        if blocks.iter().any(|block| block.prefix_len() < shortest_prefix(block)) {
            return self.skip(number, "more than /8 of IPv4, or /16 of IPv6, is too much for a source");
        }
        let reason = reason.map(|reason| self.shared(&reason));
        for cidr in blocks {
            self.feed.entries.push(BanEntry { cidr, expires, reason: reason.clone(), from_source: true });
        }
    }

    fn shared(&mut self, reason: &str) -> Arc<str> {
        match &self.reason {
            Some(last) if **last == *reason => Arc::clone(last),
            _ => Arc::clone(self.reason.insert(reason.into())),
        }
    }

    fn skip(&mut self, number: usize, why: &'static str) {
        let skipped = &mut self.feed.skipped;
        skipped.lines += 1;
        if skipped.first.len() < TOLD {
            skipped.first.push((number, why));
        }
    }
}

impl fmt::Display for Skipped {
    /// `line 3: it names no address, block or range; and 2 more lines`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (number, why)) in self.first.iter().enumerate() {
            write!(f, "{}line {number}: {why}", if index > 0 { "; " } else { "" })?;
        }
        match self.lines - self.first.len() {
            0 => Ok(()),
            1 => f.write_str("; and 1 more line"),
            more => write!(f, "; and {more} more lines"),
        }
    }
}

impl fmt::Display for FeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FeedError::NoFeed(skipped) => write!(f, "it is no list of addresses: {skipped}"),
            FeedError::TooFew { found, min } => write!(f, "it has {found} entries, and minEntries is {min}"),
            FeedError::TooMany { max } => write!(f, "it has more entries than maxEntries, which is {max}"),
            FeedError::TooDifferent { percent, max } => {
                write!(f, "{percent} percent of its entries came or went at once, and maxChangePercent is {max}")
            }
        }
    }
}

impl std::error::Error for FeedError {}

#[cfg(test)]
mod tests;
