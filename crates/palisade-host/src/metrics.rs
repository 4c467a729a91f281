//! What Prometheus sees. Every metric is named and explained here, and nowhere else.

use palisade_agent::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::cluster::{ClusterState, Known};
use crate::store::State;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabel {
    cluster: String,
}

/// The text of a scrape, in the `OpenMetrics` format.
pub fn text(state: &State) -> String {
    let mut registry = Registry::with_prefix("palisade_host");
    let mut plain = |name: &str, help: &str, value: usize| {
        let gauge: Gauge = Gauge::default();
        gauge.set(number(value));
        registry.register(name, help, gauge);
    };
    plain("in_force", "1 while the addresses are in force, else 0", usize::from(state.in_force_since.is_some()));
    plain("obstacles", "What stands in the way, though the addresses are in force", state.obstacles.len());
    let failed = state.exports.iter().filter(|export| export.error.is_some()).count();
    plain("exports_failing", "Files that are not up to date, or whose commands failed", failed);
    let mut by_cluster = |name: &str, help: &str, value: &dyn Fn(&ClusterState) -> i64| {
        let family: Family<ClusterLabel, Gauge> = Family::default();
        for (cluster, state) in &state.clusters {
            family.get_or_create(&ClusterLabel { cluster: cluster.to_string() }).set(value(state));
        }
        registry.register(name, help, family);
    };
    let staying = |state: &ClusterState| number(state.nodes.values().filter(|known| known.is_staying()).count());
    by_cluster("nodes", "Nodes that are there, and admitted", &staying);
    let addresses = |state: &ClusterState| number(state.nodes.values().map(|known| known.addresses.len()).sum());
    by_cluster(
        "addresses",
        "Addresses of nodes that are admitted, of nodes that left a short time ago, too",
        &addresses,
    );
    let refused = |known: &Known| known.refused.len();
    let refused = |state: &ClusterState| number(state.nodes.values().map(refused).sum());
    by_cluster("refused_addresses", "Addresses of nodes that are not admitted", &refused);
    let doubted = |state: &ClusterState| number(state.doubted.len());
    by_cluster("doubted_nodes", "Nodes that stay admitted though the last list lacks them", &doubted);
    let failing = |state: &ClusterState| i64::from(state.error.is_some());
    by_cluster("api_server_failing", "1 while the API server does not tell, else 0", &failing);
    let listed = |state: &ClusterState| state.listed.map_or(0, Timestamp::as_second);
    by_cluster(
        "last_listed_timestamp_seconds",
        "When all nodes were listed last, since the epoch; 0 if never",
        &listed,
    );
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use palisade_sources::SourceText;
    use palisade_sources::node_allowlist::NodeAllowlist;

    use super::*;

    /// What the page has on metrics.
    const PAGE: &str = include_str!("../../../docs/outside-hosts.md");

    #[test]
    fn every_metric_is_told_and_documented() {
        let file = "apiVersion: palisade.dev/v1alpha1\nkind: NodeAllowlist\nmetadata: {name: a}\nspec:\n  clusters: [{name: c, kubeconfig: /k}]\n  allow: [{port: 1}]\n";
        let (list, _) = NodeAllowlist::parse(&SourceText { file: "a".into(), text: file.into() });
        let mut state = State::new(&list.unwrap());
        let cluster = ClusterState { error: Some("403".to_string()), ..ClusterState::default() };
        state.clusters.insert("c".into(), cluster);
        let text = text(&state);
        assert!(text.contains("\npalisade_host_in_force 0\n"), "{text}");
        assert!(text.contains("\npalisade_host_api_server_failing{cluster=\"c\"} 1\n"), "{text}");
        for help in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let (name, meaning) = help.split_once(' ').unwrap();
            let line = PAGE.lines().find(|line| line.starts_with(&format!("| `{name}")));
            assert!(line.is_some_and(|line| line.contains(meaning.trim_end_matches('.'))), "{help}");
        }
    }
}
