//! On a server outside of clusters: the nodes of clusters, live, in its firewall.
//!
//! ```text
//!                                                   +--> enforce --> table palisade_host, or sets of others
//! API servers --follow--> cluster (what is believed) --host--> export --> files and commands
//!                                                   +--> store (the next start, status)
//! ```
//!
//! A list becomes a host policy whose peers are addresses, so that what packets meet is that of an agent: compiler, table and repair.
//! Where pods single out nodes, `roster` puts them together. What people ask of a running program comes by `request`, and what systemd and
//! Prometheus want to know goes by `notify` and `metrics`; `beside` tells what other firewalls make of it.

mod beside;
pub mod cluster;
mod confirming;
mod enforce;
mod export;
mod follow;
mod host;
mod metrics;
mod notify;
pub mod request;
mod roster;
mod run;
pub mod store;

pub use enforce::EnforceError;
pub use export::{Addresses, ExportError, ExportState, Exported, TextError, export};
pub use follow::unusable;
pub use run::{Ended, RunError, Settings, cleanup, run};
