//! What exact sets cost once the input is read: classes, rules, and every edge between any two classes and with addresses outside.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use palisade_core::{Dialect, Family, PodName, Snapshot, WorkloadKind, WorkloadName};
use palisade_reach::{Diff, Reach};
use palisade_testkit::large::{Large, Variant, large};

/// A big cluster of workloads, each pod as many times as wanted: a workload of 10 pods is then one of `10 * times`.
fn cluster(pods: usize, times: usize, policies: usize) -> Snapshot {
    let (families, variant) = (&Family::ALL, Variant::RangesAndBlocks);
    let mut snapshot = large(Large { pods: pods / times, policies, local_pods: 100, families, variant, seed: 1 });
    for (name, mut pod) in std::mem::take(&mut snapshot.pods) {
        let (workload, _) = name.name.split_once('-').unwrap_or((&name.name, ""));
        let namespace = name.namespace.clone();
        let workload = WorkloadName { namespace, kind: WorkloadKind::Deployment, name: workload.into() };
        Arc::make_mut(&mut pod).workload = Some(workload);
        for copy in 0..times {
            let name = PodName::new(name.namespace.clone(), format!("{}-{copy}", name.name));
            snapshot.pods.insert(name, Arc::clone(&pod));
        }
    }
    snapshot
}

fn benchmark(criterion: &mut Criterion) {
    let clusters = [
        ("10,000 pods, 1,000 policies", cluster(10_000, 1, 1_000)),
        ("100,000 pods, 2,000 policies", cluster(100_000, 5, 2_000)),
        ("100,000 pods, no policy", cluster(100_000, 5, 0)),
    ];
    for (name, snapshot) in clusters {
        let reach = Reach::new(&snapshot, Dialect::Palisade);
        let mut group = criterion.benchmark_group(format!("{name}, {} classes", reach.classes().len()));
        group.sample_size(10);
        group.bench_function("classes and rules", |bencher| {
            bencher.iter(|| Reach::new(black_box(&snapshot), Dialect::Palisade));
        });
        group.bench_function("every edge", |bencher| bencher.iter(|| black_box(&reach).edges().count()));
        group.bench_function("difference to itself", |bencher| {
            bencher.iter(|| Diff::new(black_box(&reach), &reach).differences().count());
        });
        group.finish();
    }
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
