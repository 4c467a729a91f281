//! `spec.source` and `spec.limits`: where more entries come from, and what is taken for a list from there.

use palisade_core::{BanLimits, BanPlace, BanSource, Level};

use crate::reading::{At, Reading};
use crate::syntax;
use crate::tree::shortened;

/// The most entries of a source, if `maxEntries` says nothing.
const ENTRIES_MAX: usize = 1_000_000;
/// How many entries of a feed that others write may come or go at once, if `maxChangePercent` says nothing. Who writes a file or a
/// `ConfigMap` means what changes in it.
const CHANGE_PERCENT_MAX: u32 = 50;
/// How long after a feed was fetched it is fetched again, if `intervalSeconds` says nothing.
const INTERVAL_SECONDS: u32 = 3600;
/// Nobody's server is asked more often.
const INTERVAL_SECONDS_MIN: u32 = 60;

/// Reads both. Errors are told in `reading`.
pub fn read(spec: &At<'_>, reading: &mut Reading) -> Option<BanSource> {
    let place = spec.field("source").map(|at| place(&at, reading));
    let limits = spec.field("limits");
    let Some(place) = place else {
        if let Some(at) = limits {
            reading.error(&at, "limits are those of a source, and there is none");
        }
        return None;
    };
    let (place, interval_seconds) = place?;
    let change_percent_max = matches!(place, BanPlace::Http(_)).then_some(CHANGE_PERCENT_MAX);
    let default = BanLimits { entries_min: 1, entries_max: ENTRIES_MAX, change_percent_max };
    let limits = match limits {
        Some(at) => read_limits(&at, default, reading)?,
        None => default,
    };
    Some(BanSource { place, interval_seconds, limits })
}

/// The place, and how often it is fetched if it is.
fn place(at: &At<'_>, reading: &mut Reading) -> Option<(BanPlace, u32)> {
    at.known_fields(&["file", "configMapRef", "http"], Level::Error, reading)?;
    let fields = ["file", "configMapRef", "http"].map(|name| at.field(name));
    match fields {
        [Some(file), None, None] => file_place(&file, reading).map(|place| (place, INTERVAL_SECONDS)),
        [None, Some(reference), None] => {
            reference.known_fields(&["name"], Level::Error, reading)?;
            let name = reference.required("name", "the name of a ConfigMap", reading)?.text(reading)?;
            if let Err(why) = syntax::dns_subdomain(name) {
                reading.error(&reference, format!("name: expected {why}"));
                return None;
            }
            Some((BanPlace::ConfigMap(reading.share(name)), INTERVAL_SECONDS))
        }
        [None, None, Some(http)] => http_place(&http, reading),
        _ => {
            reading.error(at, "expected one of file, configMapRef and http");
            None
        }
    }
}

/// A path below the directory of the agents: whoever writes lists is to have no other files of nodes read.
fn file_place(at: &At<'_>, reading: &mut Reading) -> Option<BanPlace> {
    at.known_fields(&["path"], Level::Error, reading)?;
    let path = at.required("path", "the path of a file", reading)?.text(reading)?;
    if path.contains(char::is_control) || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        reading.error(
            at,
            format!("path: expected a path such as drop.txt or feeds/drop.txt, found '{}'", shortened(path)),
        );
        reading.hint("it is below the directory that the agents are told with --ban-files");
        return None;
    }
    Some(BanPlace::File(reading.share(path)))
}

fn http_place(at: &At<'_>, reading: &mut Reading) -> Option<(BanPlace, u32)> {
    at.known_fields(&["url", "intervalSeconds"], Level::Error, reading)?;
    let url = at.required("url", "an address such as https://feeds.example/drop.txt", reading)?.text(reading)?;
    let is_http = ["https://", "http://"].iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
    if !is_http || url.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        reading.error(
            at,
            format!("url: expected an address such as https://feeds.example/drop.txt, found '{}'", shortened(url)),
        );
        return None;
    }
    let interval_seconds = match at.field("intervalSeconds") {
        Some(field) => number(&field, INTERVAL_SECONDS_MIN, reading)?,
        None => INTERVAL_SECONDS,
    };
    Some((BanPlace::Http(reading.share(url)), interval_seconds))
}

fn read_limits(at: &At<'_>, default: BanLimits, reading: &mut Reading) -> Option<BanLimits> {
    at.known_fields(&["minEntries", "maxEntries", "maxChangePercent"], Level::Error, reading)?;
    let count = |name: &str, default: usize, reading: &mut Reading| match at.field(name) {
        Some(field) => number(&field, 0, reading).and_then(|number| usize::try_from(number).ok()),
        None => Some(default),
    };
    let limits = BanLimits {
        entries_min: count("minEntries", default.entries_min, reading)?,
        entries_max: count("maxEntries", default.entries_max, reading)?,
        change_percent_max: match at.field("maxChangePercent") {
            Some(field) => Some(number(&field, 0, reading)?),
            None => default.change_percent_max,
        },
    };
    if limits.entries_min > limits.entries_max {
        reading
            .error(at, format!("minEntries, {}, is more than maxEntries, {}", limits.entries_min, limits.entries_max));
        return None;
    }
    Some(limits)
}

fn number(at: &At<'_>, min: u32, reading: &mut Reading) -> Option<u32> {
    let number = at.integer(reading)?;
    let found = u32::try_from(number).ok().filter(|number| *number >= min);
    if found.is_none() {
        reading.error(at, format!("expected a number from {min} on, found {number}"));
    }
    found
}
