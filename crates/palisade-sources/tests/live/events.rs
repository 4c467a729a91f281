//! What single events mean.

use palisade_core::{Assumed, Change, Direction, Level, ObjectName, Snapshot};
use palisade_sources::Limits;
use palisade_sources::live::{Kind, Live, Object, Update};

use crate::objects::object;

fn live() -> Live {
    Live::new(Limits::default())
}

/// Puts an object, of which the changes are told as `+Pod a/p` and `-Pod a/p`.
fn put(live: &mut Live, kind: Kind, text: &str) -> Vec<String> {
    told(&live.put(kind, &object(text)))
}

fn remove(live: &mut Live, kind: Kind, text: &str) -> Vec<String> {
    told(&live.remove(kind, &object(text)))
}

fn told(update: &Update) -> Vec<String> {
    let sign = |there: bool| if there { '+' } else { '-' };
    let change = |change: &Change| match change {
        Change::Namespace(name, new) => format!("{}Namespace {name}", sign(new.is_some())),
        Change::Node(name, new) => format!("{}Node {name}", sign(new.is_some())),
        Change::Pod(name, new) => format!("{}Pod {name}", sign(new.is_some())),
        Change::Policy(name, new) => format!("{}NetworkPolicy {name}", sign(new.is_some())),
        Change::HostPolicy(name, new) => format!("{}{} {name}", sign(new.is_some()), name.kind()),
        Change::BanList(name, new) => format!("{}BanList {name}", sign(new.is_some())),
        Change::Server(name, new) => format!("{}NodeAllowlist {name}", sign(new.is_some())),
    };
    update.changes.iter().map(change).collect()
}

fn pod(name: &str, rest: &str) -> String {
    format!("{{\"metadata\": {{\"namespace\": \"a\", \"name\": \"{name}\"}}, {rest}}}")
}

fn node(heartbeat: u8, address: &str) -> String {
    format!(
        "{{\"metadata\": {{\"name\": \"n1\", \"resourceVersion\": \"{heartbeat}\"}}, \"status\": {{\"conditions\": \
         [{heartbeat}], \"addresses\": [{{\"type\": \"InternalIP\", \"address\": \"{address}\"}}]}}}}"
    )
}

fn policy(name: &str, spec: &str) -> String {
    format!("{{\"metadata\": {{\"namespace\": \"a\", \"name\": \"{name}\"}}, \"spec\": {spec}}}")
}

fn addresses(snapshot: &Snapshot, name: &str) -> Vec<String> {
    snapshot.pods[&ObjectName::new("a", name)].addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn what_a_node_is_called_by_changes_its_host_network_pods_alone() {
    let mut live = live();
    let spec = "\"spec\": {\"nodeName\": \"n1\", \"hostNetwork\": true}, \"status\": {\"podIP\": \"172.16.0.9\"}";
    assert_eq!(put(&mut live, Kind::Pod, &pod("p", spec)), ["+Namespace a", "+Node n1", "+Pod a/p"]);
    put(&mut live, Kind::Pod, &pod("q", "\"spec\": {\"nodeName\": \"n1\"}, \"status\": {\"podIP\": \"10.244.1.2\"}"));
    assert_eq!(addresses(live.snapshot(), "p"), ["172.16.0.9"], "as long as nobody describes the node");
    assert_eq!(put(&mut live, Kind::Node, &node(1, "172.16.0.1")), ["+Node n1", "+Pod a/p"]);
    assert_eq!(addresses(live.snapshot(), "p"), ["172.16.0.1"]);
    assert_eq!(put(&mut live, Kind::Node, &node(2, "172.16.0.1")), [""; 0], "a heartbeat");
    assert_eq!(put(&mut live, Kind::Node, &node(3, "172.16.0.2")), ["+Node n1", "+Pod a/p"]);
    assert_eq!(addresses(live.snapshot(), "p"), ["172.16.0.2"]);
    assert_eq!(addresses(live.snapshot(), "q"), ["10.244.1.2"]);
    assert_eq!(remove(&mut live, Kind::Node, &node(3, "")), ["+Node n1", "+Pod a/p"], "pods are still on it");
    assert_eq!(addresses(live.snapshot(), "p"), ["172.16.0.9"]);
}

#[test]
fn nothing_is_invented() {
    let mut live = live();
    put(&mut live, Kind::Pod, &pod("p", "\"spec\": {}"));
    let snapshot = live.snapshot();
    assert!(snapshot.nodes.is_empty());
    let pod = &snapshot.pods[&ObjectName::new("a", "p")];
    assert!(pod.node.is_none() && pod.addresses.is_empty() && pod.assumed == Assumed::default());
}

#[test]
fn a_namespace_that_is_deleted_first_stays_until_it_is_empty() {
    let mut live = live();
    let namespace = "{\"metadata\": {\"name\": \"a\", \"labels\": {\"team\": \"x\"}}}";
    assert_eq!(put(&mut live, Kind::Namespace, namespace), ["+Namespace a"]);
    assert_eq!(put(&mut live, Kind::Pod, &pod("p", "\"spec\": {}")), ["+Pod a/p"]);
    assert_eq!(put(&mut live, Kind::NetworkPolicy, &policy("q", "{}")), ["+NetworkPolicy a/q"]);
    assert_eq!(remove(&mut live, Kind::Namespace, namespace), ["+Namespace a"]);
    assert!(!live.snapshot().namespaces["a"].labels.contains_key("team"));
    assert_eq!(remove(&mut live, Kind::Pod, &pod("p", "\"spec\": {}")), ["-Pod a/p"]);
    assert_eq!(remove(&mut live, Kind::NetworkPolicy, &policy("q", "{}")), ["-NetworkPolicy a/q", "-Namespace a"]);
    assert_eq!(*live.snapshot(), Snapshot::default());
}

#[test]
fn a_pod_recreated_under_its_name_is_a_change_only_if_it_differs() {
    let mut live = live();
    let with = |uid: u8, address: &str| {
        pod("p", &format!("\"status\": {{\"podIP\": \"{address}\"}}")).replacen('{', &format!("{{\"uid\": {uid}, "), 1)
    };
    put(&mut live, Kind::Pod, &with(1, "10.244.1.2"));
    assert_eq!(put(&mut live, Kind::Pod, &with(2, "10.244.1.3")), ["+Pod a/p"]);
    assert_eq!(addresses(live.snapshot(), "p"), ["10.244.1.3"]);
    assert_eq!(put(&mut live, Kind::Pod, &with(3, "10.244.1.3")), [""; 0]);
}

#[test]
fn what_is_wrong_is_told_when_it_changes() {
    let mut live = live();
    let broken = policy("q", "{\"podSelector\": {}, \"volumes\": []}");
    let update = live.put(Kind::NetworkPolicy, &object(&broken));
    let [finding] = &update.findings[..] else { panic!("{update:?}") };
    assert_eq!((finding.kind, finding.name.to_string()), (Kind::NetworkPolicy, "a/q".to_string()));
    let [diagnostic] = &finding.diagnostics[..] else { panic!("{finding:?}") };
    assert_eq!(diagnostic.to_string(), "error: NetworkPolicy a/q: spec: unknown field 'volumes'");
    let effect = "the policy isolates every pod of namespace a and allows nothing";
    assert_eq!(diagnostic.effect.as_deref(), Some(effect));
    let closed = &live.snapshot().policies[&ObjectName::new("a", "q")];
    assert!(closed.unreadable.is_some() && closed.rules[Direction::Ingress] == Some(Vec::new()));

    let again = live.put(Kind::NetworkPolicy, &object(&broken));
    assert_eq!(again, Update::default());
    let mended = live.put(Kind::NetworkPolicy, &object(&policy("q", "{\"podSelector\": {}}")));
    assert_eq!(told(&mended), ["+NetworkPolicy a/q"]);
    assert_eq!(mended.findings[0].diagnostics, []);
}

#[test]
fn a_policy_closed_by_a_limit_opens_when_there_is_room() {
    let mut live = Live::new(Limits { policies_per_namespace: 2, ..Limits::default() });
    let open = "{\"podSelector\": {}, \"ingress\": [{}]}";
    let closed = |live: &Live| {
        let closed = live.snapshot().policies.iter().filter(|(_, policy)| policy.unreadable.is_some());
        closed.map(|(name, _)| name.name.to_string()).collect::<Vec<_>>()
    };
    for name in ["p2", "p4", "p6", "p8"] {
        assert_eq!(
            put(&mut live, Kind::NetworkPolicy, &policy(name, open)).last().unwrap(),
            &format!("+NetworkPolicy a/{name}")
        );
    }
    assert_eq!(closed(&live), ["p6", "p8"]);
    let update = live.put(Kind::NetworkPolicy, &object(&policy("p1", open)));
    assert_eq!(told(&update), ["+NetworkPolicy a/p4", "+NetworkPolicy a/p1"]);
    assert_eq!(update.findings[0].diagnostics[0].message, "namespace a has more than 2 policies");
    assert_eq!(closed(&live), ["p4", "p6", "p8"]);
    let update = live.remove(Kind::NetworkPolicy, &object(&policy("p2", open)));
    assert_eq!(told(&update), ["-NetworkPolicy a/p2", "+NetworkPolicy a/p4"]);
    assert_eq!((update.findings.len(), update.findings[0].diagnostics.len()), (1, 0));
    assert_eq!(closed(&live), ["p6", "p8"]);
}

#[test]
fn what_a_list_does_not_hold_is_gone() {
    let mut live = live();
    for name in ["p", "q"] {
        put(&mut live, Kind::Pod, &pod(name, "\"spec\": {}"));
    }
    live.put(Kind::Pod, &object("{\"metadata\": {\"namespace\": \"a\"}}"));
    live.begin(Kind::Pod);
    assert_eq!(put(&mut live, Kind::Pod, &pod("p", "\"spec\": {}")), [""; 0]);
    live.begin(Kind::Pod);
    assert_eq!(put(&mut live, Kind::Pod, &pod("q", "\"spec\": {}")), [""; 0]);
    let update = live.end(Kind::Pod);
    assert_eq!(told(&update), ["-Pod a/p"], "the list that broke does not count");
    assert_eq!(update.findings.len(), 1, "and the object without a name is gone: {update:?}");
    assert_eq!(live.end(Kind::Pod), Update::default(), "no list without a beginning");
}

#[test]
fn an_object_without_a_name_changes_nothing_and_is_told() {
    let mut live = live();
    put(&mut live, Kind::Pod, &pod("p", "\"spec\": {}"));
    let twice = "{\"metadata\": {\"namespace\": \"a\", \"name\": \"p\"}, \"metadata\": {}}";
    for text in ["5", "{}", "{\"metadata\": null}", "{\"metadata\": {\"generateName\": \"p-\"}}", twice] {
        for kind in Kind::ALL {
            let update = live.put(kind, &object(text));
            assert_eq!(update.changes, []);
            let [finding] = &update.findings[..] else { panic!("{kind} {text}: {update:?}") };
            assert_eq!(finding.name.name.as_ref(), "");
            assert_eq!(finding.diagnostics[0].level, Level::Error);
            assert_eq!(finding.diagnostics[0].effect.as_deref(), Some("the object is left out"));
            assert_eq!(told(&live.remove(kind, &object(text))), [""; 0], "{text}");
        }
    }
}

#[test]
fn only_so_much_is_told_of_one_object() {
    let mut live = live();
    let peers = vec!["{\"podSelector\": 5}"; 1000].join(", ");
    let update =
        live.put(Kind::NetworkPolicy, &object(&policy("p", &format!("{{\"ingress\": [{{\"from\": [{peers}]}}]}}"))));
    let told: Vec<String> = update.findings[0].diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 17);
    assert_eq!(
        told[0],
        "error: NetworkPolicy a/p: spec.ingress[0].from[0].podSelector: expected a mapping, found the number 5"
    );
    assert!(told[16].ends_with("more of the kind"), "{told:?}");
}

#[test]
fn an_object_is_read_from_any_json() {
    let texts = [
        "{\"metadata\": {\"name\": \"p\", \"namespace\": \"a\", \"uid\": \"u\", \"resourceVersion\": \"7\", \"labels\": {\"a\": 1, \"a\": [2]}}}",
        "[1e300, -5, 18446744073709551615, 0.5, null, true, \"\\u00e9\\n\", {\"\": {}}]",
        "{\"spec\": {\"containers\": 5, \"volumes\": {\"a\": {\"b\": [[]]}}}, \"status\": [[[{}]]]}",
    ];
    for text in texts {
        let plain = object(text);
        let deep = format!("{}{text}{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(object(&deep).name(), "");
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let from_value: Object = serde_json::from_value(value).unwrap();
        assert_eq!((plain.name(), plain.namespace()), (from_value.name(), from_value.namespace()));
    }
    let object = object(texts[0]);
    assert_eq!(
        (object.name(), object.namespace(), object.uid(), object.resource_version()),
        ("p", Some("a"), "u", "7")
    );
}

#[test]
fn the_audit_annotation_is_read_and_only_true_is_a_value() {
    let check = |annotation: &str, audit: bool, found: Option<&str>| {
        let mut live = live();
        let metadata = format!(
            "{{\"namespace\": \"a\", \"name\": \"p\", \"annotations\": {{\"palisade.dev/audit\": {annotation}}}}}"
        );
        let update = live.put(Kind::NetworkPolicy, &object(&format!("{{\"metadata\": {metadata}, \"spec\": {{}}}}")));
        let policy = &live.snapshot().policies[&ObjectName::new("a", "p")];
        assert_eq!((policy.audit, policy.unreadable.as_deref()), (audit, None), "{annotation}");
        let told: Vec<_> = update.findings.iter().flat_map(|finding| &finding.diagnostics).collect();
        let told: Vec<_> = told.into_iter().map(|told| (told.to_string(), told.effect.as_deref())).collect();
        let found = found.map(|value| {
            let error = "error: NetworkPolicy a/p: annotation palisade.dev/audit: expected 'true', found";
            (format!("{error} {value}"), Some("the policy enforces"))
        });
        assert_eq!(told, Vec::from_iter(found), "{annotation}");
    };
    check("\"true\"", true, None);
    check("\"yes\"", false, Some("'yes'"));
    check("true", false, Some("the boolean true"));
    check("\"false\"", false, Some("'false'"));
}
