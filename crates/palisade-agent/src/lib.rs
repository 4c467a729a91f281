//! The agent on a node: what the API server says, in force in the kernel within milliseconds.
//!
//! ```text
//! watch (one task a kind) ──┐
//! config files, ban sources ┤
//! people (socket, http)   ──┼─ Message ─> engine ── changes ─> programming ── transaction ─> kernel
//! the kernel's own news   ──┘                │                     (compile, lower, apply)
//!                                            └── report, metrics, state file
//! ```
//!
//! Read in this order: `settings`, `message` (what can happen), `engine` (what follows from it), `programming` (how it reaches
//! the kernel), `binding` (which addresses pods may send under), `state` and `restore` (what survives the agent and the boot), `watch`
//! (the API server), `config` (files of kube-restrict-ip), `ban_files` and `feeds` (ban lists in files, and their sources), `listening`
//! (the kernel's news), `run` (threads and sockets). What is seen of it: `report`, `control` (the socket), `denials`, `metrics` and
//! `http`, `node_state`, `events`, `wait` and `bans` (the cluster's view), `policy_status` (what all agents say, told by the one that
//! holds a `lease`), `preflight` (what stands in the way).

mod api_server;
mod backoff;
pub mod ban_files;
mod ban_list;
pub mod bans;
mod binding;
pub mod cleanup;
mod client;
mod config;
mod confirm;
pub mod control;
mod crowd;
mod definition;
pub mod denials;
mod digest;
mod engine;
mod events;
mod feeds;
pub mod file_news;
pub mod files;
mod host_policy;
mod host_unit;
pub mod http;
mod lease;
mod listening;
mod message;
mod metrics;
pub mod namespace;
pub mod node_state;
mod policy_kind;
mod policy_status;
mod preflight;
mod programming;
mod protected;
mod repeated;
pub mod report;
pub mod restore;
mod run;
mod settings;
mod signals;
mod state;
pub mod wait;
mod watch;

pub use backoff::Steadiness;
pub use ban_list::ban_list_definition;
pub use client::{ClientError, client};
pub use host_policy::host_policy_definition;
pub use k8s_openapi::jiff::Timestamp;
pub use run::{RunError, run};
pub use settings::{BAN_FILES, BootRestore, ELEMENTS_PER_NODE, Enforce, Settings, state_directory};
pub use signals::terminated;
pub use watch::{chain, told_by_api_server};
