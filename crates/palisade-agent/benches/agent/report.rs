//! What is printed.

use std::time::Duration;

use palisade_testkit::measure::{Memory, mebibytes, milliseconds, quantile};

use crate::agent::Start;
use crate::changes::Times;

/// The width of the first column.
const NAME: usize = 40;

/// What is measured from here on.
pub fn section(cluster: &str) {
    println!("\n{cluster}");
}

/// What starts took.
pub fn starts(name: &str, starts: &[Start]) {
    let of = |value: fn(&Start) -> Duration| {
        let values: Vec<Duration> = starts.iter().map(value).collect();
        quantile(&values, 0.5)
    };
    let longest = starts.iter().map(|start| start.longest_commit).max().unwrap_or_default();
    println!(
        "{name:<NAME$} after the lists {} ms (target <= 1,000; 5,000 at 100,000 pods), whole {} ms, {} operations, longest commit {} ms (target <= 50)",
        milliseconds(of(|start| start.after_lists)),
        milliseconds(of(|start| start.whole)),
        starts.iter().map(|start| start.operations).max().unwrap_or_default(),
        milliseconds(longest),
    );
}

/// What a start took until nothing more came into force.
pub fn whole(name: &str, took: Duration) {
    println!("{name:<NAME$} all in force after {} ms, reading the lists included", milliseconds(took));
}

/// How long changes took.
pub fn latencies(name: &str, times: &Times) {
    for (name, times) in [(name, &times.whole), ("  of that in the agent", &times.inside)] {
        if times.is_empty() {
            continue;
        }
        println!(
            "{name:<NAME$} median {} ms, 99 % {} ms (target <= 10), longest {} ms, {} times",
            milliseconds(quantile(times, 0.5)),
            milliseconds(quantile(times, 0.99)),
            milliseconds(quantile(times, 1.0)),
            times.len(),
        );
    }
    println!(
        "{:<NAME$} {} ms (target <= 50); {} more changes meant nothing here",
        "  longest commit",
        milliseconds(times.longest_commit),
        times.idle
    );
}

/// How much memory the agent has.
pub fn memory(name: &str, memory: Memory) {
    println!(
        "{name:<NAME$} {:.1} MiB (target <= 64 at 10,000 pods), most {:.1} MiB",
        mebibytes(memory.now),
        mebibytes(memory.most)
    );
}

/// What one pod more takes.
pub fn slope(name: &str, bytes: u64, pods: u64) {
    println!("{name:<NAME$} {} bytes (target <= 1,024)", bytes / pods);
}

/// How much of a processor the agent takes.
pub fn share(name: &str, processor: Duration, of: Duration) {
    let percent = processor.as_secs_f64() * 100.0 / of.as_secs_f64();
    println!("{name:<NAME$} {percent:.1} % of a core (target < 10 while pods come and go)");
}
