//! What a large ban list costs: loading it, one block more or less, a hundred thousand that expire, and the same by other programs.
//!
//! `cargo bench -p palisade-lab --bench bans` takes about a minute, with `-- --quick` a tenth of the blocks. Everything happens in network
//! namespaces of its own; an ordinary user may run it. `nft` and `ipset` are measured beside it where they are installed.
#![expect(
    clippy::disallowed_methods,
    reason = "reads memory from /proc and runs the programs that are measured beside"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use palisade_compile::Compiler;
use palisade_core::{BanEntry, BanList, Change};
use palisade_lab::Netns;
use palisade_nft::{BanHeld, Kernel, Settings, Table, diff, lower_bans};
use palisade_testkit::blocks::disjoint_blocks;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BLOCKS: usize = 1_000_000;
const CHANGES: usize = 20;
/// What expires, and in how many steps: one a second for a minute.
const EXPIRING: usize = 100_000;
const SECONDS: usize = 60;

fn main() -> ExitCode {
    // Cargo passes `--bench`.
    let quick = std::env::args().any(|argument| argument == "--quick");
    if let Err(error) = palisade_lab::become_root() {
        eprintln!("error: {error}\nhint: {}", error.hint());
        return ExitCode::FAILURE;
    }
    match measure(if quick { BLOCKS / 10 } else { BLOCKS }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(count: usize) -> Result<()> {
    let blocks = disjoint_blocks(count);
    println!("{count} disjoint blocks of /20 to /32\n");
    let netns = Netns::create("the bans")?;
    netns.enter()?;
    let mut agent = Agent::load(&blocks)?;
    let mut samples = Vec::new();
    for number in 0..CHANGES {
        let without = &blocks[..blocks.len() - 1];
        samples.push(agent.change(list(if number % 2 == 0 { without } else { &blocks }))?);
    }
    samples.sort_by_key(|sample| sample.compiled + sample.applied);
    let median = samples[samples.len() / 2];
    let note =
        format!("compiled in {}; longest commit {}", milliseconds(median.compiled), milliseconds(median.longest));
    row("one more, one less", median.compiled + median.applied, &note);
    let (mut total, mut longest) = (Duration::ZERO, Duration::ZERO);
    for second in 1..=SECONDS {
        let left = blocks.len() - (EXPIRING.min(count) * second / SECONDS).min(blocks.len());
        let sample = agent.change(list(&blocks[..left]))?;
        total += sample.compiled + sample.applied;
        longest = longest.max(sample.longest);
    }
    row("100,000 expire in a minute", total, &format!("longest commit {}", milliseconds(longest)));
    agent.take_over()?;
    agent.kernel.remove_table()?;
    drop(agent);
    beside("nft -f", Command::new("nft").args(["-f", "-"]), &nft(&blocks));
    beside("ipset restore", Command::new("ipset").arg("restore"), &ipset(&blocks));
    Ok(())
}

/// What an agent holds of bans.
struct Agent {
    /// The list as it is now. To make it, and to give the former one up, is the cost of whoever reads it.
    list: Change,
    compiler: Compiler,
    held: BanHeld,
    kernel: Kernel,
}

/// What a change took.
#[derive(Clone, Copy)]
struct Sample {
    compiled: Duration,
    applied: Duration,
    longest: Duration,
}

impl Agent {
    /// Loads a list, and tells what it took.
    fn load(blocks: &[IpNet]) -> Result<Agent> {
        let before = (memory("VmRSS")?, kernel_memory()?);
        let start = Instant::now();
        let list = list(blocks);
        row("make the list", start.elapsed(), "");
        let start = Instant::now();
        let mut compiler = Compiler::new("n1".into());
        compiler.update(std::slice::from_ref(&list));
        let compiled = start.elapsed();
        let mut kernel = Kernel::open_table(Table::Bans)?;
        let start = Instant::now();
        let (first, stages) = BanHeld::stages(&compiler.tables().bans);
        let mut held = BanHeld::of(&first, &Settings::default());
        let (mut commits, mut longest) = (0, Duration::ZERO);
        for stage in stages {
            for transaction in held.lower_changes(&[stage]) {
                let applied = kernel.apply(&transaction)?;
                (commits, longest) = (commits + applied.commits, longest.max(applied.longest));
            }
        }
        row(
            "load",
            compiled + start.elapsed(),
            &format!(
                "compiled in {}; {commits} commits, the longest {}",
                milliseconds(compiled),
                milliseconds(longest)
            ),
        );
        let (now, most) = (memory("VmRSS")? - before.0, memory("VmHWM")? - before.0);
        let kernel_memory = kernel_memory()? - before.1;
        println!("{:<28} {now} MiB, at most {most} MiB; of the kernel {kernel_memory} MiB", "memory");
        Ok(Agent { list, compiler, held, kernel })
    }

    /// What the next agent does that finds it all in force: it reads the table back, and finds nothing to do.
    fn take_over(&mut self) -> Result<()> {
        let start = Instant::now();
        let have = self.kernel.read_back()?.ok_or("the table is gone")?;
        let transaction = diff(&have, &lower_bans(&self.compiler.tables().bans, &Settings::default()));
        if !transaction.is_empty() {
            return Err("the kernel does not hold what it was told to".into());
        }
        let most = memory("VmHWM")?;
        row("taken over", start.elapsed(), &format!("at most {most} MiB, all included"));
        Ok(())
    }

    fn change(&mut self, list: Change) -> Result<Sample> {
        let start = Instant::now();
        let steps = self.compiler.update(std::slice::from_ref(&list));
        let compiled = start.elapsed();
        self.list = list;
        let (start, mut longest) = (Instant::now(), Duration::ZERO);
        for transaction in self.held.lower_changes(&steps) {
            longest = longest.max(self.kernel.apply(&transaction)?.longest);
        }
        Ok(Sample { compiled, applied: start.elapsed(), longest })
    }
}

/// The same by another program.
fn beside(name: &str, command: &mut Command, text: &str) {
    let start = Instant::now();
    let run = command.stdin(Stdio::piped()).spawn().and_then(|mut child| {
        if let Some(mut input) = child.stdin.take() {
            input.write_all(text.as_bytes())?;
        }
        child.wait()
    });
    match run {
        Ok(status) if status.success() => row(name, start.elapsed(), ""),
        Ok(status) => println!("{name:<28} failed: {status}"),
        Err(error) => println!("{name:<28} not measured: {error}"),
    }
}

fn list(blocks: &[IpNet]) -> Change {
    let entry = |cidr: &IpNet| BanEntry { cidr: *cidr, expires: None, reason: None, from_source: false };
    let list = BanList { name: "bench".into(), entries: blocks.iter().map(entry).collect(), ..BanList::default() };
    Change::BanList(list.name.clone(), Some(Arc::new(list)))
}

fn nft(blocks: &[IpNet]) -> String {
    let mut text =
        "table inet beside {\n\tset banned {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = {\n".to_string();
    for block in blocks {
        let _ = writeln!(text, "{block},");
    }
    text + "}\n\t}\n}\n"
}

fn ipset(blocks: &[IpNet]) -> String {
    let mut text = format!("create beside hash:net family inet maxelem {}\n", blocks.len());
    for block in blocks {
        let _ = writeln!(text, "add beside {block}");
    }
    text
}

fn row(what: &str, took: Duration, note: &str) {
    println!("{what:<28} {:>10}   {note}", milliseconds(took));
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// What the process has, in MiB.
fn memory(field: &str) -> Result<u64> {
    mebibytes("/proc/self/status", field)
}

/// What the kernel of the whole machine has and cannot give back, in MiB: other programs are in it, too.
fn kernel_memory() -> Result<u64> {
    mebibytes("/proc/meminfo", "SUnreclaim")
}

fn mebibytes(path: &str, field: &str) -> Result<u64> {
    let text = std::fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kibibytes: u64 = line.and_then(|line| line.split_whitespace().next()).ok_or("no such field")?.parse()?;
    Ok(kibibytes >> 10)
}
