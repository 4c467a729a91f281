use std::time::Duration;

use palisade_core::Labels;
use palisade_sources::SourceText;
use palisade_sources::node_allowlist::NodeAllowlist;

use super::*;

const DELAY: i64 = 60;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn list(spec: &str, safety: &str) -> NodeAllowlist {
    let text = format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: NodeAllowlist\nmetadata: {{name: a}}\nspec:\n  clusters: [{{name: c, kubeconfig: /k{spec}}}]\n  allow: [{{port: 5432}}]\n  safety: {{removeDelaySeconds: {DELAY}{safety}}}\n"
    );
    NodeAllowlist::parse(&SourceText { file: "a".into(), text }).0.unwrap()
}

fn cluster(spec: &str, safety: &str, before: ClusterState) -> Cluster {
    let list = list(spec, safety);
    Cluster::new(list.clusters[0].clone(), list.safety, before)
}

fn node(name: &str, addresses: &[&str]) -> Observed {
    let addresses = addresses.iter().map(|text| (AddressType::InternalIP, (*text).to_string())).collect();
    Observed { name: name.into(), addresses, ..Observed::default() }
}

/// The nodes n1 to nN, each with one address.
fn nodes(count: usize) -> Vec<Observed> {
    (1..=count).map(|number| node(&format!("n{number}"), &[&format!("10.0.0.{number}")])).collect()
}

fn listed(cluster: &mut Cluster, nodes: Vec<Observed>, second: i64) -> Vec<News> {
    let events = [Event::ListBegins].into_iter().chain(nodes.into_iter().map(Event::Listed)).chain([Event::ListEnds]);
    events.flat_map(|event| cluster.take(event, at(second))).collect()
}

fn admitted(cluster: &Cluster) -> Vec<String> {
    cluster.admitted().map(address::shown).collect()
}

#[test]
fn nodes_join_at_once_and_leave_after_the_delay() {
    let mut cluster = cluster("", "", ClusterState::default());
    listed(&mut cluster, nodes(2), 0);
    let news = cluster.take(Event::Put(node("n3", &["10.0.0.3", "fd00::3"])), at(1));
    assert_eq!(news.len(), 2);
    assert_eq!(admitted(&cluster), ["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::3"]);
    assert_eq!(cluster.next(), None);
    cluster.take(Event::Deleted("n3".into()), at(2));
    assert_eq!(admitted(&cluster).len(), 4);
    assert_eq!(cluster.next(), Some(at(2 + DELAY)));
    assert!(cluster.expire(at(1 + DELAY)).is_empty());
    assert_eq!(cluster.expire(at(2 + DELAY)).len(), 2);
    assert_eq!(admitted(&cluster), ["10.0.0.1", "10.0.0.2"]);
    assert!(!cluster.state().nodes.contains_key("n3"));
}

#[test]
fn who_comes_back_in_time_never_left() {
    let mut cluster = cluster("", "", ClusterState::default());
    listed(&mut cluster, nodes(3), 0);
    cluster.take(Event::Deleted("n3".into()), at(1));
    cluster.take(Event::Put(node("n3", &["10.0.0.3"])), at(2));
    cluster.expire(at(10 * DELAY));
    assert_eq!(admitted(&cluster).len(), 3);
    assert_eq!(cluster.state().nodes["n3"].addresses.values().next().unwrap().since, at(0));
}

#[test]
fn an_address_that_changes_leaves_after_the_delay() {
    let mut cluster = cluster("", "", ClusterState::default());
    listed(&mut cluster, nodes(1), 0);
    // Nothing told is nothing given up.
    cluster.take(Event::Put(node("n1", &[])), at(1));
    assert_eq!(cluster.next(), None);
    cluster.take(Event::Put(node("n1", &["10.0.0.9"])), at(1));
    assert_eq!(admitted(&cluster), ["10.0.0.1", "10.0.0.9"]);
    cluster.expire(at(1 + DELAY));
    assert_eq!(admitted(&cluster), ["10.0.0.9"]);
}

#[test]
fn an_error_is_no_empty_list() {
    let mut cluster = cluster("", "", ClusterState::default());
    listed(&mut cluster, nodes(3), 0);
    let failed = || Event::Failed("forbidden".to_string());
    cluster.take(Event::ListBegins, at(1));
    assert_eq!(cluster.take(failed(), at(1)), [News::Failed("forbidden".to_string())]);
    // The end of a list that was given up is none, and the same error is told once.
    cluster.take(Event::ListEnds, at(2));
    assert!(cluster.take(failed(), at(2)).is_empty());
    cluster.expire(at(10 * DELAY));
    assert_eq!(admitted(&cluster).len(), 3);
    assert_eq!(cluster.state().error.as_deref(), Some("forbidden"));
    listed(&mut cluster, nodes(3), 3);
    assert_eq!(cluster.state().error, None);
}

#[test]
fn a_list_is_believed_within_bounds() {
    let check = |safety: &str, before: usize, after: usize, left: usize| {
        let mut cluster = cluster("", safety, ClusterState::default());
        listed(&mut cluster, nodes(before), 0);
        let news = listed(&mut cluster, nodes(after), 1);
        assert_eq!(news.iter().any(|news| matches!(news, News::Kept(_))), left == before && after < before);
        cluster.expire(at(1 + DELAY));
        assert_eq!(admitted(&cluster).len(), left, "{safety}, from {before} to {after}");
        assert_eq!(cluster.state().lacking.is_some(), left > after);
        // A list that has everybody again ends the doubt.
        listed(&mut cluster, nodes(before), 2);
        assert_eq!(cluster.state().lacking, None);
    };
    check("", 4, 2, 2);
    check("", 4, 1, 4);
    check("", 4, 0, 4);
    check("", 1, 0, 1);
    check(", maxShrinkPercent: 100", 4, 1, 1);
    check(", maxShrinkPercent: 100", 4, 0, 4);
    check(", minNodes: 3", 4, 3, 3);
    check(", minNodes: 3", 4, 2, 4);
    check(", maxShrinkPercent: 0", 40, 39, 40);
}

#[test]
fn a_list_is_believed_as_soon_as_enough_others_are_there() {
    let mut cluster = cluster("", "", ClusterState::default());
    listed(&mut cluster, nodes(2), 0);
    listed(&mut cluster, Vec::new(), 1);
    assert_eq!(
        cluster.state().lacking.as_deref(),
        Some("the list lacks 2 of 2 nodes, which stay admitted: minNodes is 1")
    );
    cluster.take(Event::Put(node("n3", &["10.0.0.3"])), at(2));
    assert!(cluster.state().lacking.as_ref().unwrap().ends_with("maxShrinkPercent is 50"));
    // One that was lacked is there.
    cluster.take(Event::Put(node("n2", &["10.0.0.2"])), at(3));
    assert_eq!(cluster.state().lacking, None);
    cluster.expire(at(3 + DELAY));
    assert_eq!(admitted(&cluster), ["10.0.0.2", "10.0.0.3"]);
}

#[test]
fn a_deletion_that_was_seen_is_believed_down_to_the_least() {
    let mut cluster = cluster("", ", minNodes: 2, maxShrinkPercent: 0", ClusterState::default());
    listed(&mut cluster, nodes(4), 0);
    for name in ["n1", "n2", "n3"] {
        cluster.take(Event::Deleted(name.into()), at(1));
    }
    let news = cluster.expire(at(1 + DELAY));
    assert!(matches!(&news[..], [News::Kept(why)] if why.contains("minNodes is 2")), "{news:?}");
    assert_eq!(admitted(&cluster).len(), 4);
    assert!(cluster.expire(at(2 + DELAY)).is_empty());
    // As soon as there are enough, they go.
    cluster.take(Event::Put(node("n5", &["10.0.0.5"])), at(3 + DELAY));
    assert_eq!(admitted(&cluster), ["10.0.0.4", "10.0.0.5"]);
    assert_eq!(cluster.state().too_few, None);
}

#[test]
fn deletions_that_were_missed_are_found() {
    let mut first = cluster("", "", ClusterState::default());
    listed(&mut first, nodes(3), 0);
    let mut second = cluster("", "", first.state().clone());
    assert_eq!(admitted(&second).len(), 3);
    listed(&mut second, nodes(2), 100);
    second.expire(at(100 + DELAY));
    assert_eq!(admitted(&second), ["10.0.0.1", "10.0.0.2"]);
    // The file says less now.
    let third = cluster("", ", within: [10.0.0.2/32]", first.state().clone());
    assert_eq!(admitted(&third), ["10.0.0.2"]);
    let fourth = cluster(", addressTypes: [ExternalIP]", "", first.state().clone());
    assert_eq!(admitted(&fourth), [""; 0]);
}

#[test]
fn a_node_that_is_not_selected_any_more_leaves() {
    let mut cluster = cluster(", nodeSelector: {matchLabels: {role: worker}}", "", ClusterState::default());
    let labels: Labels = [("role".into(), "worker".into())].into();
    listed(&mut cluster, nodes(3).into_iter().map(|node| Observed { labels: labels.clone(), ..node }).collect(), 0);
    assert_eq!(admitted(&cluster).len(), 3);
    cluster.take(Event::Put(node("n1", &["10.0.0.1"])), at(1));
    cluster.expire(at(1 + DELAY));
    assert_eq!(admitted(&cluster), ["10.0.0.2", "10.0.0.3"]);
}

#[test]
fn what_no_node_has_is_refused_and_told() {
    let check = |text: &str, expected: Option<&str>| {
        let mut cluster =
            cluster("", ", within: [10.0.0.0/8, 0.0.0.0/5, 127.0.0.0/8, 224.0.0.0/3, '::/0']", ClusterState::default());
        let news = listed(&mut cluster, vec![node("n1", &[text])], 0);
        let refused = &cluster.state().nodes["n1"].refused;
        match expected {
            None => assert!(refused.is_empty() && admitted(&cluster).len() == 1, "{text}: {refused:?}"),
            Some(reason) => {
                assert!(refused[0].reason.contains(reason) && admitted(&cluster).is_empty(), "{text}: {refused:?}");
                assert!(matches!(&news[..], [News::Refused(..)]), "{news:?}");
            }
        }
    };
    for text in [
        "0.0.0.0",
        "0.0.0.0/0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
        "::ffff:127.0.0.1",
    ] {
        check(text, Some("no node has"));
    }
    let mut gone = cluster("", "", ClusterState::default());
    listed(&mut gone, vec![node("n1", &["10.0.0.1"]), node("n2", &["127.0.0.1"])], 0);
    listed(&mut gone, nodes(1), 1);
    assert!(!gone.state().nodes.contains_key("n2"));
    check("192.0.2.1", Some("outside of spec.safety.within"));
    check("10.0.0.0/7", Some("outside of spec.safety.within"));
    check("worker-1", Some("neither an address"));
    check("10.0.0.1", None);
    check("::ffff:10.0.0.1", None);
    check("fd00::/64", None);
}

#[test]
fn what_is_known_survives_the_disk() {
    let mut cluster = cluster("", ", within: [10.0.0.0/8]", ClusterState::default());
    listed(&mut cluster, vec![node("n1", &["10.0.0.1", "8.8.8.8"])], 0);
    cluster.take(Event::Deleted("n1".into()), at(1));
    let text = serde_json::to_string(cluster.state()).unwrap();
    assert_eq!(&serde_json::from_str::<ClusterState>(&text).unwrap(), cluster.state());
    assert_eq!(until(at(0), Duration::MAX), Timestamp::MAX);
}

#[test]
fn what_is_accepted_goes_and_nothing_else() {
    let mut cluster = cluster("", ", maxShrinkPercent: 34", ClusterState::default());
    listed(&mut cluster, nodes(4), 0);
    listed(&mut cluster, nodes(1), 1);
    let doubted: BTreeSet<Arc<str>> = ["n2", "n3", "n4"].map(Arc::from).into();
    assert_eq!(cluster.state().doubted, doubted);
    // One that nobody doubts does not go, whoever says so.
    let accepted: BTreeSet<Arc<str>> = ["n1", "n2", "n3"].map(Arc::from).into();
    cluster.accept(&accepted, at(2));
    assert_eq!(cluster.expire(at(2 + DELAY)).len(), 2);
    assert_eq!(admitted(&cluster), ["10.0.0.1", "10.0.0.4"]);
    assert!(cluster.state().lacking.is_some());
}

#[test]
fn what_is_accepted_goes_though_too_few_are_left() {
    let mut cluster = cluster("", ", minNodes: 2", ClusterState::default());
    listed(&mut cluster, nodes(2), 0);
    cluster.take(Event::Deleted("n2".into()), at(1));
    cluster.expire(at(1 + DELAY));
    assert_eq!(admitted(&cluster), ["10.0.0.1", "10.0.0.2"]);
    assert!(cluster.state().too_few.is_some());
    assert_eq!(
        cluster.accept(&["n2".into()].into(), at(2 + DELAY)),
        [News::Left("n2".into(), "10.0.0.2/32".parse().unwrap())]
    );
    assert_eq!(admitted(&cluster), ["10.0.0.1"]);
    assert_eq!((cluster.state().too_few.as_ref(), cluster.state().accepted.len()), (None, 0));
    // It is of no meaning for a node that comes back.
    cluster.take(Event::Put(node("n2", &["10.0.0.2"])), at(3 + DELAY));
    cluster.take(Event::Deleted("n2".into()), at(4 + DELAY));
    cluster.expire(at(4 + 2 * DELAY));
    assert_eq!(admitted(&cluster), ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn who_tells_nothing_for_too_long_is_trusted_no_more() {
    let mut cluster = cluster("", ", onStale: Remove, staleSeconds: 100", ClusterState::default());
    listed(&mut cluster, nodes(2), 0);
    cluster.take(Event::Failed("away".to_string()), at(10));
    cluster.take(Event::Failed("still away".to_string()), at(60));
    assert_eq!(cluster.next(), Some(at(110)));
    assert_eq!(cluster.expire(at(109)), []);
    let news = cluster.expire(at(110));
    assert_eq!(news.last(), Some(&News::Stale));
    assert_eq!(admitted(&cluster), [""; 0]);
    assert_eq!(cluster.expire(at(111)), []);
    listed(&mut cluster, nodes(2), 120);
    assert_eq!(admitted(&cluster).len(), 2);
    assert_eq!(cluster.next(), None);
}

#[test]
fn an_annotation_names_addresses() {
    let spec = ", addressTypes: [], egressAnnotation: example.com/egress";
    let mut cluster = cluster(spec, "", ClusterState::default());
    let mut observed = node("n1", &["10.0.0.1"]);
    observed.addresses.push((AddressType::Egress, "192.0.2.1".to_string()));
    observed.addresses.push((AddressType::Egress, "nonsense".to_string()));
    let news = listed(&mut cluster, vec![observed], 0);
    assert_eq!(admitted(&cluster), ["192.0.2.1"]);
    assert!(news.iter().any(|news| matches!(news, News::Refused(..))), "{news:?}");
    let known = cluster.state().clone();
    assert_eq!(admitted(&super::tests::cluster(spec, "", known.clone())), ["192.0.2.1"]);
    // The next file does not mean it any more.
    assert_eq!(admitted(&super::tests::cluster("", "", known)), [""; 0]);
}

#[test]
fn what_says_nothing_new_changes_nothing() {
    let mut cluster = cluster("", "", ClusterState::default());
    listed(&mut cluster, nodes(2), 0);
    assert!(cluster.take_change());
    let same = |cluster: &mut Cluster| cluster.take(Event::Put(node("n1", &["10.0.0.1"])), at(1));
    same(&mut cluster);
    cluster.take(Event::Deleted("n9".into()), at(1));
    assert!(!cluster.take_change());
    cluster.take(Event::Failed("away".to_string()), at(2));
    assert!(cluster.take_change());
    same(&mut cluster);
    assert!(cluster.take_change());
    cluster.take(Event::Deleted("n1".into()), at(3));
    assert!(cluster.take_change());
    cluster.expire(at(2 + DELAY));
    assert!(!cluster.take_change());
    cluster.expire(at(3 + DELAY));
    assert!(cluster.take_change());
}
