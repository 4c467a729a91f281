//! The answer to a flow.

use std::fmt;

/// Whether a flow may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It is stopped.
    Deny,
    /// It passes.
    Allow,
}

impl Verdict {
    /// `Allow` if the condition holds.
    pub fn allow_if(condition: bool) -> Verdict {
        if condition { Verdict::Allow } else { Verdict::Deny }
    }

    /// `allow` or `deny`.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
