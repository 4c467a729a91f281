//! Reading and writing objects, by the client of kube.

use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Namespace, Node, Pod},
        networking::v1::NetworkPolicy,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, CustomResource, Error, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::Status,
    discovery::{Discovery, Scope},
};
use palisade_testapi::{Fault, Obstacle, TestApi, Verb};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::support::{client, pod, pods};

#[derive(CustomResource, Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[kube(group = "palisade.dev", version = "v1alpha1", kind = "NodeState", status = "Progress")]
struct NodeStateSpec {}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq)]
struct Progress {
    in_force: u64,
}

/// The refusal, as code and reason, and its message.
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, String) {
    match result {
        Err(Error::Api(status)) => {
            let Status { code, reason, message, .. } = *status;
            (format!("{code} {reason}"), message)
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn an_object_lives_as_in_kubernetes() {
    let api = TestApi::start();
    let policies: Api<NetworkPolicy> = Api::namespaced(client(&api).await, "shop");
    let policy: NetworkPolicy =
        serde_json::from_value(json!({ "metadata": { "name": "deny" }, "spec": { "podSelector": {} } })).unwrap();
    let created = policies.create(&PostParams::default(), &policy).await.unwrap();
    assert!(created.uid().is_some() && created.creation_timestamp().is_some());
    assert_eq!((created.namespace().as_deref(), created.metadata.generation), (Some("shop"), Some(1)));
    let again = refused(policies.create(&PostParams::default(), &policy).await);
    let id = "networkpolicies.networking.k8s.io";
    assert_eq!(again, ("409 AlreadyExists".to_owned(), format!("{id} \"deny\" already exists")));

    let mut first = created.clone();
    first.spec.as_mut().unwrap().policy_types = Some(vec!["Ingress".to_owned()]);
    let replaced = policies.replace("deny", &PostParams::default(), &first).await.unwrap();
    assert_eq!((replaced.uid(), replaced.metadata.generation), (created.uid(), Some(2)));
    assert!(replaced.resource_version() > created.resource_version());
    let stale = refused(policies.replace("deny", &PostParams::default(), &created).await);
    assert_eq!(stale.0, "409 Conflict");
    assert!(stale.1.contains("the object has been modified"), "{}", stale.1);

    let patch = Patch::Merge(json!({ "metadata": { "labels": { "team": "a" } } }));
    let patched = policies.patch("deny", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!((patched.labels()["team"].as_str(), patched.metadata.generation), ("a", Some(2)));
    assert_eq!(policies.get("deny").await.unwrap(), patched);
    assert_eq!(api.get("networkpolicies", "shop", "deny").unwrap()["metadata"]["uid"], json!(created.uid()));

    let deleted = policies.delete("deny", &DeleteParams::default()).await.unwrap();
    assert!(deleted.right().unwrap().is_success());
    assert_eq!(refused(policies.get("deny").await), ("404 NotFound".to_owned(), format!("{id} \"deny\" not found")));
}

#[tokio::test]
async fn status_is_written_by_its_own_path_alone() {
    let api = TestApi::start();
    let pods: Api<Pod> = Api::namespaced(client(&api).await, "shop");
    let sent: Pod = serde_json::from_value(pod("web", "n1")).unwrap();
    let created = pods.create(&PostParams::default(), &sent).await.unwrap();
    assert_eq!(created.status, None, "not with the object");

    let status = json!({ "status": { "podIP": "10.0.0.1" }, "spec": { "nodeName": "n2" } });
    let written = pods.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    assert_eq!(written.status.unwrap().pod_ip.as_deref(), Some("10.0.0.1"));
    assert_eq!(written.spec.unwrap().node_name.as_deref(), Some("n1"), "nothing but the status");

    let other = Patch::Merge(json!({ "status": { "podIP": "10.0.0.2" }, "metadata": { "labels": { "a": "b" } } }));
    let written = pods.patch("web", &PatchParams::default(), &other).await.unwrap();
    assert_eq!(written.status.as_ref().unwrap().pod_ip.as_deref(), Some("10.0.0.1"));

    let mut replaced = written.clone();
    replaced.status.as_mut().unwrap().phase = Some("Running".to_owned());
    let replaced = pods.replace_status("web", &PostParams::default(), &replaced).await.unwrap();
    assert_eq!(replaced.status.unwrap().phase.as_deref(), Some("Running"));
    assert_eq!(refused(pods.replace_status("web", &PostParams::default(), &written).await).0, "409 Conflict");
    let asked: Vec<String> = api.requests().iter().map(|made| format!("{} {}", made.verb, made.resource)).collect();
    let expected = ["create pods", "patch pods/status", "patch pods", "update pods/status", "update pods/status"];
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn lists_come_in_pages_of_one_state() {
    let api = TestApi::start();
    for number in 0..10 {
        api.put(pod(&format!("p{number}"), "n1"));
    }
    let pods = pods(&api).await;
    let first = pods.list(&ListParams::default().limit(4)).await.unwrap();
    assert_eq!((first.items.len(), first.metadata.remaining_item_count), (4, Some(6)));
    // What happens in between is not in the pages that follow.
    api.delete("pods", "shop", "p4");
    api.put(pod("p5", "n2"));
    api.put(pod("p55", "n1"));
    let token = first.metadata.continue_.clone().unwrap();
    let second = pods.list(&ListParams::default().limit(4).continue_token(&token)).await.unwrap();
    let names =
        |page: &kube::core::ObjectList<Pod>| page.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join(" ");
    assert_eq!(names(&second), "p4 p5 p6 p7");
    assert_eq!(second.items[1].spec.as_ref().unwrap().node_name.as_deref(), Some("n1"));
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    let token = second.metadata.continue_.clone().unwrap();
    let third = pods.list(&ListParams::default().limit(4).continue_token(&token)).await.unwrap();
    assert_eq!((names(&third).as_str(), third.metadata.continue_), ("p8 p9", None));
    assert_eq!(names(&pods.list(&ListParams::default()).await.unwrap()), "p0 p1 p2 p3 p5 p55 p6 p7 p8 p9");

    let past = ListParams::default().at(&first.metadata.resource_version.unwrap());
    let past = past.matching(kube::api::VersionMatch::Exact);
    assert_eq!(names(&pods.list(&past).await.unwrap()), "p0 p1 p2 p3 p4 p5 p6 p7 p8 p9");
    api.compact();
    assert_eq!(refused(pods.list(&past).await).0, "410 Expired");
    assert_eq!(refused(pods.list(&ListParams::default().continue_token(&token)).await).0, "410 Expired");
    assert_eq!(refused(pods.list(&ListParams::default().at("999")).await).0, "504 Timeout");
}

#[tokio::test]
async fn selectors_select() {
    let api = TestApi::start();
    for (name, node) in [("a", "n1"), ("b", "n2"), ("c", "n1")] {
        api.put(pod(name, node));
    }
    let pods = pods(&api).await;
    let cases = [
        (ListParams::default().fields("spec.nodeName=n1"), "a c"),
        (ListParams::default().fields("metadata.name=b"), "b"),
        (ListParams::default().labels("app in (a,b)"), "a b"),
        (ListParams::default().labels("app!=a").fields("spec.nodeName=n1"), "c"),
    ];
    for (params, expected) in cases {
        let found = pods.list(&params).await.unwrap();
        assert_eq!(found.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join(" "), expected, "{params:?}");
    }
    assert_eq!(refused(pods.list(&ListParams::default().fields("spec.x=1")).await).0, "400 BadRequest");
    let everywhere = pods.delete_collection(&DeleteParams::default(), &ListParams::default().labels("app=a")).await;
    assert_eq!(refused(everywhere).0, "405 MethodNotAllowed");
    let shop: Api<Pod> = Api::namespaced(client(&api).await, "shop");
    shop.delete_collection(&DeleteParams::default(), &ListParams::default().labels("app=b")).await.unwrap();
    assert_eq!(crate::support::state(&api).into_keys().collect::<String>(), "ac");
}

#[tokio::test]
async fn kinds_are_served_once_they_are_defined() {
    let api = TestApi::start();
    let client = client(&api).await;
    let states: Api<NodeState> = Api::all(client.clone());
    assert!(refused(states.list(&ListParams::default()).await).0.starts_with("404"));

    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = <NodeState as kube::CustomResourceExt>::crd();
    definitions.create(&PostParams::default(), &definition).await.unwrap();
    let apply = PatchParams::apply("agent");
    let state = NodeState::new("n1", NodeStateSpec {});
    states.patch("n1", &apply, &Patch::Apply(&state)).await.unwrap();
    let status = json!({ "apiVersion": "palisade.dev/v1alpha1", "kind": "NodeState", "status": { "in_force": 7 } });
    states.patch_status("n1", &apply, &Patch::Apply(status)).await.unwrap();
    states.patch("n1", &apply, &Patch::Apply(&state)).await.unwrap();
    assert_eq!(states.get("n1").await.unwrap().status, Some(Progress { in_force: 7 }));

    definitions.delete("nodestates.palisade.dev", &DeleteParams::default()).await.unwrap();
    assert!(refused(states.get("n1").await).0.starts_with("404"));
}

#[tokio::test]
async fn discovery_tells_the_kinds() {
    let api = TestApi::start();
    let client = client(&api).await;
    assert_eq!(client.apiserver_version().await.unwrap().major, "1");
    for aggregated in [false, true] {
        let discovery = Discovery::new(client.clone());
        let found = if aggregated { discovery.run_aggregated().await } else { discovery.run().await }.unwrap();
        let (policies, capabilities) = found
            .groups()
            .flat_map(kube::discovery::ApiGroup::recommended_resources)
            .find(|found| found.0.kind == "NetworkPolicy")
            .unwrap();
        assert_eq!((policies.api_version.as_str(), capabilities.scope), ("networking.k8s.io/v1", Scope::Namespaced));
        let core = found.get("").unwrap();
        assert_eq!(core.recommended_kind("Node").unwrap().1.scope, Scope::Cluster);
    }
}

#[tokio::test]
async fn kinds_do_not_mix() {
    let api = TestApi::start();
    let client: Client = client(&api).await;
    api.put(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }));
    api.put(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1", "uid": "of-the-test" } }));
    let namespace = Api::<Namespace>::all(client.clone()).get("shop").await.unwrap();
    let node = Api::<Node>::all(client.clone()).get("n1").await.unwrap();
    assert_eq!(node.uid().as_deref(), Some("of-the-test"));
    let versions = (namespace.resource_version(), node.resource_version());
    assert_eq!((versions.0.as_deref(), versions.1.as_deref()), (Some("2"), Some("3")), "one sequence for all");
    let leases: Api<Lease> = Api::namespaced(client, "kube-system");
    let lease = Lease {
        metadata: kube::api::ObjectMeta { generate_name: Some("l-".to_owned()), ..Default::default() },
        ..Default::default()
    };
    assert!(leases.create(&PostParams::default(), &lease).await.unwrap().name_any().starts_with("l-"));
    let metadata = Api::<kube::core::PartialObjectMeta<Node>>::all(leases.into_client())
        .list(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(metadata.items[0].name_any(), "n1");
}

#[tokio::test]
async fn requests_meet_obstacles() {
    let api = TestApi::start();
    api.put(pod("web", "n1"));
    let pods: Api<Pod> = Api::namespaced(client(&api).await, "shop");
    let list = || async { pods.list(&ListParams::default()).await };
    let cases = [
        (Obstacle::TooManyRequests(1), "429 TooManyRequests"),
        (Obstacle::InternalError, "500 InternalError"),
        (Obstacle::Unavailable, "503 ServiceUnavailable"),
        (Obstacle::Forbidden, "403 Forbidden"),
        (Obstacle::Gone, "410 Expired"),
    ];
    for (obstacle, expected) in cases {
        api.faults().add(Fault::request("pods", obstacle).verb(Verb::List));
        assert!(pods.get("web").await.is_ok());
        api.faults().add(Fault::request("nodes", obstacle));
        assert_eq!(refused(list().await).0, expected);
        assert!(list().await.is_ok(), "once only");
    }
    api.faults().clear();
    api.faults().add(Fault::request("pods", Obstacle::Broken).times(2));
    for _ in 0..2 {
        assert!(!matches!(list().await, Ok(_) | Err(Error::Api(_))), "a connection that breaks");
    }
    assert_eq!((list().await.unwrap().items.len(), api.faults().pending()), (1, 0));
    let codes: Vec<u16> =
        api.requests().iter().filter(|made| made.verb == Verb::List).map(|made| made.status).collect();
    assert_eq!(codes, [429, 200, 500, 200, 503, 200, 403, 200, 410, 200, 200, 200, 200]);
}

#[tokio::test]
async fn the_client_repeats_refused_requests_by_itself() {
    let api = TestApi::start();
    api.put(pod("web", "n1"));
    let mut config = kube::Config::new(api.url().parse().unwrap());
    config.default_retry = true;
    let pods: Api<Pod> = Api::all(Client::try_from(config).unwrap());
    api.faults().add(Fault::request("pods", Obstacle::TooManyRequests(0)).times(2));
    api.faults().add(Fault::request("pods", Obstacle::Unavailable).times(2));
    assert_eq!(pods.list(&ListParams::default()).await.unwrap().items.len(), 1);
    let codes: Vec<u16> = api.requests().iter().map(|made| made.status).collect();
    assert_eq!(codes, [429, 429, 503, 503, 200]);
}
