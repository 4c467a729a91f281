use palisade_core::{Guards, Port, PortRange};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;
use crate::lower::Denied;
use crate::testing::{in_new_namespace, kernel_holds, kernel_holds_in_turn};
use crate::{Kernel, diff};

/// Tables in which everything occurs: both layers, both ends, nobody and somebody, blocks of both families, an own guard or none.
fn tables() -> impl Strategy<Value = HostTables> {
    let layer = || (prop::collection::btree_map(0u8..4, 0usize..3, 0..4), prop::option::of(0usize..3));
    (layer(), layer(), prop::collection::vec(prop::collection::btree_set(0u8..6, 0..4), 2)).prop_map(
        |(in_force, shadow, members)| {
            let definitions = [
                vec![ports(Transport::Tcp, (80, 80), Some(0), Otherwise::Drop)],
                vec![
                    ports(Transport::Tcp, (1, 79), Some(1), Otherwise::Reject),
                    ports(Transport::Tcp, (80, 80), None, Otherwise::Drop),
                    ports(Transport::Udp, (9000, 9022), Some(0), Otherwise::Reject),
                ],
                vec![
                    ports(Transport::Sctp, (65535, 65535), Some(1), Otherwise::Drop),
                    sockets(ports(Transport::Tcp, (80, 90), Some(1), Otherwise::Reject)),
                    sockets(ports(Transport::Sctp, (65535, 65535), None, Otherwise::Drop)),
                ],
            ];
            let guards = |(nodes, own): (BTreeMap<u8, usize>, Option<usize>)| Guards {
                nodes: nodes.into_iter().map(|(number, guard)| (node(number), guard_id(guard))).collect(),
                own: own.map(guard_id),
            };
            let definition = |(number, ports): (usize, Vec<GuardedPorts>)| {
                (guard_id(number), Guard { description: format!("guard {number}").into(), ports })
            };
            let mut tables = HostTables {
                guards: guards(in_force),
                shadow: guards(shadow),
                definitions: definitions.into_iter().enumerate().map(definition).collect(),
                groups: BTreeMap::new(),
            };
            let used: BTreeSet<GuardId> =
                [Layer::InForce, Layer::Shadow].iter().flat_map(|layer| named(&tables, *layer)).collect();
            tables.definitions.retain(|id, _| used.contains(id));
            for (number, members) in members.into_iter().enumerate() {
                let id = group_id(number);
                let names = |guard: &Guard| guard.ports.iter().any(|ports| ports.admitted.as_ref() == Some(&id));
                if tables.definitions.values().any(names) {
                    tables.groups.insert(id, group(number, &members));
                }
            }
            tables
        },
    )
}

fn named(tables: &HostTables, layer: Layer) -> Vec<GuardId> {
    let guards = tables.layer(layer);
    guards.nodes.values().chain(&guards.own).cloned().collect()
}

fn sockets(ports: GuardedPorts) -> GuardedPorts {
    GuardedPorts { scope: HostScope::HostSockets, ..ports }
}

fn ports(transport: Transport, (first, last): (u16, u16), group: Option<usize>, otherwise: Otherwise) -> GuardedPorts {
    let range = PortRange::new(Port::new(first).unwrap(), Port::new(last).unwrap()).unwrap();
    GuardedPorts { transport, range, scope: HostScope::Everything, admitted: group.map(group_id), otherwise }
}

fn guard_id(number: usize) -> GuardId {
    GuardId(format!("guard{number}").into())
}

fn group_id(number: usize) -> GroupId {
    GroupId(format!("group{number}").into())
}

/// IPv4 and IPv6 in turn.
fn node(number: u8) -> IpAddr {
    let text = if number.is_multiple_of(2) { format!("10.0.0.{number}") } else { format!("fd00::{number}") };
    text.parse().unwrap()
}

fn group(number: usize, members: &BTreeSet<u8>) -> PeerGroup {
    let mut group =
        PeerGroup { addresses: members.iter().map(|member| node(*member)).collect(), ..PeerGroup::default() };
    if number == 1 {
        group.blocks4 = [("192.0.2.0".parse().unwrap(), "192.0.2.9".parse().unwrap())].into();
        group.blocks6 = [("2001:db8::".parse().unwrap(), "2001:db8::ffff".parse().unwrap())].into();
    }
    group
}

fn settings() -> impl Strategy<Value = Settings> {
    let log_group = prop::sample::select(&[None, Some(5)]);
    log_group.prop_map(|log_group| Settings { denied: Denied::Drop, log_group, ..Settings::default() })
}

/// From any tables to any others, by netlink; and what nft makes of the text is the same.
#[test]
fn the_kernel_holds_what_is_lowered() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let pairs: Vec<_> =
        (0..60).map(|_| (tables(), tables(), settings()).new_tree(&mut runner).unwrap().current()).collect();
    in_new_namespace(|| {
        for (first, second, settings) in pairs {
            kernel_holds_in_turn(Table::Host, &[&first, &second].map(|tables| lower_host(tables, &settings)));
        }
    });
}

/// Members that come and go are told one by one, in any order and number.
#[test]
fn members_cost_an_element() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let steps = prop::collection::vec((0usize..2, 0u8..6, any::<bool>()), 1..8);
    let cases: Vec<_> = (0..100).map(|_| (tables(), steps.clone()).new_tree(&mut runner).unwrap().current()).collect();
    in_new_namespace(|| {
        for (mut tables, steps) in cases {
            let settings = Settings::default();
            let mut kernel = Kernel::open_table(Table::Host).unwrap();
            kernel.apply(&diff(&Ruleset::nothing(Table::Host), &lower_host(&tables, &settings))).unwrap();
            let mut held = HostHeld::of(&tables, &settings);
            let member = |(group, member, joins)| HostChange::Member(group_id(group), node(member), joins);
            let changes: Vec<TablesChange> = steps.into_iter().map(member).map(TablesChange::Host).collect();
            let transaction = held.lower_changes(&changes);
            let only_elements = |operation: &crate::Operation| {
                matches!(operation, crate::Operation::AddElements(..) | crate::Operation::DeleteElements(..))
            };
            assert!(transaction.operations().iter().all(only_elements), "{transaction}");
            kernel.apply(&transaction).unwrap();
            for change in &changes {
                let TablesChange::Host(change) = change else { continue };
                tables.apply(change);
            }
            kernel_holds(&mut kernel, &lower_host(&tables, &settings));
            kernel.remove_table().unwrap();
        }
    });
}
