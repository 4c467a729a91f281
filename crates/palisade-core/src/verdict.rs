//! The answer to a flow, and how audited policies would change it.

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

/// How the verdict would change with all audited policies in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audit {
    /// Allowed now, denied then.
    WouldDeny,
    /// Denied now, allowed then.
    WouldAllow,
}

impl Audit {
    /// From the verdict now to the one then; `None` if it stays.
    pub fn between(now: Verdict, then: Verdict) -> Option<Audit> {
        match (now, then) {
            (Verdict::Allow, Verdict::Deny) => Some(Audit::WouldDeny),
            (Verdict::Deny, Verdict::Allow) => Some(Audit::WouldAllow),
            (Verdict::Allow, Verdict::Allow) | (Verdict::Deny, Verdict::Deny) => None,
        }
    }

    /// `would deny` or `would allow`.
    pub fn name(self) -> &'static str {
        match self {
            Audit::WouldDeny => "would deny",
            Audit::WouldAllow => "would allow",
        }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
