//! What people say to the program, and what it tells them.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use palisade_host::request;

use crate::process::WENT_BACK;
use crate::world::{World, until};
use crate::{NO, YES};

pub fn accept_lets_go_what_is_kept() {
    let mut world = World::new("removeDelaySeconds: 0, minNodes: 2");
    world.put("n2");
    world.put("n3");
    world.start();
    world.tells("\"n3\"");
    world.delete("n3");
    world.tells("nodes that are gone stay admitted: 1 would be left, and minNodes is 2");
    world.is_for_a_while("n3", YES, Duration::from_millis(500));
    let kept = request::kept(&world.store().load().unwrap().unwrap(), None);
    assert_eq!(kept["c"].iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["n3"]);
    request::accept(&world.store(), &kept).unwrap();
    world.becomes("n3", NO);
    assert_eq!(world.reaches("n2"), YES);
    // What is said while nobody runs holds for the next start.
    world.kill();
    world.delete("n2");
    world.put("n3");
    world.start();
    world.becomes("n3", YES);
    world.tells("the list lacks 1 of 2 nodes");
    let kept = request::kept(&world.store().load().unwrap().unwrap(), Some("c"));
    world.kill();
    request::accept(&world.store(), &kept).unwrap();
    world.start();
    world.becomes("n2", NO);
    assert_eq!(world.reaches("n3"), YES);
}

pub fn what_nobody_confirms_is_taken_back() {
    let mut world = World::new("");
    world.put("n2");
    // A confirmation from before says nothing.
    std::fs::create_dir(world.path("state")).unwrap();
    request::confirm(&world.store()).unwrap();
    let start = Instant::now();
    world.start_with(&["confirm=2"], &[]);
    world.becomes("n3", NO);
    assert_eq!(world.ends(), Some(WENT_BACK.into()));
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!([world.reaches("n2"), world.reaches("n3")], [YES, YES]);
    world.tells("not confirmed in time");
}

pub fn what_is_confirmed_stays() {
    let mut world = World::new("removeDelaySeconds: 0");
    world.put("n2");
    world.start_with(&["confirm=3"], &[]);
    until(|| !world.state().contains("\"unconfirmedUntil\":null") && !world.state().is_empty(), || world.state());
    request::confirm(&world.store()).unwrap();
    world.tells("\"unconfirmedUntil\":null");
    world.is_for_a_while("n3", NO, Duration::from_secs(4));
    assert_eq!(world.reaches("n2"), YES);
    // Another list, which nobody confirms, is taken back to this one.
    world.kill();
    world.list("  allow: [{port: 5432}, {port: 5433}]\n  staticCIDRs: [10.99.0.3/32]\n", "", "");
    world.start_with(&["confirm=2"], &[]);
    world.becomes("n3", [true, false]);
    assert_eq!(world.reaches_port("n2", crate::world::OTHER_PORT), YES);
    assert_eq!(world.ends(), Some(WENT_BACK.into()));
    assert_eq!([world.reaches("n2"), world.reaches("n3")], [YES, NO]);
}

pub fn sets_that_nobody_confirms_are_as_before() {
    let spec = "  mode: SetOnly\n  setOnly: {table: {family: inet, name: fw}, set4: nodes, ipset6: nodes6}\n";
    let world = World::with(spec, "");
    world.put("n2");
    let rules =
        "table inet fw {\n set nodes { type ipv4_addr; flags interval; elements = { 192.0.2.1-192.0.2.6 }\n }\n}\n";
    world.tool("nft", &["-f", "-"], rules);
    world.tool("ipset", &["restore"], "create nodes6 hash:net family inet6\nadd nodes6 2001:db8::/64\n");
    let listed = || world_sets(&world);
    let before = listed();
    assert!(before.contains("192.0.2.1-192.0.2.6") && before.contains("2001:db8::/64"), "{before}");
    let mut child = world.spawn(&["confirm=2"]);
    until(|| listed().contains("fd99::2"), || world.state());
    assert!(!listed().contains("192.0.2.1"));
    assert_eq!(child.wait().unwrap().code(), Some(WENT_BACK.into()));
    assert_eq!(listed(), before);
}

/// What the sets hold.
fn world_sets(world: &World) -> String {
    world.tool("nft", &["list", "ruleset"], "") + &world.tool("ipset", &["save"], "")
}

pub fn metrics_and_probes_are_served() {
    let mut world = World::new("");
    world.put("n2");
    world.api.stop();
    world.start_with(&["listen=127.0.0.1:9469"], &[]);
    let asked = |path: &'static str| world.asked("127.0.0.1:9469", path);
    until(|| asked("/readyz").contains("cluster c was never listed"), || asked("/readyz"));
    assert!(asked("/healthz").starts_with("HTTP/1.1 200 OK"));
    world.api.resume();
    until(|| asked("/readyz").starts_with("HTTP/1.1 200 OK"), || asked("/readyz"));
    let metrics = asked("/metrics");
    for line in [
        "palisade_host_in_force 1\n",
        "palisade_host_nodes{cluster=\"c\"} 1\n",
        "palisade_host_addresses{cluster=\"c\"} 2\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

pub fn systemd_is_told() {
    let mut world = World::new("");
    let path = world.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    world.api.stop();
    world.start_with(&[], &[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "900000")]);
    let hear = || {
        let mut words = [0; 64];
        let length = socket.recv(&mut words).unwrap();
        String::from_utf8(words[..length].to_vec()).unwrap()
    };
    // As soon as the rules are in force, whether an API server answers or not; and then that the loop goes on.
    assert_eq!(hear(), "READY=1\n");
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(hear(), "WATCHDOG=1\n");
    }
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(world.reaches("n2"), NO);
}
