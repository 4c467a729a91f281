//! The `palisade` command as users meet it: arguments in; standard output, standard error and exit code out.
//!
//! Most of it is data: the transcripts in `tests/cli/*.md`, whose format `transcript.rs` describes. Those called
//! `lab-*.md` need network namespaces; they run as root and as an ordinary user, whichever can be had, and are skipped
//! loudly without, which `PALISADE_REQUIRE_KERNEL` makes a failure.
#![expect(clippy::disallowed_methods, reason = "tests start processes and read their own files")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bombs;
mod findings;
mod json;
mod lab;
mod live;
mod pre_commit;
mod readme;
mod render;
mod sarif;
mod shop;
mod transcript;
mod user;

use std::fs;
use std::path::{Path, PathBuf};

use user::User;

#[test]
fn transcripts() {
    check_all(&paths(|name| !name.starts_with("lab-")), &User::Same);
}

#[test]
fn transcripts_of_labs() {
    if user::namespaces_can_be_had(&User::Same) {
        check_all(&paths(|name| name.starts_with("lab-")), &User::Same);
    }
}

#[test]
fn transcripts_of_labs_as_an_ordinary_user() {
    let Some(nobody) = User::nobody() else { return };
    if user::namespaces_can_be_had(&nobody) {
        // The shop is the same for everybody, and the slowest of all.
        check_all(&paths(|name| name.starts_with("lab-") && name != "lab-shop.md"), &nobody);
    }
}

fn paths(wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .filter(|path| wanted(path.file_name().unwrap().to_str().unwrap()))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

/// Runs transcripts, each in a fresh directory; with `UPDATE_GOLDENS` in the environment they are rewritten instead.
fn check_all(paths: &[PathBuf], user: &User) {
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut failures = Vec::new();
    for path in paths {
        let expected = fs::read_to_string(path).unwrap();
        let actual = transcript::replay(&expected, path, user);
        if update {
            fs::write(path, actual).unwrap();
        } else if actual != expected {
            failures.push(format!("{}:\n{}", path.display(), transcript::difference(&expected, &actual)));
        }
    }
    assert!(failures.is_empty(), "UPDATE_GOLDENS=1 takes over what is printed now\n{}", failures.join("\n"));
}
