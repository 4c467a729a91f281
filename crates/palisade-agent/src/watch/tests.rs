//! Watches that end are begun again at once, and not again and again.
#![expect(clippy::disallowed_methods, reason = "writes the kubeconfig of a test server")]

use std::time::Duration;

use palisade_testapi::{Disturbance, Fault, TestApi};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::*;
use crate::settings::Enforce;

/// A bound for failures, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Watches the cluster of a server; what is said of `Namespaces` without their names.
async fn start(api: &TestApi) -> mpsc::Receiver<Message> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kubeconfig");
    std::fs::write(&path, api.kubeconfig()).unwrap();
    let client = crate::client::client(Some(&path), None).await.unwrap();
    let (sender, inbox) = mpsc::channel(64);
    let kinds = Enforce { network_policy: true, host: false, bans: false }.kinds();
    tokio::spawn(watch_all(kinds, client, sender));
    inbox
}

/// Waits until a list of namespaces is complete.
async fn listed(inbox: &mut mpsc::Receiver<Message>) {
    let is_end =
        |message: &Message| matches!(message, Message::Watch { kind: Kind::Namespace, news: WatchNews::End, .. });
    timeout(PATIENCE, async { while !inbox.recv().await.is_some_and(|message| is_end(&message)) {} }).await.unwrap();
}

fn namespace(name: &str) -> serde_json::Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

#[tokio::test]
async fn one_410_is_recovered_from_at_once() {
    let api = TestApi::start();
    let mut inbox = start(&api).await;
    listed(&mut inbox).await;
    api.faults().add(Fault::event("namespaces", Disturbance::Gone));
    api.put(namespace("shop"));
    let start = Instant::now();
    listed(&mut inbox).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_watch_that_ends_each_time_is_not_listed_again_and_again() {
    for disturbance in [Disturbance::Gone, Disturbance::Text] {
        let api = TestApi::start();
        api.put(namespace("shop"));
        let mut inbox = start(&api).await;
        listed(&mut inbox).await;
        // Lists are complete, and what comes behind them is not followed.
        api.faults().add(Fault::event("namespaces", disturbance).after(2).always());
        api.forget_requests();
        let changing = async {
            for number in 0..100 {
                let mut shop = namespace("shop");
                shop["metadata"]["labels"] = json!({ "number": number.to_string() });
                api.put(shop);
                sleep(Duration::from_millis(50)).await;
            }
        };
        let reading = async { while inbox.recv().await.is_some() {} };
        tokio::select! { () = changing => {}, () = reading => {} }
        let lists = api.requests().iter().filter(|request| request.resource == "namespaces").count();
        assert!((2..=7).contains(&lists), "{disturbance:?}: {lists} lists in five seconds");
    }
}
