use serde_json::{Value, json};

use super::*;

fn node(name: &str, labels: &Value) -> PartialObjectMeta<Node> {
    serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } })).unwrap()
}

fn names(cluster: &Cluster) -> Vec<&str> {
    cluster.nodes.objects.keys().map(String::as_str).collect()
}

#[test]
fn half_a_list_takes_nothing_back() {
    let mut cluster = Cluster::new(Limits::default());
    let take = |cluster: &mut Cluster, event| cluster.take(News::Node(event));
    for event in [Event::Init, Event::InitApply(node("n1", &json!({}))), Event::InitApply(node("n2", &json!({})))] {
        take(&mut cluster, event);
    }
    assert!(!cluster.nodes.is_listed);
    take(&mut cluster, Event::InitDone);
    // It begins anew, twice: the first time it breaks off.
    take(&mut cluster, Event::Init);
    take(&mut cluster, Event::InitApply(node("n1", &json!({}))));
    assert_eq!((names(&cluster), cluster.nodes.is_listed), (vec!["n1", "n2"], true));
    take(&mut cluster, Event::Init);
    take(&mut cluster, Event::InitApply(node("n2", &json!({}))));
    take(&mut cluster, Event::InitDone);
    assert_eq!(names(&cluster), ["n2"]);
}

#[test]
fn nodes_of_other_systems_count_nowhere() {
    let mut cluster = Cluster::new(Limits::default());
    for (name, labels) in [
        ("n1", json!({ "kubernetes.io/os": "linux" })),
        ("n2", json!({ "kubernetes.io/os": "windows" })),
        ("n3", json!({})),
    ] {
        cluster.take(News::Node(Event::Apply(node(name, &labels))));
    }
    assert_eq!(names(&cluster), ["n1", "n3"]);
}
