//! The hook of `.pre-commit-hooks.yaml`, run by pre-commit itself, where it is installed (`pip install pre-commit`), with git.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::user;

const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: a, name: p}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n";

#[test]
fn the_hook_holds_back_what_cannot_be_read() {
    let installed =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !installed("pre-commit") || !installed("git") {
        println!("SKIPPED: pre-commit, or git, is not installed");
        return;
    }
    let directory = user::directory();
    let (hooks, manifests) = (directory.path().join("hooks"), directory.path().join("manifests"));
    for repository in [&hooks, &manifests] {
        fs::create_dir(repository).unwrap();
        git(repository, &["init", "--quiet"]);
    }
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.pre-commit-hooks.yaml");
    fs::copy(hook, hooks.join(".pre-commit-hooks.yaml")).unwrap();
    git(&hooks, &["add", "."]);
    git(&hooks, &["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message", "a"]);

    fs::write(manifests.join("a b.yaml"), POLICY).unwrap();
    fs::write(manifests.join("notes.txt"), "no manifest").unwrap();
    let output = pre_commit(directory.path(), &manifests);
    assert!(output.status.success(), "{output:?}");

    fs::write(manifests.join("a b.yaml"), POLICY.replace("podSelector", "podSelectr")).unwrap();
    let output = pre_commit(directory.path(), &manifests);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && printed.contains("--> a b.yaml:4:"), "{output:?}");
    assert!(!printed.contains("notes.txt"), "{printed}");
}

/// Runs the hook over all files that git knows.
fn pre_commit(directory: &Path, manifests: &Path) -> Output {
    git(manifests, &["add", "."]);
    let ours = Path::new(env!("CARGO_BIN_EXE_palisade")).parent().unwrap();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([ours.to_path_buf()].into_iter().chain(std::env::split_paths(&others))).unwrap();
    Command::new("pre-commit")
        .args(["try-repo", "../hooks", "palisade-check", "--all-files"])
        .current_dir(manifests)
        .env("PATH", path)
        .env("PRE_COMMIT_HOME", directory.join("cache"))
        .output()
        .unwrap()
}

fn git(repository: &Path, arguments: &[&str]) {
    let status = Command::new("git").args(arguments).current_dir(repository).status().unwrap();
    assert!(status.success(), "git {arguments:?}");
}
