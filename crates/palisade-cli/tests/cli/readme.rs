//! What README shows is what the commands print.

use std::fs;
use std::path::Path;

#[test]
fn readme_shows_what_is_printed() {
    let read = |file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let readme = read("../../README.md");
    let transcripts = ["tests/cli/lab-shop.md", "tests/cli/explain.md"].map(read);
    let printed: Vec<&str> = transcripts.iter().flat_map(|text| text.lines()).collect();
    for block in ["what is open, to whom:", "$ palisade explain -f examples/shop"] {
        let start = readme.find(block).unwrap_or_else(|| panic!("README has no '{block}'"));
        for line in readme[start..].split("```").next().unwrap().lines().filter(|line| *line != "…") {
            assert!(printed.contains(&line), "README shows '{line}', which no transcript has");
        }
    }
}

#[test]
fn the_page_of_outside_hosts_shows_what_is_printed() {
    let read = |file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let page = read("../../docs/outside-hosts.md");
    let transcript = read("tests/cli/explain-servers.md");
    let printed: Vec<&str> = transcript.lines().collect();
    let start = page.find("$ palisade explain").unwrap();
    for line in page[start..].split("```").next().unwrap().lines() {
        assert!(printed.contains(&line), "docs/outside-hosts.md shows '{line}', which no transcript has");
    }
}

#[test]
fn the_page_of_checks_shows_what_is_printed() {
    let read = |file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let page = read("../../docs/checking.md");
    let transcript = read("tests/cli/check.md");
    let start = page.find("$ palisade check web.yaml").unwrap();
    let shown = page[start..].split("```").next().unwrap();
    assert!(transcript.contains(shown), "docs/checking.md shows what no transcript has:\n{shown}");
}

#[test]
fn the_page_of_exact_sets_shows_what_is_printed() {
    let read = |file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let page = read("../../docs/matrix.md");
    let transcripts = ["tests/cli/matrix.md", "tests/cli/diff.md"].map(read);
    let printed: Vec<&str> = transcripts.iter().flat_map(|text| text.lines()).collect();
    let blocks: Vec<&str> = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 2);
    for line in blocks.iter().flat_map(|block| block.lines()) {
        assert!(printed.contains(&line), "docs/matrix.md shows '{line}', which no transcript has");
    }
}

/// What the scenarios prove is what users apply.
#[test]
fn scenarios_have_the_files_of_the_examples() {
    let read = |file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let policy = read("../../examples/portworx/policy.yaml");
    assert!(read("../../scenarios/31-portworx.md").contains(&format!("```yaml\n{policy}```\n")));
    let config = read("../../examples/kube-restrict-ip/config.yaml");
    assert!(read("../../scenarios/32-restrict-ip.md").contains(&format!("```config\n{config}```\n")));
    assert!(read("../../docs/host-policies.md").contains(&format!("```yaml\n{config}```\n")));
    let list = read("../../examples/outside-host/host.yaml");
    assert!(read("../../docs/outside-hosts.md").contains(&format!("```yaml\n{list}```\n")));
}
