//! Policy meaning: from a snapshot of the cluster to the tables of one node.
//!
//! [`compile`] does it whole; a [`Compiler`] keeps what it derived and turns changes of the snapshot into the
//! few changes of the tables they cause. Both are the same code, since a whole is a change from nothing.
//!
//! Read in this order: `grants` (what the policies of a pod grant, rule by rule), `subject` (from grants to the
//! entries of one address), `atom` and `peers` (who is meant), `digest` (its name in the tables), `host` (the guards
//! of nodes), `server` (a server outside), `bans` (what is banned), `compiler` (what a change touches), `room` (how much of it a node holds).

mod atom;
mod bans;
mod cluster;
mod compiler;
mod digest;
mod grants;
mod host;
mod matching;
mod named;
mod peers;
mod ranges;
mod room;
mod server;
mod settings;
mod subject;

pub use compiler::Compiler;
pub use host::guards;
pub use matching::selects;
pub use server::{admissible, compile_server, server_compiler, server_policy};
pub use settings::{Settings, UnknownPods};

use palisade_core::{Change, NodeName, Snapshot, Tables};

/// The tables of one node, whole. Total and deterministic: the same snapshot gives the same tables, in whatever
/// order its objects came.
pub fn compile(snapshot: &Snapshot, node: &NodeName) -> Tables {
    let mut compiler = Compiler::new(node.clone());
    let changes: Vec<Change> = Snapshot::default().changes_to(snapshot);
    compiler.update(&changes);
    compiler.into_tables()
}
