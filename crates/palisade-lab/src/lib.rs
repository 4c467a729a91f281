//! A laboratory: pods as network namespaces on this machine, the rules of every node in force, real packets between
//! them, and three witnesses of every flow.
//!
//! ```text
//! Snapshot --Lab::start, Lab::enforce--> namespaces, links, rules
//! Snapshot --plan--> flows --Case::of--> packets --witness--> Report
//! ```
//!
//! **Order of calls.** [`become_root`] and [`exec::exec`] work only in a process with a single thread: call
//! them before anything else starts one ([`Lab::start`] does). `exec` must not come after `become_root`.
//!
//! **Nothing is left behind.** All namespaces, links and rules hang on descriptors of the process that holds the [`Lab`]. When
//! it ends, by whatever signal, the kernel takes them away. A command run by `exec` dies with it.

mod enforce;
mod error;
pub mod exec;
mod link;
mod lists;
mod netns;
mod plan;
mod probe;
mod progress;
mod rendezvous;
mod rootless;
mod services;
mod session;
mod sys;
mod topology;
mod witness;

pub use error::LabError;
pub use netns::Netns;
pub use plan::plan;
pub use probe::{Outcome, Progress};
pub use progress::progress_bar;
pub use rendezvous::Rendezvous;
pub use rootless::{RootlessError, become_root};
pub use session::Lab;
pub use topology::{CONTROL_NETWORKS, Place};
pub use witness::{Case, Reach, Report, Row, Testimony, Verdicts, witness};
