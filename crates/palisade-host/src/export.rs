//! The addresses in files, for firewalls of others.

mod kept;
mod once;
mod text;

pub use kept::{ExportState, Finished, Kept};
pub use once::{ExportError, Exported, export};
pub use text::{Addresses, TextError};
