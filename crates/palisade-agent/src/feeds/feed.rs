//! One source, and what is known of it.

use std::sync::Arc;
use std::time::Duration;

use palisade_core::{BanEntry, BanListName, BanPlace, BanSource};
use tokio::time::Instant;

use super::fetch::{Fetched, Validators};
use super::look::{Found, Judged, Look, Looked, Stamp};
use super::{Condition, LOOK, RETRY, SourceNews};

/// How much is known of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    /// What the last agent knew.
    Copy,
    /// What it is now.
    Itself,
}

/// One source.
#[derive(Debug)]
pub struct Feed {
    /// Where, and what is taken for a list.
    pub source: BanSource,
    /// When it is to be looked at, or fetched.
    pub due: Instant,
    /// It is being looked at.
    pub is_busy: bool,
    /// What a server said of what was fetched last, if this agent did so.
    pub validators: Validators,
    known: Known,
    /// What holds.
    good: Option<Judged>,
    /// What was judged last.
    seen: Option<Stamp>,
    /// Why what is there is not taken.
    failure: Option<String>,
    /// Why nothing could be fetched.
    fetch_failure: Option<String>,
    told: Option<Condition>,
    /// Whether what holds was told.
    told_entries: bool,
}

impl Feed {
    /// A source of which nothing is known.
    pub fn new(source: BanSource) -> Feed {
        Feed {
            source,
            due: Instant::now(),
            is_busy: false,
            validators: Validators::default(),
            known: Known::Nothing,
            good: None,
            seen: None,
            failure: None,
            fetch_failure: None,
            told: None,
            told_entries: true,
        }
    }

    /// It is to be like this from now on.
    pub fn is_wanted_as(&mut self, source: &BanSource) {
        if self.source.place != source.place {
            *self = Feed { is_busy: self.is_busy, ..Feed::new(source.clone()) };
        } else if self.source != *source {
            // Other limits may take what was refused.
            self.source = source.clone();
            self.seen = None;
            self.due = Instant::now();
            self.validators = Validators::default();
        }
    }

    /// What is to be looked at first: the copy of the last agent.
    pub fn wants_copy(&self) -> bool {
        self.known == Known::Nothing
    }

    /// It is looked at now.
    pub fn look(&mut self, list: &BanListName) -> Look {
        self.is_busy = true;
        Look {
            list: Arc::clone(list),
            source: self.source.clone(),
            before: self.good.as_ref().map(|good| Arc::clone(&good.entries)),
            seen: self.seen.clone(),
        }
    }

    /// Whether a text of this version was not judged yet.
    pub fn is_new(&self, version: &str) -> bool {
        self.seen != Some(Stamp::Version(version.to_owned()))
    }

    /// It is not there, or cannot be read.
    pub fn fails(&mut self, why: String) {
        self.known = Known::Itself;
        self.seen = None;
        self.failure = Some(why);
    }

    /// What was published of it is gone: whoever fetches it is to do so anew, whatever the server said of it.
    pub fn is_lost(&mut self, why: String) {
        if self.failure.as_ref() != Some(&why) {
            self.due = Instant::now();
            self.validators = Validators::default();
        }
        self.fails(why);
    }

    /// Takes in what came of a look.
    pub fn take(&mut self, looked: Looked) {
        self.is_busy = false;
        if looked.source != self.source {
            return;
        }
        match looked.found {
            Found::Copy(judged) => {
                self.known = Known::Copy;
                self.told_entries &= judged.is_none();
                self.good = judged;
            }
            Found::Same => {}
            Found::Text(stamp, judged) => {
                self.known = Known::Itself;
                self.seen = Some(stamp);
                self.failure = judged.map(|judged| self.holds(judged)).err();
            }
            Found::Nothing(why) => self.fails(why),
            Found::Fetched(fetched) => self.take_fetched(fetched),
        }
        if matches!(self.source.place, BanPlace::File(_)) {
            self.due = Instant::now() + LOOK;
        }
    }

    fn take_fetched(&mut self, fetched: Result<Fetched, String>) {
        let interval = Duration::from_secs(self.source.interval_seconds.into());
        let failed = fetched.is_err();
        self.due = Instant::now() + if failed { interval.min(RETRY) } else { interval };
        self.known = Known::Itself;
        match fetched {
            Ok(fetched) => {
                self.fetch_failure = None;
                self.validators = fetched.validators;
                if let Some(judged) = fetched.judged {
                    self.holds(judged);
                }
            }
            Err(why) => self.fetch_failure = Some(why),
        }
    }

    fn holds(&mut self, judged: Judged) {
        self.failure = None;
        let same = self.good.as_ref().is_some_and(|good| good.entries == judged.entries);
        self.told_entries &= same;
        self.good = Some(judged);
    }

    /// What is other than was told; nothing before more is known than the copy, so that nobody takes it for all.
    pub fn news(&mut self, list: &BanListName) -> Option<SourceNews> {
        let condition = self.condition()?;
        if self.told_entries && self.told.as_ref() == Some(&condition) {
            return None;
        }
        let entries: Option<Arc<[BanEntry]>> = if self.told_entries { None } else { self.entries() };
        self.told_entries = true;
        self.told = Some(condition.clone());
        Some(SourceNews { list: Arc::clone(list), condition, entries })
    }

    fn entries(&self) -> Option<Arc<[BanEntry]>> {
        self.good.as_ref().map(|good| Arc::clone(&good.entries))
    }

    fn condition(&self) -> Option<Condition> {
        let failure = self.fetch_failure.as_ref().or(self.failure.as_ref());
        match (failure, &self.good) {
            _ if self.known != Known::Itself => None,
            (None, Some(good)) => Some(Condition::Fetched { skipped: good.skipped.clone() }),
            (Some(why), Some(_)) => Some(Condition::Stale(why.clone())),
            (Some(why), None) => Some(Condition::Missing(why.clone())),
            (None, None) => None,
        }
    }
}
