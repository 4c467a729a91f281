//! Watching, by the watcher of kube: what it sees when all is well, and how it comes back from each fault.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    api::{WatchEvent, WatchParams},
    runtime::watcher::Config,
};
use palisade_testapi::{Disturbance, Fault, Obstacle, Settings, TestApi, Verb};

use crate::support::{Follower, client, follow, pod, pods, state, until};

fn both() -> [(&'static str, Config); 2] {
    [("list and watch", Config::default()), ("streaming list", Config::default().streaming_lists())]
}

async fn synced(api: &TestApi, follower: &Follower) {
    until(state(api), || follower.seen.pods()).await;
}

#[tokio::test]
async fn both_ways_of_starting_see_the_same() {
    for (way, config) in both() {
        let api = TestApi::start();
        for name in ["a", "b", "c"] {
            api.put(pod(name, "n1"));
        }
        let follower = follow(&api, config.page_size(2)).await;
        synced(&api, &follower).await;
        api.put(pod("d", "n1"));
        api.put(pod("a", "n2"));
        api.delete("pods", "shop", "b");
        synced(&api, &follower).await;
        let expected = ["init", "+a", "+b", "+c", "done", "+d", "+a", "-b"];
        assert_eq!(follower.seen.told(), expected, "{way}");
        assert_eq!(api.open_watches("pods"), 1, "{way}");
        let lists = api.requests().iter().filter(|made| made.verb == Verb::List).count();
        assert_eq!(lists, if way == "streaming list" { 0 } else { 2 });
        drop(follower);
        until(0, || api.open_watches("pods")).await;
    }
}

#[tokio::test]
async fn what_leaves_the_selection_is_deleted() {
    let api = TestApi::start();
    let follower = follow(&api, Config::default().fields("spec.nodeName=n1").streaming_lists()).await;
    until(1, || follower.seen.count("done")).await;
    api.put(pod("a", "n1"));
    api.put(pod("b", "n2"));
    api.put(pod("a", "n2"));
    api.put(pod("b", "n1"));
    until(4, || follower.seen.told().len() - 1).await;
    assert_eq!(follower.seen.told(), ["init", "done", "+a", "-a", "+b"]);
}

/// The events of a raw watch that lasts a second, each as a word.
async fn raw(api: &TestApi, params: WatchParams, version: &str) -> Result<Vec<String>, kube::Error> {
    let stream = pods(api).await.watch(&params.timeout(1), version).await?;
    let words = stream.map_ok(|event: WatchEvent<Pod>| match event {
        WatchEvent::Added(pod) => format!("added {}", pod.metadata.name.unwrap_or_default()),
        WatchEvent::Modified(pod) => format!("modified {}", pod.metadata.name.unwrap_or_default()),
        WatchEvent::Deleted(pod) => format!("deleted at {}", pod.metadata.resource_version.unwrap_or_default()),
        WatchEvent::Bookmark(mark) => {
            let (version, ends) = (mark.metadata.resource_version, mark.metadata.annotations.len());
            format!("bookmark {version} {ends}")
        }
        WatchEvent::Error(status) => format!("error {} {}", status.code, status.reason),
    });
    words.boxed().try_collect().await
}

#[tokio::test]
async fn a_watch_starts_where_it_says() {
    let api = TestApi::start();
    api.put(pod("a", "n1")); // 2
    api.put(pod("a", "n2")); // 3
    api.put(pod("b", "n2")); // 4
    api.delete("pods", "shop", "a"); // 5
    let plain = WatchParams::default;
    let (nothing, after) = tokio::join!(raw(&api, plain(), "5"), raw(&api, plain(), "2"));
    assert!(nothing.unwrap().is_empty());
    assert_eq!(after.unwrap(), ["modified a", "added b", "deleted at 5"]);
    let (any, streaming) = tokio::join!(raw(&api, plain(), "0"), raw(&api, plain().initial_events(), "0"));
    assert_eq!(any.unwrap(), ["added b"]);
    assert_eq!(streaming.unwrap(), ["added b", "bookmark 5 1"]);
    api.compact();
    assert_eq!(raw(&api, plain(), "4").await.unwrap(), ["error 410 Expired"]);
    api.faults().refuse_streaming_lists(true);
    let refused = raw(&api, plain().initial_events(), "0").await;
    assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 422), "{refused:?}");
}

#[tokio::test]
async fn bookmarks_come_at_their_pace() {
    let settings = Settings { bookmark_interval: Duration::from_millis(50), ..Settings::default() };
    let api = TestApi::with(settings);
    api.put(serde_json::json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } }));
    let seen = raw(&api, WatchParams::default(), "1").await.unwrap();
    assert!(seen.len() > 2 && seen.iter().all(|word| word == "bookmark 2 0"), "versions of other kinds too: {seen:?}");
    assert!(raw(&api, WatchParams::default().disable_bookmarks(), "1").await.unwrap().is_empty());
}

/// Lets one disturbance happen in front of the pod `b`, and returns what the watcher tells from then on to the end.
async fn disturbed(disturbance: Disturbance, config: Config) -> String {
    let api = TestApi::start();
    api.put(pod("a", "n1"));
    let follower = follow(&api, config).await;
    until(1, || follower.seen.count("done")).await;
    until(1, || api.open_watches("pods")).await;
    let before = follower.seen.told().len();
    api.faults().add(Fault::event("pods", disturbance));
    api.put(pod("b", "n1"));
    synced(&api, &follower).await;
    api.delete("pods", "shop", "a");
    synced(&api, &follower).await;
    assert_eq!(api.faults().pending(), 0);
    let told = follower.seen.told();
    let words = told[before..].iter().map(|word| word.split(&[':', '('][..]).take(2).collect::<Vec<_>>().join(":"));
    words.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn watchers_come_back_from_each_disturbance() {
    for (way, config) in both() {
        let cases = [
            (Disturbance::Break, "+b, -a"),
            (Disturbance::BreakInLine, "+b, -a"),
            (Disturbance::End, "+b, -a"),
            (Disturbance::Delay(Duration::from_millis(30)), "+b, -a"),
            (Disturbance::Duplicate, "+b, +b, -a"),
            (Disturbance::Gone, "error: error returned by apiserver during watch, init, +a, +b, done, -a"),
            (Disturbance::InternalError, "error: error returned by apiserver during watch, +b, -a"),
            (Disturbance::Text, "error: watch stream failed, +b, -a"),
            (Disturbance::HalfLine, "+b, -a"),
            (Disturbance::Binary, "error: watch stream failed, +b, -a"),
            (Disturbance::OtherShape, "error: watch stream failed, +b, -a"),
            (Disturbance::UnknownType, "error: watch stream failed, +b, -a"),
        ];
        for (disturbance, expected) in cases {
            assert_eq!(disturbed(disturbance, config.clone()).await, expected, "{way}, {disturbance:?}");
        }
    }
}

/// What a plain HTTP client reads of a watch of pods, to the end of the connection.
fn read_to_end(api: &TestApi) -> (String, std::io::Result<usize>) {
    let mut connection = TcpStream::connect(api.url().trim_start_matches("http://")).unwrap();
    let request = "GET /api/v1/pods?watch=true HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let end = connection.read_to_end(&mut answer);
    (String::from_utf8(answer).unwrap(), end)
}

#[test]
fn connections_break_where_they_should() {
    let cases = [
        (Disturbance::End, "\n\r\n0\r\n\r\n", 1),
        (Disturbance::Break, "}\n\r\n", 1),
        (Disturbance::BreakInLine, "\r\n", 2),
    ];
    for (disturbance, last, types) in cases {
        let api = TestApi::start();
        api.put(pod("a", "n1"));
        api.put(pod("b", "n1"));
        api.faults().add(Fault::event("pods", disturbance).after(1));
        let (answer, _) = read_to_end(&api);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(last), "{disturbance:?}: {answer:?}");
        assert_eq!(answer.matches(r#""type":"ADDED""#).count(), types, "{disturbance:?}: {answer:?}");
        assert_eq!(answer.ends_with("0\r\n\r\n"), disturbance == Disturbance::End, "{answer:?}");
    }
}

#[tokio::test]
async fn a_streaming_list_that_breaks_starts_again() {
    let api = TestApi::start();
    for name in ["a", "b", "c"] {
        api.put(pod(name, "n1"));
    }
    api.faults().add(Fault::event("pods", Disturbance::Break).after(2));
    let follower = follow(&api, Config::default().streaming_lists()).await;
    synced(&api, &follower).await;
    assert_eq!(follower.seen.told(), ["init", "+a", "+b", "init", "+a", "+b", "+c", "done"]);
}

#[tokio::test]
async fn history_that_is_gone_means_a_new_list() {
    for (way, config) in both() {
        let api = TestApi::start();
        api.put(pod("a", "n1"));
        let follower = follow(&api, config).await;
        synced(&api, &follower).await;
        until(1, || api.open_watches("pods")).await;
        // While the watch is away, what it would resume from is forgotten.
        api.faults().add(Fault::request("pods", Obstacle::Unavailable).verb(Verb::Watch).always());
        api.faults().break_watches();
        until(true, || follower.seen.count("error: failed to start watching") > 0).await;
        api.delete("pods", "shop", "a");
        api.put(pod("b", "n1"));
        api.compact();
        api.faults().clear();
        synced(&api, &follower).await;
        let told = follower.seen.told();
        let gone = told.iter().position(|word| word.contains("too old resource version")).unwrap();
        assert_eq!(told[gone + 1..], ["init", "+b", "done"], "{way}");
    }
}

#[tokio::test]
async fn a_slow_watch_does_not_hold_the_history() {
    let api = TestApi::with(Settings { history_events_max: 10, ..Settings::default() });
    let follower = follow(&api, Config::default()).await;
    until(1, || api.open_watches("pods")).await;
    api.faults().add(Fault::event("pods", Disturbance::Delay(Duration::from_millis(100))));
    for number in 0..100 {
        api.put(pod(&format!("p{number}"), "n1"));
    }
    synced(&api, &follower).await;
    assert_eq!(follower.seen.count("error: error returned by apiserver during watch: too old"), 1);
}

#[tokio::test]
async fn a_watch_that_hangs_is_followed_by_one_that_does_not() {
    let api = TestApi::start();
    let follower = follow(&api, Config::default()).await;
    until(1, || api.open_watches("pods")).await;
    api.faults().add(Fault::event("pods", Disturbance::Delay(Duration::from_hours(1))));
    api.put(pod("a", "n1"));
    until(0, || api.faults().pending()).await;
    api.faults().end_watches();
    synced(&api, &follower).await;
    assert_eq!(follower.seen.told(), ["init", "done", "+a"]);
}

#[tokio::test]
async fn the_server_goes_and_comes_back() {
    for (way, config) in both() {
        let api = TestApi::start();
        api.put(pod("a", "n1"));
        let follower = follow(&api, config).await;
        synced(&api, &follower).await;
        until(1, || api.open_watches("pods")).await;
        api.stop();
        assert_eq!(api.open_watches("pods"), 0, "{way}");
        let refused = TcpStream::connect(api.url().trim_start_matches("http://"));
        assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "{way}");
        api.put(pod("b", "n1"));
        until(true, || follower.seen.count("error: failed to start watching") > 0).await;
        api.resume();
        synced(&api, &follower).await;
        assert_eq!(
            (follower.seen.count("init"), follower.seen.count("+b")),
            (1, 1),
            "{way}: resumed, not listed again"
        );
    }
}

#[tokio::test]
async fn a_kind_that_is_served_no_more_ends_its_watches() {
    let api = TestApi::start();
    let states = palisade_testapi::Resource::new("palisade.dev/v1alpha1", "nodestates", "NodeState").cluster_scoped();
    api.register(states.clone());
    api.put(serde_json::json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "nodestates.palisade.dev" },
        "spec": {
            "group": "palisade.dev", "scope": "Cluster", "names": { "plural": "nodestates", "kind": "NodeState" },
            "versions": [{ "name": "v1alpha1", "served": true, "storage": true, "subresources": { "status": {} } }],
        },
    }));
    let kind = kube::api::GroupVersionKind::gvk("palisade.dev", "v1alpha1", "NodeState");
    let kind = kube::discovery::ApiResource::from_gvk_with_plural(&kind, "nodestates");
    let watched: kube::Api<kube::api::DynamicObject> = kube::Api::all_with(client(&api).await, &kind);
    let stream = watched.watch(&WatchParams::default(), "0").await.unwrap();
    api.put(serde_json::json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "NodeState", "metadata": { "name": "n1" },
    }));
    let mut stream = stream.boxed();
    assert!(matches!(stream.next().await, Some(Ok(WatchEvent::Added(_)))));
    api.delete("customresourcedefinitions", "", "nodestates.palisade.dev");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn ten_thousand_pods_are_put_and_seen() {
    let api = TestApi::start();
    for number in 0..10_000 {
        api.put(pod(&format!("p{number:05}"), "n1"));
    }
    let follower = follow(&api, Config::default().streaming_lists()).await;
    until(1, || follower.seen.count("done")).await;
    assert_eq!(follower.seen.pods().len(), 10_000);
}
