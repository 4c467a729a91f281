//! What checks cost once the input is read, all together and beside what they read a second time.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use palisade_check::{Selection, check};
use palisade_core::Family;
use palisade_sources::{Options, SourceText, Written, parse};
use palisade_testkit::large::{Large, Variant, large};
use palisade_testkit::manifest::to_yaml;

fn benchmark(criterion: &mut Criterion) {
    for (pods, policies) in [(10_000, 1_000), (10_000, 10_000), (50, 2_000)] {
        let (families, variant) = (&Family::ALL, Variant::RangesAndBlocks);
        let cluster = large(Large { pods, policies, local_pods: 100, families, variant, seed: 1 });
        let sources = [SourceText { file: "large.yaml".into(), text: to_yaml(&cluster) }];
        let parsed = parse(&sources, &Options::default());
        let mut group = criterion.benchmark_group(format!("{pods} pods, {policies} policies"));
        group.sample_size(10);
        group.bench_function("what is written", |bencher| bencher.iter(|| Written::read(black_box(&sources))));
        group.bench_function("that and every check", |bencher| {
            bencher.iter(|| check(black_box(&sources), black_box(&parsed), &Selection::default()));
        });
        group.finish();
    }
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
