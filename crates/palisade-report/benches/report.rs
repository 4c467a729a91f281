//! What the page costs: how long it takes to make, and how large it is.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use palisade_core::{Family, Labels, PodName, Snapshot, WorkloadKind, WorkloadName};
use palisade_report::Report;
use palisade_testkit::large::{Large, Variant, large};

/// Workloads of three pods each, ten namespaces to five hundred of them.
fn cluster(workloads: usize, policies: usize) -> Snapshot {
    let (families, variant) = (&Family::ALL, Variant::RangesAndBlocks);
    let mut snapshot = large(Large { pods: workloads, policies, local_pods: 100, families, variant, seed: 1 });
    for (name, mut pod) in std::mem::take(&mut snapshot.pods) {
        let (namespace, kind) = (name.namespace.clone(), WorkloadKind::Deployment);
        let made = Arc::make_mut(&mut pod);
        made.workload = Some(WorkloadName { namespace, kind, name: name.name.clone() });
        // A label of its own, as workloads have it.
        let mut labels = Labels::clone(&made.labels);
        labels.insert("instance".into(), name.to_string().into());
        made.labels = Arc::new(labels);
        for copy in 0..3 {
            let name = PodName::new(name.namespace.clone(), format!("{}-{copy}", name.name));
            snapshot.pods.insert(name, Arc::clone(&pod));
        }
    }
    snapshot
}

fn benchmark(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("page");
    group.sample_size(10);
    for (workloads, policies) in [(50, 50), (500, 500), (500, 0)] {
        let snapshot = cluster(workloads, policies);
        let report = Report { about: "bench", snapshot: &snapshot, findings: &[], left_out: None };
        let size = report.html().map(|page| page.len()).unwrap_or_default();
        let name = format!("{workloads} workloads, {policies} policies, {} kB", size / 1000);
        group.bench_function(name, |bencher| bencher.iter(|| black_box(&report).html().map(|page| page.len())));
    }
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
