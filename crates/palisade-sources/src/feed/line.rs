//! One line of a feed.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use palisade_core::AddressRange;
use serde_json::{Map, Value};

/// How much of a reason is kept, in characters; as much as an entry in a `BanList` may say.
const REASON_CHARACTERS: usize = 256;
/// A line that is longer says nothing.
const LINE_BYTES: usize = 1 << 14;
/// Under these names JSON objects have their block.
const BLOCK_KEYS: [&str; 8] = ["cidr", "network", "prefix", "ip", "address", "ip_address", "ipAddress", "range"];
/// Under these names JSON objects, and columns of a header, say why.
const REASON_KEYS: [&str; 8] =
    ["reason", "comment", "description", "category", "malware", "threat", "sblid", "listing_reason"];
/// And under these until when.
const EXPIRY_KEYS: [&str; 5] = ["expiresAt", "expires_at", "expires", "expiration", "until"];

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'t> {
    /// It is empty, a comment, or says something about the feed itself.
    Nothing,
    /// It names the columns.
    Header,
    /// It names what is banned.
    Entry(Written<'t>),
    /// It says until when, and nobody can tell what it means.
    Endless,
    /// Something else.
    Unreadable,
}

/// What is banned, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub struct Written<'t> {
    pub range: AddressRange,
    pub reason: Option<Cow<'t, str>>,
    /// In seconds since 1970.
    pub expires: Option<i64>,
}

/// What a header said about the columns.
#[derive(Debug, Default)]
pub struct Columns {
    reason: Option<usize>,
    expiry: Option<usize>,
}

/// Reads a line; the first one may be a header.
pub fn read<'t>(text: &'t str, columns: &mut Columns, is_first: bool) -> Line<'t> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.len() > LINE_BYTES {
        return Line::Unreadable;
    }
    if text.is_empty() || text.starts_with(['#', ';']) || text.starts_with("//") {
        return Line::Nothing;
    }
    if text.starts_with('{') {
        return json(text);
    }
    let (told, comment) = match text.find(['#', ';']) {
        Some(at) => (text[..at].trim_end(), Some(text[at + 1..].trim())),
        None => (text, None),
    };
    let comment = comment.filter(|comment| !comment.is_empty()).map(reason);
    if let Some(range) = range(told) {
        return Line::Entry(Written { range, reason: comment, expires: None });
    }
    let cells = cells(told);
    // Words are no columns: an address may be in any sentence.
    let candidates = if told.contains(',') { cells.len() } else { 1 };
    let Some((at, range)) = cells.iter().take(candidates).enumerate().find_map(|(at, cell)| Some((at, block(cell)?)))
    else {
        return if is_first && cells.len() > 1 { columns.header(&cells) } else { Line::Unreadable };
    };
    let range = in_columns(range, &cells, at).unwrap_or(AddressRange::from(&range));
    let expiry = columns.expiry.and_then(|column| cells.get(column)).filter(|cell| !cell.is_empty());
    let Ok(expires) = expiry.map(|cell| seconds(cell).ok_or(())).transpose() else { return Line::Endless };
    Line::Entry(Written { range, reason: comment.or_else(|| columns.reason(&cells, at)), expires })
}

impl Columns {
    fn header<'t>(&mut self, cells: &[Cow<'t, str>]) -> Line<'t> {
        let named =
            |names: &[&str]| cells.iter().position(|cell| names.iter().any(|name| name.eq_ignore_ascii_case(cell)));
        *self = Columns { reason: named(&REASON_KEYS), expiry: named(&EXPIRY_KEYS) };
        Line::Header
    }

    /// What the column of reasons says; without one, all of what stands behind the block.
    fn reason<'t>(&self, cells: &[Cow<'t, str>], block: usize) -> Option<Cow<'t, str>> {
        let says = |at: usize, cell: &str| {
            let is_reason = self.reason.map_or(at > block && self.expiry != Some(at), |column| at == column);
            is_reason && !cell.is_empty()
        };
        let told: Vec<&str> =
            cells.iter().enumerate().filter(|(at, cell)| says(*at, cell)).map(|(_, cell)| &**cell).collect();
        let told = told.join(", ");
        (!told.is_empty()).then(|| Cow::Owned(reason(&told).into_owned()))
    }
}

/// The cells of a line: between commas if there are any, in quotes or not, or else between white space.
fn cells(text: &str) -> Vec<Cow<'_, str>> {
    if !text.contains(',') {
        return text.split_whitespace().map(|cell| Cow::Borrowed(cell.trim_matches('"'))).collect();
    }
    let mut cells = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let (cell, after) = cell(text.trim_start());
        cells.push(cell);
        rest = after;
    }
    cells
}

/// The first cell (RFC 4180), and what comes behind its comma.
fn cell(text: &str) -> (Cow<'_, str>, Option<&str>) {
    let Some(quoted) = text.strip_prefix('"') else {
        return match text.split_once(',') {
            Some((cell, rest)) => (Cow::Borrowed(cell.trim()), Some(rest)),
            None => (Cow::Borrowed(text.trim()), None),
        };
    };
    let mut cell = String::new();
    let mut rest = quoted;
    loop {
        // A quote that does not end ends with the line.
        let Some((before, after)) = rest.split_once('"') else {
            cell.push_str(rest);
            return (Cow::Owned(cell), None);
        };
        cell.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                cell.push('"');
                rest = after;
            }
            None => return (Cow::Owned(cell), after.split_once(',').map(|(_, rest)| rest)),
        }
    }
}

/// An address, a block, or a range with a dash.
fn range(text: &str) -> Option<AddressRange> {
    if let Some(block) = block(text) {
        return Some(AddressRange::from(&block));
    }
    let (first, last) = text.split_once('-')?;
    from_to(first.trim().parse().ok()?, last.trim().parse().ok()?)
}

fn from_to(first: IpAddr, last: IpAddr) -> Option<AddressRange> {
    let (first, last) = (first.to_canonical(), last.to_canonical());
    (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(AddressRange { first, last })
}

fn block(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical().into());
    }
    let block: IpNet = text.parse().ok()?;
    // An IPv4 block within IPv6 means one thing here and another there.
    let is_mapped = matches!(block.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    (!is_mapped).then(|| block.trunc())
}

/// A first address, a last one and the length of their prefix, as some feeds have them. Two addresses alone may be anything.
fn in_columns(first: IpNet, cells: &[Cow<'_, str>], at: usize) -> Option<AddressRange> {
    let last: IpAddr = cells.get(at + 1)?.parse().ok()?;
    let block = IpNet::new(first.addr(), cells.get(at + 2)?.parse().ok()?).ok()?;
    (first.prefix_len() == first.max_prefix_len() && block.network() == first.addr() && block.broadcast() == last)
        .then_some(AddressRange::from(&block))
}

fn json(text: &str) -> Line<'_> {
    let Ok(object) = serde_json::from_str::<Map<String, Value>>(text.trim_end_matches(',')) else {
        return Line::Unreadable;
    };
    let text_of = |keys: &[&str]| keys.iter().find_map(|key| object.get(*key)?.as_str());
    let Some(told) = text_of(&BLOCK_KEYS) else {
        return if object.get("type").and_then(Value::as_str) == Some("metadata") {
            Line::Nothing
        } else {
            Line::Unreadable
        };
    };
    let Some(range) = range(told.trim()) else { return Line::Unreadable };
    let expiry = EXPIRY_KEYS.iter().find_map(|key| object.get(*key)).filter(|expiry| !expiry.is_null());
    let time = |expiry: &Value| expiry.as_i64().map_or_else(|| seconds(expiry.as_str()?), since_1970);
    let Ok(expires) = expiry.map(|expiry| time(expiry).ok_or(())).transpose() else { return Line::Endless };
    let reason = text_of(&REASON_KEYS).map(|told| Cow::Owned(reason(told).into_owned()));
    Line::Entry(Written { range, reason, expires })
}

/// A time (RFC 3339), or a number of seconds since 1970.
fn seconds(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().map(Timestamp::as_second).ok().or_else(|| since_1970(text.parse().ok()?))
}

/// Numbers before this moment in 2001 are no times, but how long something is to last.
const NO_TIME: i64 = 1_000_000_000;

fn since_1970(seconds: i64) -> Option<i64> {
    (seconds >= NO_TIME).then_some(seconds)
}

/// A reason as it is shown: of terminals and logs nothing is switched by it.
pub fn reason(text: &str) -> Cow<'_, str> {
    if text.len() <= REASON_CHARACTERS && !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    text.chars().take(REASON_CHARACTERS).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
