//! Transcripts: Markdown with files and with sessions of a terminal, replayed in a fresh directory.
//!
//! ````text
//! ```yaml web.yaml          a file; the word before its name is for syntax colours only
//! …
//! ```
//!
//! ```console
//! $ palisade explain -f web.yaml 'web/front -> db/pg tcp 80' < file
//! what it prints to standard output
//! ! what it prints to standard error, after that
//! ? 1                       its exit code, unless it is 0
//! ```
//! ````
//!
//! `examples` is there in every directory. Anything else in a fence is an error.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use crate::user::{self, User};

/// The transcript as it is when its commands are run now.
pub fn replay(text: &str, path: &Path, user: &User) -> String {
    let directory = user::directory();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    symlink(root.join("examples"), directory.path().join("examples")).unwrap();
    let mut actual = String::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let _ = writeln!(actual, "{line}");
        let Some(info) = line.strip_prefix("```") else { continue };
        let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        match info.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["console"] => actual.push_str(&session(&body, directory.path(), user)),
            [_, name] => {
                let content = body.join("\n") + "\n";
                fs::write(directory.path().join(name), &content).unwrap();
                actual.push_str(&content);
            }
            _ => panic!("{}:{number}: expected 'console', or a language and a file name", path.display()),
        }
        actual.push_str("```\n");
    }
    actual
}

/// The first line that differs, with some of what is around it.
pub fn difference(expected: &str, actual: &str) -> String {
    let (expected, actual): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    let same = expected.iter().zip(&actual).take_while(|(expected, actual)| expected == actual).count();
    let around = |lines: &[&str]| {
        let around = lines.iter().enumerate().skip(same.saturating_sub(5)).take(15);
        around.fold(String::new(), |text, (index, line)| format!("{text}{:>4} {line}\n", index + 1))
    };
    format!("expected\n{}found\n{}", around(&expected), around(&actual))
}

fn session(body: &[&str], directory: &Path, user: &User) -> String {
    let commands = body.iter().filter(|line| line.starts_with("$ "));
    commands.fold(String::new(), |text, line| format!("{text}{line}\n{}", run(&words(&line[2..]), directory, user)))
}

fn run(words: &[String], directory: &Path, user: &User) -> String {
    let (arguments, input) = match words {
        [program, arguments @ .., less, file] if program == "palisade" && less == "<" => {
            (arguments, Stdio::from(File::open(directory.join(file)).unwrap()))
        }
        [program, arguments @ ..] if program == "palisade" => (arguments, Stdio::null()),
        _ => panic!("expected 'palisade …', found {words:?}"),
    };
    let output = user.command(directory).args(arguments).stdin(input).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    for line in printed.lines() {
        let clear = !["$ ", "! ", "? "].iter().any(|mark| line.starts_with(mark));
        assert!(clear, "a transcript cannot hold the line '{line}'");
    }
    let mut text = printed;
    for line in String::from_utf8(output.stderr).unwrap().lines() {
        text.push_str(format!("! {line}").trim_end());
        text.push('\n');
    }
    match output.status.code() {
        Some(0) => {}
        Some(code) => {
            let _ = writeln!(text, "? {code}");
        }
        None => panic!("{words:?} was killed: {}", output.status),
    }
    text
}

/// The words of a line, split as a shell does it; quotes are single ones.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_string());
        } else {
            words.extend(part.split_whitespace().map(str::to_string));
        }
    }
    assert!(line.matches('\'').count().is_multiple_of(2), "a quote is open in: {line}");
    words
}
