//! What systemd is told, if it started the program (`sd_notify(3)`): when the rules are in force, and that the loop goes on.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The service manager.
#[derive(Debug)]
pub struct Manager {
    is_told: bool,
    /// How often it wants to hear of the loop, and when it did last.
    watchdog: Option<(Duration, Instant)>,
}

impl Manager {
    /// The one that started the process, if one did.
    pub fn found() -> Manager {
        let watchdog = sd_notify::watchdog_enabled();
        Manager { is_told: false, watchdog: watchdog.map(|limit| (limit / 3, Instant::now())) }
    }

    /// The rules are in force: what is ordered after the unit may start.
    pub fn ready(&mut self) {
        if !self.is_told {
            self.is_told = true;
            tell(&[NotifyState::Ready]);
        }
    }

    /// The loop goes on. To be said by [`Manager::interval`].
    pub fn alive(&mut self) {
        if let Some((interval, last)) = &mut self.watchdog
            && last.elapsed() >= *interval / 2
        {
            *last = Instant::now();
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// How long the loop may be silent.
    pub fn interval(&self) -> Option<Duration> {
        self.watchdog.map(|(interval, _)| interval)
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd is not told: {error}");
    }
}
