//! How long it takes until tables are in force: all of them into an empty kernel, and one pod.

use std::sync::Arc;
use std::time::Instant;

use palisade_compile::{Compiler, compile};
use palisade_core::{Change, Family, Pod, PodName, Snapshot};
use palisade_nft::{Generation, Held, Ruleset, Settings, Transaction, diff, lower};

use crate::Result;
use crate::cluster::{Admission, Cluster, Scale, cluster, node};
use crate::router::Router;
use crate::sampling::quantile;

/// Times in milliseconds of one way from a cluster into the kernel.
#[derive(Debug, Default)]
pub(crate) struct Loading {
    pub(crate) compile: Vec<f64>,
    pub(crate) lower: Vec<f64>,
    pub(crate) diff: Vec<f64>,
    pub(crate) apply: Vec<f64>,
    pub(crate) elements: usize,
    pub(crate) commits: usize,
    pub(crate) bytes: usize,
}

/// Times in milliseconds of one change.
#[derive(Debug, Default)]
pub(crate) struct Changing {
    pub(crate) compile: Vec<f64>,
    pub(crate) lower: Vec<f64>,
    pub(crate) apply: Vec<f64>,
    pub(crate) whole: Vec<f64>,
    /// The most elements that one of the changes added or deleted.
    pub(crate) elements: usize,
}

/// Loads all tables into an empty kernel.
pub(crate) fn load(scale: Scale, admission: Admission, rounds: usize) -> Result<Loading> {
    let Cluster { snapshot, .. } = cluster(scale, admission, Family::V4);
    let mut router = Router::new()?;
    let mut loading = Loading::default();
    for _ in 0..rounds {
        router.kernel.remove_table()?;
        let tables = timed(&mut loading.compile, || compile(&snapshot, &node()));
        let ruleset = timed(&mut loading.lower, || lower(&tables, &Settings::default(), Generation::FIRST));
        let transaction = timed(&mut loading.diff, || diff(&Ruleset::default(), &ruleset));
        let applied = timed(&mut loading.apply, || router.kernel.apply(&transaction))?;
        loading.elements = transaction.counts().elements_added;
        (loading.commits, loading.bytes) = (applied.commits, applied.bytes);
    }
    Ok(loading)
}

/// Takes a pod away and brings it back, with every connection judged again each time.
pub(crate) fn change(scale: Scale, local: bool, rounds: usize) -> Result<Changing> {
    let Cluster { snapshot, .. } = cluster(scale, Admission::ExactPort, Family::V4);
    let (name, pod) = a_pod(&snapshot, local)?;
    let mut router = Router::new()?;
    let mut compiler = Compiler::new(node());
    compiler.update(&Snapshot::default().changes_to(&snapshot));
    let mut generation = Generation::FIRST;
    router.enforce(&lower(compiler.tables(), &Settings::default(), generation))?;
    let mut held = Held::of(compiler.tables(), &Settings::default(), generation);
    let mut changing = Changing::default();
    for round in 0..rounds {
        let state = (round % 2 == 1).then(|| Arc::clone(pod));
        let changes = [Change::Pod(name.clone(), state)];
        generation = generation.next();
        let start = Instant::now();
        let steps = timed(&mut changing.compile, || compiler.update(&changes));
        let transaction = timed(&mut changing.lower, || held.lower_changes(&steps, Some(generation)));
        timed(&mut changing.apply, || router.kernel.apply(&transaction))?;
        changing.whole.push(milliseconds(start));
        changing.elements = changing.elements.max(elements(&transaction));
    }
    if router.kernel.read_back()? != Some(lower(compiler.tables(), &Settings::default(), generation)) {
        return Err("after the changes the kernel does not hold what it should".into());
    }
    Ok(changing)
}

/// The time of a diff of two whole rulesets between which a remote pod went, in milliseconds.
pub(crate) fn diff_of_rulesets(scale: Scale, rounds: usize) -> Result<f64> {
    let Cluster { mut snapshot, tables, .. } = cluster(scale, Admission::ExactPort, Family::V4);
    let have = lower(&tables, &Settings::default(), Generation::FIRST);
    let (name, _) = a_pod(&snapshot, false)?;
    let name = name.clone();
    snapshot.pods.remove(&name);
    let want = lower(&compile(&snapshot, &node()), &Settings::default(), Generation::FIRST);
    let mut times = Vec::new();
    for _ in 0..rounds {
        timed(&mut times, || diff(&have, &want));
    }
    Ok(quantile(&times, 0.5))
}

/// The first pod that is on the node; or the first on another node that a group of its own namespace has in it.
fn a_pod(snapshot: &Snapshot, local: bool) -> Result<(&PodName, &Arc<Pod>)> {
    let wanted = |name: &PodName, pod: &Pod| {
        &*name.namespace == "ns-0" && name.name.starts_with("w0-") && (pod.node == Some(node())) == local
    };
    snapshot.pods.iter().find(|(name, pod)| wanted(name, pod)).ok_or_else(|| "no such pod".into())
}

fn elements(transaction: &Transaction) -> usize {
    let counts = transaction.counts();
    counts.elements_added + counts.elements_deleted
}

fn timed<T>(times: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    times.push(milliseconds(start));
    result
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
