//! Chores of the project that are too long for a test, and the tests that are short cases of them.

pub mod bed;
pub mod crowd;
pub mod e2e;
pub mod image;
pub mod latency;
pub mod probe;
pub mod scenarios;
pub mod soak;
