//! Pods, workloads, nodes and addresses: what the input says, and what is invented where it says nothing.
#![allow(clippy::unwrap_used, clippy::format_collect, reason = "a test may fail, and need not be fast")]

use palisade_core::{Family, Level, Pod, PodName, Snapshot};
use palisade_sources::{Options, Parsed, SourceText, parse};

fn read_with(text: &str, options: &Options) -> Parsed {
    parse(&[SourceText { file: "a.yaml".into(), text: text.to_string() }], options)
}

/// Reads input that is all well.
fn read(text: &str) -> Snapshot {
    let parsed = read_with(text, &Options::default());
    assert!(parsed.diagnostics.is_empty(), "{text}: {:#?}", parsed.diagnostics);
    parsed.snapshot
}

/// One object in the flow style.
fn object(version: &str, kind: &str, metadata: &str, rest: &str) -> String {
    format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {{{metadata}}}\n{rest}\n")
}

/// A pod in a line: `name node addresses`, `~` before what is invented.
fn shown(name: &impl ToString, pod: &Pod) -> String {
    let mark = |assumed: bool| if assumed { "~" } else { "" };
    let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
    format!(
        "{} {}{} {}{}",
        name.to_string(),
        mark(pod.assumed.node),
        pod.node.as_deref().unwrap_or("-"),
        mark(pod.assumed.addresses),
        addresses.join(",")
    )
}

fn pods(snapshot: &Snapshot) -> Vec<String> {
    snapshot.pods.iter().map(|(name, pod)| shown(name, pod)).collect()
}

fn nodes(snapshot: &Snapshot) -> Vec<String> {
    let join = |items: Vec<String>| items.join(",");
    snapshot
        .nodes
        .iter()
        .map(|(name, node)| {
            let addresses = join(node.addresses.iter().map(ToString::to_string).collect());
            let cidrs = join(node.pod_cidrs.iter().map(ToString::to_string).collect());
            format!("{name} {}{addresses} {cidrs}", if node.assumed { "~" } else { "" })
        })
        .collect()
}

fn workloads(snapshot: &Snapshot) -> Vec<String> {
    let pods = |pods: &[palisade_core::PodName]| pods.iter().map(|pod| &*pod.name).collect::<Vec<_>>().join(",");
    snapshot.workloads.iter().map(|(name, found)| format!("{name}: {}", pods(found))).collect()
}

#[test]
fn a_pod_as_the_input_has_it() {
    let snapshot = read(
        "apiVersion: v1
kind: Pod
metadata: {name: a, namespace: web, labels: {app: x}}
spec:
  nodeName: worker
  containers:
  - ports:
    - {name: http, containerPort: 80}
    - {containerPort: 53, protocol: UDP, hostPort: 53}
  - {}
  initContainers:
  - {restartPolicy: Always, ports: [{containerPort: 9, protocol: SCTP}]}
  - {ports: [{containerPort: 7}]}
status:
  phase: Running
  podIP: 10.1.0.5
  podIPs: [{ip: 10.1.0.5}, {ip: '2001:db8::5'}]
  hostIPs: [{ip: 192.0.2.1}]
",
    );
    assert_eq!(pods(&snapshot), ["web/a worker 10.1.0.5,2001:db8::5"]);
    assert_eq!(nodes(&snapshot), ["worker 192.0.2.1 "]);
    let pod = snapshot.pods.values().next().unwrap();
    let ports: Vec<String> = (pod.ports.iter())
        .map(|port| format!("{} {} {}", port.name.as_deref().unwrap_or("-"), port.transport, port.port))
        .collect();
    assert_eq!(ports, ["http tcp 80", "- udp 53", "- sctp 9"]);
    assert!(!pod.finished && !pod.host_network);
}

#[test]
fn an_invalid_pod_keeps_what_can_be_read() {
    let check = |rest: &str, message: &str| {
        let text = object("v1", "Pod", "name: a, labels: {app: x}", rest);
        let parsed = read_with(&text, &Options::default());
        assert_eq!(parsed.diagnostics.len(), 1, "{rest}: {:#?}", parsed.diagnostics);
        let found = &parsed.diagnostics[0];
        assert_eq!(found.level, Level::Error);
        assert_eq!(found.effect.as_deref(), Some("the rest of the pod is used"));
        assert!(found.message.contains(message), "{rest}: {}", found.message);
        let pod = parsed.snapshot.pods.values().next().unwrap();
        assert_eq!(pod.labels.len(), 1);
        assert_eq!(pod.addresses.len(), 2, "{rest}");
    };
    check("status: {podIP: 10.0.0.256}", "status.podIP: expected an IP address, found '10.0.0.256'");
    check("status: {podIPs: [{ip: x}]}", "status.podIPs[0].ip: expected an IP address");
    check("spec: {containers: {}}", "spec.containers: expected a list");
    check("spec: {containers: [{ports: [{containerPort: 0}]}]}", "expected a port from 1 to 65535");
    check("spec: {containers: [{ports: [{name: x}]}]}", "containerPort: expected a port, found nothing");
    check("spec: {containers: [{ports: [{containerPort: 1, protocol: udp}]}]}", "expected TCP, UDP or SCTP");
    check("spec: {containers: [{ports: [{containerPort: 1, name: '1'}]}]}", "expected a port name");
    check("spec: {hostNetwork: 'true'}", "spec.hostNetwork: expected true or false, found 'true'");
    check("spec: {nodeName: 5}", "spec.nodeName: expected text, found the number 5");
    check("spec: []", "spec: expected a mapping, found a list");
    check("spec: {containers: [{name: a, name: b}]}", "'name' is written twice");
}

#[test]
fn a_misspelt_field_that_would_count_is_a_warning_and_any_other_is_no_business_of_ours() {
    let spec = "{hostNetwrok: true, hostname: x, hostUsers: false, containers: [{name: c, resources: {}, port: [], ports: [{containerPort: 80, nam: http}]}]}";
    let status = "{phase: Running, podIp: 10.0.0.1, hostIPs: [], qosClass: Burstable}";
    let text = object("v1", "Pod", "name: a", &format!("spec: {spec}\nstatus: {status}"));
    let parsed = read_with(&text, &Options::default());
    let found: Vec<String> = parsed
        .diagnostics
        .iter()
        .map(|found| format!("{} {} ({})", found.level, found.message, found.hint.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        found,
        [
            "warning spec: unknown field 'hostNetwrok' (did you mean 'hostNetwork'?)",
            "warning spec.containers[0]: unknown field 'port' (did you mean 'ports'?)",
            "warning spec.containers[0].ports[0]: unknown field 'nam' (did you mean 'name'?)",
            "warning status: unknown field 'podIp' (did you mean 'podIP'?)",
        ]
    );
}

#[test]
fn one_line_with_all_of_a_cluster_is_shown_in_part() {
    // One of the two has characters of more than a byte.
    for name in ["web", "wéb"] {
        let item = |number| {
            format!(r#"{{"kind": "Pod", "apiVersion": "v1", "metadata": {{"name": "{name}{number}", "foo": 1}}}}"#)
        };
        let items: Vec<String> = (0..100).map(item).collect();
        let text = format!(r#"{{"kind": "List", "apiVersion": "v1", "items": [{}]}}"#, items.join(", "));
        let found = read_with(&text, &Options::default()).diagnostics;
        let unknown = found.into_iter().filter(|found| found.message.contains("foo"));
        let places: Vec<_> = unknown.filter_map(|found| found.place).collect();
        assert_eq!(places.len(), 100);
        let from = |text: &str, column: usize| text.chars().skip(column - 1).collect::<String>();
        for place in &places {
            assert!(place.text.chars().count() <= 400, "{place:?}");
            assert!(from(&text, place.text_column).starts_with(&*place.text), "{place:?}");
            assert!(from(&place.text, place.column + 1 - place.text_column).starts_with("\"foo\""), "{place:?}");
        }
    }
}

#[test]
fn labels_that_are_no_text_are_left_out() {
    let parsed = read_with(
        &object("v1", "Pod", "name: a, labels: {x: 1.0, b: yes, v: ok, w: , A/: b}", ""),
        &Options::default(),
    );
    let labels: Vec<String> =
        parsed.snapshot.pods.values().flat_map(|pod| pod.labels.iter().map(|(k, v)| format!("{k}={v}"))).collect();
    assert_eq!(labels, ["A/=b", "v=ok", "w="]);
    let messages: Vec<&str> = parsed.diagnostics.iter().map(|found| found.message.split(',').next().unwrap()).collect();
    assert_eq!(
        messages,
        [
            "metadata.labels.x: expected text",
            "metadata.labels.b: expected text",
            "metadata.labels[A/]: expected a label key: letters"
        ]
    );
    assert_eq!(parsed.diagnostics[1].hint.as_deref(), Some("put it in quotes"));
}

#[test]
fn pods_without_node_or_address_get_them_once() {
    let text: String = ["c", "a", "b"].iter().map(|name| object("v1", "Pod", &format!("name: {name}"), "")).collect();
    let snapshot = read(&text);
    assert_eq!(
        pods(&snapshot),
        [
            "default/a ~n1 ~10.244.0.2,fd44::2",
            "default/b ~n2 ~10.244.1.2,fd44:0:0:1::2",
            "default/c ~n1 ~10.244.0.3,fd44::3",
        ]
    );
    assert_eq!(
        nodes(&snapshot),
        ["n1 ~10.99.0.1,fd99::1 10.244.0.0/24,fd44::/64", "n2 ~10.99.0.2,fd99::2 10.244.1.0/24,fd44:0:0:1::/64"]
    );
    let options = Options { nodes: 1, families: vec![Family::V6], ..Options::default() };
    assert_eq!(pods(&read_with(&text, &options).snapshot)[1], "default/b ~n1 ~fd44::3");
}

#[test]
fn what_the_input_says_is_never_invented_over() {
    let text = [
        object(
            "v1",
            "Node",
            "name: w1",
            "spec: {podCIDRs: [10.244.0.0/24]}\nstatus: {addresses: [{type: InternalIP, address: 10.99.0.1}, {type: Hostname, address: w1}]}",
        ),
        object("v1", "Node", "name: w2", ""),
        object("v1", "Pod", "name: a", "spec: {nodeName: w1}\nstatus: {podIP: 10.244.0.2}"),
        object("v1", "Pod", "name: b", ""),
        object("v1", "Pod", "name: c", ""),
        object("v1", "Pod", "name: d", "spec: {nodeName: w3}"),
        object("v1", "Pod", "name: e", "spec: {nodeName: w1}"),
        object("v1", "Pod", "name: f", "spec: {nodeName: w2, hostNetwork: true}\nstatus: {podIP: 10.99.0.9}"),
        object("v1", "Pod", "name: g", "spec: {nodeName: w1, hostNetwork: true}"),
        object("v1", "Pod", "name: h", "spec: {nodeName: w1}\nstatus: {phase: Succeeded}"),
        object("v1", "Pod", "name: i", "spec: {nodeName: w1}\nstatus: {podIP: 10.244.0.5, phase: Failed}"),
    ];
    let snapshot = read(&text.concat());
    assert_eq!(
        pods(&snapshot),
        [
            "default/a w1 10.244.0.2",
            "default/b ~w1 ~10.244.0.3,fd44::2",
            "default/c ~w2 ~10.244.1.2,fd44:0:0:1::2",
            "default/d w3 ~10.244.2.2,fd44:0:0:2::2",
            "default/e w1 ~10.244.0.4,fd44::3",
            "default/f w2 10.99.0.9",
            "default/g w1 10.99.0.1",
            "default/h w1 ",
            "default/i w1 10.244.0.5",
        ]
    );
    assert_eq!(
        nodes(&snapshot),
        [
            "w1 10.99.0.1 10.244.0.0/24,fd44::/64",
            "w2 10.99.0.9 10.244.1.0/24,fd44:0:0:1::/64",
            "w3 ~10.99.0.2,fd99::1 10.244.2.0/24,fd44:0:0:2::/64",
        ]
    );
    let finished: Vec<&str> =
        snapshot.pods.iter().filter(|(_, pod)| pod.finished).map(|(name, _)| &*name.name).collect();
    assert_eq!(finished, ["h", "i"]);
}

#[test]
fn an_address_that_two_have_is_a_warning() {
    let text = object("v1", "Pod", "name: a", "status: {podIP: 10.1.1.1}")
        + &object("v1", "Pod", "name: b", "status: {podIP: '::ffff:10.1.1.1'}");
    let parsed = read_with(&text, &Options::default());
    let messages: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(messages, ["a.yaml:9:18: warning: Pod default/b: its address 10.1.1.1 is also that of pod default/a"]);
}

#[test]
fn a_range_that_is_too_small_is_an_error() {
    let text: String = (0..20).map(|number| object("v1", "Pod", &format!("name: p{number:02}"), "")).collect();
    let pod_cidrs = vec!["10.0.0.0/28".parse().unwrap(), "fd00::/64".parse().unwrap()];
    let parsed = read_with(&text, &Options { pod_cidrs, ..Options::default() });
    let messages: Vec<&str> = parsed.diagnostics.iter().map(|found| &*found.message).collect();
    assert_eq!(messages, ["the range 10.0.0.0/28 has no address left for 10 pods"]);
    assert_eq!(pods(&parsed.snapshot)[19], "default/p19 ~n2 ~fd00::8000:0:0:b");
}

#[test]
fn workloads_become_the_pods_they_would_make() {
    let template = "template: {metadata: {labels: {app: x}}, spec: {containers: [{ports: [{containerPort: 80}]}]}}";
    let text = [
        object("apps/v1", "Deployment", "name: one", &format!("spec: {{{template}}}")),
        object("apps/v1", "Deployment", "name: many", &format!("spec: {{replicas: 9, {template}}}")),
        object("apps/v1", "Deployment", "name: none", &format!("spec: {{replicas: 0, {template}}}")),
        object("apps/v1", "StatefulSet", "name: pg", &format!("spec: {{replicas: 1, {template}}}")),
        object(
            "apps/v1",
            "StatefulSet",
            "name: kv",
            &format!("spec: {{replicas: 2, ordinals: {{start: 5}}, {template}}}"),
        ),
        object("apps/v1", "DaemonSet", "name: agent", &format!("spec: {{{template}}}")),
        object("apps/v1", "ReplicaSet", "name: rs", &format!("spec: {{replicas: null, {template}}}")),
        object("v1", "ReplicationController", "name: rc", &format!("spec: {{{template}}}")),
        object("batch/v1", "Job", "name: job", &format!("spec: {{parallelism: 3, {template}}}")),
        object("batch/v1", "CronJob", "name: cron", &format!("spec: {{jobTemplate: {{spec: {{{template}}}}}}}")),
        object("v1", "Pod", "name: rc", ""),
        object("v1", "Service", "name: x", "spec: {selector: {app: x}}"),
        object("v1", "Service", "name: all", "spec: {selector: {}}"),
        object("v1", "Service", "name: none", "spec: {selector: {app: z}}"),
        object("v1", "Service", "name: x, namespace: other", "spec: {selector: {app: x}}"),
    ];
    let snapshot = read(&text.concat());
    let all = "agent-n1,agent-n2,cron,job,kv-5,kv-6,many-1,many-2,one,pg-0,rc-1,rs";
    assert_eq!(
        workloads(&snapshot),
        [
            "default/deployment/many: many-1,many-2",
            "default/deployment/none: ",
            "default/deployment/one: one",
            "default/statefulset/kv: kv-5,kv-6",
            "default/statefulset/pg: pg-0",
            "default/daemonset/agent: agent-n1,agent-n2",
            "default/replicaset/rs: rs",
            "default/replicationcontroller/rc: rc-1",
            "default/job/job: job",
            "default/cronjob/cron: cron",
            "default/service/all: ",
            "default/service/none: ",
            &format!("default/service/x: {all}"),
            "other/service/x: ",
        ]
    );
    for (name, pod) in snapshot.pods.iter().filter(|(name, _)| &*name.name != "rc") {
        assert_eq!(pod.labels.get("app").map(|app| &**app), Some("x"), "{name}");
        assert_eq!(pod.ports.len(), 1, "{name}");
        assert!(pod.assumed.node && pod.assumed.addresses && pod.workload.is_some(), "{name}");
    }
    let on =
        |pod: &str| snapshot.pods.iter().find(|(name, _)| &*name.name == pod).and_then(|(_, pod)| pod.node.clone());
    assert_eq!(on("agent-n2").as_deref(), Some("n2"));
}

#[test]
fn controllers_label_their_pods() {
    let template = "template: {metadata: {labels: {app: x}}, spec: {containers: []}}";
    let text = object("apps/v1", "StatefulSet", "name: pg", &format!("spec: {{replicas: 2, {template}}}"))
        + &object("batch/v1", "Job", "name: dump", &format!("spec: {{{template}}}"));
    let snapshot = read(&text);
    let check = |pod: &str, expected: &str| {
        let pod = &snapshot.pods[&PodName::new("default", pod)];
        let labels: Vec<String> = pod.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(labels.join(","), expected);
    };
    check("pg-1", "app=x,apps.kubernetes.io/pod-index=1,statefulset.kubernetes.io/pod-name=pg-1");
    check("dump", "app=x,batch.kubernetes.io/job-name=dump,job-name=dump");
}

#[test]
fn live_pods_stand_for_their_workloads() {
    let owner = |kind: &str, name: &str| {
        format!("ownerReferences: [{{kind: X, name: y}}, {{kind: {kind}, name: {name}, controller: true}}]")
    };
    let template = "template: {metadata: {labels: {app: x}}}";
    let text = [
        object("apps/v1", "Deployment", "name: front", &format!("spec: {{replicas: 3, {template}}}")),
        object(
            "apps/v1",
            "ReplicaSet",
            &format!("name: front-5d4, {}", owner("Deployment", "front")),
            &format!("spec: {{replicas: 3, {template}}}"),
        ),
        object(
            "apps/v1",
            "ReplicaSet",
            &format!("name: front-old, {}", owner("Deployment", "front")),
            &format!("spec: {{replicas: 0, {template}}}"),
        ),
        object("v1", "Pod", &format!("name: front-5d4-x, {}", owner("ReplicaSet", "front-5d4")), ""),
        object(
            "v1",
            "Pod",
            &format!("name: back-77f-x, labels: {{pod-template-hash: 77f}}, {}", owner("ReplicaSet", "back-77f")),
            "",
        ),
        object("v1", "Pod", &format!("name: lone-x, {}", owner("ReplicaSet", "lone-1")), ""),
        object("apps/v1", "StatefulSet", "name: pg", &format!("spec: {{{template}}}")),
        object("v1", "Pod", &format!("name: pg-0, {}", owner("StatefulSet", "pg")), ""),
        object("batch/v1", "CronJob", "name: tick", &format!("spec: {{jobTemplate: {{spec: {{{template}}}}}}}")),
        object("v1", "Pod", &format!("name: tick-123-x, {}", owner("Job", "tick-123")), "status: {phase: Succeeded}"),
        object("apps/v1", "Deployment", "name: offline", &format!("spec: {{{template}}}")),
        object(
            "apps/v1",
            "ReplicaSet",
            &format!("name: offline-1, {}", owner("Deployment", "offline")),
            &format!("spec: {{{template}}}"),
        ),
    ];
    let snapshot = read(&text.concat());
    assert_eq!(
        workloads(&snapshot),
        [
            "default/deployment/back: back-77f-x",
            "default/deployment/front: front-5d4-x",
            "default/deployment/offline: offline",
            "default/statefulset/pg: pg-0",
            "default/replicaset/back-77f: back-77f-x",
            "default/replicaset/front-5d4: front-5d4-x",
            "default/replicaset/front-old: ",
            "default/replicaset/lone-1: lone-x",
            "default/replicaset/offline-1: ",
            "default/job/tick-123: tick-123-x",
            "default/cronjob/tick: tick-123-x",
        ]
    );
    let tops: Vec<String> =
        snapshot.pods.values().filter_map(|pod| pod.workload.as_ref()).map(ToString::to_string).collect();
    assert_eq!(
        tops,
        [
            "default/deployment/back",
            "default/deployment/front",
            "default/replicaset/lone-1",
            "default/deployment/offline",
            "default/statefulset/pg",
            "default/cronjob/tick",
        ]
    );
}

#[test]
fn owners_in_a_circle_end() {
    let owner = |name: &str| format!("ownerReferences: [{{kind: ReplicaSet, name: {name}}}]");
    let text = [
        object("apps/v1", "ReplicaSet", &format!("name: a, {}", owner("b")), "spec: {template: {}}"),
        object("apps/v1", "ReplicaSet", &format!("name: b, {}", owner("a")), "spec: {template: {}}"),
        object("v1", "Pod", &format!("name: p, {}", owner("a")), ""),
    ];
    assert_eq!(workloads(&read(&text.concat())), ["default/replicaset/a: p", "default/replicaset/b: p"]);
}

#[test]
fn every_namespace_that_is_named_exists_and_has_its_name_as_label() {
    let text = [
        object("v1", "Namespace", "name: a, labels: {x: z, kubernetes.io/metadata.name: wrong}", ""),
        object("v1", "Pod", "name: p, namespace: b", ""),
        object("networking.k8s.io/v1", "NetworkPolicy", "name: p, namespace: c", ""),
        object("v1", "Service", "name: p, namespace: d", ""),
        object("apps/v1", "Deployment", "name: p, namespace: e", "spec: {replicas: 0, template: {}}"),
        object("v1", "Node", "name: w, namespace: f", ""),
    ];
    let snapshot = read(&text.concat());
    let labels: Vec<String> = snapshot
        .namespaces
        .iter()
        .map(|(name, namespace)| {
            format!("{name} {}", namespace.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","))
        })
        .collect();
    let label = "kubernetes.io/metadata.name";
    assert_eq!(labels[0], format!("a {label}=a,x=z"));
    assert_eq!(labels[1..], ["b", "c", "d", "e"].map(|name| format!("{name} {label}={name}")));
}

#[test]
fn the_order_of_the_input_does_not_matter() {
    let template = "template: {metadata: {labels: {app: x}}}";
    let mut objects: Vec<String> = (0..6).map(|number| object("v1", "Pod", &format!("name: p{number}"), "")).collect();
    objects.push(object("apps/v1", "Deployment", "name: p3", &format!("spec: {{{template}}}")));
    objects.push(object("apps/v1", "StatefulSet", "name: p3", &format!("spec: {{{template}}}")));
    objects.push(object(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        "name: p",
        "spec: {ingress: [{from: [{ipBlock: {cidr: x}}]}]}",
    ));
    let forward = read_with(&objects.concat(), &Options::default()).snapshot;
    objects.reverse();
    let backward = read_with(&objects.concat(), &Options::default()).snapshot;
    assert_eq!(forward, backward);
    assert!(forward.pods.keys().any(|name| &*name.name == "p3-1"));
}
