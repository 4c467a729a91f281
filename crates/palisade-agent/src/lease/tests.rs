use palisade_testapi::TestApi;
use serde_json::json;

use super::*;

const NAMESPACE: &str = "palisade-system";
const NAME: &str = "palisade-status";

fn server() -> TestApi {
    let api = TestApi::start();
    api.put(json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "namespace": NAMESPACE, "name": NAME },
    }));
    api
}

fn lease(api: &TestApi, identity: &str) -> Lease {
    let config = kube::Config::new(api.url().parse().unwrap());
    Lease::new(Client::try_from(config).unwrap(), NAMESPACE, NAME, identity.to_string())
}

fn spec(api: &TestApi) -> serde_json::Value {
    api.get("leases.coordination.k8s.io", NAMESPACE, NAME).unwrap()["spec"].clone()
}

#[tokio::test]
async fn one_holds_it_until_it_gives_it_back() {
    let api = server();
    let (mut one, mut two) = (lease(&api, "n1"), lease(&api, "n2"));
    assert_eq!(one.attempt().await.unwrap(), Attempt::Held);
    assert_eq!(two.attempt().await.unwrap(), Attempt::Taken);
    assert_eq!((&spec(&api)["holderIdentity"], &spec(&api)["leaseTransitions"]), (&json!("n1"), &json!(1)));
    // Who has never held it gives nothing back.
    two.release().await;
    assert_eq!(spec(&api)["holderIdentity"], "n1");
    one.release().await;
    assert_eq!(spec(&api)["holderIdentity"], json!(null));
    assert_eq!(two.attempt().await.unwrap(), Attempt::Held);
    assert_eq!((&spec(&api)["holderIdentity"], &spec(&api)["leaseTransitions"]), (&json!("n2"), &json!(2)));
}

#[tokio::test]
async fn it_is_taken_over_when_it_was_seen_unchanged_for_long_enough() {
    let api = server();
    let (mut one, mut two) = (lease(&api, "n1"), lease(&api, "n2"));
    one.attempt().await.unwrap();
    two.attempt().await.unwrap();
    // What the other's clock said is no reason to take it, but one to look again.
    let mut object = api.get("leases.coordination.k8s.io", NAMESPACE, NAME).unwrap();
    object["spec"]["renewTime"] = json!("2020-01-01T00:00:00.000000Z");
    api.put(object);
    assert!(matches!(two.attempt().await.unwrap(), Attempt::Stale(left) if left > DURATION / 2));
    two.unchanged_since = Instant::now().checked_sub(DURATION).unwrap();
    assert_eq!(two.attempt().await.unwrap(), Attempt::Held);
    // The other one is refused, sees why, and does nothing more under it.
    assert!(one.renew().await.unwrap_err().is_conflict());
    one.renewed = Instant::now().checked_sub(RENEW);
    one.keep().await;
    one.release().await;
    assert_eq!(spec(&api)["holderIdentity"], "n2");
}

#[tokio::test]
async fn a_holder_that_hung_gives_up_before_it_asks() {
    let api = server();
    let mut one = lease(&api, "n1");
    one.attempt().await.unwrap();
    one.renewed = Instant::now().checked_sub(GIVE_UP);
    let version = api.resource_version();
    one.keep().await;
    assert_eq!(api.resource_version(), version);
}

#[tokio::test]
async fn a_renewal_that_fails_is_tried_again() {
    use palisade_testapi::{Fault, Obstacle};

    let api = server();
    let mut one = lease(&api, "n1");
    one.attempt().await.unwrap();
    api.faults().add(Fault::request("leases.coordination.k8s.io", Obstacle::Unavailable).times(2));
    one.renewed = Instant::now().checked_sub(RENEW);
    let version = api.resource_version();
    assert!(timeout(RENEW, one.keep()).await.is_err());
    assert!(api.resource_version() > version);
}

#[tokio::test]
async fn without_the_object_there_is_nothing_to_hold() {
    let api = TestApi::start();
    let error = lease(&api, "n1").attempt().await.unwrap_err();
    assert!(error.to_string().contains("not found"), "{error}");
}
