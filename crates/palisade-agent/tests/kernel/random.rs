//! Random sequences of events, with faults of the API server: in the end the kernel holds what a fresh compile gives.

use std::sync::Arc;
use std::time::Duration;

use palisade_compile::UnknownPods;
use palisade_core::{NodeName, Pod, Snapshot};
use palisade_testapi::{Disturbance, Fault, Obstacle};
use palisade_testkit::mutate::mutate;
use palisade_testkit::random;
use palisade_testkit::rng::Rng;

use crate::objects::held_by_api;
use crate::world::World;

const WORLDS: u64 = 8;
const SEQUENCES: usize = 125;
/// Within this time live connections that a change forbids are cut.
const CUT: Duration = Duration::from_secs(1);
const KINDS: [&str; 6] = ["namespaces", "nodes", "pods", "networkpolicies", "hostpolicies", "banlists"];

/// 1,000 sequences, some of them with faults; real packets against the oracle now and then.
pub fn every_sequence_ends_as_a_fresh_compile() {
    let worlds: Vec<_> = (0..WORLDS).map(|seed| std::thread::spawn(move || sequences(seed))).collect();
    let judged: usize = worlds.into_iter().map(|world| world.join().unwrap()).sum();
    assert!(judged > 500, "only {judged} packets were judged");
    println!("  {WORLDS} times {SEQUENCES} sequences, {judged} packets");
}

fn sequences(seed: u64) -> usize {
    let mut rng = Rng::new(seed);
    let first = held_by_api(random::cluster(&mut rng));
    let node = first.nodes.keys().next().unwrap().clone();
    let mut world = World::without_agents(&first, UnknownPods::Allow);
    world.start_agent(&node);
    world.settle();
    let mut judged = 0;
    for number in 0..SEQUENCES {
        if rng.percent(15) {
            disturb(&world, &mut rng);
        }
        for _ in 0..rng.between(1, 4) {
            let next = next(&world, &mut rng);
            world.say(&next);
        }
        world.settle();
        if number % 25 == 24 {
            let now = world.snapshot.clone();
            world.lab.enforce(&now).unwrap();
            world.start_agents_anew();
            world.settle();
            // What a change forbids may live on for a moment, and a probe may be the same connection as one before.
            std::thread::sleep(CUT);
            judged +=
                world.agrees(random::flows(&now, &mut rng, 30).into_iter().filter(|flow| concerns(&now, flow, &node)));
        }
    }
    judged
}

/// The next state of the cluster. Nodes stay: one that changes is another namespace for the lab, without the agent.
pub fn next(world: &World, rng: &mut Rng) -> Snapshot {
    let mut next = held_by_api(mutate(&world.snapshot, rng));
    next.nodes = world.snapshot.nodes.clone();
    // The reader makes a node of what its pods tell of it.
    let nodes = &next.nodes;
    next.pods.retain(|_, pod| pod.node.as_ref().is_none_or(|node| nodes.contains_key(node)));
    for pod in next.pods.values_mut().filter(|pod| pod.host_network) {
        // The address of such a pod is its node's.
        let Some(node) = pod.node.as_ref().and_then(|node| next.nodes.get(node)) else { continue };
        if pod.addresses != node.addresses {
            *pod = Arc::new(Pod { addresses: node.addresses.clone(), ..(**pod).clone() });
        }
    }
    next
}

/// Only what the one node with an agent decides alone can be held against the oracle: every pod at an end runs there, ports of
/// other nodes are guarded there against its pods alone, and bans hold for what one of its ends has sent or is sent.
fn concerns(snapshot: &Snapshot, flow: &palisade_core::Flow, node: &NodeName) -> bool {
    let packets = palisade_sim::resolve(snapshot, flow, &palisade_core::Family::ALL).unwrap_or_default();
    let is_here = |end: &palisade_sim::Endpoint| match end.owner {
        palisade_sim::Owner::Pod(_) => end.node.as_ref() == Some(node),
        _ => true,
    };
    let guarded_here = |packet: &palisade_sim::Packet| {
        packet.destination.owner != palisade_sim::Owner::Node
            || packet.destination.node.as_ref() == Some(node)
            || matches!(packet.source.owner, palisade_sim::Owner::Pod(_))
    };
    let banned_here = |packet: &palisade_sim::Packet| {
        [&packet.source, &packet.destination].iter().any(|end| end.node.as_ref() == Some(node))
    };
    let decided_here = |packet: &palisade_sim::Packet| {
        is_here(&packet.source) && is_here(&packet.destination) && guarded_here(packet) && banned_here(packet)
    };
    packets.iter().all(decided_here)
}

fn disturb(world: &World, rng: &mut Rng) {
    let kind = rng.pick(&KINDS);
    let faults = world.api.faults();
    match rng.below(6) {
        0 => faults.add(Fault::event(kind, rng.pick(&DISTURBANCES))),
        1 => faults.add(Fault::request(kind, rng.pick(&OBSTACLES))),
        2 => faults.end_watches(),
        3 => faults.break_watches(),
        4 => {
            world.api.compact();
            faults.break_watches();
        }
        _ => {
            world.api.stop();
            std::thread::sleep(Duration::from_millis(20));
            world.api.resume();
        }
    }
}

const DISTURBANCES: [Disturbance; 11] = [
    Disturbance::Break,
    Disturbance::BreakInLine,
    Disturbance::End,
    Disturbance::Delay(Duration::from_millis(30)),
    Disturbance::Duplicate,
    Disturbance::Gone,
    Disturbance::InternalError,
    Disturbance::Text,
    Disturbance::HalfLine,
    Disturbance::Binary,
    Disturbance::UnknownType,
];

const OBSTACLES: [Obstacle; 6] = [
    Obstacle::TooManyRequests(1),
    Obstacle::InternalError,
    Obstacle::Unavailable,
    Obstacle::Forbidden,
    Obstacle::Gone,
    Obstacle::Broken,
];
