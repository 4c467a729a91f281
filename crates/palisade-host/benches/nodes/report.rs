//! What is printed.

use std::time::Duration;

use crate::host::{Memory, Used};

/// The width of the first column.
const NAME: usize = 46;

/// What this was measured on.
pub fn machine() {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("?");
    let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    println!("{processors} ×{}, Linux {}", model.trim_matches(['\t', ':']), kernel.trim());
    println!("what else the machine does: load {}", load.split(' ').next().unwrap_or("?"));
}

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

fn quantile(values: &[Duration], part: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = ((sorted.len().saturating_sub(1)) as f64 * part).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1e3)
}

fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}
