//! A laboratory.
mod error;
mod link;
mod netns;
pub mod probe;
pub mod rootless;
pub mod session;
mod sys;
mod topology;

pub use error::LabError;
pub use probe::{Outcome, Progress};
pub use session::Lab;
