//! The kernel's word on what the rest of the crate says, in network namespaces of the tests' own.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_core::Tables;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::ruleset::{Key, Value, Verdict};
use crate::testing::{in_new_namespace, nft, sample, steps, tables};
use crate::transaction::Counts;
use crate::{Event, Generation, Held, Monitor, diff, lower};

fn load(kernel: &mut Kernel, ruleset: &Ruleset) {
    let have = kernel.read_back().unwrap().unwrap_or_default();
    kernel.apply(&diff(&have, ruleset)).unwrap();
}

fn check(kernel: &mut Kernel, wanted: &Ruleset) {
    let have = kernel.read_back().unwrap().unwrap_or_default();
    let (have_text, wanted_text) = (have.to_string(), wanted.to_string());
    let only = |these: &str, those: &str| -> Vec<String> {
        these.lines().filter(|line| !those.lines().any(|other| other == *line)).map(str::to_string).collect()
    };
    assert_eq!(only(&have_text, &wanted_text), only(&wanted_text, &have_text));
    assert_eq!(have_text, wanted_text);
    assert!(have == *wanted, "two rulesets print alike and differ");
}

fn lowered(tables: &Tables) -> Ruleset {
    lower(tables, Generation::FIRST)
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

/// Our text, loaded by nft itself, is what we write: the same for nft's eyes and for ours.
#[test]
fn the_text_is_what_the_kernel_holds() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        let wanted = lowered(&sample());
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
        let result = runner.run(&(tables(), tables()), |(from, to)| {
            let mut kernel = kernel.borrow_mut();
            let (before, after) = (lowered(&from), lowered(&to));
            load(&mut kernel, &before);
            check(&mut kernel, &before);
            prop_assert!(diff(&before, &before).is_empty());

            let difference = diff(&before, &after);
            kernel.apply(&difference).unwrap();
            check(&mut kernel, &after);

            kernel.apply(&diff(&after, &before)).unwrap();
            check(&mut kernel, &before);
            let stepped = Held::of(&from).lower_changes(&steps(&from, &to), None);
            prop_assert_eq!(stepped.counts(), difference.counts());
            kernel.apply(&stepped).unwrap();
            check(&mut kernel, &after);

            load(&mut kernel, &before);
            if !stepped.is_empty() && nft(&["-f", "-"], &stepped.to_string()).is_some() {
                check(&mut kernel, &after);
            }
            Ok(())
        });
        result.unwrap();
    });
}

#[test]
fn a_new_generation_changes_two_chains() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        let tables = sample();
        load(&mut kernel, &lowered(&tables));
        let next = Generation::FIRST.next();
        let transaction = Held::of(&tables).lower_changes(&[], Some(next));
        assert_eq!(transaction, diff(&lowered(&tables), &lower(&tables, next)));
        assert_eq!(transaction.counts(), Counts { rules_added: 4, ..Counts::default() });
        kernel.apply(&transaction).unwrap();
        check(&mut kernel, &lower(&tables, next));
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
        after.chains.get_mut("denied").unwrap().rules.clear();
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

/// Many elements over a small socket buffer, as an ordinary user has it in a namespace of his own.
#[test]
fn a_big_load_goes_in_pieces_and_leaves_nothing_when_it_fails() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        kernel.piece_bytes = 40_000;
        let mut big = lowered(&sample());
        let peers = big.sets.keys().find(|name| name.starts_with("peers4_")).unwrap().clone();
        let elements = (0..5_000u32).map(|number| (Key::Single(Value::Ipv4((0x0a00_0000 + number).into())), None));
        big.sets.get_mut(&peers).unwrap().elements.extend(elements);
        let applied = kernel.apply(&diff(&Ruleset::default(), &big)).unwrap();
        assert!(applied.commits > 3, "{applied:?}");
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

#[test]
fn foreign_changes_are_seen_and_undone() {
    in_new_namespace(|| {
        let mut kernel = Kernel::open().unwrap();
        let mut monitor = Monitor::open(&kernel).unwrap();
        let wanted = lowered(&sample());
        load(&mut kernel, &wanted);
        assert_eq!(news(&mut monitor), (true, true, thread_name()));

        let foreign = "add table ip other; add chain ip other c";
        if nft(&["-f", "-"], foreign).is_none() {
            return;
        }
        assert_eq!(news(&mut monitor), (false, false, "nft".to_string()));
        // Somebody else committed since we looked, and it does not matter.
        kernel.apply(&Held::of(&sample()).lower_changes(&[], Some(Generation::FIRST))).unwrap();
        assert_eq!(news(&mut monitor), (true, true, thread_name()));

        for change in [
            "add rule inet palisade denied accept",
            "insert rule inet palisade forward accept",
            "add rule inet palisade forward counter",
            "add element inet palisade egress_pods4 { 1.2.3.4 : drop }",
            "add chain inet palisade mine { type filter hook input priority 0; }",
            "add set inet palisade mine { type ipv4_addr; timeout 1h; }",
            "add map inet palisade mine { type ipv4_addr : mark; }",
            "add counter inet palisade mine",
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
            kernel.apply(&diff(&have, &wanted)).unwrap();
            check(&mut kernel, &wanted);
            assert!(news(&mut monitor).0, "{change}");
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
        let transaction = Held::of(&sample()).lower_changes(&[], Some(Generation::FIRST));
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
