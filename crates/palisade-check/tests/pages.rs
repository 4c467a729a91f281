//! The examples of every page are run: the first fires this check alone, at the line that is marked, the second nothing of it.
#![expect(clippy::disallowed_methods, reason = "reads and writes the project's own reference")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod found;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use palisade_check::{Check, Selection, checks};
use palisade_core::{Diagnostic, Dialect};

/// What is found in an example of a check, which is selected only if it has to be.
fn findings(of: &Check, text: &str) -> Vec<Diagnostic> {
    let select = if of.opt_in { vec![of.id.to_string()] } else { Vec::new() };
    let selection = Selection { select, dialect: dialect(of), ..Selection::default() };
    found::in_text(text, &selection)
}

/// The dialect that a page speaks of.
fn dialect(of: &Check) -> Dialect {
    let is_named = |(_, name): &(Dialect, &str)| of.page.contains(&format!("palisade check --dialect {name}`"));
    Dialect::NAMES.into_iter().find(is_named).map_or(Dialect::Palisade, |(dialect, _)| dialect)
}

/// The two examples of a page.
fn examples(check: &Check) -> [&'static str; 2] {
    let blocks = check.page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{}: expected two examples", check.id))
}

#[test]
fn the_first_example_fires_at_the_line_that_is_marked() {
    for check in checks::ALL {
        let [bad, _] = examples(check);
        let mark = format!("# {}", check.id);
        let marked = (1..).zip(bad.lines()).find(|(_, line)| line.ends_with(&mark)).map(|(number, _)| number);
        let found = findings(check, bad);
        assert!(found.iter().all(|found| found.id == Some(check.id)), "{}: {found:#?}", check.id);
        let [found] = &found[..] else { panic!("{}: expected one finding: {found:#?}", check.id) };
        assert_eq!(found.place.as_ref().map(|place| place.line), marked, "{}: {found:#?}", check.id);
        assert!(found.level <= check.level, "{}: {found:#?}", check.id);
    }
}

#[test]
fn the_second_example_does_not_fire() {
    for check in checks::ALL {
        let [_, good] = examples(check);
        let found: Vec<_> = findings(check, good).into_iter().filter(|found| found.id == Some(check.id)).collect();
        assert!(found.is_empty(), "{}: {found:#?}", check.id);
    }
}

#[test]
fn a_check_that_has_to_be_selected_says_so() {
    for check in checks::ALL {
        assert_eq!(check.page.contains(&format!("--select {}", check.id)), check.opt_in, "{}", check.id);
        let [bad, _] = examples(check);
        let selection = Selection { dialect: dialect(check), ..Selection::default() };
        let found = found::in_text(bad, &selection);
        assert_eq!(found.iter().any(|found| found.id == Some(check.id)), !check.opt_in, "{}: {found:#?}", check.id);
    }
}

#[test]
fn ids_are_in_order_and_stand_in_the_titles() {
    let ids: Vec<&str> = checks::ALL.iter().map(|check| check.id).collect();
    assert!(ids.is_sorted_by(|left, right| left < right), "{ids:?}");
    for check in checks::ALL {
        assert!(check.page.starts_with(&format!("# {} {}\n\n", check.id, check.name())), "{}", check.id);
        assert!(!check.name().is_empty(), "{}", check.id);
    }
}

#[test]
fn the_examples_of_the_repository_have_no_finding() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for directory in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let mut sources = palisade_sources::read(std::slice::from_ref(&directory)).unwrap();
        // The config file of kube-restrict-ip is no manifest.
        sources.retain(|source| !source.file.name().unwrap().ends_with("kube-restrict-ip/config.yaml"));
        let found = found::in_sources(&sources, &Selection::default());
        assert!(found.is_empty(), "{}: {found:#?}", directory.display());
    }
}

#[test]
fn the_reference_has_every_page() {
    let mut text =
        "# Checks\n\nWritten from the checks themselves; [checking.md](../checking.md) says how to run them.\n\n"
            .to_string();
    text.push_str("| id | name | level | group |\n|---|---|---|---|\n");
    for check in checks::ALL {
        let (id, name, level, group) = (check.id, check.name(), check.level, check.group().letter());
        let anchor = format!("{}-{name}", id.to_lowercase());
        let selected = if check.opt_in { ", if selected" } else { "" };
        let _ = writeln!(text, "| [{id}](#{anchor}) | {name} | {level}{selected} | {group} |");
    }
    for check in checks::ALL {
        let _ = write!(text, "\n#{}", check.page);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/checks.md");
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, text, "docs/reference/checks.md is not that of the checks; UPDATE_GOLDENS=1 renews it");
}
