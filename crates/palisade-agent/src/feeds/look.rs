//! A source that is looked at: read where it lies, and judged. This takes its time with a million entries, and so it is done on a thread of
//! its own, never by who waits for what happens.
#![expect(clippy::disallowed_methods, reason = "this file reads the files that ban lists name")]

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use palisade_core::{BanEntry, BanLimits, BanListName, BanSource};
use palisade_sources::feed::{self, FeedError};

use super::fetch::Fetched;
use crate::digest;
use crate::state::{Copied, StateDirectory};
use crate::watch::chain;

/// How long a source may be: twice what a million entries with reasons take.
pub const BYTES_MAX: u64 = 64 << 20;
/// What the next agent takes from the copy of the last one, and every agent from what one has fetched: who took it has judged it.
pub const JUDGED: BanLimits = BanLimits { entries_min: 0, entries_max: usize::MAX, change_percent_max: None };

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Look {
    /// The list.
    pub list: BanListName,
    /// Its source.
    pub source: BanSource,
    /// What is taken for a list.
    pub limits: BanLimits,
    /// What holds of it.
    pub before: Option<Arc<[BanEntry]>>,
    /// What was judged last.
    pub seen: Option<Stamp>,
    /// What was there at the last look.
    pub last: Option<Stamp>,
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
    /// The copy of what the list had of a source last, if there is one, and whether that was this place.
    Copy(Option<(Judged, bool)>),
    /// What was judged before.
    Same,
    /// Something else than at the last look: it may be in the middle of being written.
    Changing(Stamp),
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

    /// How the copy begins: a comment that says where it is from.
    fn head(&self) -> String {
        format!("# {}\n", self.source.place)
    }

    /// Whether a text is taken for a list.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn judge(&self, text: &str) -> Result<Judged, FeedError> {
        let found = feed::read(text, &self.limits, self.before.as_deref())?;
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
        let copy = format!("{}{text}", self.head());
        if let Err(error) = directory.set_copy(Copied::Feed, &name(&self.list), &copy) {
            tracing::warn!("the next agent will not know what {} holds: {}", self.source.place, chain(&error));
        }
        Ok(judged)
    }
}

/// What stands for the source of a list among copies. Of another place the list has what that of before held, until the new one is read.
pub fn name(list: &str) -> String {
    digest::short(list)
}

/// Does something that takes its time, on a thread of its own. What goes wrong there is no reason never to look again.
pub fn done(look: Look, work: impl FnOnce(Look) -> Looked) -> Looked {
    let of = look.clone();
    catch_unwind(AssertUnwindSafe(move || work(look)))
        .unwrap_or_else(|_| of.found(Found::Nothing("reading it failed: this is a bug of palisade".to_owned())))
}

/// Looks at the copy of what the source held last.
pub fn at_copy(look: Look, directory: &StateDirectory) -> Looked {
    let text = directory.copy(Copied::Feed, &name(&look.list));
    let judged = |text: String| {
        let judged = Look { limits: JUDGED, before: None, ..look.clone() }.judge(&text).ok()?;
        Some((judged, text.starts_with(&look.head())))
    };
    let copy = text.and_then(judged);
    look.found(Found::Copy(copy))
}

/// Looks at a text that has a version.
pub fn at_text(look: Look, version: String, text: &str, directory: &StateDirectory) -> Looked {
    let judged = look.judge_and_keep(text, directory);
    look.found(Found::Text(Stamp::Version(version), judged))
}

/// Looks at a file.
pub fn at_file(look: Look, path: &Path, directory: &StateDirectory) -> Looked {
    let found = match read(path, look.seen.as_ref(), look.last.as_ref()) {
        Ok(Read::Same) => Found::Same,
        Ok(Read::Changing(stamp)) => Found::Changing(stamp),
        Ok(Read::Text(stamp, text)) => Found::Text(stamp, look.judge_and_keep(&text, directory)),
        Err(error) => Found::Nothing(format!("cannot read {}: {error}", path.display())),
    };
    look.found(found)
}

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    /// That which was seen.
    Same,
    /// Another one than at the last look, or while it was read.
    Changing(Stamp),
    /// Another one than was seen.
    Text(Stamp, String),
}

/// Reads a file if it is not the one that was seen, and has not changed since the last look.
fn read(path: &Path, seen: Option<&Stamp>, last: Option<&Stamp>) -> io::Result<Read> {
    let stamp = Stamp::of(path)?;
    if seen == Some(&stamp) {
        return Ok(Read::Same);
    }
    if last != Some(&stamp) {
        return Ok(Read::Changing(stamp));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {} MiB", BYTES_MAX >> 20)));
    }
    let after = Stamp::of(path)?;
    Ok(if after == stamp { Read::Text(stamp, text(bytes)) } else { Read::Changing(after) })
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Stamp> {
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        Ok(Stamp::File { modified: metadata.modified()?, length: metadata.len(), inode: metadata.ino() })
    }
}

/// The text that these bytes are, as far as they are one.
pub fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use palisade_core::BanPlace;

    use super::*;

    #[test]
    fn a_file_is_read_when_it_is_another_and_rests() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        assert_eq!(read(&path, None, None).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "192.0.2.1\n").unwrap();
        let Read::Changing(first) = read(&path, None, None).unwrap() else { panic!("it may be half there") };
        assert_eq!(read(&path, None, Some(&first)).unwrap(), Read::Text(first.clone(), "192.0.2.1\n".to_owned()));
        assert_eq!(read(&path, Some(&first), Some(&first)).unwrap(), Read::Same);
        // Of the same length, by another name before.
        let new = directory.path().join("b");
        fs::write(&new, "192.0.2.2\n").unwrap();
        File::open(&new).unwrap().set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
        fs::rename(&new, &path).unwrap();
        let Read::Changing(second) = read(&path, Some(&first), Some(&first)).unwrap() else { panic!("it is another") };
        assert_eq!(read(&path, Some(&first), Some(&second)).unwrap(), Read::Text(second, "192.0.2.2\n".to_owned()));
        // Neither of these ends.
        for endless in ["/dev/zero", "/proc/self"] {
            assert!(read(Path::new(endless), None, None).unwrap_err().to_string().contains("it is no file"));
        }
    }

    #[test]
    fn the_next_agent_has_what_was_taken_whatever_the_limits_are_by_then() {
        let state = tempfile::tempdir().unwrap();
        let directory = StateDirectory::open(state.path()).unwrap();
        let look_of = |place: &str, entries_max| {
            let limits = BanLimits { entries_min: 1, entries_max, change_percent_max: None };
            let source = BanSource { place: BanPlace::File(place.into()), interval_seconds: 60, limits };
            Look { list: "l".into(), source, limits, before: None, seen: None, last: None }
        };
        let look = |entries_max| look_of("a", entries_max);
        let copy = |look: Look| match at_copy(look, &directory).found {
            Found::Copy(copy) => copy.map(|(judged, is_of_place)| (judged.entries.len(), is_of_place)),
            found => panic!("{found:?}"),
        };
        assert_eq!(copy(look(9)), None);
        look(9).judge_and_keep("192.0.2.1\n192.0.2.2\n", &directory).unwrap();
        assert!(look(9).judge_and_keep("<html>\n", &directory).is_err());
        assert_eq!((copy(look(9)), copy(look(1))), (Some((2, true)), Some((2, true))));
        assert_eq!(copy(look_of("b", 9)), Some((2, false)));
    }

    #[test]
    fn what_goes_wrong_while_reading_is_said() {
        let limits = JUDGED;
        let source = BanSource { place: BanPlace::File("a".into()), interval_seconds: 60, limits };
        let look = Look { list: "l".into(), source, limits, before: None, seen: None, last: None };
        let found = done(look, |_| panic!("on purpose")).found;
        assert!(matches!(&found, Found::Nothing(why) if why.contains("bug of palisade")), "{found:?}");
    }
}
