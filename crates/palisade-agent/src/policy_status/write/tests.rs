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

/// The policy as a watch tells of it.
fn told(api: &TestApi) -> DynamicObject {
    serde_json::from_value(api.get("hostpolicies", "", "guard").unwrap()).unwrap()
}

/// A cluster with the policy, and without nodes.
fn cluster(api: &TestApi) -> Cluster {
    let mut cluster = Cluster::new(Limits::default());
    cluster.take(News::HostPolicy(Event::InitApply(told(api))));
    cluster.take(News::HostPolicy(Event::InitDone));
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
    cluster.take(News::HostPolicy(Event::Apply(before)));
    writer.write(&mut cluster, &mut refusals).await;
    assert_eq!(api.requests().len(), 1);
}

#[tokio::test]
async fn nothing_is_written_before_everything_is_known() {
    let (api, mut writer) = server(kind());
    let mut cluster = Cluster::new(Limits::default());
    cluster.take(News::HostPolicy(Event::InitApply(told(&api))));
    cluster.take(News::HostPolicy(Event::InitDone));
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
    cluster.take(News::HostPolicy(Event::Apply(told(&api))));
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
        let failed = writer.failed.get_mut("guard").unwrap();
        assert_eq!(failed.times, times);
        failed.again = Instant::now();
    }
    assert_eq!(writer.note("guard".to_owned(), Refusal::Absent).as_deref(), Some(WITHOUT_STATUS));
    assert_eq!(writer.note("guard".to_owned(), Refusal::Absent), None);
    // One that is gone is forgotten.
    cluster.take(News::HostPolicy(Event::Delete(told(&api))));
    assert!(!writer.write(&mut cluster, &mut refusals).await);
    assert!(writer.failed.is_empty());
}
