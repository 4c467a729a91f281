//! What compiling costs: a node with 100 pods of its own in a cluster of 10,000 under 1,000 policies, whole and for
//! one change. A change is timed with its way back, so that every round starts from the same state.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use palisade_compile::{Compiler, compile};
use palisade_core::{Change, Family, NodeName, Pod, PodName, Snapshot};
use palisade_testkit::large::{Large, Variant, large};

fn benchmark(criterion: &mut Criterion) {
    let node: NodeName = "n1".into();
    for (name, variant) in [("exact ports", Variant::ExactPorts), ("ranges and blocks", Variant::RangesAndBlocks)] {
        let snapshot =
            large(Large { pods: 10_000, policies: 1_000, local_pods: 100, families: &Family::ALL, variant, seed: 1 });
        let mut group = criterion.benchmark_group(format!("10,000 pods, 1,000 policies, {name}"));
        group.sample_size(20);
        group.bench_function("whole", |bencher| bencher.iter(|| compile(black_box(&snapshot), &node)));

        let mut compiler = Compiler::new(node.clone());
        compiler.update(&Snapshot::default().changes_to(&snapshot));
        let local = |pod: &Pod| pod.node.as_ref() == Some(&node);
        for (what, wanted) in [("a local pod", true), ("a remote pod", false)] {
            let (name, pod) = snapshot.pods.iter().find(|(_, pod)| local(pod) == wanted).expect("a pod of each");
            group.bench_function(format!("{what} goes and comes"), |bencher| {
                bencher.iter(|| {
                    let gone = compiler.update(&[Change::Pod(name.clone(), None)]);
                    let back = compiler.update(&[Change::Pod(name.clone(), Some(Arc::clone(pod)))]);
                    (gone, back)
                });
            });
        }
        let (name, _) = snapshot.pods.iter().find(|(_, pod)| local(pod)).expect("a local pod");
        let local_policy = |policy: &PodName| policy.namespace == name.namespace;
        let (name, policy) = snapshot.policies.iter().find(|(name, _)| local_policy(name)).expect("a policy there");
        group.bench_function("a policy goes and comes", |bencher| {
            bencher.iter(|| {
                let gone = compiler.update(&[Change::Policy(name.clone(), None)]);
                let back = compiler.update(&[Change::Policy(name.clone(), Some(Arc::clone(policy)))]);
                (gone, back)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
