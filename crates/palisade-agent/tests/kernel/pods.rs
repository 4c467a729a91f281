//! Pods that are new, and connections that live while policies change.

use std::sync::Arc;
use std::time::Duration;

use palisade_compile::UnknownPods;
use palisade_core::{Pod, PodName};
use palisade_sim::{Owner, resolve};

use crate::agent::Told;
use crate::lifetime::{add_policy, shop};
use crate::probing::{Probing, Server};
use crate::world::World;

/// Before the agent knows a pod, not one of its packets passes, in any direction; as soon as it does, policies decide.
pub fn a_new_pod_is_silent_until_its_policies_are_in_force() {
    let mut world = World::start(&shop(), UnknownPods::Drop);
    // The pod runs, but nobody has told the API server.
    let mut known = world.snapshot.clone();
    let mut running = known.clone();
    crate::lifetime::add_pod(&mut running, "late", 4);
    world.lab.enforce(&running).unwrap();
    let servers = [Server::start(world.path(), "shop/late"), Server::start(world.path(), "shop/open")];
    let probes = [
        // Nobody has a policy for it, and yet nobody reaches it, nor it them.
        Probing::start(world.path(), "shop/client", "10.244.1.2", "10.244.1.4"),
        Probing::start(world.path(), "shop/late", "10.99.0.1", "10.244.1.2"),
    ];
    std::thread::sleep(Duration::from_millis(500));
    let [to_late, from_late] = probes.map(Probing::stop);
    assert_eq!((to_late.denied_answered, from_late.denied_answered), (0, 0), "{to_late:?} {from_late:?}");
    assert_eq!(to_late.allowed_answered, to_late.allowed);
    // The probes of the lab have servers of their own.
    drop(servers);
    known = running;
    world.say(&known);
    world.settle();
    world.agrees_on(&["shop/client -> shop/late udp 5300", "shop/late -> shop/open udp 5300"]);
}

/// The readiness of a pod that came with its policy: no packet of a flow that the policy forbids passes, from the first on.
pub fn no_packet_is_early() {
    let mut world = World::start(&shop(), UnknownPods::Drop);
    let _server = Server::start(world.path(), "shop/open");
    for number in 10..20 {
        let mut next = world.snapshot.clone();
        let name = format!("late-{number}");
        crate::lifetime::add_pod(&mut next, &name, number);
        // The label is that of nobody whom `open` admits.
        let probing_needs_the_pod = next.clone();
        world.lab.enforce(&probing_needs_the_pod).unwrap();
        let pod = format!("shop/{name}");
        let probe = Probing::start(world.path(), &pod, "10.99.0.1", "10.244.1.2");
        world.say(&next);
        world.settle();
        std::thread::sleep(Duration::from_millis(20));
        let counts = probe.stop();
        assert!(counts.denied > 0 && counts.denied_answered == 0, "{counts:?}");
    }
}

/// A change that forbids a live connection cuts it, or leaves it alone with `--established=keep`; what it allows goes on.
pub fn live_connections_are_cut_or_kept() {
    for keep in [false, true] {
        let mut world = World::without_agents(&shop(), UnknownPods::Drop);
        let told = Told { keep, ..world.told("n1") };
        world.start_agent_told(&told);
        world.settle_with(keep);
        let _server = Server::start(world.path(), "shop/open");
        let talk = Probing::start(world.path(), "shop/client", "10.244.1.2", "10.244.1.3");
        std::thread::sleep(Duration::from_millis(700));
        let mut closed = world.snapshot.clone();
        add_policy(&mut closed, "open", vec![]);
        world.say(&closed);
        world.settle_with(keep);
        std::thread::sleep(Duration::from_secs(1));
        let counts = talk.stop();
        let lost = counts.allowed - counts.allowed_answered;
        // All its ports were in use before the change: every flow is established.
        assert_eq!(lost > 500, !keep, "keep: {keep}, {counts:?}");
        if keep {
            assert_eq!(lost, 0, "{counts:?}");
        }
    }
}

/// A name is taken over by a pod with another address, an address by a pod with another name.
pub fn names_and_addresses_are_reused() {
    let mut world = World::start(&shop(), UnknownPods::Drop);
    let name = PodName::new("shop", "closed");
    let pod = world.snapshot.pods[&name].clone();
    let mut next = world.snapshot.clone();
    next.pods.remove(&name);
    let heir = Pod { labels: Arc::new([("app".into(), "open".into())].into()), ..(*pod).clone() };
    next.pods.insert(PodName::new("shop", "heir"), Arc::new(heir));
    world.change(&next);
    world.settle();
    std::thread::sleep(Duration::from_millis(300));
    world.agrees_on(&["shop/client -> shop/heir udp 5300", "shop/open -> shop/heir udp 5300"]);
    let mut last = next.clone();
    last.pods.remove(&PodName::new("shop", "heir"));
    crate::lifetime::add_pod(&mut last, "closed", 9);
    world.change(&last);
    world.settle();
    std::thread::sleep(Duration::from_millis(300));
    world.agrees_on(&["shop/client -> shop/closed udp 5300"]);
    let nobody = "shop/client -> 10.244.1.3 udp 5300".parse().unwrap();
    let packets = resolve(&world.snapshot, &nobody, &palisade_core::Family::ALL).unwrap();
    assert!(packets.iter().all(|packet| packet.destination.owner == Owner::Outside));
}
