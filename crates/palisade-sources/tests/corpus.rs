//! Real input: every case of the connectivity corpus that `PALISADE_CORPUS` names.
#![expect(clippy::disallowed_methods, reason = "a test that reads the directory it is pointed at")]

use std::path::PathBuf;

use palisade_core::Level;
use palisade_sources::{Options, parse, read};

/// What of it the API server would refuse as well.
const INVALID: [&str; 2] =
    ["metadata.name: expected lower-case letters", "containerPort: expected a port, found nothing"];

#[test]
fn the_corpus_reads_without_errors() {
    let Some(corpus) = std::env::var_os("PALISADE_CORPUS") else {
        println!("skipped: PALISADE_CORPUS does not name the corpus");
        return;
    };
    let cases = std::fs::read_dir(PathBuf::from(corpus).join("connectivity")).unwrap();
    let mut count = 0;
    for case in cases.map(|case| case.unwrap().path()) {
        count += 1;
        let name = case.display();
        let sources = read(&[case.join("manifests")]).unwrap();
        let parsed = parse(&sources, &Options::default());
        for error in parsed.diagnostics.iter().filter(|found| found.level == Level::Error) {
            assert!(INVALID.iter().any(|invalid| error.message.contains(invalid)), "{error}");
        }
        let snapshot = &parsed.snapshot;
        assert!(!parsed.no_answer && !snapshot.pods.is_empty() && !snapshot.policies.is_empty(), "{name}");
        assert!(snapshot.policies.values().all(|policy| policy.unreadable.is_none()), "{name}");
        let addressed = |pod: &palisade_core::Pod| pod.finished || !pod.addresses.is_empty();
        assert!(snapshot.pods.values().all(|pod| addressed(pod) && pod.node.is_some()), "{name}");
    }
    assert!(count > 0, "the corpus holds cases");
}
