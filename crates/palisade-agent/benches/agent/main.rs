//! What the agent costs on one node of a big cluster: how soon what the API server says is in force, processor time, memory.
//!
//! `cargo bench -p palisade-agent --bench agent` takes about five minutes, with `-- --quick` about one, with `-- --bans` a million bans alone. The agent is
//! a process of its own in a network namespace of its own, told by the API server for tests, which runs in this process. An
//! ordinary user may run it. Times are those of this machine, and of what else it does: compare the figures of one run.
#![expect(clippy::disallowed_methods, reason = "a benchmark starts processes and looks into /proc")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails")]

mod agent;
mod changes;
mod objects;
mod report;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use palisade_core::{Family, NamespaceName, Snapshot};
use palisade_testapi::{Resource, TestApi};
use palisade_testkit::blocks::disjoint_blocks;
use palisade_testkit::large::{Large, Variant, large};
use palisade_testkit::measure;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use agent::{Agent, State};
use changes::{Subject, change, change_list, churn};
use objects::{ban_list, objects};

/// How much is measured.
struct Plan {
    starts: usize,
    /// Pairs of creating and deleting.
    pairs: usize,
    churn: Duration,
    idle: Duration,
    /// Also a cluster of 100,000 pods.
    huge: bool,
}

const FULL: Plan =
    Plan { starts: 5, pairs: 150, churn: Duration::from_secs(20), idle: Duration::from_secs(10), huge: true };
const QUICK: Plan =
    Plan { starts: 2, pairs: 40, churn: Duration::from_secs(5), idle: Duration::from_secs(3), huge: false };

/// After a start, so that the state file is written and what was taken in is let go.
const REST: Duration = Duration::from_secs(4);
/// Longer than it takes to read a million bans.
const LISTS_REST: Duration = Duration::from_secs(15);
const LOOPBACK: u32 = 1;

const BLOCKS: usize = 1_000_000;
/// The most entries of a list.
const ENTRIES_MAX: usize = 16_384;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, told] = arguments.as_slice()
        && first == "agent"
    {
        return agent::run(told);
    }
    if let Err(error) = palisade_lab::become_root() {
        eprintln!("error: {error}\nhint: {}", error.hint());
        return ExitCode::FAILURE;
    }
    // An ordinary user does not get it, and is measured beside what else the machine does.
    let _ = rustix::process::setpriority_process(None, -20);
    let _node = palisade_lab::Netns::create("the node").unwrap();
    raise_loopback();
    let asks = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    measure::machine();
    if asks("--bans") {
        bans();
    } else {
        measure(if asks("--quick") { &QUICK } else { &FULL });
    }
    ExitCode::SUCCESS
}

fn raise_loopback() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        let up = LinkMessageBuilder::<LinkUnspec>::default().index(LOOPBACK).up().build();
        handle.link().set(up).execute().await.unwrap();
    });
}

fn measure(plan: &Plan) {
    let cluster = cluster(10_000, 1_000);
    let (api, local) = (api(&cluster), namespaces_here(&cluster));
    report::section("10,000 pods, 1,000 policies");
    starts(&api, plan.starts);
    let mut agent = Agent::start(&api, State::Fresh);
    agent.in_force();
    std::thread::sleep(REST);
    let memory = agent.memory();
    report::memory("memory at rest", memory);
    let before = agent.processor();
    std::thread::sleep(plan.idle);
    report::share("processor at rest", agent.processor().saturating_sub(before), plan.idle);
    for subject in Subject::ALL {
        let times = change(&api, &mut agent, subject, &local, plan.pairs);
        report::latencies(subject.name(), &times);
    }
    let churned = churn(&api, &mut agent, plan.churn);
    report::latencies("while 100 pods a second come and go", &churned.times);
    report::share("processor meanwhile", churned.processor, plan.churn);
    report::memory("memory afterwards", agent.memory());
    drop((agent, api, cluster));
    if plan.huge {
        huge(plan, memory.now);
        bans();
    }
}

fn starts(api: &TestApi, rounds: usize) {
    let (mut fresh, mut again) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        fresh.push(Agent::start(api, State::Fresh).in_force());
        again.push(Agent::start(api, State::Kept).in_force());
    }
    report::starts("start with an empty kernel", &fresh);
    report::starts("start with the rules still there", &again);
}

fn huge(plan: &Plan, before: u64) {
    let cluster = cluster(100_000, 10_000);
    let (api, local) = (api(&cluster), namespaces_here(&cluster));
    drop(cluster);
    report::section("100,000 pods, 10,000 policies");
    let mut agent = Agent::start(&api, State::Fresh);
    let start = agent.in_force();
    report::starts("start with an empty kernel", &[start]);
    std::thread::sleep(REST);
    let memory = agent.memory();
    report::memory("memory at rest", memory);
    report::slope("a pod more, and a tenth of a policy", memory.now.saturating_sub(before), 90_000);
    for subject in Subject::ALL {
        report::latencies(subject.name(), &change(&api, &mut agent, subject, &local, plan.pairs));
    }
}

/// A million blocks in as many lists as they need.
fn bans() {
    let api = api(&cluster(10, 1));
    let blocks = disjoint_blocks(BLOCKS);
    for (number, blocks) in blocks.chunks(ENTRIES_MAX).enumerate() {
        api.put(ban_list(number, blocks));
    }
    report::section("a million blocks banned, in lists of 16,384");
    for (name, state) in
        [("start with an empty kernel", State::Fresh), ("start with the bans still there", State::Kept)]
    {
        let mut agent = Agent::start(&api, state);
        report::whole(name, agent.at_rest(LISTS_REST));
        report::memory("  memory at rest", agent.memory());
        if state == State::Fresh {
            report::latencies("one block less, one more", &change_list(&api, &mut agent, &blocks[..ENTRIES_MAX]));
            report::memory("  memory afterwards", agent.memory());
        }
    }
}

fn cluster(pods: usize, policies: usize) -> Snapshot {
    let variant = Variant::RangesAndBlocks;
    large(Large { pods, policies, local_pods: 100, families: &Family::ALL, variant, seed: 1 })
}

/// The namespaces that have pods on the node.
fn namespaces_here(cluster: &Snapshot) -> Vec<NamespaceName> {
    let here = cluster.pods.iter().filter(|(_, pod)| pod.node.as_deref() == Some("n1"));
    let names: BTreeSet<NamespaceName> = here.map(|(name, _)| name.namespace.clone()).collect();
    names.into_iter().collect()
}

fn api(cluster: &Snapshot) -> TestApi {
    let api = TestApi::start();
    for (plural, kind) in [("nodestates", "NodeState"), ("hostpolicies", "HostPolicy"), ("banlists", "BanList")] {
        api.register(Resource::new("palisade.dev/v1alpha1", plural, kind).cluster_scoped().without_status());
    }
    for object in objects(cluster) {
        api.put(object);
    }
    api
}
