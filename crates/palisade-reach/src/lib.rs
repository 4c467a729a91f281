//! Who reaches whom, as exact sets, and what a change makes of it.
//!
//! [`Reach`] is what the policies of a snapshot come to: pods that no rule tells apart are one [`Class`], addresses outside are ranges, and
//! what passes between two ends is a [`TrafficSet`] for each family. Nothing is sampled. [`Reach::edges`] lists it, [`Diff`]
//! compares two of them.
//!
//! Read in this order: `port_set` and `traffic_set` (what passes), `space` (addresses as far as blocks tell them apart), `class` (pods likewise),
//! `reach` (what rules come to), `edge` (one line of it), `diff`.

mod bits;
mod class;
mod diff;
mod edge;
mod port_set;
mod reach;
mod space;
mod traffic_set;

pub use class::Class;
pub use diff::{Diff, Difference, Step};
pub use edge::{Edge, Party, united};
pub use port_set::PortSet;
pub use reach::{Families, Reach};
pub use traffic_set::{TrafficError, TrafficSet};
