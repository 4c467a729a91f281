//! What benchmarks measure besides time, and how they print it.
#![expect(clippy::disallowed_methods, reason = "/proc says what machine this is, and what a process uses")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::time::Duration;

/// What Linux counts processor time in, for programs: `USER_HZ`.
const TICKS_PER_SECOND: u32 = 100;

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// At this moment.
    pub now: u64,
    /// At most so far.
    pub most: u64,
}

/// Prints what this was measured on.
pub fn machine() {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("?");
    let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    println!("{processors} ×{}, Linux {}", model.trim_matches(['\t', ':']), kernel.trim());
    println!("what else the machine does: load {}", load.split(' ').next().unwrap_or("?"));
}

/// The processor time of a process so far.
///
/// # Panics
///
/// If it is gone.
pub fn processor(process: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name of the program, which may hold spaces, is in parentheses; utime and stime are fields 14 and 15.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_secs(ticks) / TICKS_PER_SECOND
}

/// The memory of a process; `None` if it has ended.
pub fn memory(process: u32) -> Option<Memory> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
    };
    Some(Memory { now: field("VmRSS")?, most: field("VmHWM")? })
}

/// The value that this part of the values do not exceed: 0.5 is the median, 1 the greatest.
pub fn quantile(values: &[Duration], part: f64) -> Duration {
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

/// A duration for people, in ms.
pub fn milliseconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1e3)
}

/// Bytes for people, in MiB.
pub fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}
