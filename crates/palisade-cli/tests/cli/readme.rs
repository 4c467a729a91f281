//! What README and the pages show is what the commands print.

use std::fs;
use std::path::Path;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The rest of a code block, from these words on.
fn block_from<'a>(page: &'a str, words: &str) -> &'a str {
    let start = page.find(words).unwrap_or_else(|| panic!("nothing shows '{words}'"));
    page[start..].split("```").next().unwrap()
}

/// A section, up to the next of its kind.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let start = page.find(heading).unwrap_or_else(|| panic!("there is no section '{heading}'"));
    let rest = &page[start + heading.len()..];
    rest.split("\n## ").next().unwrap()
}

fn assert_printed<'a>(shown: impl IntoIterator<Item = &'a str>, transcripts: &[&str]) {
    let transcripts = transcripts.iter().map(|file| read(file)).collect::<String>();
    let printed: Vec<&str> = transcripts.lines().collect();
    for line in shown {
        assert!(printed.contains(&line), "'{line}' is shown, which no transcript has");
    }
}

#[test]
fn readme_shows_what_is_printed() {
    let readme = read("../../README.md");
    for words in ["what is open, to whom:", "$ palisade explain -f examples/shop"] {
        let shown = block_from(&readme, words).lines().filter(|line| *line != "…");
        assert_printed(shown, &["tests/cli/lab-shop.md", "tests/cli/explain.md"]);
    }
}

#[test]
fn the_page_of_outside_hosts_shows_what_is_printed() {
    let page = read("../../docs/outside-hosts.md");
    assert_printed(block_from(&page, "$ palisade explain").lines(), &["tests/cli/explain-servers.md"]);
}

#[test]
fn the_page_of_checks_shows_what_is_printed() {
    let page = read("../../docs/checking.md");
    let transcript = read("tests/cli/check.md");
    let shown = block_from(&page, "$ palisade check web.yaml");
    assert!(transcript.contains(shown), "docs/checking.md shows what no transcript has:\n{shown}");
}

/// Manifests, what is printed of them, and the lines to change: all of them are replayed.
#[test]
fn symptoms_lead_to_lines_as_is_shown() {
    let page = read("../../docs/checking.md");
    let section = section(&page, "## From the symptom to the line");
    let transcript = read("tests/cli/symptoms.md");
    let blocks: Vec<&str> = section.split("```").skip(1).step_by(2).collect();
    assert!(blocks.len() >= 30, "{}", blocks.len());
    for block in blocks {
        let (_, shown) = block.split_once('\n').unwrap();
        let sessions = shown.split_inclusive('\n').collect::<Vec<_>>();
        for session in sessions.chunk_by(|_, next| !next.starts_with("$ ")) {
            let session = session.concat();
            assert!(transcript.contains(&session), "docs/checking.md shows what no transcript has:\n{session}");
        }
    }
}

#[test]
fn the_page_of_exact_sets_shows_what_is_printed() {
    let page = read("../../docs/matrix.md");
    let blocks: Vec<&str> = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 3);
    assert_printed(blocks.iter().flat_map(|block| block.lines()), &["tests/cli/matrix.md", "tests/cli/diff.md"]);
}

#[test]
fn the_page_of_dialects_shows_what_is_printed() {
    let page = read("../../docs/dialects.md");
    let blocks: Vec<&str> = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 2);
    assert_printed(blocks.iter().flat_map(|block| block.lines()), &["tests/cli/dialects.md"]);
}

/// What the scenarios prove is what users apply.
#[test]
fn scenarios_have_the_files_of_the_examples() {
    let policy = read("../../examples/portworx/policy.yaml");
    assert!(read("../../scenarios/31-portworx.md").contains(&format!("```yaml\n{policy}```\n")));
    let config = read("../../examples/kube-restrict-ip/config.yaml");
    assert!(read("../../scenarios/32-restrict-ip.md").contains(&format!("```config\n{config}```\n")));
    assert!(read("../../docs/host-policies.md").contains(&format!("```yaml\n{config}```\n")));
    let list = read("../../examples/outside-host/host.yaml");
    assert!(read("../../docs/outside-hosts.md").contains(&format!("```yaml\n{list}```\n")));
}
