//! Config files of kube-restrict-ip: read when they change, and now and then even if nothing says so.
//!
//! What a file said last holds until it says something else that can be read: while it is broken, and after it is gone. The state
//! directory has a copy, so that the next agent knows it, too.
#![expect(clippy::disallowed_methods, reason = "this file reads what the user names")]

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::{Diagnostic, Level};
use palisade_sources::SourceText;
use palisade_sources::restrict_ip::{self, RestrictIp};
use tokio::sync::mpsc;

use crate::digest;
use crate::file_news;
use crate::message::Message;
use crate::state::{Copied, StateDirectory};
use crate::watch::chain;

/// A file that wants to be looked at more often is looked at so often: that it changes is heard anyway.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// And so often one that wants it less.
const INTERVAL_MAX: Duration = Duration::from_hours(1);

/// A config file, and what holds of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where it is to be.
    pub path: PathBuf,
    /// What it says, or said last; `None` if it never did.
    pub holds: Option<RestrictIp>,
    /// How it is.
    pub condition: Condition,
}

/// How a config file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is there, and holds.
    InForce,
    /// It has never been there.
    WaitedFor,
    /// It is there no more.
    Gone,
    /// It cannot be read.
    Unreadable {
        /// What is wrong and where, one line each.
        problems: Vec<String>,
        /// Whether it said something before that holds on. If not, it admits nobody to the ports that can be read.
        is_held: bool,
    },
}

impl Condition {
    /// In one word, for status and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Condition::InForce => "in-force",
            Condition::WaitedFor => "waited-for",
            Condition::Gone => "gone",
            Condition::Unreadable { .. } => "unreadable",
        }
    }

    /// What it means for the ports of the file; nothing if all is well.
    pub fn means(&self) -> Option<&'static str> {
        match self {
            Condition::InForce => None,
            Condition::WaitedFor => Some("it guards nothing until it is there"),
            Condition::Gone | Condition::Unreadable { is_held: true, .. } => Some("what it said last holds on"),
            Condition::Unreadable { is_held: false, .. } => {
                Some("it admits nobody to those of its ports that can be read")
            }
        }
    }
}

/// Reads the files and tells the engine whenever something is other than before, for as long as it listens.
pub fn follow(paths: &[PathBuf], directory: &StateDirectory, engine: &mpsc::Sender<Message>) {
    let mut files = Files::new(paths, directory.clone());
    let look = || {
        let found = files.look();
        (found, files.interval())
    };
    file_news::follow(paths, "changes of config files", look, |before: Option<&Vec<ConfigFile>>, found| {
        let is_told = |file: &ConfigFile| before.is_some_and(|before| before.contains(file));
        for file in found.iter().filter(|file| !is_told(file)) {
            log(file);
        }
        engine.blocking_send(Message::Configs(found.clone())).is_ok()
    });
}

fn log(file: &ConfigFile) {
    let path = file.path.display();
    let means = file.condition.means().unwrap_or_default();
    match &file.condition {
        Condition::InForce => {
            let name = file.holds.iter().map(|config| config.policy.name.to_string()).next().unwrap_or_default();
            tracing::info!("config file {path} is in force, as ipChain {name}");
            for diagnostic in file.holds.iter().flat_map(|config| &config.diagnostics) {
                tracing::warn!("{diagnostic}");
            }
        }
        Condition::WaitedFor => tracing::warn!("config file {path} is not there; {means}"),
        Condition::Gone => tracing::warn!("config file {path} is gone; {means}"),
        Condition::Unreadable { problems, .. } => {
            for problem in problems {
                tracing::error!("config file {problem}; {means}");
            }
        }
    }
}

/// The files, and what they said last.
struct Files {
    files: Vec<File>,
    directory: StateDirectory,
}

struct File {
    path: PathBuf,
    /// What it said when it could be read last.
    good: Option<Good>,
}

struct Good {
    text: String,
    config: RestrictIp,
}

impl Files {
    fn new(paths: &[PathBuf], directory: StateDirectory) -> Files {
        let file = |path: &PathBuf| {
            let good = directory.copy(Copied::Config, &name_of(path)).and_then(|text| Good::of(path, text).ok());
            File { path: path.clone(), good }
        };
        Files { files: paths.iter().map(file).collect(), directory }
    }

    /// Reads all of them. Each has a name of its own, whatever they say.
    fn look(&mut self) -> Vec<ConfigFile> {
        let directory = &self.directory;
        let mut found: Vec<ConfigFile> = self.files.iter_mut().map(|file| file.look(directory)).collect();
        restrict_ip::name_apart(found.iter_mut().filter_map(|file| file.holds.as_mut()));
        found
    }

    /// How long to wait for news at most.
    fn interval(&self) -> Duration {
        let wanted = self.files.iter().filter_map(|file| file.good.as_ref()).map(|good| good.config.check_interval);
        wanted.min().unwrap_or(restrict_ip::DEFAULT_CHECK_INTERVAL).clamp(INTERVAL_MIN, INTERVAL_MAX)
    }
}

impl File {
    fn look(&mut self, directory: &StateDirectory) -> ConfigFile {
        let held = |file: &File| file.good.as_ref().map(|good| good.config.clone());
        let (holds, condition) = match read(&self.path) {
            Ok(None) if self.good.is_some() => (held(self), Condition::Gone),
            Ok(None) => (None, Condition::WaitedFor),
            Ok(Some(text)) => match Good::of(&self.path, text) {
                Ok(good) => {
                    self.remember(good, directory);
                    (held(self), Condition::InForce)
                }
                Err(broken) => {
                    let is_held = self.good.is_some();
                    let errors = broken.diagnostics.iter().filter(|found| found.level == Level::Error);
                    let problems = errors.map(Diagnostic::placed_message).collect();
                    (held(self).or(Some(*broken)), Condition::Unreadable { problems, is_held })
                }
            },
            Err(error) => {
                let is_held = self.good.is_some();
                let problems = vec![format!("cannot read {}: {error}", self.path.display())];
                (held(self), Condition::Unreadable { problems, is_held })
            }
        };
        ConfigFile { path: self.path.clone(), holds, condition }
    }

    /// Takes what can be read for what holds from here on.
    fn remember(&mut self, good: Good, directory: &StateDirectory) {
        if self.good.as_ref().is_some_and(|before| before.text == good.text) {
            return;
        }
        if let Err(error) = directory.set_copy(Copied::Config, &name_of(&self.path), &good.text) {
            tracing::warn!("the next agent will not know this config file if it is gone by then: {}", chain(&error));
        }
        self.good = Some(good);
    }
}

impl Good {
    /// What the text says; if it cannot be read, what of it can be.
    fn of(path: &Path, text: String) -> Result<Good, Box<RestrictIp>> {
        let source = SourceText { file: path.display().to_string().into(), text };
        let config = RestrictIp::parse(&source);
        if config.unreadable().is_some() { Err(Box::new(config)) } else { Ok(Good { text: source.text, config }) }
    }
}

/// What stands for a file among copies.
pub fn name_of(path: &Path) -> String {
    digest::short(path.as_os_str().as_bytes())
}

/// The text of a file; `None` if there is none.
fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}
