//! A laboratory.
mod error;
mod link;
mod netns;
pub mod rootless;
mod sys;
mod topology;
