//! On a server outside of clusters: the nodes of clusters, live, in its firewall.
//!
//! ```text
//! API servers --follow--> cluster (what is believed) --host--> enforce --> table palisade_host of the kernel
//!                                                       \--> store (the next start, status)
//! ```
//!
//! A list becomes a host policy whose peers are addresses, so that what packets meet is that of an agent: compiler, table and repair.

pub mod cluster;
mod enforce;
mod export;
mod follow;
mod host;
mod run;
pub mod store;

pub use enforce::EnforceError;
pub use export::{ExportError, Exported, export};
pub use run::{RunError, Settings, cleanup, run};
