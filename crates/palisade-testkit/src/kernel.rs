//! Test programs without a harness, whose threads would forbid entering a user namespace.
//!
//! `PALISADE_REQUIRE_KERNEL` makes it a failure if the kernel does not give what they need.

use std::fmt;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Instant;

/// A test: its name, and what fails by panicking.
pub type Test = (&'static str, fn());

/// The part of names that `cargo test NAME` passes; options of the harness mean nothing here.
pub fn filter<'a>(words: &[&'a str]) -> &'a str {
    words.iter().find(|word| !word.starts_with('-')).copied().unwrap_or_default()
}

/// Says why nothing was tried.
pub fn skipped(why: impl fmt::Display) -> ExitCode {
    println!("SKIPPED: {why}");
    let required = std::env::var_os("PALISADE_REQUIRE_KERNEL").is_some();
    if required { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs the tests that have the filter in their names, one after another.
pub fn run(tests: &[Test], filter: &str) -> ExitCode {
    let mut ok = true;
    for (name, test) in tests.iter().filter(|(name, _)| name.contains(filter)) {
        let start = Instant::now();
        let passed = catch_unwind(test).is_ok();
        println!("{name} ... {} ({:.1} s)", if passed { "ok" } else { "FAILED" }, start.elapsed().as_secs_f64());
        ok &= passed;
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
