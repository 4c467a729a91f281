use kube::runtime::watcher::Event;
use palisade_sources::Limits;
use palisade_testapi::{Resource, TestApi};
use serde_json::Value;

use super::super::cluster::News;
use super::*;

fn server(resource: Resource) -> (TestApi, Writer) {
    let api = TestApi::start();
    api.register(resource);
    api.put(policy("Drop"));
    let config = kube::Config::new(api.url().parse().unwrap());
    let writer = Writer::new(Client::try_from(config).unwrap());
    (api, writer)
}

fn kind() -> Resource {
    Resource::new("palisade.dev/v1alpha1", "hostpolicies", "HostPolicy").cluster_scoped()
}

fn policy(otherwise: &str) -> Value {
    json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "HostPolicy", "metadata": { "name": "guard" },
        "spec": { "ports": [{ "port": 9000 }], "otherwise": otherwise },
    })
}

fn guard() -> Key {
    (PolicyKind::Host, "guard".to_owned())
}

/// The policy as a watch tells of it.
fn told(api: &TestApi) -> DynamicObject {
    serde_json::from_value(api.get("hostpolicies", "", "guard").unwrap()).unwrap()
}

/// A cluster with the policy, and without nodes.
fn cluster(api: &TestApi) -> Cluster {
    let mut cluster = Cluster::new(Limits::default());
    cluster.take(News::Policy(PolicyKind::Host, Event::InitApply(told(api))));
    cluster.take(News::Policy(PolicyKind::Host, Event::InitDone));
    cluster.take(News::Node(Event::InitDone));
    cluster.take(News::NodeState(Event::InitDone));
    cluster
}

fn reason(api: &TestApi) -> Value {
    api.get("hostpolicies", "", "guard").unwrap()["status"]["conditions"][1]["reason"].clone()
}

#[tokio::test]
async fn a_status_is_written_once() {
    let (api, mut writer) = server(kind());
    let (mut cluster, mut refusals) = (cluster(&api), Refusals::default());
    for _ in 0..3 {
        assert!(!writer.write(&mut cluster, &mut refusals).await);
    }
    assert_eq!((reason(&api), api.requests().len()), (json!("NoNodeMatched"), 1));
    // The watch tells what is known from the answer, and what was before it, later.
    let before = serde_json::from_value(policy("Drop")).unwrap();
    cluster.take(News::Policy(PolicyKind::Host, Event::Apply(before)));
    writer.write(&mut cluster, &mut refusals).await;
    assert_eq!(api.requests().len(), 1);
}

#[tokio::test]
async fn nothing_is_written_before_everything_is_known() {
    let (api, mut writer) = server(kind());
    let mut cluster = Cluster::new(Limits::default());
    cluster.take(News::Policy(PolicyKind::Host, Event::InitApply(told(&api))));
    cluster.take(News::Policy(PolicyKind::Host, Event::InitDone));
    cluster.take(News::NodeState(Event::InitDone));
    assert!(!writer.write(&mut cluster, &mut Refusals::default()).await);
    assert_eq!(reason(&api), Value::Null);
}

#[tokio::test]
async fn a_policy_that_is_another_by_now_is_judged_anew() {
    let (api, mut writer) = server(kind());
    let (mut cluster, mut refusals) = (cluster(&api), Refusals::default());
    api.put(policy("Reject"));
    assert!(!writer.write(&mut cluster, &mut refusals).await);
    assert_eq!(reason(&api), Value::Null);
    cluster.take(News::Policy(PolicyKind::Host, Event::Apply(told(&api))));
    assert!(!writer.write(&mut cluster, &mut refusals).await);
    assert_eq!(reason(&api), "NoNodeMatched");
}

#[tokio::test]
async fn a_kind_without_a_status_is_told_when_it_stays_so() {
    let (api, mut writer) = server(kind().without_status());
    let (mut cluster, mut refusals) = (cluster(&api), Refusals::default());
    for times in 1..REFUSALS_TOLD {
        assert!(writer.write(&mut cluster, &mut refusals).await);
        // Not before its time.
        assert!(writer.write(&mut cluster, &mut refusals).await);
        let failed = writer.failed.get_mut(&guard()).unwrap();
        assert_eq!(failed.times, times);
        failed.again = Instant::now();
    }
    let said = "the kind HostPolicy is installed without a status: kubectl apply -f deploy/base/hostpolicies.yaml brings it up to date";
    assert_eq!(writer.note(guard(), Refusal::Absent).as_deref(), Some(said));
    assert_eq!(writer.note(guard(), Refusal::Absent), None);
    // One that is gone is forgotten.
    cluster.take(News::Policy(PolicyKind::Host, Event::Delete(told(&api))));
    assert!(!writer.write(&mut cluster, &mut refusals).await);
    assert!(writer.failed.is_empty());
}

#[tokio::test]
async fn a_kind_that_is_not_known_holds_up_no_other() {
    let (api, mut writer) = server(kind());
    api.register(Resource::new("palisade.dev/v1alpha1", "banlists", "BanList").cluster_scoped());
    api.put(json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "BanList", "metadata": { "name": "guard" },
        "spec": { "entries": [{ "cidr": "203.0.113.0/24" }] },
    }));
    let list = serde_json::from_value(api.get("banlists", "", "guard").unwrap()).unwrap();
    let (mut cluster, mut refusals) = (cluster(&api), Refusals::default());
    writer.write(&mut cluster, &mut refusals).await;
    assert_eq!(reason(&api), "NoNodeMatched");
    cluster.take(News::Policy(PolicyKind::Ban, Event::Apply(list)));
    for _ in 0..2 {
        assert!(!writer.write(&mut cluster, &mut refusals).await);
    }
    let list = api.get("banlists", "", "guard").unwrap();
    assert_eq!((&list["status"]["conditions"][1]["reason"], api.requests().len()), (&json!("NoNodeMatched"), 2));
}

#[tokio::test]
async fn a_long_policy_in_a_large_cluster_rests_after_its_status() {
    let (api, mut writer) = server(kind());
    let mut long = policy("Drop");
    long["metadata"]["annotations"] = json!({ "why": "long".repeat(10_000) });
    api.put(long);
    let (mut cluster, mut refusals) = (cluster(&api), Refusals::default());
    for number in 0..1_000 {
        let node = serde_json::from_value(json!({ "metadata": { "name": format!("n{number}") } })).unwrap();
        cluster.take(News::Node(Event::Apply(node)));
    }
    assert!(writer.write(&mut cluster, &mut refusals).await);
    // 40 kB to a thousand nodes.
    let left = writer.resting[&guard()].duration_since(Instant::now());
    assert!(left > Duration::from_secs(2) && left < Duration::from_secs(3), "{left:?}");
    for expected in [1, 2] {
        let node = serde_json::from_value(json!({ "metadata": { "name": format!("n{expected}") } })).unwrap();
        cluster.take(News::Node(Event::Delete(node)));
        assert!(writer.write(&mut cluster, &mut refusals).await);
        assert_eq!(api.requests().len(), expected);
        writer.resting.clear();
    }
}
