//! Files that are not manifests: config files of kube-restrict-ip, servers outside of clusters, expected flows.

use std::sync::LazyLock;

use palisade_core::{Diagnostic, Level};
use palisade_sources::flow_test::FlowTest;
use palisade_sources::node_allowlist::NodeAllowlist;
use palisade_sources::restrict_ip::{self, RestrictIp};
use palisade_sources::{Options, parse};

use super::{assert_places, source};
use crate::{mutation, seed};

/// Config files of kube-restrict-ip: one that cannot be read admits nobody.
pub fn configs(bytes: &[u8]) {
    static SEEDS: LazyLock<Vec<String>> = LazyLock::new(seed::configs);
    let file = source(mutation::text(bytes, &SEEDS));
    let config = RestrictIp::parse(&file);
    assert_places(&file.text, &config.diagnostics);
    assert_eq!(config.unreadable().is_some(), has_error(&config.diagnostics), "{:?}", config.diagnostics);
    assert!(config.unreadable().is_none() || config.policy.from.is_empty(), "an unreadable file admits somebody");
    let mut parsed = parse(&[], &Options::default());
    restrict_ip::add(&mut parsed, &[file]);
    assert_eq!(parsed.snapshot.host_policies.len(), 1);
}

/// Files of servers outside of clusters: one with an error is not taken.
pub fn node_allowlists(bytes: &[u8]) {
    static SEEDS: LazyLock<Vec<String>> = LazyLock::new(seed::node_allowlists);
    let file = source(mutation::text(bytes, &SEEDS));
    let (list, found) = NodeAllowlist::parse(&file);
    assert_places(&file.text, &found);
    assert!(list.is_none() || !has_error(&found), "a list with an error is taken: {found:?}");
    assert!(list.is_some() || has_error(&found), "nothing says why the list is not taken");
}

/// What flows are expected to come to: with an error there is none.
pub fn flow_tests(bytes: &[u8]) {
    static SEEDS: LazyLock<Vec<String>> = LazyLock::new(seed::flow_tests);
    let file = source(mutation::text(bytes, &SEEDS));
    let (tests, found) = FlowTest::parse(&file);
    assert_places(&file.text, &found);
    assert_eq!(tests.is_none(), has_error(&found), "{found:?}");
}

fn has_error(found: &[Diagnostic]) -> bool {
    found.iter().any(|found| found.level == Level::Error)
}
