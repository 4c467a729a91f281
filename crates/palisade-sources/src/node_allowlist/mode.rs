//! `spec.mode`, `spec.setOnly` and `spec.exports`: where the addresses go.

use std::fmt;
use std::path::PathBuf;

use palisade_core::{Family, Level};

use super::{is_empty, needed, path};
use crate::reading::{At, Reading};
use crate::tree::shortened;

/// The families of tables that can have sets of addresses.
const TABLE_FAMILIES: [&str; 5] = ["inet", "ip", "ip6", "bridge", "netdev"];
/// The longest name of an ipset (`IPSET_MAXNAMELEN` with its final zero).
const IPSET_BYTES_MAX: usize = 31;

/// What enforces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// `OwnChain`: a table of ours admits the addresses to the ports of `allow`, and nobody else.
    #[default]
    OwnChain,
    /// `SetOnly`: rules of the administrator, which name these sets.
    SetOnly(Vec<NamedSet>),
    /// `ExportOnly`: whoever reads the exports; the kernel is left alone.
    ExportOnly,
}

/// A set that is filled with addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSet {
    /// Which addresses.
    pub family: Family,
    /// Which set.
    pub place: SetPlace,
}

/// Where a set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetPlace {
    /// In a table of nftables.
    Nftables {
        /// `table.family`, as `nft` writes it.
        table_family: String,
        /// `table.name`.
        table: String,
        /// `set4` or `set6`.
        set: String,
    },
    /// `ipset4` or `ipset6`: a set of the kernel's ipset.
    Ipset(String),
}

/// A file that has the addresses, kept up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// `path`.
    pub path: PathBuf,
    /// `format`, or `template`.
    pub format: ExportFormat,
    /// `command`: what is run after each change, and with which arguments; empty is nothing.
    pub command: Vec<String>,
}

/// How addresses are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExportFormat {
    /// One address or block a line.
    #[default]
    List,
    /// For `ipset restore`: two sets, replaced at once.
    IpsetRestore,
    /// For `include` in a file of nft: two variables.
    NftInclude,
    /// One object, with the node of each address.
    Json,
    /// A template of the user's in this file.
    Template(PathBuf),
}

impl fmt::Display for NamedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            SetPlace::Nftables { table_family, table, set } => write!(f, "set {table_family} {table} {set}"),
            SetPlace::Ipset(name) => write!(f, "ipset {name}"),
        }
    }
}

impl ExportFormat {
    /// Those that `format` may name.
    pub const WRITTEN: [(&str, ExportFormat); 4] = [
        ("List", ExportFormat::List),
        ("IpsetRestore", ExportFormat::IpsetRestore),
        ("NftInclude", ExportFormat::NftInclude),
        ("JSON", ExportFormat::Json),
    ];
}

/// Reads the mode; `OwnChain` if it cannot be read, which is told.
pub fn read(spec: &At<'_>, reading: &mut Reading) -> Mode {
    let sets = spec.field("setOnly");
    let mode = spec.field("mode");
    let text = mode.as_ref().map_or(Some("OwnChain"), |mode| mode.text(reading));
    if let Some(sets) = sets.as_ref().filter(|_| text != Some("SetOnly")) {
        reading.error(sets, "expected mode: SetOnly beside it, found another mode");
    }
    match (text, &mode) {
        (Some("SetOnly"), _) => {
            let sets = spec.required("setOnly", "the sets to fill", reading);
            Mode::SetOnly(sets.map(|at| set_only(&at, reading)).unwrap_or_default())
        }
        (Some("ExportOnly"), _) => Mode::ExportOnly,
        (Some(text), Some(mode)) if text != "OwnChain" => {
            reading.error(mode, format!("expected OwnChain, SetOnly or ExportOnly, found '{}'", shortened(text)));
            Mode::OwnChain
        }
        _ => Mode::OwnChain,
    }
}

fn set_only(at: &At<'_>, reading: &mut Reading) -> Vec<NamedSet> {
    let mut sets = Vec::new();
    if at.known_fields(&["table", "set4", "set6", "ipset4", "ipset6"], Level::Error, reading).is_none() {
        return sets;
    }
    let table = at.field("table").map(|table| self::table(&table, reading));
    for (family, nft, ipset) in [(Family::V4, "set4", "ipset4"), (Family::V6, "set6", "ipset6")] {
        if let Some(field) = at.field(nft) {
            let set = needed(at, nft, reading).map(str::to_owned);
            match &table {
                None => reading.error(&field, "expected table beside it, found none"),
                Some(Some((table_family, table))) => {
                    let place =
                        |set| SetPlace::Nftables { table_family: table_family.clone(), table: table.clone(), set };
                    sets.extend(set.map(|set| NamedSet { family, place: place(set) }));
                }
                Some(None) => {}
            }
        }
        if let Some(field) = at.field(ipset) {
            let Some(name) = needed(at, ipset, reading) else { continue };
            if name.len() > IPSET_BYTES_MAX {
                reading.error(&field, format!("expected at most {IPSET_BYTES_MAX} bytes, found {}", name.len()));
            }
            sets.push(NamedSet { family, place: SetPlace::Ipset(name.to_owned()) });
        }
    }
    if !["set4", "set6", "ipset4", "ipset6"].iter().any(|name| at.field(name).is_some()) {
        reading.error(at, "expected set4, set6, ipset4 or ipset6, found none");
    }
    sets
}

fn table(at: &At<'_>, reading: &mut Reading) -> Option<(String, String)> {
    at.known_fields(&["family", "name"], Level::Error, reading)?;
    let family = needed(at, "family", reading);
    let name = needed(at, "name", reading);
    let (family, name) = (family?, name?);
    if !TABLE_FAMILIES.contains(&family) {
        let expected = TABLE_FAMILIES.join(", ");
        reading.error(at, format!("family: expected one of {expected}, found '{}'", shortened(family)));
        return None;
    }
    Some((family.to_owned(), name.to_owned()))
}

/// `spec.exports`.
pub fn exports(spec: &At<'_>, mode: &Mode, reading: &mut Reading) -> Vec<Export> {
    let found = spec.field("exports");
    let items = found.as_ref().and_then(|at| at.items(reading));
    let exports: Vec<Export> = items.into_iter().flatten().filter_map(|item| export(&item, reading)).collect();
    if *mode == Mode::ExportOnly && found.as_ref().is_none_or(is_empty) {
        reading.error(spec, "exports: expected at least one with mode ExportOnly, found none");
    }
    for (index, export) in exports.iter().enumerate() {
        if exports[..index].iter().any(|before| before.path == export.path) {
            reading.error(spec, format!("exports: two have the path {}", export.path.display()));
        }
    }
    exports
}

fn export(at: &At<'_>, reading: &mut Reading) -> Option<Export> {
    at.known_fields(&["path", "format", "template", "command"], Level::Error, reading)?;
    let to = path(at, "path", reading);
    let format = match (at.field("format"), at.field("template")) {
        (Some(field), Some(_)) => {
            reading.error(&field, "expected either format or template, found both");
            None
        }
        (None, Some(_)) => path(at, "template", reading).map(ExportFormat::Template),
        (Some(field), None) => format(&field, reading),
        (None, None) => Some(ExportFormat::List),
    };
    let command = match at.field("command") {
        Some(field) => command(&field, reading)?,
        None => Vec::new(),
    };
    Some(Export { path: to?, format: format?, command })
}

fn format(at: &At<'_>, reading: &mut Reading) -> Option<ExportFormat> {
    let text = at.text(reading)?;
    let found = ExportFormat::WRITTEN.into_iter().find(|(name, _)| *name == text);
    if found.is_none() {
        let expected = ExportFormat::WRITTEN.map(|(name, _)| name).join(", ");
        reading.error(at, format!("expected one of {expected}, found '{}'", shortened(text)));
        reading.hint("template: FILE names a format of your own");
    }
    found.map(|(_, format)| format)
}

fn command(at: &At<'_>, reading: &mut Reading) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for item in at.items(reading)? {
        words.push(item.text(reading)?.to_owned());
    }
    if words.first().is_none_or(String::is_empty) {
        reading.error(at, "expected a program and its arguments, found none");
        return None;
    }
    Some(words)
}
