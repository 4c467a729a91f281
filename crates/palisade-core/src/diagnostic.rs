//! What is wrong with the input, where, and what it means.

use std::fmt;
use std::sync::Arc;

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Worth knowing.
    Note,
    /// Probably not what was meant; nothing is lost.
    Warning,
    /// Something could not be read, and the fail-closed reading is in force.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        })
    }
}

/// A place in a source text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as the user named it; `-` is standard input.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters from `column` on are meant, at least 1 and not beyond the line.
    pub width: usize,
    /// The line itself, without its end; of a long one what is around the place.
    pub text: Arc<str>,
    /// The column that `text` begins at: 1, unless the line is a long one.
    pub text_column: usize,
}

impl fmt::Display for Place {
    /// `shop.yaml:12:15`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One finding about the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it matters.
    pub level: Level,
    /// The check that it comes from, such as `NP002`; it stays the same over releases. `None` if no check has a page about it.
    pub id: Option<&'static str>,
    /// What was found and what was expected: lower case, no final dot.
    pub message: String,
    /// The object concerned, such as `NetworkPolicy db/allow-web`.
    pub object: Option<String>,
    /// Where it is; `None` if it concerns no single place.
    pub place: Option<Place>,
    /// What it means for the verdicts, such as `the policy isolates the pods it selects and allows nothing`.
    pub effect: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without a place yet.
    pub fn new(level: Level, message: impl Into<String>) -> Diagnostic {
        Diagnostic { level, id: None, message: message.into(), object: None, place: None, effect: None, hint: None }
    }

    /// The message where it belongs: `shop.yaml:12:15: …`.
    pub fn placed_message(&self) -> String {
        match &self.place {
            Some(place) => format!("{place}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl fmt::Display for Diagnostic {
    /// One line: `shop.yaml:12:15: error: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: ", self.level)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.message)
    }
}
