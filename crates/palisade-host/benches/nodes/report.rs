//! What is printed.

use std::time::Duration;

use palisade_testkit::measure::{Memory, mebibytes, milliseconds, quantile};

use crate::host::Used;

/// The width of the first column.
const NAME: usize = 46;

/// What starts took.
pub fn starts(name: &str, starts: &[Duration]) {
    let [median, longest] = [0.5, 1.0].map(|part| milliseconds(quantile(starts, part)));
    println!("{name:<NAME$} median {median} ms, longest {longest} ms, {} times", starts.len());
}

/// How long it took until changes were in force.
pub fn latencies(name: &str, times: &[Duration]) {
    let [median, most, longest] = [0.5, 0.99, 1.0].map(|part| milliseconds(quantile(times, part)));
    println!(
        "{name:<NAME$} median {median} ms, 99 % {most} ms (target <= 1,000), longest {longest} ms, {} times",
        times.len()
    );
}

/// How much memory the program has.
pub fn memory(name: &str, memory: Memory) {
    let [now, most] = [memory.now, memory.most].map(mebibytes);
    println!("{name:<NAME$} {now:.1} MiB (target <= 32), most {most:.1} MiB");
}

/// How much of a processor the program takes.
pub fn share(name: &str, used: Used) {
    let percent = used.processor.as_secs_f64() * 100.0 / used.of.as_secs_f64();
    println!("{name:<NAME$} {percent:.2} % of a core, {} ms", used.processor.as_millis());
}
