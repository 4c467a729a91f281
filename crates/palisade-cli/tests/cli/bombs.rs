//! Input that is made to take memory and time: each ends with an answer, within a minute of one processor and two gigabytes.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

use crate::user;

/// What a process may have, in KiB of address space and seconds of a processor; the compiler's debug build is slow.
const LIMITS: &str = "ulimit -v 2000000; ulimit -t 60; exec \"$0\" \"$@\"";

fn palisade(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", LIMITS, env!("CARGO_BIN_EXE_palisade")]).args(arguments);
    command.current_dir(directory).output().unwrap()
}

/// What `palisade check` makes of a text: its exit status, and what stands in what it prints.
fn check(text: &str, code: i32, expected: &str) {
    let directory = user::directory();
    fs::write(directory.path().join("a.yaml"), text).unwrap();
    let output = palisade(directory.path(), &["check", "a.yaml"]);
    let head: String = text.chars().take(80).collect();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains(expected), "{head}…: {printed:.2000}");
    assert_eq!(output.status.code(), Some(code), "{head}…: {printed:.2000}");
}

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

#[test]
fn aliases_expand_to_so_much_and_no_more() {
    let lists = |level: usize| format!("l{level}: &l{level} [{}]\n", vec![format!("*l{}", level - 1); 9].join(", "));
    check(
        &format!("{CONFIG_MAP}l0: &l0 [x]\n{}", (1..10).map(lists).collect::<String>()),
        1,
        "more than 100000 values",
    );
    let merges = |level: usize| {
        let before = vec![format!("*m{}", level - 1); 9].join(", ");
        format!("m{level}: &m{level} {{<<: [{before}], k{level}: {{<<: *m{}}}}}\n", level - 1)
    };
    check(
        &format!("{CONFIG_MAP}m0: &m0 {{a: b}}\n{}", (1..40).map(merges).collect::<String>()),
        1,
        "more than 100000 values",
    );
    check(&format!("{CONFIG_MAP}a: &a [*a]\n"), 1, "the alias names no anchor before it");
    // Of text that is not written as it is read, each alias has a copy of its own.
    let copies = format!("{CONFIG_MAP}a: [&a \"\\n{}\", {}]\n", "x".repeat(1_000_000), vec!["*a"; 90_000].join(", "));
    check(&copies, 1, "more than 100000 values");
    let documents = format!("a: [&a [{}], {}]\n---\n", vec!["x"; 1_000].join(","), vec!["*a"; 95].join(", "));
    check(&documents.repeat(2_000), 2, "more than 10000000 values in one file");
}

#[test]
fn what_nests_too_deep_says_so() {
    const DEEP: usize = 10_000;
    let nested = |open: &str, close: &str| format!("{CONFIG_MAP}a: {}{}\n", open.repeat(DEEP), close.repeat(DEEP));
    check(&nested("[", "]"), 1, "a.yaml:4:");
    check(&nested("{a: ", "}"), 1, "a.yaml:4:");
    check(&nested("[", ""), 1, "a.yaml:4:");
    check(&format!("{CONFIG_MAP}a:\n  {}x\n", "- ".repeat(DEEP)), 1, "nested deeper than 120 levels");
    check(&format!("{CONFIG_MAP}{}x\n", "? ".repeat(DEEP)), 1, "a.yaml:4:");
    let block: String = (0..DEEP).map(|depth| " ".repeat(depth) + "a:\n").collect();
    check(&format!("{CONFIG_MAP}{block}"), 1, "nested deeper than 120 levels");
    let lists =
        |depth: usize| "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[".repeat(depth) + &"]}".repeat(depth);
    check(&lists(DEEP), 2, "recursion limit exceeded");
    check(&lists(50), 0, "nothing found");
    check(&"[".repeat(DEEP), 2, "recursion limit exceeded");
}

#[test]
fn much_of_nothing_is_told_in_short() {
    check(&"\0".repeat(1_000_000), 2, "not valid YAML");
    check(&"a: [\n---\n".repeat(50_000), 2, "1000 documents of one file cannot be read; the rest of it is not read");
    check(&"{x}\n".repeat(50_000), 2, "cannot be read");
    check(&"---\n".repeat(100_000), 0, "nothing found");
    check(&"{}\n".repeat(20_000), 2, "a.yaml:20000:1");
    check(&"\"".repeat(1_000_000), 2, "not valid YAML");
    check(&" ".repeat(1_000_000), 0, "nothing found");
}

#[test]
fn what_is_long_is_shown_in_part() {
    let name = "a".repeat(5_000_000);
    check(&format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n"), 1, "a.yaml:3:18");
    let number = "9".repeat(1_000_000);
    let workload =
        format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a}}\nspec: {{replicas: {number}}}\n");
    check(&workload, 1, "a.yaml:4:18");
    // All of a cluster on one line, and something to say of each object.
    for letter in ["A", "é"] {
        let pod = |number| {
            format!("{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"{letter}_{number}\"}}}}")
        };
        let pods: Vec<String> = (0..20_000).map(pod).collect();
        let list = format!("{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{}]}}", pods.join(","));
        check(&list, 1, "20000 errors");
    }
}

#[test]
fn what_is_no_file_of_manifests_is_refused() {
    let directory = user::directory();
    let root = directory.path();
    let sparse = File::create(root.join("sparse.yaml")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    fs::create_dir(root.join("pipes")).unwrap();
    for pipe in ["pipe", "pipes/a.yaml"] {
        assert!(Command::new("mkfifo").arg(root.join(pipe)).status().unwrap().success());
    }
    let refused = |arguments: &[&str], expected: &str| {
        let output = palisade(root, arguments);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(printed.contains(expected), "{arguments:?}: {printed}");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}: {printed}");
    };
    refused(&["check", "sparse.yaml"], "error: cannot read sparse.yaml: it has more than 512 MiB\nhint: ");
    refused(&["check", "/dev/zero"], "error: cannot read /dev/zero: it has more than 512 MiB\nhint: ");
    refused(&["check", "pipe"], "error: cannot read pipe: it is no regular file\nhint: ");
    refused(&["check", "pipes"], "error: cannot read pipes/a.yaml: it is no regular file\nhint: ");
    refused(&["check", "--baseline", "pipe", "pipes"], "error: cannot read pipe: it is no regular file\nhint: ");
    refused(&["explain", "-f", "/dev/null", "--flows", "pipe"], "it is no regular file\nhint: ");
    refused(
        &["explain", "-f", "/dev/null", "--config", "/dev/zero", "a/b -> c/d icmp"],
        "it has more than 512 MiB\nhint: ",
    );
}
