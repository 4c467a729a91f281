//! What a check is: an id that stays, a page for people, and a function that looks at one policy.

use palisade_core::{Diagnostic, Level, PolicyName};
use palisade_sources::FieldPath;

use crate::subject::Subject;

/// One check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its id, such as `NP020`. It never changes, and is never given to another.
    pub id: &'static str,
    /// How much its findings matter. Of what reading the input finds, the worst.
    pub level: Level,
    /// Its page, Markdown: a title of id and name, what it catches, why that matters, an example that fires, one close by
    /// that does not, and what to write instead.
    pub page: &'static str,
    /// What looks for it; `None` where reading the input finds it.
    pub find: Option<fn(&Subject<'_>) -> Vec<Finding>>,
}

/// What checks have in common, by the number in their id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `V`: is it valid?
    Validity,
    /// `T`: does it say what was meant?
    Trap,
    /// `D`: does it do anything?
    Dead,
    /// `E`: does it open more than it should, or less?
    Exposure,
}

impl Group {
    /// Its letter.
    pub fn letter(self) -> &'static str {
        match self {
            Group::Validity => "V",
            Group::Trap => "T",
            Group::Dead => "D",
            Group::Exposure => "E",
        }
    }
}

impl Check {
    /// The group that it belongs to.
    pub fn group(&self) -> Group {
        match &self.id[..4] {
            "NP00" | "NP01" => Group::Validity,
            "NP02" | "NP03" => Group::Trap,
            "NP04" | "NP05" => Group::Dead,
            _ => Group::Exposure,
        }
    }

    /// Its name in words: `and-or-confusion`.
    pub fn name(&self) -> &'static str {
        self.page.lines().next().and_then(|title| title.split(' ').nth(2)).unwrap_or_default()
    }

    /// What it catches: the first paragraph of its page.
    pub fn summary(&self) -> &'static str {
        self.page.split("\n\n").nth(1).unwrap_or_default()
    }

    /// Whether a word of `--select` or `--ignore` means it: an id, the beginning of one (`NP04`), or the letter of a group.
    pub fn is_meant_by(&self, word: &str) -> bool {
        word == self.group().letter() || (word.starts_with("NP") && self.id.starts_with(word))
    }
}

/// What a check found in a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The field concerned.
    pub at: FieldPath,
    /// What is written there: lower case, no final dot.
    pub message: String,
    /// What it means.
    pub reason: String,
    /// What to write instead.
    pub hint: String,
}

impl Finding {
    /// The diagnostic, without its place.
    pub(crate) fn diagnostic(self, check: &Check, policy: &PolicyName) -> Diagnostic {
        let Finding { at, message, reason, hint } = self;
        let message = if at.is_root() { message } else { format!("{at}: {message}") };
        Diagnostic {
            id: Some(check.id),
            object: Some(format!("NetworkPolicy {policy}")),
            effect: Some(reason),
            hint: Some(hint),
            ..Diagnostic::new(check.level, message)
        }
    }
}
