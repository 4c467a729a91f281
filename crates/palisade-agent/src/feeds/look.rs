//! A source that is looked at: read where it lies, and judged. This takes its time with a million entries, and so it is done on a thread of
//! its own, never by who waits for what happens.
#![expect(clippy::disallowed_methods, reason = "this file reads the files that ban lists name")]

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use palisade_core::{BanEntry, BanListName, BanPlace, BanSource};
use palisade_sources::feed::{self, FeedError};

use super::fetch::Fetched;
use crate::digest;
use crate::state::StateDirectory;
use crate::watch::chain;

/// How long a source may be: five times what a million entries with reasons take.
pub const BYTES_MAX: u64 = 256 << 20;

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Look {
    /// The list.
    pub list: BanListName,
    /// Its source.
    pub source: BanSource,
    /// What holds of it.
    pub before: Option<Arc<[BanEntry]>>,
    /// What was judged last.
    pub seen: Option<Stamp>,
}

/// What tells a text from the one before without a look inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Of a file.
    File {
        /// `st_mtime`.
        modified: SystemTime,
        /// `st_size`.
        length: u64,
        /// `st_ino`.
        inode: u64,
    },
    /// Of a text with a version.
    Version(String),
}

/// What came of it.
#[derive(Debug)]
pub struct Looked {
    /// The list.
    pub list: BanListName,
    /// Its source when it was looked at.
    pub source: BanSource,
    /// What was found.
    pub found: Found,
}

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// The copy of what the source held when it could be read last, if there is one.
    Copy(Option<Judged>),
    /// What was judged before.
    Same,
    /// Something else: what it is, or why it is not taken.
    Text(Stamp, Result<Judged, String>),
    /// It is not there, or cannot be read.
    Nothing(String),
    /// It was fetched, or why it could not be.
    Fetched(Result<Fetched, String>),
}

/// A text that is taken for a list.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What it bans.
    pub entries: Arc<[BanEntry]>,
    /// What of it could not be read, if something could not.
    pub skipped: Option<String>,
}

impl Look {
    /// What came of it.
    pub fn found(self, found: Found) -> Looked {
        Looked { list: self.list, source: self.source, found }
    }

    /// Whether a text is taken for a list.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn judge(&self, text: &str) -> Result<Judged, FeedError> {
        let found = feed::read(text, &self.source.limits, self.before.as_deref())?;
        let skipped = (found.skipped.lines > 0).then(|| found.skipped.to_string());
        Ok(Judged { entries: found.entries.into(), skipped })
    }

    /// The same; the next agent knows what is taken.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub fn judge_and_keep(&self, text: &str, directory: &StateDirectory) -> Result<Judged, String> {
        let judged = self.judge(text).map_err(|error| error.to_string())?;
        if let Err(error) = directory.set_feed(&name(&self.list, &self.source.place), text) {
            tracing::warn!("the next agent will not know what {} holds: {}", self.source.place, chain(&error));
        }
        Ok(judged)
    }
}

/// What stands for the source of a list: another place of the same list is another.
pub fn name(list: &str, place: &BanPlace) -> String {
    digest::short(format!("{list}\0{place}"))
}

/// Looks at the copy of what the source held last.
pub fn at_copy(look: Look, directory: &StateDirectory) -> Looked {
    let text = directory.feed(&name(&look.list, &look.source.place));
    let judged = text.and_then(|text| look.judge(&text).ok());
    look.found(Found::Copy(judged))
}

/// Looks at a text that has a version.
pub fn at_text(look: Look, version: String, text: &str, directory: &StateDirectory) -> Looked {
    let judged = look.judge_and_keep(text, directory);
    look.found(Found::Text(Stamp::Version(version), judged))
}

/// Looks at a file.
pub fn at_file(look: Look, path: &Path, directory: &StateDirectory) -> Looked {
    let found = match read(path, look.seen.as_ref()) {
        Ok(None) => Found::Same,
        Ok(Some((stamp, text))) => Found::Text(stamp, look.judge_and_keep(&text, directory)),
        Err(error) => Found::Nothing(format!("cannot read {}: {error}", path.display())),
    };
    look.found(found)
}

/// The text of a file; `None` if it is the one that was seen.
fn read(path: &Path, seen: Option<&Stamp>) -> io::Result<Option<(Stamp, String)>> {
    let metadata = fs::metadata(path)?;
    let stamp = Stamp::File { modified: metadata.modified()?, length: metadata.len(), inode: metadata.ino() };
    if seen == Some(&stamp) {
        return Ok(None);
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {} MiB", BYTES_MAX >> 20)));
    }
    Ok(Some((stamp, String::from_utf8_lossy(&bytes).into_owned())))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use palisade_core::BanLimits;

    use super::*;

    #[test]
    fn a_file_is_read_when_it_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        assert_eq!(read(&path, None).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "192.0.2.1\n").unwrap();
        let (stamp, text) = read(&path, None).unwrap().unwrap();
        assert_eq!(text, "192.0.2.1\n");
        assert_eq!(read(&path, Some(&stamp)).unwrap(), None);
        let new = directory.path().join("b");
        fs::write(&new, "192.0.2.2\n").unwrap();
        File::open(&new).unwrap().set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(read(&path, Some(&stamp)).unwrap().unwrap().1, "192.0.2.2\n");
        // Neither of these ends.
        for endless in ["/dev/zero", "/proc/self"] {
            assert!(read(Path::new(endless), None).unwrap_err().to_string().contains("it is no file"));
        }
    }

    #[test]
    fn the_next_agent_knows_what_was_taken_of_this_place() {
        let state = tempfile::tempdir().unwrap();
        let directory = StateDirectory::open(state.path()).unwrap();
        let limits = BanLimits { entries_min: 1, entries_max: 9, change_percent_max: None };
        let source = |path: &str| BanSource { place: BanPlace::File(path.into()), interval_seconds: 60, limits };
        let look = |path: &str| Look { list: "l".into(), source: source(path), before: None, seen: None };
        let copy = |path: &str| match at_copy(look(path), &directory).found {
            Found::Copy(judged) => judged.map(|judged| judged.entries.len()),
            found => panic!("{found:?}"),
        };
        assert_eq!(copy("a"), None);
        look("a").judge_and_keep("192.0.2.1\n192.0.2.2\n", &directory).unwrap();
        assert!(look("a").judge_and_keep("<html>\n", &directory).is_err());
        assert_eq!((copy("a"), copy("b")), (Some(2), None));
        directory.forget_feeds_but(&[name("l", &source("a").place)].into()).unwrap();
        assert_eq!(copy("a"), Some(2));
        directory.forget_feeds_but(&[name("l", &source("b").place)].into()).unwrap();
        assert_eq!(copy("a"), None);
    }
}
