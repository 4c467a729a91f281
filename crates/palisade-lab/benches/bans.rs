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
use std::net::Ipv4Addr;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use palisade_compile::Compiler;
use palisade_core::{BanEntry, BanList, Change};
use palisade_lab::Netns;
use palisade_nft::{BanHeld, Kernel, Ruleset, Settings, Table, diff, lower_bans};
use palisade_testkit::rng::Rng;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BLOCKS: usize = 1_000_000;
/// Each block is in a /20 of its own, so that they are disjoint.
const SLOT_ADDRESSES: u32 = 1 << 12;
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
    let blocks = blocks(count);
    println!("{count} disjoint blocks of /20 to /32\n");
    let netns = Netns::create("the bans")?;
    netns.enter()?;
    let before = memory("VmRSS")?;
    let start = Instant::now();
    let mut compiler = Compiler::new("n1".into());
    let mut steps = compiler.update(&[list(&blocks)]);
    let compiled = start.elapsed();
    let settings = Settings::default();
    let mut kernel = Kernel::open_table(Table::Bans)?;
    let start = Instant::now();
    let want = lower_bans(&compiler.tables().bans, &settings);
    let applied = kernel.apply(&diff(&Ruleset::nothing(Table::Bans), &want))?;
    let loaded = start.elapsed();
    drop(want);
    steps.clear();
    let mut held = BanHeld::of(&compiler.tables().bans, &settings);
    row("compile", compiled, "");
    row("load", loaded, &format!("{} commits, the longest {}", applied.commits, milliseconds(applied.longest)));
    println!(
        "{:<28} {} MiB, at most {} MiB",
        "memory of the process",
        memory("VmRSS")? - before,
        memory("VmHWM")? - before
    );
    let mut change = |blocks: &[IpNet]| -> Result<(Duration, Duration, Duration)> {
        let next = list(blocks);
        let start = Instant::now();
        let steps = compiler.update(&[next]);
        let compiled = start.elapsed();
        let (start, mut longest) = (Instant::now(), Duration::ZERO);
        for transaction in held.lower_changes(&steps) {
            longest = longest.max(kernel.apply(&transaction)?.longest);
        }
        Ok((compiled, start.elapsed(), longest))
    };
    let mut samples = Vec::new();
    for number in 0..CHANGES {
        let without = &blocks[..blocks.len() - 1];
        samples.push(change(if number % 2 == 0 { without } else { &blocks })?);
    }
    samples.sort_by_key(|(_, applied, _)| *applied);
    let (compiled, applied, longest) = samples[samples.len() / 2];
    let note = format!("compiled in {}; longest commit {}", milliseconds(compiled), milliseconds(longest));
    row("one more, one less", applied, &note);
    let (mut total, mut longest) = (Duration::ZERO, Duration::ZERO);
    for second in 1..=SECONDS {
        let left = blocks.len() - (EXPIRING.min(count) * second / SECONDS).min(blocks.len());
        let (compiled, applied, commit) = change(&blocks[..left])?;
        total += compiled + applied;
        longest = longest.max(commit);
    }
    row("100,000 expire in a minute", total, &format!("longest commit {}", milliseconds(longest)));
    kernel.remove_table()?;
    beside("nft -f", Command::new("nft").args(["-f", "-"]), &nft(&blocks));
    beside("ipset restore", Command::new("ipset").arg("restore"), &ipset(&blocks));
    Ok(())
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

fn blocks(count: usize) -> Vec<IpNet> {
    let mut rng = Rng::new(1);
    let mut blocks = Vec::with_capacity(count);
    for slot in 0..u32::MAX / SLOT_ADDRESSES {
        let offset = u32::try_from(rng.below(SLOT_ADDRESSES as usize)).unwrap_or(0);
        let length = u8::try_from(20 + rng.below(13)).unwrap_or(32);
        let first = Ipv4Addr::from(slot * SLOT_ADDRESSES + offset);
        if first.is_loopback() || first.is_link_local() || first.is_multicast() || first.octets()[0] == 0 {
            continue;
        }
        blocks.push(IpNet::V4(Ipv4Net::new_assert(first, length).trunc()));
        if blocks.len() == count {
            break;
        }
    }
    blocks
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

/// In MiB.
fn memory(field: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kibibytes: u64 = line.and_then(|line| line.split_whitespace().next()).ok_or("no such field")?.parse()?;
    Ok(kibibytes >> 10)
}
