//! The page of `palisade report` as users meet it: in a browser.
//!
//! What it shows is held against what `palisade matrix`, `explain` and `check` print. Without Chromium these tests are skipped loudly,
//! which `PALISADE_REQUIRE_KERNEL` makes a failure.
#![expect(clippy::disallowed_methods, reason = "tests start processes and write their own files")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod browser;
mod content;
mod safety;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use browser::Browser;

fn palisade(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_palisade")).current_dir(directory).args(arguments).output().unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A page about a file or directory within another.
fn page(directory: &Path, input: &str) -> (TempDir, PathBuf) {
    let made = tempfile::tempdir().unwrap();
    let file = made.path().join("report.html");
    let output = palisade(directory, &["report", "-f", input, "--out", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (made, file)
}

fn shop() -> (TempDir, PathBuf) {
    page(&root(), "examples/shop")
}

/// The lines that the page shows, as `palisade matrix` would print them.
fn shown(browser: &Browser) -> Vec<String> {
    let rows = browser.run(
        "return [...document.querySelectorAll('#flows-table tbody tr:not(.why)')].map((row) => {
           const [from, to, family, passes] = [...row.cells].map((cell) => cell.textContent);
           return `${from} -> ${to} ${passes}${family === '' ? '' : ` (${family})`}`;
         })",
    );
    strings(&rows)
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_string()).collect()
}

fn write(directory: &Path, name: &str, content: &str) {
    fs::write(directory.join(name), content).unwrap();
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let shop = root().join("examples/shop");
    let write_to = |out: &str| palisade(directory.path(), &["report", "-f", shop.to_str().unwrap(), "--out", out]);
    write(directory.path(), "report.html", "before");
    assert!(write_to("report.html").status.success());
    let written = fs::read(directory.path().join("report.html")).unwrap();
    assert_eq!(write_to("-").stdout, written);
    fs::create_dir(directory.path().join("taken")).unwrap();
    for (out, code) in [("no/report.html", 2), ("taken", 2)] {
        assert_eq!(write_to(out).status.code(), Some(code), "{out}");
    }
    let unreadable = palisade(directory.path(), &["report", "-f", "nothing.yaml", "--out", "report.html"]);
    assert_eq!(unreadable.status.code(), Some(2));
    assert_eq!(fs::read(directory.path().join("report.html")).unwrap(), written);
    let mut names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["report.html", "taken"]);
}
