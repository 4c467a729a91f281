//! Files that people write: looked at when they change, and now and then even if nothing says so.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use palisade_watch::Watch;

/// Looks at what these paths hold, and tells it whenever it is other than before, for as long as somebody listens.
///
/// `look` says after how long the next look is due even if nothing is heard. `tell` is given what was told before, and says whether
/// somebody listens. `what` names the files, for the log.
pub fn follow<T: PartialEq>(
    paths: &[PathBuf],
    what: &str,
    mut look: impl FnMut() -> (T, Duration),
    tell: impl Fn(Option<&T>, &T) -> bool,
) {
    let deaf = |error: &io::Error| tracing::warn!("changes of {what} are seen late: {error}");
    // The watch begins before the first look, so that no change is missed in between. Without it the files are looked at all the same.
    let mut watch = Watch::new(paths).inspect_err(deaf).ok();
    let mut told = None;
    loop {
        let (found, interval) = look();
        if told.as_ref() != Some(&found) {
            if !tell(told.as_ref(), &found) {
                return;
            }
            told = Some(found);
        }
        watch = if let Some(mut watch) = watch {
            watch.wait_at_most(interval).inspect_err(deaf).ok().map(|()| watch)
        } else {
            std::thread::sleep(interval);
            Watch::new(paths).inspect_err(deaf).ok()
        };
    }
}
