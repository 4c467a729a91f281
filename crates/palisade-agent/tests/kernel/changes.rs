//! What the API server says is what packets meet.

use palisade_compile::UnknownPods;
use palisade_core::Family;
use palisade_lab::plan;
use palisade_testkit::random;
use palisade_testkit::rng::Rng;

use crate::objects::held_by_api;
use crate::random::next;
use crate::world::World;

/// Pods, namespaces, nodes and policies of an API server become rules that real packets meet.
pub fn policies_are_in_force() {
    let snapshot = held_by_api(random::cluster(&mut Rng::new(1)));
    let world = World::start(&snapshot, UnknownPods::Allow);
    let judged = world.agrees(plan(&snapshot, &Family::ALL));
    assert!(judged > 100, "only {judged} packets were judged");
}

/// Whatever changes, the kernel follows: each time it holds what a fresh compile gives.
pub fn changes_are_followed() {
    let mut rng = Rng::new(7);
    let mut world = World::start(&held_by_api(random::cluster(&mut Rng::new(7))), UnknownPods::Allow);
    for _ in 0..20 {
        let next = next(&world, &mut rng);
        world.change(&next);
        world.start_agents_anew();
        world.settle();
    }
    let flows = random::flows(&world.snapshot, &mut rng, 200);
    let judged = world.agrees(flows);
    assert!(judged > 50, "only {judged} packets were judged");
}
