//! For tests: tables at random, a network namespace of one's own, the real `nft`.
#![expect(clippy::disallowed_methods, reason = "tests ask the real nft")]

pub(crate) mod frames;
pub(crate) mod net;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};

use ipnet::IpNet;
use palisade_core::tables::{SubjectPort, Subjects};
use palisade_core::{
    Admit, Direction, GroupId, PeerGroup, PerDirection, Port, PortRange, Rest, RestId, Tables, TablesChange, Transport,
};
use proptest::prelude::*;

use crate::lower::{Denied, Established, Settings};
use crate::{Kernel, Ruleset, Table, diff};

/// Set where the kernel's word is required: then a test that cannot have it fails instead of being skipped.
pub(crate) const REQUIRE: &str = "PALISADE_REQUIRE_KERNEL";

/// Runs a test on a thread in a new network namespace.
pub(crate) fn in_new_namespace(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| match crate::socket::enter_new_network_namespace() {
            Ok(()) => test(),
            Err(errno) => skip(&format!("cannot make a network namespace: {errno}")),
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs nft in the namespace of the calling thread; `None` if it is not installed.
pub(crate) fn nft(arguments: &[&str], input: &str) -> Option<String> {
    tool("nft", arguments, input)
}

/// Runs a tool in the namespace of the calling thread; `None` if it is not installed.
pub(crate) fn tool(name: &str, arguments: &[&str], input: &str) -> Option<String> {
    let pipes = |command: &mut Command| {
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let mut child = match pipes(&mut Command::new(name)) {
        Ok(child) => child,
        Err(error) => {
            skip(&format!("cannot run {name}: {error}"));
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?} says {errors}of\n{input}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The kernel has the table as it is wanted, or none where nothing is.
pub(crate) fn kernel_holds(kernel: &mut Kernel, wanted: &Ruleset) {
    let have = kernel.read_back().unwrap().unwrap_or_else(|| Ruleset::nothing(wanted.table));
    assert_eq!(have.to_string(), wanted.to_string());
    assert!(have == *wanted);
}

/// From nothing to each of these in turn, by netlink; and what nft makes of the text of the last is the same.
pub(crate) fn kernel_holds_in_turn(table: Table, rulesets: &[Ruleset]) {
    let mut kernel = Kernel::open_table(table).unwrap();
    let mut held = Ruleset::nothing(table);
    for wanted in rulesets {
        kernel.apply(&diff(&held, wanted)).unwrap();
        kernel_holds(&mut kernel, wanted);
        held = wanted.clone();
    }
    kernel.remove_table().unwrap();
    if !held.is_nothing() && nft(&["-f", "-"], &held.to_string()).is_some() {
        kernel_holds(&mut kernel, &held);
        kernel.remove_table().unwrap();
    }
}

/// Runs a test program by another one, such as `unshare`; `None` if that cannot be had or refuses.
pub(crate) fn run_or_skip(program: &str, with: impl FnOnce(&mut Command) -> &mut Command) -> Option<String> {
    let output = match with(&mut Command::new(program)).output() {
        Ok(output) => output,
        Err(error) => {
            skip(&format!("cannot run {program}: {error}"));
            return None;
        }
    };
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    // Only the test harness fails with this number; anything else is the program's own refusal.
    assert_ne!(output.status.code(), Some(101), "{text}");
    if output.status.success() {
        return Some(text);
    }
    skip(&format!("{program}: {text}"));
    None
}

fn skip(why: &str) {
    assert!(std::env::var_os(REQUIRE).is_none(), "{REQUIRE} is set, but: {why}");
    let name = std::thread::current().name().unwrap_or("a test").to_string();
    // Past the capture of the test harness: a skipped witness must be seen.
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {why}");
}

/// Small random tables in which everything occurs. Groups and rests are named by their content, as the
/// compiler does it: only the members of groups vary under a name.
pub(crate) fn tables() -> impl Strategy<Value = Tables> {
    let ports = || prop::collection::btree_map(subject_port(), admit(), 0..6);
    let isolated = |rests: &'static [u8]| {
        prop::collection::btree_map(address(), prop::sample::select(rests).prop_map(rest_id), 0..4)
    };
    let members = prop::collection::vec(prop::collection::btree_set(address(), 0..4), 4);
    let known = prop::collection::btree_set(address(), 0..6);
    let subjects =
        |rests: &'static [u8]| (ports(), isolated(rests)).prop_map(|(ports, isolated)| Subjects { ports, isolated });
    let both = || (subjects(&[0, 1]), subjects(&[2, 3])).prop_map(|(ingress, egress)| PerDirection { ingress, egress });
    // Often nobody is audited, for more than elements differs then.
    let shadow = prop_oneof![Just(PerDirection::default()), both()];
    (both(), shadow, members, (pod_ranges(), known)).prop_map(|(subjects, shadow, members, (pod_ranges, known))| {
        let mut tables = Tables { subjects, shadow, pod_ranges, known, ..Tables::default() };
        complete(&mut tables, &members);
        tables
    })
}

/// Ranges that end at a byte of the address and ranges that do not, none and all.
fn pod_ranges() -> impl Strategy<Value = Vec<IpNet>> {
    let lists: &[&[&str]] = &[
        &[],
        &["10.0.0.0/24"],
        &["10.0.0.0/29", "10.0.0.16/32", "fd00::/125"],
        &["0.0.0.0/0", "fd00::/64"],
        &["10.0.0.4/31", "::/0"],
        &["fd00::3/128"],
    ];
    prop::sample::select(lists).prop_map(|list| list.iter().map(|range| range.parse().unwrap()).collect())
}

/// Any settings.
pub(crate) fn settings() -> impl Strategy<Value = Settings> {
    let denied = prop::sample::select(&[Denied::Drop, Denied::Reject]);
    let log_group = prop::sample::select(&[None, Some(0), Some(5), Some(u16::MAX)]);
    let established = prop::sample::select(&[Established::Cut, Established::Keep]);
    (denied, log_group, established).prop_map(|(denied, log_group, established)| Settings {
        denied,
        log_group,
        established,
    })
}

/// Tables with everything in it, always the same.
pub(crate) fn sample() -> Tables {
    let mut tables = Tables::default();
    let addresses: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    for address in addresses {
        for (transport, group) in [(Transport::Tcp, 1), (Transport::Udp, 2), (Transport::Sctp, 3)] {
            let key = SubjectPort { address, transport, port: port(80) };
            tables.subjects.ingress.ports.insert(key, Admit::Group(group_id(group)));
            tables.subjects.egress.ports.insert(key, Admit::Everyone);
        }
        tables.subjects.ingress.isolated.insert(address, rest_id(0));
        tables.subjects.egress.isolated.insert(address, rest_id(2));
    }
    tables.known = BTreeSet::from([addresses[0], addresses[1], "10.0.0.3".parse().unwrap()]);
    tables.pod_ranges = vec!["10.0.0.0/24".parse().unwrap(), "fd00::/125".parse().unwrap()];
    let other: IpAddr = "10.0.0.2".parse().unwrap();
    tables.subjects.ingress.isolated.insert(other, rest_id(1));
    tables.subjects.egress.isolated.insert(other, rest_id(3));
    let members = vec![BTreeSet::from(["10.0.0.9".parse().unwrap(), "fd00::9".parse().unwrap()]); 4];
    complete(&mut tables, &members);
    tables
}

/// The steps from one of these tables to another, in the order of the compiler: what is named first, what
/// names it last.
pub(crate) fn steps(from: &Tables, to: &Tables) -> Vec<TablesChange> {
    let mut steps = Vec::new();
    for (id, group) in &to.groups {
        if !from.groups.contains_key(id) {
            steps.push(TablesChange::GroupAdded(id.clone(), group.clone()));
        }
    }
    for (id, rest) in &to.rests {
        if !from.rests.contains_key(id) {
            steps.push(TablesChange::RestAdded(id.clone(), rest.clone()));
        }
    }
    for direction in Direction::ALL {
        let (from_shadow, to_shadow) = (&from.shadow[direction], &to.shadow[direction]);
        let (from, to) = (&from.subjects[direction], &to.subjects[direction]);
        for (key, admit) in differences(&from.ports, &to.ports) {
            steps.push(TablesChange::Port(direction, key, admit));
        }
        for (address, rest) in differences(&from.isolated, &to.isolated) {
            steps.push(TablesChange::Isolated(direction, address, rest));
        }
        for (key, admit) in differences(&from_shadow.ports, &to_shadow.ports) {
            steps.push(TablesChange::ShadowPort(direction, key, admit));
        }
        for (address, rest) in differences(&from_shadow.isolated, &to_shadow.isolated) {
            steps.push(TablesChange::ShadowIsolated(direction, address, rest));
        }
    }
    for (id, group) in &from.groups {
        if let Some(other) = to.groups.get(id) {
            for address in group.addresses.symmetric_difference(&other.addresses) {
                steps.push(TablesChange::Member(id.clone(), *address, other.addresses.contains(address)));
            }
        } else {
            steps.push(TablesChange::GroupRemoved(id.clone()));
        }
    }
    for address in from.known.symmetric_difference(&to.known) {
        steps.push(TablesChange::Known(*address, to.known.contains(address)));
    }
    if from.pod_ranges != to.pod_ranges {
        steps.push(TablesChange::PodRanges(to.pod_ranges.clone()));
    }
    let gone = from.rests.keys().filter(|id| !to.rests.contains_key(*id));
    steps.extend(gone.map(|id| TablesChange::RestRemoved(id.clone())));
    steps
}

fn differences<K: Ord + Clone, V: PartialEq + Clone>(
    from: &BTreeMap<K, V>,
    to: &BTreeMap<K, V>,
) -> Vec<(K, Option<V>)> {
    let keys: BTreeSet<&K> = from.keys().chain(to.keys()).collect();
    keys.into_iter()
        .filter(|key| from.get(*key) != to.get(*key))
        .map(|key| (key.clone(), to.get(key).cloned()))
        .collect()
}

/// Adds the groups and rests that the subjects name.
fn complete(tables: &mut Tables, members: &[BTreeSet<IpAddr>]) {
    let Tables { subjects, shadow, .. } = &*tables;
    let subjects = [&subjects.ingress, &subjects.egress, &shadow.ingress, &shadow.egress];
    let rests: BTreeSet<RestId> = subjects.iter().flat_map(|subjects| subjects.isolated.values().cloned()).collect();
    let mut admits: Vec<Admit> = subjects.iter().flat_map(|subjects| subjects.ports.values().cloned()).collect();
    for id in rests {
        let rest = rest(&id);
        admits.extend(rest.ranges.iter().map(|(_, _, admit)| admit.clone()));
        admits.extend(rest.otherwise.clone());
        tables.rests.insert(id, rest);
    }
    for (number, addresses) in (0..).zip(members) {
        let id = group_id(number);
        if admits.contains(&Admit::Group(id.clone())) {
            let group = PeerGroup { addresses: addresses.clone(), ..group(number) };
            tables.groups.insert(id, group);
        }
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (1..6u8).prop_map(|last| IpAddr::from([10, 0, 0, last])),
        (1..6u16).prop_map(|last| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last])),
    ]
}

fn subject_port() -> impl Strategy<Value = SubjectPort> {
    let ports = prop::sample::select(&[1, 80, 443, 65535]);
    (address(), prop::sample::select(&Transport::ALL), ports).prop_map(|(address, transport, number)| SubjectPort {
        address,
        transport,
        port: port(number),
    })
}

fn admit() -> impl Strategy<Value = Admit> {
    prop_oneof![Just(Admit::Everyone), (0..4u8).prop_map(|number| Admit::Group(group_id(number)))]
}

fn group_id(number: u8) -> GroupId {
    GroupId(format!("{number:016x}").into())
}

fn rest_id(number: u8) -> RestId {
    RestId(format!("{number:016x}").into())
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn group(number: u8) -> PeerGroup {
    let v4 = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap();
    let (blocks4, blocks6) = match number {
        0 => (vec![], vec![]),
        1 => {
            (vec![(v4("0.0.0.0"), v4("255.255.255.255"))], vec![(v6("::"), v6("::")), (v6("fd00::"), v6("fd00::ffff"))])
        }
        2 => (
            vec![
                (v4("0.0.0.0"), v4("0.0.0.0")),
                (v4("10.1.0.0"), v4("10.1.255.255")),
                (v4("10.3.0.1"), v4("10.3.0.9")),
                (v4("224.0.0.0"), v4("255.255.255.255")),
            ],
            vec![],
        ),
        _ => (vec![], vec![(v6("::"), v6("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))]),
    };
    PeerGroup {
        description: format!("pods app=\"{number}\" in namespace shop").into(),
        addresses: BTreeSet::new(),
        blocks4: blocks4.into(),
        blocks6: blocks6.into(),
    }
}

/// Rests 0 and 1 are for ingress, 2 and 3 for egress.
fn rest(id: &RestId) -> Rest {
    let range = |first, last| PortRange::new(port(first), port(last)).unwrap();
    let number = u8::from_str_radix(&id.0, 16).unwrap();
    let direction = if number < 2 { Direction::Ingress } else { Direction::Egress };
    let (ranges, otherwise) = match number {
        0 => (
            vec![
                (Transport::Tcp, range(1, 79), Admit::Everyone),
                (Transport::Tcp, range(8000, 9000), Admit::Group(group_id(0))),
                (Transport::Tcp, range(9001, 9001), Admit::Everyone),
                (Transport::Tcp, range(9002, 65535), Admit::Group(group_id(1))),
                (Transport::Udp, range(1, 65535), Admit::Group(group_id(2))),
            ],
            None,
        ),
        1 => (vec![], None),
        2 => (vec![(Transport::Sctp, range(100, 200), Admit::Group(group_id(3)))], Some(Admit::Group(group_id(0)))),
        _ => (vec![], Some(Admit::Everyone)),
    };
    Rest { direction, description: format!("rest {number}").into(), ranges, otherwise }
}
