//! Ban lists: followed like policies, and never forgotten by accident.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use palisade_agent::Timestamp;
use palisade_agent::restore::Restored;
use palisade_agent::wait::Subject;
use palisade_compile::UnknownPods;
use palisade_core::{BanEntry, BanList, BanTarget, NodeName, Selector, Snapshot};
use palisade_nft::Table;
use palisade_testapi::{Fault, Obstacle};
use serde_json::json;

use crate::agent::Told;
use crate::asking::{Followed, get, samples, status, until};
use crate::hosts::{guarded, ready, reboot, remove, saved};
use crate::probing::spawn;
use crate::telling::{in_force, wait};
use crate::world::World;

const KIND: &str = "banlists.palisade.dev";
/// What passes and what does not, while the list of [`banned`] is in force.
pub const FLOWS: [&str; 8] = [
    "203.0.113.9 -> shop/open udp 5300",
    "shop/open -> 203.0.113.9 udp 5300",
    "203.0.113.9 -> node/n1 udp 9001",
    "node/n2 -> 2001:db8::9 udp 9001",
    "203.0.113.129 -> shop/open udp 5300",
    "198.51.100.9 -> shop/open udp 5300",
    "198.51.100.9 -> shop/client udp 5300",
    "shop/client -> shop/open udp 5300",
];

/// Lists come, change and go, and so do the pods of their targets.
pub fn bans_are_followed() {
    let mut world = World::start(&banned(), UnknownPods::Drop);
    world.agrees_on(&FLOWS);
    let mut next = world.snapshot.clone();
    put(&mut next, BanList { target: Some(pods("open")), ..list("trackers", &["198.51.100.0/24"]) });
    follow(&mut world, &next);
    put(&mut next, BanList { target: Some(pods("client")), ..list("trackers", &["198.51.100.0/25"]) });
    follow(&mut world, &next);
    put(&mut next, BanList { audit: true, ..list("abuse", &["203.0.113.0/24"]) });
    follow(&mut world, &next);
    put(&mut next, list("abuse", &["0.0.0.0/1", "203.0.113.0/28", "10.0.0.0/8"]));
    follow(&mut world, &next);
    next.ban_lists.remove("trackers");
    follow(&mut world, &next);
    next.ban_lists.clear();
    follow(&mut world, &next);
    assert_eq!(world.bans_ruleset(&"n1".into()).chains.len(), 0, "a table that bans nothing is no table");
}

/// Whatever the API server does not say of lists: what was banned is, also after a reboot.
pub fn what_is_banned_stays_banned() {
    let mut world = World::start(&banned(), UnknownPods::Drop);
    let n1: NodeName = "n1".into();
    let file = saved(&world, "203.0.113.0");
    world.api.stop();
    world.agents.remove(&n1).unwrap().terminate();
    remove(&world, Table::Bans);
    world.start_agent(&n1);
    world.settle();
    world.agrees_on(&FLOWS);
    world.agents.remove(&n1).unwrap().kill();
    world.api.faults().add(Fault::request(KIND, Obstacle::Forbidden).always());
    world.start_agent(&n1);
    world.api.resume();
    until(|| get(&world, "/readyz").is_some(), || "an answer".to_owned());
    until(|| status(&world).watches["NetworkPolicy"].complete, || "the lists".to_owned());
    remove(&world, Table::Bans);
    world.settle();
    world.agrees_on(&FLOWS);
    let (code, waits) = get(&world, "/readyz").unwrap();
    assert!(code == 503 && waits.contains("BanList"), "{code} {waits}");
    world.api.faults().clear();
    ready(&world);
    world.agents.remove(&n1).unwrap().terminate();
    let restored = reboot(&world, &n1, &file, &Table::ALL);
    assert!(matches!(&restored, Restored::Closed { banned: true, .. }), "{restored:?}");
    world.agrees_on(&["203.0.113.9 -> node/n1 udp 9001", "198.51.100.9 -> node/n1 udp 9001"]);
    world.start_agent(&n1);
    world.settle();
    world.agrees_on(&FLOWS);
}

/// An entry ends when it expires, and no other does.
pub fn an_entry_ends_when_it_expires() {
    let mut world = World::start(&guarded(), UnknownPods::Drop);
    let end = Timestamp::now() + Duration::from_secs(4);
    world.api.put(json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "BanList", "metadata": { "name": "abuse" },
        "spec": { "entries": [
            { "cidr": "203.0.113.0/25", "reason": "for good" },
            { "cidr": "203.0.113.0/24", "expiresAt": end.to_string() },
            { "cidr": "192.0.2.0/24", "expiresAt": "2020-01-01T00:00:00Z" },
        ] },
    }));
    put(&mut world.snapshot, list("abuse", &["203.0.113.0/24"]));
    world.settle();
    let shown = status(&world).bans.unwrap();
    assert_eq!((shown.entries, shown.ranges), (2, 1));
    assert!(shown.next_expiry.is_some_and(|expiry| end.duration_since(expiry).as_secs() == 0), "{shown:?}, {end}");
    put(&mut world.snapshot, list("abuse", &["203.0.113.0/25"]));
    world.settle();
    assert!(Timestamp::now() >= shown.next_expiry.unwrap());
    world.agrees_on(&FLOWS);
    assert_eq!(status(&world).bans.unwrap().next_expiry, None);
}

/// What is protected on a node no list bans there.
pub fn what_is_protected_is_spared() {
    let mut world = World::without_agents(&banned(), UnknownPods::Drop);
    let (own, source): (IpNet, IpNet) = ("203.0.113.128/25".parse().unwrap(), "203.0.113.16/28".parse().unwrap());
    for node in ["n1", "n2"] {
        let mut told = world.told(node);
        told.protected.push(own);
        world.start_agent_told(&Told { failsafe_sources: vec![source], ..told });
    }
    let mut abuse = (*world.snapshot.ban_lists["abuse"]).clone();
    abuse.except.extend([own, source]);
    put(&mut world.snapshot, abuse);
    let guard = Arc::clone(&world.snapshot.host_policies[&"guard".into()]);
    let mut admits = (*guard).clone();
    admits.from.push(palisade_core::HostPeer::Block { cidr: source, except: Vec::new() });
    world.snapshot.host_policies.insert("guard".into(), Arc::new(admits));
    world.settle();
    world.agrees_on(&FLOWS);
    world.agrees_on(&["203.0.113.17 -> shop/open udp 5300", "203.0.113.33 -> shop/open udp 5300"]);
}

/// Packets that are banned, or would be: by name, and counted.
pub fn banned_packets_are_told() {
    let mut snapshot = banned();
    put(&mut snapshot, BanList { audit: true, ..list("trial", &["198.51.100.0/24"]) });
    let world = World::start(&snapshot, UnknownPods::Drop);
    let followed = Followed::start(&world);
    for to in ["203.0.113.9:443", "[2001:db8::9]:443", "198.51.100.9:443"] {
        assert!(spawn(world.path(), "shop/client", &["send", to, "3"]).wait().unwrap().success());
    }
    for address in ["203.0.113.9", "2001:db8::9"] {
        let told = || followed.all().into_iter().find(|packet| packet.destination == address);
        until(|| told().is_some(), || format!("a packet to {address}"));
        let told = told().unwrap();
        assert_eq!((&*told.source, told.pod.as_deref(), told.port), ("shop/client", Some("shop/client"), Some(443)));
        assert_eq!((&told.policies[..], &told.audit, &*told.direction), (&["abuse".to_owned()][..], &None, "egress"));
        assert!(told.reason.contains(&format!("{address}: banned by BanList abuse")), "{told:?}");
    }
    let would = || followed.all().into_iter().find(|packet| packet.destination == "198.51.100.9");
    until(|| would().is_some(), || "what would be banned".to_owned());
    let would = would().unwrap();
    assert_eq!((would.audit.as_deref(), &would.policies[..]), (Some("would deny"), &["trial".to_owned()][..]));
    let counted = |metric| samples(&world, metric);
    let expected = [(String::new(), 6)].into();
    until(|| counted("palisade_banned_packets_total") == expected, || "6 packets".to_owned());
    assert_eq!(counted("palisade_would_ban_packets_total"), [(String::new(), 3)].into());
    let bans = status(&world).bans.unwrap();
    assert_eq!((bans.lists, bans.entries, bans.denied, bans.would_deny), (2, 3, 6, 3));
    assert_eq!(bans.audited, ["trial"]);
}

/// As soon as `wait` says that a list is in force, or gone, the packets agree; without the kind, the rest is enforced.
pub fn what_wait_says_of_bans_is_true() {
    let mut world = World::without_agents(&guarded(), UnknownPods::Drop);
    let kind = world.api.get("customresourcedefinitions", "", KIND).unwrap();
    assert!(world.api.delete("customresourcedefinitions", "", KIND));
    world.define_node_states();
    for node in ["n1", "n2"] {
        world.start_agent(&node.into());
    }
    let names_obstacle = |world: &World| status(world).preflight.iter().any(|found| found.name == "ban-lists");
    until(|| names_obstacle(&world), || "the obstacle".to_owned());
    assert_eq!(get(&world, "/readyz").unwrap().0, 200);
    world.settle();
    world.api.put(kind);
    until(|| !names_obstacle(&world), || "the end of the obstacle".to_owned());
    for _ in 0..3 {
        world.say(&banned());
        in_force(wait(&world, Subject::BanList, "abuse", Duration::from_mins(1)));
        world.agrees_on(&FLOWS);
        world.say(&guarded());
        in_force(wait(&world, Subject::BanListGone, "abuse", Duration::from_mins(1)));
        world.agrees_on(&FLOWS);
    }
}

fn follow(world: &mut World, next: &Snapshot) {
    world.say(next);
    world.settle();
    world.agrees_on(&FLOWS);
}

/// Two nodes, three pods, and a list.
pub fn banned() -> Snapshot {
    let mut snapshot = guarded();
    put(&mut snapshot, list("abuse", &["203.0.113.0/24", "2001:db8::/64"]));
    snapshot
}

pub fn put(snapshot: &mut Snapshot, list: BanList) {
    snapshot.ban_lists.insert(list.name.clone(), Arc::new(list));
}

pub fn list(name: &str, cidrs: &[&str]) -> BanList {
    let entry = |cidr: &&str| BanEntry { cidr: cidr.parse().unwrap(), expires: None, reason: None, from_source: false };
    BanList { name: name.into(), entries: cidrs.iter().map(entry).collect(), ..BanList::default() }
}

fn pods(app: &str) -> BanTarget {
    BanTarget { namespaces: Selector::everything(), pods: Selector::labels([("app", app)]) }
}
