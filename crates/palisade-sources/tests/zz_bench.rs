use std::time::Instant;
use palisade_sources::{Options, SourceText, parse};
#[test]
fn bench() {
    let pod = |i: usize| format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"pod-{i}","namespace":"ns-{}","labels":{{"app":"app-{}","tier":"t{}"}}}},"spec":{{"nodeName":"node-{}","containers":[{{"name":"c","image":"x","ports":[{{"name":"http","containerPort":8080,"protocol":"TCP"}}]}}]}},"status":{{"phase":"Running","podIP":"10.{}.{}.{}","podIPs":[{{"ip":"10.{}.{}.{}"}}]}}}}"#, i%50, i%200, i%5, i%100, i/65536, i/256%256, i%256, i/65536, i/256%256, i%256);
    let list: Vec<String> = (0..10000).map(pod).collect();
    let json = format!("{{\"kind\":\"List\",\"apiVersion\":\"v1\",\"items\":[{}]}}", list.join(",\n"));
    let yaml: String = (0..10000).map(|i| format!("---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: pod-{i}\n  namespace: ns-{}\n  labels:\n    app: app-{}\n    tier: t{}\nspec:\n  nodeName: node-{}\n  containers:\n  - name: c\n    image: x\n    ports:\n    - name: http\n      containerPort: 8080\n      protocol: TCP\nstatus:\n  phase: Running\n  podIP: 10.{}.{}.{}\n", i%50, i%200, i%5, i%100, i/65536, i/256%256, i%256)).collect();
    let bad = json.replacen("8080", "80800", 1);
    let off: String = (0..10000).map(|i| format!("---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: pod-{i}\n  namespace: ns-{}\nspec:\n  replicas: 2\n  template:\n    metadata:\n      labels:\n        app: app-{}\n", i%50, i%200)).collect();
    for (name, text) in [("json", json), ("yaml", yaml), ("json with a diagnostic", bad), ("deployments", off)] {
        let sources = [SourceText { file: "x".into(), text }];
        for _ in 0..3 {
            let start = Instant::now();
            let parsed = parse(&sources, &Options::default());
            println!("{name}: {:?} {} pods {} diagnostics, {} bytes", start.elapsed(), parsed.snapshot.pods.len(), parsed.diagnostics.len(), sources[0].text.len());
            let start = Instant::now();
            drop(parsed);
            println!("   drop {:?}", start.elapsed());
        }
    }
    println!("{}", std::fs::read_to_string("/proc/self/status").unwrap().lines().find(|l| l.starts_with("VmHWM")).unwrap());
}
