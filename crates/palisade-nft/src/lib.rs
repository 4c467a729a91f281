//! Tables to an nftables ruleset, to a transaction, to the kernel and back.
//!
//! ```text
//! Tables --lower--> Ruleset --diff--> Transaction --Kernel::apply--> nf_tables
//!    \                 ^                   ^                              |
//!     \                +------------------ | ---------Kernel::read_back---+
//!      +--Held::lower_changes--------------+
//! ```
//!
//! The kernel holds one table, `inet palisade`, and nothing here ever names another. A change to it is a
//! [`Transaction`] first: a value that can be printed, compared and thrown away.
//! How packets are judged is written in [`mod@lower`] and nowhere else.

mod diff;
pub mod lower;
pub mod ruleset;
mod text;
mod transaction;

pub use diff::diff;
pub use lower::{Generation, Held, lower};
pub use ruleset::Ruleset;
pub use transaction::{Counts, Operation, Transaction};
