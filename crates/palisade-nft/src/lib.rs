//! Tables to an nftables ruleset, to a transaction, to the kernel and back.
//!
//! ```text
//! Tables --lower--> Ruleset --diff--> Transaction --Kernel::apply--> `nf_tables`
//!    \                 ^                   ^                              |
//!     \                +------------------ | ---------Kernel::read_back---+
//!      +--Held::lower_changes--------------+
//! ```
//!
//! The kernel holds the tables of [`Table`], and nothing here ever writes to another, but for the [`Translation`] of a laboratory and the elements of a
//! [`ForeignSet`] that its owner has us fill. A change to one is a
//! [`Transaction`] first: a value that can be printed, compared and thrown away.
//! How packets are judged is written in [`mod@lower`], under which addresses pods may send in [`sources`], and nowhere else.

pub mod bans;
mod conntrack;
mod dialogue;
mod diff;
mod foreign;
pub mod host;
mod kernel;
mod links;
mod log;
pub mod lower;
mod monitor;
mod plain_batch;
pub mod ruleset;
mod socket;
pub mod sources;
#[cfg(test)]
mod testing;
mod text;
mod transaction;
mod translation;
mod wire;

pub use bans::{Ban, BanHeld, lower_bans};
pub use conntrack::{Conntrack, Occupancy, Swept};
pub use diff::diff;
pub use foreign::{ForeignName, ForeignSet, ForeignTable, Ipset, SetError, default_drops, foreign_tables};
pub use host::{Guarded, HostHeld, lower_host};
pub use kernel::{Applied, ApplyError, Denials, GuardedCounts, Kernel, KernelError};
pub use links::{Interfaces, Links, Master, PodLink};
pub use log::{Headers, Log, Logged, LoggedPacket};
pub use lower::{Denial, Denied, Established, Generation, Held, Settings, lower};
pub use monitor::{Event, Monitor};
pub use ruleset::{InterfaceName, Ruleset, Table};
pub use sources::{Attached, Sources, lower_sources};
pub use transaction::{Counts, Operation, Transaction};
pub use translation::{Lead, Origin, Share, Translation};
