//! Chores of the project that are too long for a test, and the tests that are short cases of them.

pub mod scenarios;
pub mod soak;
