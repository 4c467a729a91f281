//! Waiting until files change.
//!
//! Directories are watched, not files: editors replace files, and a mounted ConfigMap swaps a symbolic link above
//! them. Every directory on the way from a path as given to the file it leads to counts.
#![expect(clippy::disallowed_methods, reason = "this crate looks at directories")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

/// How long nothing more must happen before a change counts as finished.
const QUIET_MS: i64 = 50;
/// How many symbolic links may follow one another, as in the kernel (`path_resolution(7)`).
const LINKS_MAX: usize = 40;

/// Paths that are watched.
pub struct Watch {
    paths: Vec<PathBuf>,
    inotify: OwnedFd,
    /// What matters in each watched directory.
    interests: HashMap<i32, Interest>,
}

/// The names that matter in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Interest {
    Everything,
    Names(BTreeSet<OsString>),
}

impl Watch {
    /// Begins to watch files and directories, these with all that is below. `-` (standard input) never changes.
    ///
    /// # Errors
    ///
    /// Where the kernel has no more inotify instances or watches for this user.
    pub fn new(paths: &[PathBuf]) -> io::Result<Watch> {
        let paths = paths.iter().filter(|path| path.as_os_str() != "-").cloned().collect();
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let mut watch = Watch { paths, inotify, interests: HashMap::new() };
        watch.arm()?;
        Ok(watch)
    }

    /// Waits until something has changed, and then until it is quiet for a moment. What changes from then on is
    /// reported by the next call. The content may be what it was: compare.
    ///
    /// # Errors
    ///
    /// As [`new`](Watch::new).
    pub fn wait(&mut self) -> io::Result<()> {
        while !self.changed(None)? {}
        self.settle()
    }

    /// The same, for a limited time.
    ///
    /// # Errors
    ///
    /// As [`new`](Watch::new).
    pub fn wait_at_most(&mut self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
            if self.changed(Some(&left))? || Instant::now() >= end {
                return self.settle();
            }
        }
    }

    /// Waits until it is quiet for a moment.
    fn settle(&mut self) -> io::Result<()> {
        let quiet = Timespec { tv_sec: 0, tv_nsec: QUIET_MS * 1_000_000 };
        while self.changed(Some(&quiet))? {}
        // Directories and links may have come and gone.
        self.arm()
    }

    /// Waits for one event; whether it concerns the paths.
    fn changed(&mut self, timeout: Option<&Timespec>) -> io::Result<bool> {
        match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut concerned = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    concerned |= match (self.interests.get(&event.wd()), name) {
                        (Some(Interest::Names(names)), Some(name)) => names.contains(name),
                        // The directory itself went, or events were lost, or the watch is an old one.
                        _ => true,
                    };
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(concerned),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn arm(&mut self) -> io::Result<()> {
        let mut wanted = BTreeMap::new();
        for path in &self.paths {
            let path = std::path::absolute(path)?;
            collect(&path, &mut wanted);
        }
        let flags = inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MOVE
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::MOVE_SELF
            | inotify::WatchFlags::ONLYDIR;
        // A directory that is watched already keeps its number.
        let mut interests = HashMap::new();
        for (directory, interest) in wanted {
            match inotify::add_watch(&self.inotify, &directory, flags) {
                Ok(number) => drop(interests.insert(number, interest)),
                // It went in this moment; the directory above reports that.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::ACCESS) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        for number in self.interests.keys().filter(|number| !interests.contains_key(number)) {
            // The watch of a directory that is gone is gone already.
            let _ = inotify::remove_watch(&self.inotify, *number);
        }
        self.interests = interests;
        Ok(())
    }
}

/// Notes every directory in which a change can change what the path leads to.
fn collect(path: &Path, wanted: &mut BTreeMap<PathBuf, Interest>) {
    let mut path = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        match follow_first_link(&path, wanted) {
            Some(next) => path = next,
            None => break,
        }
    }
    note_name(&path, wanted);
    if path.is_dir() {
        collect_below(&path, wanted);
    }
}

/// Replaces the first symbolic link in a path by what it leads to; `None` if there is none.
fn follow_first_link(path: &Path, wanted: &mut BTreeMap<PathBuf, Interest>) -> Option<PathBuf> {
    let mut seen = PathBuf::new();
    let mut components = path.components();
    while let Some(component) = components.next() {
        if component == Component::ParentDir {
            seen.pop();
            continue;
        }
        seen.push(component);
        if let Ok(target) = std::fs::read_link(&seen) {
            note_name(&seen, wanted);
            seen.pop();
            return Some(seen.join(target).join(components.as_path()));
        }
    }
    None
}

/// Notes the name in its directory; where that is not there yet, its name as well.
fn note_name(path: &Path, wanted: &mut BTreeMap<PathBuf, Interest>) {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return };
    let interest = wanted.entry(directory.to_path_buf()).or_insert_with(|| Interest::Names(BTreeSet::new()));
    if let Interest::Names(names) = interest {
        names.insert(name.to_os_string());
    }
    if !directory.is_dir() {
        note_name(directory, wanted);
    }
}

fn collect_below(directory: &Path, wanted: &mut BTreeMap<PathBuf, Interest>) {
    wanted.insert(directory.to_path_buf(), Interest::Everything);
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect_below(&entry.path(), wanted),
            Ok(kind) if kind.is_symlink() => {
                let mut path = entry.path();
                for _ in 0..LINKS_MAX {
                    match follow_first_link(&path, wanted) {
                        Some(next) => path = next,
                        None => break,
                    }
                }
                note_name(&path, wanted);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::symlink;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// Watches a path below a fresh directory, does something, and expects a report of it, or none.
    fn check(prepare: impl Fn(&Path), path: &str, change: impl Fn(&Path), expected: bool) {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let mut watch = Watch::new(&[directory.path().join(path)]).unwrap();
        let (report, reports) = channel();
        let thread = std::thread::spawn(move || {
            watch.wait().unwrap();
            let _ = report.send(());
        });
        change(directory.path());
        let reported = if expected {
            reports.recv_timeout(Duration::from_secs(10)).is_ok()
        } else {
            // Nothing to wait for: a change that counts follows, and must be the first report.
            let early = reports.recv_timeout(Duration::from_millis(200)).is_ok();
            std::fs::write(directory.path().join(path), "end").unwrap();
            early
        };
        assert_eq!(reported, expected);
        thread.join().unwrap();
    }

    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_file_that_is_written_or_replaced_is_reported() {
        check(|root| write(&root.join("a.yaml"), "1"), "a.yaml", |root| write(&root.join("a.yaml"), "2"), true);
        let replace = |root: &Path| {
            write(&root.join(".a.swp"), "2");
            std::fs::rename(root.join(".a.swp"), root.join("a.yaml")).unwrap();
        };
        check(|root| write(&root.join("a.yaml"), "1"), "a.yaml", replace, true);
    }

    #[test]
    fn a_neighbour_of_a_file_is_not_reported() {
        check(|root| write(&root.join("a.yaml"), "1"), "a.yaml", |root| write(&root.join("b.yaml"), "2"), false);
    }

    #[test]
    fn whatever_is_below_a_directory_is_reported() {
        let prepare = |root: &Path| std::fs::create_dir_all(root.join("shop/deep")).unwrap();
        check(prepare, "shop", |root| write(&root.join("shop/deep/new.yaml"), "1"), true);
        check(prepare, "shop", |root| std::fs::remove_dir(root.join("shop/deep")).unwrap(), true);
    }

    #[test]
    fn what_is_not_there_yet_is_reported() {
        let nothing = |_: &Path| {};
        check(nothing, "a.yaml", |root| write(&root.join("a.yaml"), "1"), true);
        check(nothing, "etc/deep/a.yaml", |root| std::fs::create_dir(root.join("etc")).unwrap(), true);
        let link = |root: &Path| {
            std::fs::create_dir(root.join("v1")).unwrap();
            symlink("data/a.yaml", root.join("a.yaml")).unwrap();
        };
        check(link, "a.yaml", |root| symlink("v1", root.join("data")).unwrap(), true);
    }

    #[test]
    fn a_swapped_link_is_reported() {
        let prepare = |root: &Path| {
            for version in ["v1", "v2"] {
                std::fs::create_dir(root.join(version)).unwrap();
                write(&root.join(version).join("a.yaml"), version);
            }
            symlink("v1", root.join("data")).unwrap();
            symlink("data/a.yaml", root.join("a.yaml")).unwrap();
        };
        let swap = |root: &Path| {
            symlink("v2", root.join("new")).unwrap();
            std::fs::rename(root.join("new"), root.join("data")).unwrap();
        };
        check(prepare, "a.yaml", swap, true);
        check(prepare, "a.yaml", |root| write(&root.join("v1/a.yaml"), "changed"), true);
    }
}
