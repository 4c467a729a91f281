//! What a check is: an id that stays, a page for people, and a function that looks at one policy, or at the cluster.

use palisade_core::{Diagnostic, Dialect, Level};
use palisade_sources::{FieldPath, ObjectRef};

use crate::cluster::Cluster;
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
    /// What looks for it.
    pub find: Find,
    /// Whether it looks only where it is selected: what it finds is often meant.
    pub opt_in: bool,
}

/// What looks for what a check is about.
#[derive(Clone, Copy, Debug)]
pub enum Find {
    /// Reading the input finds it.
    Reading,
    /// A look at one policy.
    Policy(fn(&Subject<'_>) -> Vec<Finding>),
    /// A look at the cluster; it finds objects that are no policies.
    Cluster(fn(&Cluster<'_>) -> Vec<(ObjectRef, Finding)>),
}

/// Which checks a user wants: ids, beginnings of ids (`NP04`), or letters of groups.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// These alone; none at all is every check that is not opt-in.
    pub select: Vec<String>,
    /// Not these.
    pub ignore: Vec<String>,
    /// Whose reading is asked for: some checks are of what others read otherwise.
    pub dialect: Dialect,
}

impl Selection {
    /// Whether a check is wanted.
    pub fn has(&self, check: &Check) -> bool {
        let selected = if self.select.is_empty() { !check.opt_in } else { is_meant(check, &self.select) };
        selected && !is_meant(check, &self.ignore)
    }

    /// Whether what reading told under the id of a check is wanted. What cannot be read is left out only where its id is ignored.
    pub(crate) fn has_read(&self, check: &Check, is_unreadable: bool) -> bool {
        self.has(check) || (is_unreadable && !is_meant(check, &self.ignore))
    }
}

fn is_meant(check: &Check, words: &[String]) -> bool {
    words.iter().any(|word| check.is_meant_by(word))
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
    /// `X`: does it mean the same everywhere?
    Dialect,
}

impl Group {
    /// Its letter.
    pub fn letter(self) -> &'static str {
        match self {
            Group::Validity => "V",
            Group::Trap => "T",
            Group::Dead => "D",
            Group::Exposure => "E",
            Group::Dialect => "X",
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
            "NP06" | "NP07" => Group::Exposure,
            _ => Group::Dialect,
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

/// What a check found in an object.
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
    pub(crate) fn diagnostic(self, check: &Check, object: String) -> Diagnostic {
        let Finding { at, message, reason, hint } = self;
        let message = if at.is_root() { message } else { format!("{at}: {message}") };
        Diagnostic {
            id: Some(check.id),
            object: Some(object),
            effect: Some(reason),
            hint: Some(hint),
            ..Diagnostic::new(check.level, message)
        }
    }
}
