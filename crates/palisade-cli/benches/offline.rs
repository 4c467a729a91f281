//! What whole commands cost that read manifests: `cargo bench -p palisade-cli --bench offline`, with a part of a name to run only those.
//!
//! A command is a process of its own, from its start to its end: reading, judging and writing together.
#![expect(clippy::disallowed_methods, reason = "a benchmark writes the manifests that it names")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_core::{Family, Snapshot, WorkloadKind, WorkloadName};
use palisade_testkit::large::{Large, Variant, large};
use palisade_testkit::manifest;
use palisade_testkit::measure::{self, mebibytes, milliseconds, quantile};

/// How often a command runs.
const TIMES: usize = 7;
/// How often the memory of a command is looked at.
const LOOK: Duration = Duration::from_millis(1);

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let directory = tempfile::tempdir().unwrap();
    measure::machine();
    for (pods, policies) in [(10_000, 1_000), (50_000, 5_000)] {
        let (families, variant) = (&[Family::V4], Variant::RangesAndBlocks);
        let mut snapshot = large(Large { pods, policies, local_pods: 100, families, variant, seed: 1 });
        for (name, pod) in &mut snapshot.pods {
            let (workload, _) = name.name.split_once('-').unwrap_or((&name.name, ""));
            let (namespace, kind) = (name.namespace.clone(), WorkloadKind::StatefulSet);
            Arc::make_mut(pod).workload = Some(WorkloadName { namespace, kind, name: workload.into() });
        }
        let (yaml, json) = (manifest::to_yaml(&snapshot), json_list(&snapshot));
        println!("\n{pods} pods, {policies} policies");
        for (form, text) in [("json", &json), ("yaml", &yaml)] {
            let path = directory.path().join(form).with_extension(form);
            std::fs::write(&path, text).unwrap();
            for command in [["check", "--fail-on=error"], ["matrix", "-f"]] {
                let name = format!("{} of {form}", command[0]);
                if wanted.as_ref().is_none_or(|wanted| name.contains(wanted.as_str())) {
                    measured(&name, Command::new(env!("CARGO_BIN_EXE_palisade")).args(command), &path);
                }
            }
        }
    }
}

/// The objects as `kubectl get -o json` prints them.
fn json_list(snapshot: &Snapshot) -> String {
    let yaml = manifest::to_yaml(snapshot);
    let object = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
    let items: Vec<serde_json::Value> = yaml.split("---\n").map(object).collect();
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Runs a command on a file, several times, and prints what that took.
fn measured(name: &str, command: &mut Command, path: &Path) {
    command.arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    let (mut times, mut most) = (Vec::new(), 0);
    for _ in 0..TIMES {
        let started = Instant::now();
        let mut process = command.spawn().unwrap();
        let status = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status;
            }
            most = most.max(measure::memory(process.id()).map_or(0, |memory| memory.most));
            std::thread::sleep(LOOK);
        };
        times.push(started.elapsed());
        assert!(status.success(), "{name}: {status}");
    }
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let megabytes = std::fs::metadata(path).unwrap().len() as f64 / 1e6;
    let median = quantile(&times, 0.5);
    println!(
        "{name:<16} median {:>8} ms, longest {:>8} ms, {:>6.1} MiB at most, {:>5.1} MB read, {:>5.1} MB/s",
        milliseconds(median),
        milliseconds(quantile(&times, 1.0)),
        mebibytes(most),
        megabytes,
        megabytes / median.as_secs_f64(),
    );
}
