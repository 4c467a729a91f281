//! `BanList` (palisade.dev/v1alpha1).
//!
//! An entry that cannot be read bans nothing, and the others do. Where it cannot be told whom a list is to spare, it bans nothing at all:
//! nobody is shut out by a typing error.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;
use palisade_core::{BanEntry, BanList, BanListName, BanTarget, Level};

mod source;

use crate::feed::line;
use crate::host_policy::{choice, optional_selector};
use crate::network_policy::block;
use crate::reading::{At, Reading};
use crate::tree::shortened;

/// The shortest prefixes, of IPv4 and of IPv6, that are banned without `force`.
const SHORTEST_PREFIXES: (u8, u8) = (8, 16);

/// Its last days are no timestamps, which have a day in every time zone.
const LAST_YEAR: i16 = 9999;

/// Reads the list, its expired entries included. Errors in `reading`, those found before included, are told in it.
pub fn read(root: &At<'_>, name: BanListName, reading: &mut Reading) -> BanList {
    root.known_fields(&["apiVersion", "kind", "metadata", "spec", "status"], Level::Warning, reading);
    let mut list = BanList { name, ..BanList::default() };
    if let Some(spec) = root.field("spec") {
        read_spec(&spec, &mut list, reading);
    }
    let wrong = reading.problems.iter().find(|problem| problem.level == Level::Error);
    list.unreadable = wrong.map(|problem| problem.message.clone());
    list
}

/// The list as it stands in place of one that is lost whole.
pub fn lost(name: BanListName, reason: &str) -> BanList {
    BanList { name, unreadable: Some(reason.to_string()), ..BanList::default() }
}

/// What a list does of which something cannot be read, for its diagnostics.
pub fn effect(list: &BanList) -> &'static str {
    if list.entries.is_empty() && list.source.is_none() {
        "the list bans nothing"
    } else {
        "the other entries are banned"
    }
}

/// The list as of a moment, in seconds since 1970: without the entries that have expired. One of which none has is the same.
pub fn in_force(list: Arc<BanList>, now: i64) -> Arc<BanList> {
    let lives = |entry: &&BanEntry| entry.expires.is_none_or(|expires| expires > now);
    if list.all_entries().all(|entry| lives(&entry)) {
        return list;
    }
    let of_source = &list.of_source;
    Arc::new(BanList {
        name: Arc::clone(&list.name),
        target: list.target.clone(),
        // Not by a copy of the whole, which would copy what has expired.
        entries: list.entries.iter().filter(lives).cloned().collect(),
        of_source: if of_source.iter().all(|entry| lives(&entry)) {
            Arc::clone(of_source)
        } else {
            of_source.iter().filter(lives).cloned().collect()
        },
        source: list.source.clone(),
        except: list.except.clone(),
        audit: list.audit,
        unreadable: list.unreadable.clone(),
    })
}

fn read_spec(spec: &At<'_>, list: &mut BanList, reading: &mut Reading) {
    let before = errors(reading);
    if spec.entries(reading).is_none() {
        return;
    }
    spec.known_fields(&["enforcement", "target", "entries", "source", "limits", "exceptCIDRs"], Level::Error, reading);
    list.audit = choice(spec, "enforcement", [("Enforce", false), ("Audit", true)], reading);
    list.target = spec.field("target").and_then(|at| target(&at, reading));
    if let Some(at) = spec.field("exceptCIDRs") {
        list.except = at.items(reading).into_iter().flatten().filter_map(|item| block(&item, reading)).collect();
    }
    let source = source::read(spec, reading);
    let items = spec.field("entries");
    let items = items.as_ref().and_then(|at| at.items(reading));
    // Whom the list is to spare cannot be told.
    if errors(reading) > before {
        return;
    }
    list.source = source;
    list.entries = items.into_iter().flatten().filter_map(|item| entry(&item, reading)).collect();
}

fn errors(reading: &Reading) -> usize {
    reading.problems.iter().filter(|problem| problem.level == Level::Error).count()
}

fn target(at: &At<'_>, reading: &mut Reading) -> Option<BanTarget> {
    at.known_fields(&["namespaceSelector", "podSelector"], Level::Error, reading)?;
    let namespaces = optional_selector(at, "namespaceSelector", reading);
    let pods = optional_selector(at, "podSelector", reading);
    Some(BanTarget { namespaces: namespaces?, pods: pods? })
}

fn entry(at: &At<'_>, reading: &mut Reading) -> Option<BanEntry> {
    at.known_fields(&["cidr", "expiresAt", "reason", "force"], Level::Error, reading)?;
    let field = at.required("cidr", "a block of addresses", reading)?;
    let cidr = block(&field, reading)?;
    let expires = match at.field("expiresAt") {
        Some(at) => Some(seconds(&at, reading)?),
        None => None,
    };
    let reason = match at.field("reason") {
        Some(at) => Some(at.text(reading)?),
        None => None,
    };
    let forced = match at.field("force") {
        Some(at) => at.boolean(reading)?,
        None => false,
    };
    if !forced && cidr.prefix_len() < shortest_prefix(&cidr) {
        reading.error(&field, format!("{cidr} is more than /{}", shortest_prefix(&cidr)));
        reading.hint("if it is meant, write 'force: true' beside it");
        return None;
    }
    Some(BanEntry { cidr, expires, reason: reason.map(|text| reading.share(&line::reason(text))), from_source: false })
}

/// The shortest prefix of its family that is banned without `force`.
pub fn shortest_prefix(cidr: &IpNet) -> u8 {
    match cidr.addr() {
        IpAddr::V4(_) => SHORTEST_PREFIXES.0,
        IpAddr::V6(_) => SHORTEST_PREFIXES.1,
    }
}

/// A time (RFC 3339), in seconds since 1970. Year 9999, which is often written for never, is later than any clock.
fn seconds(at: &At<'_>, reading: &mut Reading) -> Option<i64> {
    let text = at.text(reading)?;
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_second());
    }
    if Pieces::parse(text).is_ok_and(|time| time.offset().is_some() && time.date().year() == LAST_YEAR) {
        return Some(i64::MAX);
    }
    reading.error(at, format!("expected a time such as 2030-01-31T12:00:00Z, found '{}'", shortened(text)));
    None
}
