//! What the pods of a big cluster cost as they are listed: 10,000 of them, each about 6 kB of JSON as a kubelet leaves it; and what a policy
//! costs in a large namespace.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use palisade_sources::Limits;
use palisade_sources::live::{Kind, Live, Object};

const PODS: usize = 10_000;

fn benchmark(criterion: &mut Criterion) {
    let texts: Vec<String> = (0..PODS).map(pod).collect();
    let bytes = texts.iter().map(String::len).sum::<usize>() / PODS;
    let mut group = criterion.benchmark_group(format!("{PODS} pods of {bytes} bytes"));
    group.sample_size(10).throughput(Throughput::Elements(PODS as u64));
    group.bench_function("deserialize", |bencher| {
        bencher.iter(|| texts.iter().map(|text| black_box(read(text)).uid().len()).sum::<usize>());
    });
    group.bench_function("deserialize whole, for comparison", |bencher| {
        let whole = |text: &String| serde_json::from_str::<serde_json::Value>(text).expect("valid JSON");
        bencher.iter(|| texts.iter().filter(|text| black_box(whole(text)).is_object()).count());
    });
    group.bench_function("deserialize and put", |bencher| {
        bencher.iter_batched(|| Live::new(Limits::default()), |live| filled(live, &texts), BatchSize::PerIteration);
    });
    let mut live = filled(Live::new(Limits::default()), &texts);
    group.bench_function("deserialize and put again, unchanged", |bencher| {
        bencher.iter(|| texts.iter().map(|text| live.put(Kind::Pod, &read(text)).changes.len()).sum::<usize>());
    });
    group.finish();
}

/// Namespaces near the limit of their elements, in which one policy more comes and goes.
fn policies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a policy comes and goes");
    group.sample_size(20);
    for (name, count, rules) in [
        ("1,000 policies of three exact ports and one rule without ports", 1_000, exact as fn(usize) -> String),
        ("2,000 policies of 45 exact ports, one of them everywhere", 2_000, many),
        ("40 policies of 30 staggered ranges, most of them past the limit", 40, staggered),
    ] {
        let mut live = Live::new(Limits::default());
        for number in 0..count {
            live.put(Kind::NetworkPolicy, &read(&rules(number)));
        }
        let last = rules(count);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let there = live.put(Kind::NetworkPolicy, &read(&last)).changes.len();
                there + live.remove(Kind::NetworkPolicy, &read(&last)).changes.len()
            });
        });
    }
    group.finish();
}

/// As the policies of a large namespace are: each selects pods of its own.
fn exact(number: usize) -> String {
    let listed = format!("{{\"port\":{}}},{{\"port\":{}}},{{\"port\":8080}}", 1 + number, 2000 + number);
    let rules =
        format!("{{\"from\":[{{\"podSelector\":{{}}}}]}},{{\"from\":[{{\"podSelector\":{{}}}}],\"ports\":[{listed}]}}");
    policy(number, &format!("{{\"matchLabels\":{{\"app\":\"a{number}\"}}}}"), &rules)
}

fn many(number: usize) -> String {
    let listed: Vec<String> =
        (0..45).map(|port| format!("{{\"port\":{}}}", 1 + (45 * number + port) % 65_535)).collect();
    let ports = if number == 0 { String::new() } else { format!(",\"ports\":[{}]", listed.join(",")) };
    policy(number, "{}", &format!("{{\"from\":[{{\"podSelector\":{{}}}}]{ports}}}"))
}

fn staggered(number: usize) -> String {
    let rule = |range: usize| {
        let first = 1 + 40 * range + number;
        format!(
            "{{\"from\":[{{\"podSelector\":{{}}}}],\"ports\":[{{\"port\":{first},\"endPort\":{}}}]}}",
            first + 30_000
        )
    };
    policy(number, "{}", &(0..30).map(rule).collect::<Vec<_>>().join(","))
}

fn policy(number: usize, subjects: &str, rules: &str) -> String {
    format!(
        "{{\"metadata\":{{\"name\":\"p{number:05}\",\"namespace\":\"team\",\"uid\":\"{number}\",\"resourceVersion\":\"1\"}},\
         \"spec\":{{\"podSelector\":{subjects},\"ingress\":[{rules}]}}}}"
    )
}

fn read(text: &str) -> Object {
    serde_json::from_str(text).expect("valid JSON")
}

fn filled(mut live: Live, texts: &[String]) -> Live {
    for text in texts {
        live.put(Kind::Pod, &read(text));
    }
    live
}

/// A pod of a Deployment: two containers, volumes, probes, conditions, and who wrote which field.
fn pod(index: usize) -> String {
    let (workload, node, host) = (index / 10, index % 100, index / 100);
    let container = |name: &str, port: u16| {
        format!(
            "{{\"name\":\"{name}\",\"image\":\"registry.example/{name}@sha256:{digest}\",\"args\":[\"--listen=:{port}\",\
             \"--verbose\"],\"ports\":[{{\"name\":\"{name}\",\"containerPort\":{port},\"protocol\":\"TCP\"}}],\"env\":[{env}],\
             \"resources\":{{\"limits\":{{\"cpu\":\"1\",\"memory\":\"512Mi\"}},\"requests\":{{\"cpu\":\"100m\",\"memory\":\
             \"128Mi\"}}}},\"volumeMounts\":[{{\"name\":\"config\",\"mountPath\":\"/etc/config\"}},{{\"name\":\
             \"kube-api-access\",\"readOnly\":true,\"mountPath\":\"/var/run/secrets/kubernetes.io/serviceaccount\"}}],\
             \"livenessProbe\":{{\"httpGet\":{{\"path\":\"/healthz\",\"port\":{port},\"scheme\":\"HTTP\"}},\
             \"periodSeconds\":10}},\"imagePullPolicy\":\"IfNotPresent\"}}",
            digest = "0123456789abcdef".repeat(4),
            env = (0..6)
                .map(|i| format!("{{\"name\":\"VARIABLE_{i}\",\"value\":\"value {i}\"}}"))
                .collect::<Vec<_>>()
                .join(","),
        )
    };
    let mut text = format!(
        "{{\"metadata\":{{\"name\":\"web-{workload}-5d9c7b8f4-{index:05}\",\"generateName\":\"web-{workload}-5d9c7b8f4-\",\
         \"namespace\":\"team-{namespace}\",\"uid\":\"5b1f0c2e-8f0a-4a55-9d9c-{index:012}\",\"resourceVersion\":\"{index}\",\
         \"creationTimestamp\":\"2026-01-01T00:00:00Z\",\"labels\":{{\"app\":\"web-{workload}\",\"tier\":\"front\",\
         \"pod-template-hash\":\"5d9c7b8f4\"}},\"annotations\":{{\"prometheus.io/scrape\":\"true\",\"checksum/config\":\
         \"{checksum}\"}},\"ownerReferences\":[{{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\"name\":\
         \"web-{workload}-5d9c7b8f4\",\"uid\":\"7a\",\"controller\":true,\"blockOwnerDeletion\":true}}],\"managedFields\":[",
        namespace = index / 50,
        checksum = "fedcba9876543210".repeat(4),
    );
    let fields: Vec<String> = (0..60).map(|i| format!("\"f:field{i}\":{{}}")).collect();
    let fields = fields.join(",");
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{{\"manager\":\"kube-controller-manager\",\"operation\":\"Update\",\"fieldsV1\":{{{fields}}}}},{{\"manager\":\"kubelet\",\
         \"subresource\":\"status\",\"fieldsV1\":{{{fields}}}}}]}},\"spec\":{{\"volumes\":[{{\"name\":\"config\",\"configMap\":\
         {{\"name\":\"web\"}}}},{{\"name\":\"kube-api-access\",\"projected\":{{\"sources\":[{{\"serviceAccountToken\":\
         {{\"path\":\"token\"}}}}]}}}}],\"containers\":[{web},{metrics}],\"restartPolicy\":\"Always\",\"dnsPolicy\":\
         \"ClusterFirst\",\"serviceAccountName\":\"default\",\"nodeName\":\"node-{node}\",\"securityContext\":{{}},\
         \"schedulerName\":\"default-scheduler\",\"tolerations\":[{{\"key\":\"node.kubernetes.io/not-ready\",\"operator\":\
         \"Exists\",\"effect\":\"NoExecute\",\"tolerationSeconds\":300}}],\"priority\":0}},",
        web = container("http", 8080),
        metrics = container("metrics", 9090),
    );
    let _ = write!(
        text,
        "\"status\":{{\"phase\":\"Running\",\"conditions\":[{conditions}],\"hostIP\":\"172.16.0.{node}\",\"hostIPs\":[{{\"ip\":\
         \"172.16.0.{node}\"}},{{\"ip\":\"fd99::{node}\"}}],\"podIP\":\"10.{node}.0.{host}\",\"podIPs\":[{{\"ip\":\
         \"10.{node}.0.{host}\"}},{{\"ip\":\"fd44:{node}::{host}\"}}],\"startTime\":\"2026-01-01T00:00:00Z\",\
         \"containerStatuses\":[{statuses}],\"qosClass\":\"Burstable\"}}}}",
        conditions = (0..5)
            .map(|i| format!(
                "{{\"type\":\"Condition{i}\",\"status\":\"True\",\"lastTransitionTime\":\"2026-01-01T00:00:00Z\"}}"
            ))
            .collect::<Vec<_>>()
            .join(","),
        statuses = ["http", "metrics"]
            .map(|name| format!(
                "{{\"name\":\"{name}\",\"ready\":true,\"restartCount\":0,\"containerID\":\"containerd://{name}\"}}"
            ))
            .join(","),
    );
    text
}

criterion_group!(benches, benchmark, policies);
criterion_main!(benches);
