//! Input as users write it, and wrongly: nothing that is read may panic, hang or take the memory.
//!
//! - [`seed`] has texts that are right: the examples, the scenarios, and what neither has.
//! - [`Mutation`] is one of them with a few mistakes, of the kinds that people and templates make.
//! - [`targets`] has what is tried, one function for each kind of input.
//!
//! `tests/targets.rs` tries them with numbers at random, `fuzz/` at the root with what leads to new code.

pub mod mutation;
pub mod seed;
pub mod targets;
mod text;

pub use mutation::Mutation;
