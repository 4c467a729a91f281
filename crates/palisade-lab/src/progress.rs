//! A progress bar for people who wait.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::probe::Progress;

/// Shows on standard error how far the probes are, if that is a terminal; goes away when they are done.
pub fn progress_bar() -> impl FnMut(Progress) {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("probing {bar:30} {pos}/{len} {elapsed}") {
        bar.set_style(style);
    }
    move |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        if progress.done == progress.total {
            bar.finish_and_clear();
        }
    }
}
