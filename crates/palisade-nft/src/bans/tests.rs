use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use palisade_core::{AddressSet, BanChange, TablesChange};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;
use crate::testing::net::{NODE, Pod, bind};
use crate::testing::{in_new_namespace, kernel_holds, kernel_holds_in_turn};
use crate::{Kernel, diff};

/// Stretches of addresses, each with ways to ban some of it: within a part, over the border of two, at both ends of all addresses.
const STRETCHES: [[&[(&str, &str)]; 4]; 6] = [
    [
        &[],
        &[("203.0.113.0", "203.0.113.255")],
        &[("203.0.113.0", "203.0.113.127")],
        &[("203.0.113.0", "203.0.113.0"), ("203.0.113.9", "203.0.113.12"), ("203.0.113.255", "203.0.113.255")],
    ],
    [
        &[],
        &[("1.255.0.0", "2.0.255.255")],
        &[("1.255.0.0", "1.255.255.255")],
        &[("1.255.255.0", "1.255.255.255"), ("2.0.0.1", "2.0.0.1")],
    ],
    [&[], &[("0.0.0.0", "0.0.0.0")], &[("0.0.0.0", "0.255.255.255")], &[("0.0.0.1", "0.0.0.9")]],
    [
        &[],
        &[("255.255.255.255", "255.255.255.255")],
        &[("240.0.0.0", "255.255.255.255")],
        &[("255.0.0.0", "255.0.0.9")],
    ],
    [
        &[],
        &[("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")],
        &[("2001:db8::1", "2001:db8::1")],
        &[("2000::", "2001:dff::")],
    ],
    [
        &[],
        &[("::", "::")],
        &[("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")],
        &[("fffe::", "ffff::")],
    ],
];

fn addresses() -> impl Strategy<Value = AddressSet> {
    prop::collection::vec(prop::sample::select(vec![0, 0, 1, 2, 3]), STRETCHES.len()).prop_map(|chosen| {
        let ranges = STRETCHES.iter().zip(chosen).flat_map(|(ways, way)| ways[way]);
        ranges
            .map(|(first, last)| AddressRange { first: first.parse().unwrap(), last: last.parse().unwrap() })
            .collect()
    })
}

fn pods() -> impl Strategy<Value = BTreeSet<IpAddr>> {
    prop::collection::btree_set(0u8..4, 0..4).prop_map(|pods| pods.into_iter().map(pod).collect())
}

/// IPv4 and IPv6 in turn.
fn pod(number: u8) -> IpAddr {
    let text = if number.is_multiple_of(2) { format!("10.244.0.{number}") } else { format!("fd44::{number}") };
    text.parse().unwrap()
}

fn tables() -> impl Strategy<Value = BanTables> {
    let layer = prop::sample::select(vec![Layer::InForce, Layer::Shadow]);
    let list = (layer, addresses(), pods()).prop_map(|(layer, banned, pods)| TargetedBan {
        description: "list".into(),
        layer,
        banned,
        pods,
    });
    let targeted = prop::collection::btree_map(0u8..2, list, 0..3);
    let audited = prop_oneof![Just(AddressSet::new()), addresses()];
    let tables = |(banned, would_ban, targeted): (_, _, BTreeMap<u8, TargetedBan>)| BanTables {
        banned,
        would_ban,
        targeted: targeted.into_iter().map(|(number, ban)| (id(number), ban)).collect(),
    };
    (addresses(), audited, targeted).prop_map(tables)
}

fn id(number: u8) -> BanId {
    BanId(format!("{number:032x}").into())
}

fn cases<S: Strategy>(count: usize, strategy: impl Fn() -> S) -> Vec<S::Value> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    (0..count).map(|_| strategy().new_tree(&mut runner).unwrap().current()).collect()
}

/// From any tables to any others, by netlink; and what nft makes of the text is the same.
#[test]
fn the_kernel_holds_what_is_lowered() {
    let log_group = prop::sample::select(vec![None, Some(5)]);
    let pairs = cases(60, || (tables(), tables(), log_group.clone()));
    in_new_namespace(|| {
        for (first, second, log_group) in pairs {
            let settings = Settings { log_group, ..Settings::default() };
            kernel_holds_in_turn(Table::Bans, &[&first, &second].map(|tables| lower_bans(tables, &settings)));
        }
    });
}

/// The steps from one state to another.
fn steps(from: &BanTables, to: &BanTables) -> Vec<BanChange> {
    let mut steps = Vec::new();
    for layer in [Layer::InForce, Layer::Shadow] {
        let (before, now) = (from.everywhere(layer), to.everywhere(layer));
        let (gone, come) = before.changes_to(now);
        steps.push(BanChange::Everywhere(layer, gone, come));
    }
    for number in 0..2 {
        match (from.targeted.get(&id(number)), to.targeted.get(&id(number))) {
            (before, now) if before == now => {}
            (Some(before), Some(now)) if before.banned == now.banned && before.layer == now.layer => {
                let changed = before.pods.symmetric_difference(&now.pods);
                steps.extend(changed.map(|pod| BanChange::Target(id(number), *pod, now.pods.contains(pod))));
            }
            (_, now) => steps.push(BanChange::Targeted(id(number), now.cloned())),
        }
    }
    steps
}

/// Stages, and changes after them, lead to what a whole load gives; an address that is banned before and after is banned in between, after each transaction.
#[test]
fn changes_lead_to_what_is_lowered() {
    let walks = cases(60, || prop::collection::vec(tables(), 2..5));
    in_new_namespace(|| {
        let settings = Settings::default();
        for walk in walks {
            let mut kernel = Kernel::open_table(Table::Bans).unwrap();
            let (first, stages) = BanHeld::stages(&walk[0]);
            kernel.apply(&diff(&Ruleset::nothing(Table::Bans), &lower_bans(&first, &settings))).unwrap();
            let mut held = BanHeld::of(&first, &settings);
            for transaction in stages.into_iter().flat_map(|stage| held.lower_changes(&[stage])) {
                kernel.apply(&transaction).unwrap();
            }
            kernel_holds(&mut kernel, &lower_bans(&walk[0], &settings));
            for pair in walk.windows(2) {
                let changes: Vec<TablesChange> = steps(&pair[0], &pair[1]).into_iter().map(TablesChange::Ban).collect();
                let stays = pair[0].banned.iter().any(|range| pair[1].banned.iter().any(|other| other == range));
                for transaction in held.lower_changes(&changes) {
                    kernel.apply(&transaction).unwrap();
                    let have = kernel.read_back().unwrap();
                    assert!(!stays || banned_edges(have.as_ref()).is_superset(&kept_edges(&pair[0], &pair[1])));
                }
                kernel_holds(&mut kernel, &lower_bans(&pair[1], &settings));
            }
            kernel.remove_table().unwrap();
        }
    });
}

/// The edges of ranges that are banned before and after, by whichever range.
fn kept_edges(before: &BanTables, after: &BanTables) -> BTreeSet<IpAddr> {
    let holds = |set: &AddressSet, address| set.iter().any(|range| (range.first..=range.last).contains(&address));
    let edges = before.banned.iter().chain(after.banned.iter()).flat_map(|range| [range.first, range.last]);
    edges.filter(|edge| holds(&before.banned, *edge) && holds(&after.banned, *edge)).collect()
}

/// Those edges of all stretches that a ruleset drops on their way in.
fn banned_edges(have: Option<&Ruleset>) -> BTreeSet<IpAddr> {
    let all = STRETCHES.iter().flatten().copied().flatten().flat_map(|(first, last)| [first, last]);
    let edges = all.map(|edge| edge.parse().unwrap());
    edges.filter(|edge| have.is_some_and(|have| drops(have, *edge))).collect()
}

/// Walks the hook of where packets come from.
fn drops(have: &Ruleset, address: IpAddr) -> bool {
    let finds = |set: &Lookup| {
        let Lookup::Named(name) = set else { return None };
        have.sets[name].elements.iter().find_map(|(key, verdict)| match key {
            Key::Range(first, last) if (first..=last).contains(&&Value::from(address)) => Some(verdict.clone()),
            _ => None,
        })
    };
    have.chains["prerouting"].rules.iter().any(|rule| match rule.as_slice() {
        [Statement::In(_, set), Statement::Verdict(Verdict::Goto(end))] => &**end == BANNED && finds(set).is_some(),
        [Statement::VerdictMap(_, map)] => {
            let Some(Some(Verdict::Jump(chain))) = finds(map) else { return false };
            let [Statement::In(_, set), Statement::Verdict(Verdict::Goto(end))] = &have.chains[&chain].rules[0][..]
            else {
                panic!("{chain}");
            };
            &**end == BANNED && finds(set).is_some()
        }
        _ => false,
    })
}

/// One more or one less costs an element, whatever else there is.
#[test]
fn a_range_costs_an_element() {
    let range = |text: &str| AddressRange { first: text.parse().unwrap(), last: text.parse().unwrap() };
    let tables =
        BanTables { banned: AddressSet::from([range("203.0.113.7"), range("2001:db8::7")]), ..BanTables::default() };
    let mut held = BanHeld::of(&tables, &Settings::default());
    for (gone, come) in [(vec![], vec!["203.0.113.9", "2001:db8::9"]), (vec!["203.0.113.7"], vec![])] {
        let ranges = |texts: Vec<&str>| texts.into_iter().map(range).collect::<AddressSet>();
        let elements = gone.len() + come.len();
        let change = BanChange::Everywhere(Layer::InForce, ranges(gone), ranges(come));
        let transactions = held.lower_changes(&[TablesChange::Ban(change)]);
        let counts = transactions[0].counts();
        assert_eq!((transactions.len(), counts.elements_added + counts.elements_deleted), (1, elements));
        assert_eq!((counts.objects_added, counts.objects_deleted, counts.rules_added), (0, 0, 0));
    }
}

/// How many packets are tried while ranges move, and how many moves there are at most, on a machine that is busy.
const PACKETS: usize = 200_000;
const MOVES_MAX: usize = 100_000;

/// An address that stays banned is never free, whichever set it moves to: not one of very many packets gets through.
#[test]
fn no_packet_passes_while_a_range_moves() {
    in_new_namespace(|| {
        let pod = Pod::routed("pod1", 1);
        let IpAddr::V4(own) = pod.addresses[0] else { panic!("the first is IPv4") };
        let sink = bind((NODE[0], 9).into());
        sink.set_nonblocking(true).unwrap();
        let range = |first: Ipv4Addr, last: Ipv4Addr| AddressRange { first: first.into(), last: last.into() };
        let narrow = range(own, own);
        let wide = range([9, 0, 0, 0].into(), [11, 0, 0, 0].into());
        let wider = range([8, 255, 0, 0].into(), [11, 0, 0, 0].into());
        // Beside it in its set, so that the set stays; and none, so that it goes.
        let beside: AddressSet =
            (0..1_000u32).map(|at| Ipv4Addr::from((10 << 24) + (9 << 16) + 2 * at)).map(|at| range(at, at)).collect();
        let none = AddressSet::new();
        let mut kernel = Kernel::open_table(Table::Bans).unwrap();
        let start = BanTables { banned: [narrow].into(), ..BanTables::default() };
        kernel.apply(&diff(&Ruleset::nothing(Table::Bans), &lower_bans(&start, &Settings::default()))).unwrap();
        let mut held = BanHeld::of(&start, &Settings::default());
        let (is_over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let socket = pod.socket(NODE[0], 9);
                while !is_over.load(Relaxed) {
                    sent.fetch_add(usize::from(socket.send_to(b"x", (NODE[0], 9)).is_ok()), Relaxed);
                }
            });
            let mut now = start.banned;
            for number in (0..MOVES_MAX).take_while(|number| *number < 400 || sent.load(Relaxed) < PACKETS) {
                let mut next: AddressSet = if number % 8 < 4 { none.clone() } else { beside.clone() };
                match number % 4 {
                    0 => next = [wide].into(),
                    2 => next = [wider].into(),
                    _ => next.insert(narrow),
                }
                let (gone, come) = now.changes_to(&next);
                let change = TablesChange::Ban(BanChange::Everywhere(Layer::InForce, gone, come));
                for transaction in held.lower_changes(&[change]) {
                    kernel.apply(&transaction).unwrap();
                }
                now = next;
            }
            is_over.store(true, Relaxed);
        });
        let sent = sent.into_inner();
        assert!(sent >= PACKETS, "only {sent} packets were sent");
        let passed = std::iter::from_fn(|| sink.recv(&mut [0; 16]).ok()).count();
        assert_eq!(passed, 0, "of {sent}");
    });
}
