//! What checks cost, all together, and beside the reading of the input.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use palisade_check::{Selection, check};
use palisade_core::Family;
use palisade_sources::{Options, SourceText, parse_written};
use palisade_testkit::large::{Large, Variant, large};
use palisade_testkit::manifest::to_yaml;

fn benchmark(criterion: &mut Criterion) {
    for (pods, policies) in [(10_000, 1_000), (10_000, 10_000), (50, 2_000)] {
        let (families, variant) = (&Family::ALL, Variant::RangesAndBlocks);
        let cluster = large(Large { pods, policies, local_pods: 100, families, variant, seed: 1 });
        let sources = [SourceText { file: "large.yaml".into(), text: to_yaml(&cluster) }];
        let mut group = criterion.benchmark_group(format!("{pods} pods, {policies} policies"));
        group.sample_size(10);
        let read = || parse_written(black_box(&sources), &Options::default());
        group.bench_function("reading", |bencher| bencher.iter(read));
        group.bench_function("every check", |bencher| {
            let checked = |(parsed, written)| check(&parsed, written, &Selection::default());
            bencher.iter_batched(read, checked, BatchSize::PerIteration);
        });
        group.finish();
    }
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
