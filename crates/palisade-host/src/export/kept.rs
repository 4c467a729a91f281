//! Files that are kept up to date, and what is run after each change of one.

use std::process::Stdio;
use std::time::Duration;

use palisade_agent::chain;
use palisade_agent::files;
use palisade_sources::node_allowlist::Export;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Addresses;
use crate::run::Message;

/// A command is ended after so long.
const PATIENCE: Duration = Duration::from_mins(1);
/// So much of what a failed command says is told.
const WORDS_BYTES_MAX: usize = 500;

/// A file.
#[derive(Debug)]
pub struct Kept {
    export: Export,
    /// What it holds; `None` if nobody knows.
    text: Option<String>,
    /// Whether the command has to run, for what was written last.
    is_due: bool,
    is_running: bool,
    error: Option<String>,
}

/// What people are told of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportState {
    /// Where it is.
    pub path: String,
    /// Why it is not up to date, or its command did not work, if so.
    pub error: Option<String>,
}

/// A command of the file with this number ended.
#[derive(Debug)]
pub struct Finished {
    /// Which.
    pub number: usize,
    /// How it failed, if it did.
    pub result: Result<(), String>,
}

impl Kept {
    /// A file of which nothing is known. Its command runs once after the start: whether the last process ran it for what it wrote, nobody
    /// knows.
    pub fn new(export: Export) -> Kept {
        Kept { export, text: None, is_due: true, is_running: false, error: None }
    }

    /// What people are told.
    pub fn state(&self) -> ExportState {
        ExportState { path: self.export.path.display().to_string(), error: self.error.clone() }
    }

    /// Whether the file is up to date, and its command ran for that.
    pub fn is_done(&self) -> bool {
        self.error.is_none() && !self.is_running && (!self.is_due || self.export.command.is_empty())
    }

    /// Whether its command runs.
    pub fn is_running(&self) -> bool {
        self.is_running
    }

    /// Writes the file, if it is to be another, and then has the command run; `true` if that is to be tried again.
    pub fn keep(&mut self, addresses: &Addresses, number: usize, inbox: &mpsc::Sender<Message>) -> bool {
        let path = &self.export.path;
        let written = addresses.text(&self.export.format).map_err(|error| chain(&error)).and_then(|text| {
            let same = |held: Vec<u8>| held == text.as_bytes();
            if self.text.as_ref() == Some(&text) || files::read(path).ok().flatten().is_some_and(same) {
                self.text = Some(text);
                return Ok(());
            }
            files::replace(path, text.as_bytes()).map_err(|error| chain(&error))?;
            tracing::info!("{} is written", path.display());
            (self.text, self.is_due) = (Some(text), true);
            Ok(())
        });
        if let Err(error) = written {
            self.fail(error);
            return true;
        }
        if self.is_running {
            return false;
        }
        if self.is_due {
            self.is_due = false;
            self.start(number, inbox.clone());
        } else {
            self.error = None;
        }
        false
    }

    /// Takes in how the command ended; `true` if it is to be tried again.
    pub fn finished(&mut self, result: Result<(), String>) -> bool {
        self.is_running = false;
        match result {
            Ok(()) => self.error = None,
            Err(error) => {
                self.fail(error);
                self.is_due = true;
            }
        }
        self.is_due
    }

    fn start(&mut self, number: usize, inbox: mpsc::Sender<Message>) {
        let [program, arguments @ ..] = self.export.command.as_slice() else {
            self.error = None;
            return;
        };
        self.is_running = true;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        // What it tells systemd would be taken for ours.
        command.env_remove("NOTIFY_SOCKET");
        let name = program.clone();
        tokio::spawn(async move {
            let result = match timeout(PATIENCE, command.output()).await {
                Ok(Ok(output)) if output.status.success() => Ok(()),
                Ok(Ok(output)) => {
                    let words = String::from_utf8_lossy(&output.stderr[..output.stderr.len().min(WORDS_BYTES_MAX)])
                        .trim()
                        .to_string();
                    Err(format!("{name} failed ({}): {words}", output.status))
                }
                Ok(Err(error)) => Err(format!("{name} cannot be run: {error}")),
                Err(_) => Err(format!("{name} did not end within a minute")),
            };
            drop(inbox.send(Message::Exported(Finished { number, result })).await);
        });
    }

    fn fail(&mut self, error: String) {
        if self.error.as_ref() != Some(&error) {
            tracing::error!("{}: {error}", self.export.path.display());
        }
        self.error = Some(error);
    }
}
