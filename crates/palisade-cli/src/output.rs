//! Exit codes, and how failures are told.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// What a run found out, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every flow is allowed; all witnesses agree; nothing differs.
    Clean,
    /// A flow is denied; a witness disagrees.
    Found,
    /// There is no answer: an unreadable path, a flow that does not parse, an unknown name.
    NoAnswer,
    /// Something differs.
    Different,
    /// A command run in the lab ended with this code.
    #[cfg(target_os = "linux")]
    Command(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        match exit {
            Exit::Clean => ExitCode::SUCCESS,
            Exit::Found => ExitCode::from(1),
            Exit::NoAnswer => ExitCode::from(2),
            Exit::Different => ExitCode::from(3),
            #[cfg(target_os = "linux")]
            Exit::Command(code) => ExitCode::from(code),
        }
    }
}

/// An error with a hint beneath it.
#[derive(Debug)]
pub struct Hinted {
    /// What went wrong: lower case, no final dot.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// An error with the hint that it has, if any.
#[cfg(target_os = "linux")]
pub fn with_hint(error: impl std::error::Error + Send + Sync + 'static, hint: Option<String>) -> anyhow::Error {
    let error = anyhow::Error::new(error);
    match hint {
        Some(hint) => Hinted { message: format!("{error:#}"), hint }.into(),
        None => error,
    }
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {}

/// Whether the error is only that nobody reads our output any more.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

/// Several errors of one kind, such as every line of a file that is no flow.
#[derive(Debug)]
pub struct Several(pub Vec<Hinted>);

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages: Vec<&str> = self.0.iter().map(|error| error.message.as_str()).collect();
        f.write_str(&messages.join("; "))
    }
}

impl std::error::Error for Several {}

/// Prints an error to stderr: the chain of causes once, then its hint.
pub fn print_error(error: &anyhow::Error) {
    if let Some(Several(errors)) = error.downcast_ref::<Several>() {
        for (index, error) in errors.iter().enumerate() {
            note(&format!("error: {}", error.message));
            // The same hint again and again says nothing new.
            if errors.get(index + 1).is_none_or(|next| next.hint != error.hint) {
                note(&format!("hint: {}", error.hint));
            }
        }
        return;
    }
    // Libraries write their hint below their message.
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let parts: Vec<(&str, Option<&str>)> = causes
        .iter()
        .map(|cause| {
            cause.split_once("\nhint: ").map_or((cause.as_str(), None), |(message, hint)| (message, Some(hint)))
        })
        .collect();
    let messages: Vec<&str> = parts.iter().map(|(message, _)| *message).collect();
    note(&format!("error: {}", messages.join(": ")));
    for hint in parts.iter().filter_map(|(_, hint)| *hint) {
        note(&format!("hint: {hint}"));
    }
    if let Some(hinted) = error.chain().find_map(|cause| cause.downcast_ref::<Hinted>()) {
        note(&format!("hint: {}", hinted.hint));
    }
}

/// Prints a line to stderr.
pub fn note(line: &str) {
    // Nobody is left to be told if it is closed.
    let _ = writeln!(io::stderr(), "{line}");
}
