//! What the policies of a snapshot mean for a flow.
//!
//! [`resolve`](resolve::resolve) turns a flow as written into the packets it stands for, through Services where they lead, and
//! [`decide`](decide::decide) judges one packet by the text of the API, [`explain`](explain::explain) a whole
//! flow. That reading is naive on purpose: it loops over everything and keeps no index, so that it can judge
//! the compiler, with which it shares no code. [`walk`](walk::walk) runs a packet through what the compiler made.

mod ban;
pub mod decide;
mod door;
pub mod explain;
mod host;
pub mod host_reason;
mod matching;
pub mod packet;
pub mod reason;
pub mod resolve;
mod rule;
mod server;
pub mod server_reason;
pub mod walk;

pub use ban::{Spared, Standing, standings};
pub use decide::{audited, decide, decide_as, isolators};
pub use explain::{Answer, Explanation, explain, explain_as};
pub use host_reason::{HostDecision, HostOutcome};
pub use matching::selects;
pub use packet::{Door, Endpoint, Owner, Packet, Via};
pub use reason::{Banned, Decision, DirectionDecision, Outcome, Shadow};
pub use resolve::{ResolveError, endpoints, owners, resolve};
pub use server_reason::{ServerDecision, ServerOutcome};
pub use walk::{Trace, Way, walk};
