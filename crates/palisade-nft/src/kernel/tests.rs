//! The kernel's word on what the rest of the crate says, in network namespaces of the tests' own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use palisade_core::{GroupId, PeerGroup, Tables, TablesChange};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::ruleset::{Key, Value, Verdict};
use crate::testing::{REQUIRE, in_new_namespace, nft, run_or_skip, sample, settings, steps, tables};
use crate::transaction::Counts;
use crate::{Denied, Established, Event, Generation, Held, Monitor, Settings, diff, lower};

fn load(kernel: &mut Kernel, ruleset: &Ruleset) {
    let have = kernel.read_back().unwrap().unwrap_or_default();
    kernel.apply(&diff(&have, ruleset)).unwrap();
}

fn check(kernel: &mut Kernel, wanted: &Ruleset) {
    let have = kernel.read_back().unwrap().unwrap_or_default();
    let (have_text, wanted_text) = (have.to_string(), wanted.to_string());
    let only = |these: &str, those: &str| -> Vec<String> {
        let those: BTreeSet<&str> = those.lines().collect();
        these.lines().filter(|line| !those.contains(line)).map(str::to_string).collect()
    };
    assert_eq!(only(&have_text, &wanted_text), only(&wanted_text, &have_text));
    assert_eq!(have_text, wanted_text);
    assert!(have == *wanted, "two rulesets print alike and differ");
}

fn lowered(tables: &Tables) -> Ruleset {
    lower(tables, &Settings::default(), Generation::FIRST)
}

#[test]
fn what_is_written_is_read_back() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        assert_eq!(kernel.read_back().unwrap(), None);
        for tables in [Tables::default(), sample()] {
            let wanted = lowered(&tables);
            load(&mut kernel, &wanted);
            check(&mut kernel, &wanted);
            assert!(kernel.remove_table().unwrap());
            assert!(!kernel.remove_table().unwrap());
            assert_eq!(kernel.read_back().unwrap(), None);
        }
    });
}

/// Somebody else may take the table away between two questions of one reading.
#[test]
fn a_table_may_go_while_it_is_read() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        load(&mut kernel, &lowered(&sample()));
        kernel.look().unwrap();
        assert!(Kernel::open().unwrap().remove_table().unwrap());
        assert!(kernel.table.is_some());
        assert_eq!(kernel.read_table().unwrap(), None);
        assert_eq!(kernel.read_back().unwrap(), None);
    });
}

/// Our text, loaded by nft itself, is what we write: the same for nft's eyes and for ours.
#[test]
fn the_text_is_what_the_kernel_holds() {
    let rejecting = Settings { denied: Denied::Reject, log_group: Some(5), established: Established::Keep };
    for settings in [Settings::default(), rejecting] {
        in_new_namespace(|| {
            let mut kernel = Kernel::open().unwrap();
            let wanted = lower(&sample(), &settings, Generation::FIRST);
            load(&mut kernel, &wanted);
            let Some(ours) = nft(&["-j", "list", "table", "inet", "palisade"], "") else { return };
            let listing = nft(&["list", "ruleset"], "").unwrap();
            nft(&["-c", "-f", "-"], &listing);
            kernel.remove_table().unwrap();

            nft(&["-c", "-f", "-"], &wanted.to_string());
            nft(&["-f", "-"], &wanted.to_string());
            let theirs = nft(&["-j", "list", "table", "inet", "palisade"], "").unwrap();
            assert_eq!(normal(&ours), normal(&theirs));
            check(&mut kernel, &wanted);
        });
    }
}

/// A listing as lines, without handles and in an order of its own.
fn normal(listing: &str) -> Vec<String> {
    fn clean(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.remove("handle");
                fields.values_mut().for_each(clean);
                if let Some(serde_json::Value::Array(elements)) = fields.get_mut("elem") {
                    elements.sort_by_cached_key(ToString::to_string);
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(clean),
            _ => {}
        }
    }
    let mut listing: serde_json::Value = serde_json::from_str(listing).unwrap();
    clean(&mut listing);
    // Rules keep their order within a chain, as their text does not sort before that of the chain.
    let mut by_chain: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for object in listing["nftables"].as_array().unwrap() {
        let chain = object["rule"]["chain"].as_str().map_or_else(|| object.to_string(), str::to_string);
        by_chain.entry(chain).or_default().push(object.to_string());
    }
    by_chain.into_values().flatten().collect()
}

#[test]
fn from_any_state_to_any_other_by_difference_steps_and_text() {
    in_new_namespace(|| {
        let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
        let kernel = std::cell::RefCell::new(Kernel::open().unwrap());
        let result = runner.run(&(tables(), tables(), settings(), settings()), |(from, to, settings, others)| {
            let mut kernel = kernel.borrow_mut();
            let generation = Generation::FIRST;
            let (before, after) = (lower(&from, &settings, generation), lower(&to, &settings, generation));
            load(&mut kernel, &before);
            check(&mut kernel, &before);
            prop_assert!(diff(&before, &before).is_empty());

            let difference = diff(&before, &after);
            kernel.apply(&difference).unwrap();
            check(&mut kernel, &after);

            kernel.apply(&diff(&after, &before)).unwrap();
            check(&mut kernel, &before);
            let stepped = Held::of(&from, &settings, generation).lower_changes(&steps(&from, &to), None);
            prop_assert_eq!(stepped.counts(), difference.counts());
            kernel.apply(&stepped).unwrap();
            check(&mut kernel, &after);

            load(&mut kernel, &before);
            if !stepped.is_empty() && nft(&["-f", "-"], &stepped.to_string()).is_some() {
                check(&mut kernel, &after);
            }

            let other = lower(&to, &others, generation);
            load(&mut kernel, &other);
            check(&mut kernel, &other);
            Ok(())
        });
        result.unwrap();
    });
}

#[test]
fn a_new_generation_changes_the_chains_that_name_it() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        let tables = sample();
        load(&mut kernel, &lowered(&tables));
        let next = Generation::FIRST.next();
        let transaction = Held::of(&tables, &Settings::default(), Generation::FIRST).lower_changes(&[], Some(next));
        assert_eq!(transaction, diff(&lowered(&tables), &lower(&tables, &Settings::default(), next)));
        assert_eq!(transaction.counts(), Counts { rules_added: 9, ..Counts::default() });
        kernel.apply(&transaction).unwrap();
        check(&mut kernel, &lower(&tables, &Settings::default(), next));
        assert_eq!(kernel.read_back().unwrap().unwrap().generation(), Some(next));
    });
}

#[test]
fn a_refused_element_is_named_and_nothing_changes() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        let before = lowered(&sample());
        load(&mut kernel, &before);
        let mut after = before.clone();
        let map = after.sets.get_mut("egress_pods4").unwrap();
        for last in 100..200 {
            let verdict = if last == 177 { Verdict::Goto("nowhere".into()) } else { Verdict::Return };
            map.elements.insert(Key::Single(Value::Ipv4([10, 9, 9, last].into())), Some(verdict));
        }
        after.chains.get_mut("denied_egress").unwrap().rules.clear();
        let error = kernel.apply(&diff(&before, &after)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot add element 10.9.9.177 : goto nowhere to egress_pods4: ENOENT, it or what it names does not exist"
        );
        check(&mut kernel, &before);
    });
}

#[test]
fn refused_objects_are_named() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        let full = lowered(&sample());
        load(&mut kernel, &full);
        let refused = |kernel: &mut Kernel, have: &Ruleset, want: &Ruleset| {
            kernel.apply(&diff(have, want)).unwrap_err().to_string()
        };
        let group = full.chains.keys().find(|name| name.starts_with("to_")).unwrap().clone();
        let mut without = full.clone();
        without.chains.remove(&group);
        assert_eq!(
            refused(&mut kernel, &full, &without),
            format!("cannot delete chain {group}: EBUSY, it is in use, or exists with another value")
        );
        assert_eq!(
            refused(&mut kernel, &without, &full),
            format!("cannot create chain {group}: EEXIST, it exists already")
        );
        assert_eq!(
            refused(&mut kernel, &Ruleset::default(), &full),
            "cannot create table inet palisade: EEXIST, it exists already"
        );
        let mut fewer = full.clone();
        let peers = fewer.sets.keys().find(|name| name.starts_with("peers4_")).unwrap().clone();
        let (key, _) = fewer.sets.get_mut(&peers).unwrap().elements.pop_first().unwrap();
        load(&mut kernel, &fewer);
        assert_eq!(
            refused(&mut kernel, &full, &fewer),
            format!("cannot delete element {key} from {peers}: ENOENT, it or what it names does not exist")
        );
        check(&mut kernel, &fewer);
    });
}

/// The send buffer that an ordinary user gets in a namespace of his own (`net.core.wmem_default`).
fn shrink_send_buffer(kernel: &Kernel) {
    rustix::net::sockopt::set_socket_send_buffer_size(&kernel.socket, 212_992 / 2).unwrap();
}

/// The ruleset with that many members more in one of its groups.
fn with_members(ruleset: &Ruleset, count: u32) -> Ruleset {
    let mut ruleset = ruleset.clone();
    let peers = ruleset.sets.keys().find(|name| name.starts_with("peers4_")).unwrap().clone();
    let elements = (0..count).map(|number| (Key::Single(Value::Ipv4((0x0b00_0000 + number).into())), None));
    ruleset.sets.get_mut(&peers).unwrap().elements.extend(elements);
    ruleset
}

#[test]
fn a_big_load_goes_in_pieces_and_leaves_nothing_when_it_fails() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        shrink_send_buffer(&kernel);
        let big = with_members(&lowered(&sample()), 20_000);
        let applied = kernel.apply(&diff(&Ruleset::default(), &big)).unwrap();
        assert!(applied.commits > 2, "{applied:?}");
        check(&mut kernel, &big);

        // The last commit fails: what was built before it goes away again.
        for before in [Ruleset::default(), lowered(&Tables::default())] {
            kernel.remove_table().unwrap();
            load(&mut kernel, &before);
            let mut broken = big.clone();
            broken.chains.get_mut("forward").unwrap().rules =
                vec![vec![crate::ruleset::Statement::Verdict(Verdict::Goto("nowhere".into()))]];
            let error = kernel.apply(&diff(&before, &broken)).unwrap_err();
            assert!(error.to_string().contains("goto nowhere"), "{error}");
            check(&mut kernel, &before);
        }
    });
}

/// Elements of a set in use are never committed piece by piece.
#[test]
fn what_must_happen_at_once_is_refused_if_it_does_not_fit() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        let before = lowered(&sample());
        load(&mut kernel, &before);
        let after = with_members(&before, 20_000);
        let mut generous = diff(&before, &after);
        kernel.apply(&generous).unwrap();
        check(&mut kernel, &after);

        generous = diff(&after, &before);
        shrink_send_buffer(&kernel);
        let error = kernel.apply(&generous).unwrap_err();
        assert!(matches!(error, ApplyError::TooLarge { limit: 212_960, .. }), "{error}");
        check(&mut kernel, &after);
    });
}

/// Steps that undo each other, or repeat what is so, in one list.
#[test]
fn steps_may_turn_back() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        let mut tables = sample();
        load(&mut kernel, &lowered(&tables));
        let mut held = Held::of(&tables, &Settings::default(), Generation::FIRST);
        let (group, content) = tables.groups.first_key_value().map(|(id, group)| (id.clone(), group.clone())).unwrap();
        let member = *content.addresses.first().unwrap();
        let stranger = "10.0.0.77".parse().unwrap();
        let join = |address, joins| TablesChange::Member(group.clone(), address, joins);
        let smaller = PeerGroup { addresses: [stranger].into(), ..content.clone() };
        let unused = GroupId("unused".into());
        let lists = [
            vec![join(stranger, true), join(stranger, false)],
            vec![join(member, false), join(member, true)],
            vec![join(member, true), join(member, false)],
            vec![join(member, true), join(member, true)],
            vec![TablesChange::GroupRemoved(group.clone()), TablesChange::GroupAdded(group.clone(), smaller)],
            vec![TablesChange::GroupAdded(unused.clone(), content.clone()), TablesChange::GroupRemoved(unused.clone())],
            vec![
                TablesChange::GroupAdded(unused.clone(), content),
                TablesChange::Member(unused.clone(), stranger, true),
            ],
            vec![TablesChange::Member(unused.clone(), stranger, false), TablesChange::GroupRemoved(unused)],
        ];
        for list in lists {
            kernel.apply(&held.lower_changes(&list, None)).unwrap();
            for step in &list {
                tables.apply(step);
            }
            check(&mut kernel, &lowered(&tables));
        }
    });
}

/// The same as an ordinary user in a user namespace, where the kernel grants no bigger buffers.
#[test]
fn it_works_in_a_user_namespace() {
    let program = std::env::current_exe().unwrap();
    let arguments = ["--user", "--map-root-user", "--net"];
    let tests = ["--exact", "kernel::tests::what_is_written_is_read_back"];
    let output = run_or_skip("unshare", |command| command.args(arguments).arg(program).args(tests).env(REQUIRE, "1"));
    assert!(output.is_none_or(|output| output.contains("1 passed")));
}

#[test]
fn foreign_changes_are_seen_and_undone() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        let mut monitor = Monitor::open([&kernel]).unwrap();
        let wanted = lowered(&sample());
        load(&mut kernel, &wanted);
        assert_eq!(news(&mut monitor), (true, true, thread_name()));
        monitor.reopen().unwrap();
        assert_eq!(monitor.next(Duration::ZERO).unwrap(), Some(Event::Lost));

        let foreign = "add table ip other; add chain ip other c";
        if nft(&["-f", "-"], foreign).is_none() {
            return;
        }
        assert_eq!(news(&mut monitor), (false, false, "nft".to_string()));
        // Somebody else committed since we looked, and it does not matter.
        kernel
            .apply(
                &Held::of(&sample(), &Settings::default(), Generation::FIRST)
                    .lower_changes(&[], Some(Generation::FIRST)),
            )
            .unwrap();
        assert_eq!(news(&mut monitor), (true, true, thread_name()));

        for change in [
            "add rule inet palisade denied_egress accept",
            "insert rule inet palisade forward accept",
            "add rule inet palisade forward counter",
            "add element inet palisade egress_pods4 { 1.2.3.4 : drop }",
            "add chain inet palisade mine { type filter hook input priority 0; }",
            "add set inet palisade mine { type ipv4_addr; timeout 1h; }",
            "add map inet palisade mine { type ipv4_addr : mark; }",
            "add counter inet palisade mine",
            "add quota inet palisade mine { over 25 mbytes }",
            "add rule inet palisade unknown_source counter name cut_flows",
            "insert rule inet palisade egress ip saddr 10.0.0.0/9 accept",
            "insert rule inet palisade denied_egress update @denied_egress4 { ip saddr timeout 5s counter }",
            "insert rule inet palisade denied_egress update @denied_egress4 { ip saddr limit rate 5/minute }",
            "insert rule inet palisade denied_egress log prefix \"egress\" group 5 snaplen 128 queue-threshold 2",
            "add rule inet palisade denied_egress reject with icmpx no-route",
            "add table inet palisade { flags dormant; }",
            "add chain inet palisade forward { policy drop; }",
            "flush chain inet palisade forward",
            "flush map inet palisade ingress_pods4",
            "delete table inet palisade",
            "flush ruleset",
        ] {
            nft(&["-f", "-"], change).unwrap();
            assert_eq!(news(&mut monitor), (false, true, "nft".to_string()), "{change}");
            let have = kernel.read_back().unwrap().unwrap_or_default();
            assert_ne!(have, wanted, "{change}");
            let applied = kernel.apply(&diff(&have, &wanted)).unwrap();
            check(&mut kernel, &wanted);
            for _ in 0..applied.commits {
                assert!(news(&mut monitor).0, "{change}");
            }
        }
        assert_eq!(monitor.next(Duration::ZERO).unwrap(), None);
    });
}

fn news(monitor: &mut Monitor) -> (bool, bool, String) {
    match monitor.next(Duration::from_secs(10)).unwrap() {
        Some(Event::Commit { ours, touched, program, .. }) => (ours, touched, program),
        other => panic!("{other:?}"),
    }
}

/// The kernel calls a program by the name of the thread.
fn thread_name() -> String {
    let name = rustix::thread::name().unwrap();
    name.to_str().unwrap().to_string()
}

#[test]
fn a_table_made_anew_by_others_is_not_overwritten() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        let wanted = lowered(&sample());
        load(&mut kernel, &wanted);
        if nft(&["-f", "-"], "delete table inet palisade; add table inet palisade").is_none() {
            return;
        }
        let transaction =
            Held::of(&sample(), &Settings::default(), Generation::FIRST).lower_changes(&[], Some(Generation::FIRST));
        assert!(matches!(kernel.apply(&transaction), Err(ApplyError::Changed)));
    });
}

#[test]
fn other_tables_are_left_alone() {
    in_new_namespace(|| {
        let foreign = "table inet other {\n\tset s {\n\t\ttype ipv4_addr\n\t}\n}\n";
        if nft(&["-f", "-"], foreign).is_none() {
            return;
        }
        let mut kernel = Kernel::open().unwrap();
        let (empty, full) = (lowered(&Tables::default()), lowered(&sample()));
        for (have, want) in [(&Ruleset::default(), &full), (&full, &empty), (&empty, &full)] {
            let transaction = diff(have, want);
            kernel.apply(&transaction).unwrap();
            let text = transaction.to_string();
            assert!(text.lines().all(|line| line.contains(" inet palisade")), "{text}");
        }
        kernel.remove_table().unwrap();
        assert_eq!(nft(&["list", "ruleset"], "").unwrap(), foreign);
    });
}
