//! The arrows of ARCHITECTURE.md are those of the manifests.
#![expect(clippy::disallowed_methods, reason = "reads the project's own files")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const LINUX_ONLY: [&str; 5] = ["palisade-nft", "palisade-lab", "palisade-agent", "palisade-host", "palisade-watch"];

#[test]
fn every_arrow_is_in_architecture_md() {
    let stated = stated_arrows();
    let mut found = BTreeMap::new();
    for directory in crate_directories() {
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
        let name = directory.file_name().unwrap().to_str().unwrap().to_string();
        let dependencies = dependencies(&manifest).into_iter().map(|(dependency, _)| dependency);
        found.insert(name, dependencies.filter(|name| name.starts_with("palisade-")).collect::<BTreeSet<_>>());
    }
    let names = |arrows: &BTreeMap<String, BTreeSet<String>>| arrows.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&stated), names(&found), "ARCHITECTURE.md lists other crates than there are");
    for (name, dependencies) in found {
        let beyond: Vec<_> = dependencies.difference(&stated[&name]).collect();
        assert!(beyond.is_empty(), "{name} uses {beyond:?}, which ARCHITECTURE.md does not allow");
    }
}

#[test]
fn the_offline_commands_depend_on_no_linux_only_crate() {
    for directory in crate_directories() {
        let name = directory.file_name().unwrap().to_str().unwrap();
        if LINUX_ONLY.contains(&name) || name == "xtask" {
            continue;
        }
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
        for (dependency, section) in dependencies(&manifest) {
            let linux_section = section.contains("target_os = \"linux\"");
            assert!(
                !LINUX_ONLY.contains(&dependency.as_str()) || (name == "palisade-cli" && linux_section),
                "{name} depends on {dependency} in [{section}]"
            );
        }
    }
}

#[test]
fn the_core_stays_free_of_frameworks() {
    let manifest = fs::read_to_string(root().join("crates/palisade-core/Cargo.toml")).unwrap();
    let found: Vec<String> = dependencies(&manifest).into_iter().map(|(dependency, _)| dependency).collect();
    assert_eq!(found, ["ipnet"]);
}

#[test]
fn unsafe_code_is_in_one_file_a_crate() {
    for directory in crate_directories() {
        let with_unsafe: Vec<PathBuf> = rust_files(&directory.join("src"))
            .into_iter()
            .filter(|file| fs::read_to_string(file).unwrap().contains("allow(unsafe_code)"))
            .collect();
        assert!(with_unsafe.len() <= 1, "unsafe code is allowed in {with_unsafe:?}");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn crate_directories() -> Vec<PathBuf> {
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    crates.chain([root().join("xtask")]).collect()
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn stated_arrows() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let block = text.split("```arrows\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let arrow = |line: &str| {
        let (name, uses) = line.split_once("->").unwrap();
        (name.trim().to_string(), uses.split_whitespace().map(str::to_string).collect())
    };
    block.lines().map(arrow).collect()
}

/// The dependencies of a manifest with the section they stand in; those for tests only do not count.
fn dependencies(manifest: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut dependencies = Vec::new();
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_string();
        } else if section.ends_with("dependencies")
            && !section.ends_with("dev-dependencies")
            && let Some((name, _)) = line.split_once(['.', ' ', '='])
        {
            dependencies.push((name.to_string(), section.clone()));
        }
    }
    dependencies
}
