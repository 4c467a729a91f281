//! One source, and what is known of it.

use std::sync::Arc;
use std::time::Duration;

use palisade_core::{BanEntry, BanListName, BanPlace, BanSource};
use tokio::time::Instant;

use super::fetch::{Fetched, Validators};
use super::look::{Found, Judged, Look, Looked, Stamp};
use super::maps;
use super::parts::Whole;
use super::{Condition, LOOK, PATIENCE, RETRY, SourceNews, WRITING};

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
    /// What the server said of what is published, or of what this agent fetched last.
    pub validators: Validators,
    /// Since when parts of it are there that do not fit together.
    half_since: Option<Instant>,
    known: Known,
    /// What holds.
    good: Option<Judged>,
    /// Whether that is of this place, so that what comes is held against it.
    is_of_place: bool,
    /// What was judged last.
    seen: Option<Stamp>,
    /// What was there at the last look.
    last: Option<Stamp>,
    /// Since when it is waited for.
    since: Instant,
    /// Which list of its name it is of.
    incarnation: u64,
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
    pub fn new(incarnation: u64, source: BanSource) -> Feed {
        Feed {
            source,
            due: Instant::now(),
            is_busy: false,
            validators: Validators::default(),
            half_since: None,
            known: Known::Nothing,
            good: None,
            is_of_place: false,
            seen: None,
            last: None,
            since: Instant::now(),
            incarnation,
            failure: None,
            fetch_failure: None,
            told: None,
            told_entries: true,
        }
    }

    /// It is to be like this from now on. What it held holds until the new place, or what other limits may take, is read.
    pub fn is_wanted_as(&mut self, incarnation: u64, source: &BanSource) {
        if self.incarnation != incarnation {
            *self = Feed { is_busy: self.is_busy, ..Feed::new(incarnation, source.clone()) };
        } else if self.source != *source {
            let fresh = Feed::new(incarnation, source.clone());
            let known = if self.known == Known::Nothing { Known::Nothing } else { Known::Copy };
            *self = Feed {
                is_busy: self.is_busy,
                known,
                is_of_place: self.is_of_place && self.source.place == source.place,
                good: self.good.take(),
                told: self.told.take(),
                told_entries: self.told_entries,
                ..fresh
            };
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
            limits: self.source.limits,
            before: self.good.as_ref().filter(|_| self.is_of_place).map(|good| Arc::clone(&good.entries)),
            seen: self.seen.clone(),
            last: self.last.clone(),
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

    /// What is published of it is like this: the text, if it is to be judged.
    pub fn published(&mut self, known: maps::Known<Whole>) -> Option<Whole> {
        match known {
            maps::Known::There(whole) => {
                self.half_since = None;
                let is_new = self.seen != Some(Stamp::Version(whole.digest.clone()));
                if is_new {
                    self.validators = whole.validators.clone();
                }
                return is_new.then_some(whole);
            }
            maps::Known::Half => {
                if *self.half_since.get_or_insert_with(Instant::now) + WRITING <= Instant::now() {
                    self.is_lost("parts of what was fetched are missing");
                }
            }
            maps::Known::Missing(why) => self.is_lost(&why),
            maps::Known::NotYet => {}
        }
        None
    }

    /// By when parts that do not fit together are lost.
    pub fn written_by(&self) -> Option<Instant> {
        self.half_since.map(|since| since + WRITING).filter(|end| *end > Instant::now())
    }

    /// What was published of it is gone: whoever fetches it is to do so anew, whatever the server said of it.
    fn is_lost(&mut self, why: &str) {
        if self.failure.as_deref() != Some(why) {
            self.due = Instant::now();
            self.validators = Validators::default();
        }
        self.fails(why.to_owned());
    }

    /// Takes in what came of a look.
    pub fn take(&mut self, looked: Looked) {
        self.is_busy = false;
        if looked.source != self.source {
            // Whatever it was, the copy is that of the list.
            if !matches!(looked.found, Found::Copy(_)) {
                return;
            }
        }
        match looked.found {
            Found::Copy(copy) => {
                self.known = Known::Copy;
                if let Some((judged, is_of_place)) = copy {
                    self.told_entries = false;
                    self.is_of_place = is_of_place;
                    self.good = Some(judged);
                }
            }
            Found::Same => {}
            Found::Changing(stamp) => self.last = Some(stamp),
            Found::Text(stamp, judged) => {
                self.known = Known::Itself;
                self.seen = Some(stamp);
                self.failure = judged.map(|judged| self.holds(judged)).err();
                if self.failure.is_none() {
                    // It may be another agent that fetches by now.
                    self.fetch_failure = None;
                }
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
        self.is_of_place = true;
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
        let unread = (self.known != Known::Itself).then(|| "it was not read yet".to_owned());
        if unread.is_some() && self.patience_ends().is_some() {
            return None;
        }
        let failure = unread.or_else(|| self.fetch_failure.clone()).or_else(|| self.failure.clone());
        match (failure, &self.good) {
            (None, Some(good)) => Some(Condition::Fetched { skipped: good.skipped.clone() }),
            (Some(why), Some(_)) => Some(Condition::Stale(why)),
            (Some(why), None) => Some(Condition::Missing(why)),
            (None, None) => None,
        }
    }

    /// From when on it counts as one that is away, if it is not read by then: no other list waits longer for it.
    pub fn patience_ends(&self) -> Option<Instant> {
        Some(self.since + PATIENCE).filter(|end| self.known != Known::Itself && *end > Instant::now())
    }
}
