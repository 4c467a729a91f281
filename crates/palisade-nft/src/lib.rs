//! Tables to an nftables ruleset, to a transaction, to the kernel and back.
//!
//! ```text
//! Tables --lower--> Ruleset --diff--> Transaction --Kernel::apply--> `nf_tables`
//!    \                 ^                   ^                              |
//!     \                +------------------ | ---------Kernel::read_back---+
//!      +--Held::lower_changes--------------+
//! ```
//!
//! The kernel holds one table, `inet palisade`, and nothing here ever names another. A change to it is a
//! [`Transaction`] first: a value that can be printed, compared and thrown away.
//! How packets are judged is written in [`mod@lower`] and nowhere else.

mod diff;
mod kernel;
pub mod lower;
mod monitor;
pub mod ruleset;
mod socket;
#[cfg(test)]
mod testing;
mod text;
mod transaction;
mod wire;

pub use diff::diff;
pub use kernel::{Applied, ApplyError, Kernel, KernelError};
pub use lower::{Generation, Held, lower};
pub use monitor::{Event, Monitor};
pub use ruleset::Ruleset;
pub use transaction::{Counts, Operation, Transaction};
