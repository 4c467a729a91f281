//! Scenarios: Markdown files that say what must hold, run by every witness.
//!
//! The format is described in `scenarios/README.md`. A runner needs little more than
//!
//! ```no_run
//! # fn ask(_: &palisade_core::Snapshot, _: &palisade_core::Flow) -> Vec<(palisade_core::Family, palisade_core::Verdict)> { vec![] }
//! # fn run() -> Result<(), palisade_testkit::scenario::Error> {
//! for scenario in palisade_testkit::scenario::all()? {
//!     for moment in scenario.moments()? {
//!         // Make `moment.snapshot` the state of the witness, at every moment, so that it meets each change.
//!         for probe in moment.probes() {
//!             // Every packet of the flow must have the verdict of its family.
//!             for (family, verdict) in ask(&moment.snapshot, &probe.flow) {
//!                 assert_eq!(verdict, probe.verdicts.of(family), "{}:{}: {}", scenario.file, probe.line, probe.flow);
//!             }
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod files;
mod moments;
mod parse;

use std::fmt;
use std::sync::Arc;

use palisade_core::{Audit, Family, Flow, Level, Verdict};

pub use files::all;
pub use moments::Moment;
pub use parse::parse;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The file as it was named to [`parse`].
    pub file: Arc<str>,
    /// Its first heading.
    pub title: String,
    /// Its steps, numbered from 1 without gaps.
    pub steps: Vec<Step>,
}

/// A numbered heading with what stands under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number in the file.
    pub number: usize,
    /// The line of its heading, from 1.
    pub line: usize,
    /// What is done.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Objects come, or replace those of the same kind and name.
    Apply(Vec<Manifest>),
    /// Objects go.
    Delete(Vec<(usize, ObjectKey)>),
    /// Flows are sent.
    Probe(Vec<Probe>),
    /// The input has exactly these findings.
    Expect(Vec<Finding>),
}

/// One YAML document, or one config file of kube-restrict-ip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The line of the file on which the document begins.
    pub line: usize,
    /// Which object it is.
    pub key: ObjectKey,
    /// The document, as written.
    pub text: String,
}

impl ObjectKey {
    /// The kind of a config file of kube-restrict-ip: the key by which it is named.
    pub const CONFIG: &str = "ipChain";

    fn is_config(&self) -> bool {
        self.kind == ObjectKey::CONFIG
    }
}

/// What tells objects apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// `kind`.
    pub kind: String,
    /// `metadata.namespace`; `None` for nodes and namespaces.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

/// A flow and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its line in the file.
    pub line: usize,
    /// The flow.
    pub flow: Flow,
    /// The verdict of *each packet* that the flow stands for (every pod of a workload), by its family.
    pub verdicts: Verdicts,
    /// How audited policies would change the verdict of *each packet*; `None` if of none.
    pub audit: Option<Audit>,
    /// Text that the oracle's reasons must contain.
    pub reason: Option<String>,
}

/// A verdict for each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// In IPv4.
    pub v4: Verdict,
    /// In IPv6.
    pub v6: Verdict,
}

impl Verdicts {
    /// The verdict in one family.
    pub fn of(self, family: Family) -> Verdict {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// A diagnostic that the input must give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its line in the file.
    pub line: usize,
    /// The level.
    pub level: Level,
    /// Text that its object and message contain.
    pub text: String,
}

/// What is wrong with a scenario file, or with reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The file.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

impl std::error::Error for Error {}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl fmt::Display for Verdicts {
    /// `allow`, `deny`, or where the families differ `4 allow, 6 deny`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.v4 == self.v6 { write!(f, "{}", self.v4) } else { write!(f, "4 {}, 6 {}", self.v4, self.v6) }
    }
}
