//! Files that people write: looked at when they change, and now and then even if nothing says so.

use std::path::PathBuf;
use std::time::Duration;

use palisade_watch::Watch;

/// Changes of files. Without a watch they are seen all the same, only late.
pub struct Changes<'a> {
    paths: &'a [PathBuf],
    /// What they are, for the log.
    what: &'a str,
    watch: Option<Watch>,
}

impl<'a> Changes<'a> {
    /// Begins to watch. Whoever looks at the files after that misses nothing.
    pub fn of(paths: &'a [PathBuf], what: &'a str) -> Changes<'a> {
        let mut changes = Changes { paths, what, watch: None };
        changes.begin();
        changes
    }

    /// Waits until something has changed, as [`Watch::wait_at_most`] does, or until it is time to look all the same.
    pub fn wait_at_most(&mut self, time: Duration) {
        let Some(watch) = &mut self.watch else {
            std::thread::sleep(time);
            self.begin();
            return;
        };
        if let Err(error) = watch.wait_at_most(time) {
            self.watch = None;
            self.deaf(&error);
        }
    }

    fn begin(&mut self) {
        match Watch::new(self.paths) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => self.deaf(&error),
        }
    }

    fn deaf(&self, error: &std::io::Error) {
        tracing::warn!("{} are seen late: {error}", self.what);
    }
}

/// Looks at what these paths hold, and tells it whenever it is other than before, for as long as somebody listens.
///
/// `look` says after how long the next look is due even if nothing is heard. `tell` is given what was told before, and says whether
/// somebody listens. `what` names the changes, for the log.
pub fn follow<T: PartialEq>(
    paths: &[PathBuf],
    what: &str,
    mut look: impl FnMut() -> (T, Duration),
    tell: impl Fn(Option<&T>, &T) -> bool,
) {
    let mut changes = Changes::of(paths, what);
    let mut told = None;
    loop {
        let (found, interval) = look();
        if told.as_ref() != Some(&found) {
            if !tell(told.as_ref(), &found) {
                return;
            }
            told = Some(found);
        }
        changes.wait_at_most(interval);
    }
}
