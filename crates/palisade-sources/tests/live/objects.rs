//! Objects as an API server might send them, and as it never should.

use palisade_sources::live::{Kind, Object};
use serde_json::{Map, Value, json};

/// What an object looks like: one choice after the other. Where the choices end, the plainest is taken.
pub struct Look<'a>(pub std::slice::Iter<'a, u8>);

impl Look<'_> {
    fn below(&mut self, end: u8) -> u8 {
        self.0.next().copied().unwrap_or(0) % end
    }

    fn pick(&mut self, items: &[Value]) -> Value {
        items[usize::from(self.below(u8::try_from(items.len()).unwrap()))].clone()
    }
}

/// The object of this kind and name, as JSON.
pub fn text(kind: Kind, namespace: &str, name: &str, look: &[u8]) -> String {
    let mut look = Look(look.iter());
    let version = match kind {
        Kind::NetworkPolicy => "networking.k8s.io/v1",
        Kind::HostPolicy | Kind::BanList => "palisade.dev/v1alpha1",
        Kind::Namespace | Kind::Node | Kind::Pod => "v1",
    };
    let mut metadata = json!({"name": name, "uid": "0", "resourceVersion": look.below(200).to_string()});
    if matches!(kind, Kind::Pod | Kind::NetworkPolicy) {
        metadata["namespace"] = namespace.into();
    }
    let mut object = match kind {
        Kind::Namespace => json!({"status": {"phase": "Active"}, "spec": {"finalizers": ["kubernetes"]}}),
        Kind::Node => node(&mut look),
        Kind::Pod => pod(&mut look, &mut metadata),
        Kind::NetworkPolicy => policy(&mut look),
        Kind::HostPolicy => host_policy(&mut look),
        Kind::BanList => ban_list(&mut look),
    };
    labels(&mut look, &mut metadata);
    metadata["managedFields"] = json!([{"manager": "kubelet", "fieldsV1": {"f:spec": {"f:containers": {}}}}]);
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    match look.below(12) {
        1 => metadata["annotations"] = json!({"palisade.dev/audit": "true", "other": "x"}),
        3 => metadata["annotations"] = json!({"other": "x", "palisade.dev/audit": true}),
        2 => metadata["nmae"] = "x".into(),
        _ => {}
    }
    let mut whole = Map::from_iter([
        ("apiVersion".to_string(), version.into()),
        ("kind".to_string(), kind.name().into()),
        ("metadata".to_string(), metadata),
    ]);
    whole.append(object.as_object_mut().unwrap());
    let text = Value::Object(whole).to_string();
    match look.below(20) {
        1 => text.replacen("\"labels\":{", "\"labels\":{\"two\":\"1\",\"two\":\"2\",", 1),
        2 => text.replacen("\"spec\":{", "\"spec\":{\"volumes\":1,\"volumes\":2,", 1),
        3 => text.replacen("\"spec\":", "\"spec\":[],\"spec\":", 1),
        _ => text,
    }
}

/// The same as an item of a list: without kind and version.
pub fn as_item(text: &str) -> String {
    let fields = text.split_once("\"metadata\"").expect("an object has metadata").1;
    format!("{{\"metadata\"{fields}")
}

/// The object as a watch delivers it.
pub fn object(text: &str) -> Object {
    serde_json::from_str(text).expect("valid JSON")
}

fn labels(look: &mut Look<'_>, metadata: &mut Value) {
    let all = [
        json!(null),
        json!({"app": "web"}),
        json!({"app": "db", "pod-template-hash": "abc"}),
        json!({"app": "web", "n": 5, "none": null}),
        json!({"app": "-", "kubernetes.io/metadata.name": "other"}),
        json!(["app"]),
    ];
    metadata["labels"] = look.pick(&all);
}

fn node(look: &mut Look<'_>) -> Value {
    let addresses = [
        json!([{"type": "InternalIP", "address": "172.16.0.1"}, {"type": "Hostname", "address": "n1"}]),
        json!([{"type": "InternalIP", "address": "172.16.0.1"}, {"type": "ExternalIP", "address": "fd99::1"}]),
        json!([{"type": "InternalIP", "address": "172.16.0.2"}]),
        json!([]),
        json!(null),
        json!([{"type": "InternalIP", "address": "here"}, {"type": "InternalIP"}]),
        json!({"type": "InternalIP"}),
    ];
    let ranges = [json!(null), json!(["10.244.1.0/24", "fd44:1::/64"]), json!(["10.244.2.7/24"]), json!(["x", 5])];
    json!({
        "spec": {"podCIDRs": look.pick(&ranges), "taints": [{"key": "x"}]},
        "status": {"addresses": look.pick(&addresses), "conditions": [{"type": "Ready", "heartbeat": look.below(9)}]},
    })
}

fn pod(look: &mut Look<'_>, metadata: &mut Value) -> Value {
    let nodes = [json!("n1"), json!("n2"), json!("n3"), json!(null), json!(""), json!(5), json!("Not_A_Name")];
    let host = [json!(null), json!(true), json!(true), json!(false), json!("yes")];
    let phases = [json!("Running"), json!("Succeeded"), json!("Failed"), json!(null), json!(7)];
    let addresses = [
        json!([{"ip": "10.244.1.2"}]),
        json!([{"ip": "10.244.1.3"}, {"ip": "fd44::3"}]),
        json!(null),
        json!(["10.244.1.4", {"ip": "nowhere"}]),
        json!({"ip": "10.244.1.2"}),
    ];
    let node_addresses = [
        json!([{"ip": "172.16.0.1"}]),
        json!(null),
        json!([{"ip": "172.16.0.3"}, {"ip": "172.16.0.1"}]),
        json!([{"ip": "fd99::1"}]),
        json!([{"ip": 5}]),
    ];
    let ports = [
        json!([{"name": "http", "containerPort": 80}]),
        json!(null),
        json!([{"containerPort": 8080, "protocol": "UDP"}, {"containerPort": 0}]),
        json!([{"name": "NO", "containerPort": 80, "protokol": "TCP"}, 1e300, -0.5, 18_446_744_073_709_551_615_u64]),
        json!({}),
    ];
    let owners = [
        json!(null),
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc", "controller": true, "uid": "1"}]),
        json!([{"kind": "Job", "name": "nightly-123"}]),
        json!([{"kind": "Node", "name": "n1"}, {"kind": "DaemonSet", "name": "agent", "controller": true}]),
        json!("nobody"),
    ];
    let more = [
        json!({}),
        json!({}),
        json!({"hostNetwrok": true}),
        json!({"initContainers": [
        {"name": "sidecar", "restartPolicy": "Always", "ports": [{"containerPort": 9}]}, {"ports": [{"containerPort": 10}]}]}),
    ];
    metadata["ownerReferences"] = look.pick(&owners);
    let mut spec = json!({
        "nodeName": look.pick(&nodes),
        "hostNetwork": look.pick(&host),
        "containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "b"}], "ports": look.pick(&ports)}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "tolerations": [{"operator": "Exists"}],
    });
    spec.as_object_mut().unwrap().append(look.pick(&more).as_object_mut().unwrap());
    json!({
        "spec": spec,
        "status": {
            "phase": look.pick(&phases),
            "podIPs": look.pick(&addresses),
            "hostIPs": look.pick(&node_addresses),
            "conditions": [{"type": "Ready"}],
            "containerStatuses": [{"name": "c", "ready": true}],
        },
    })
}

fn policy(look: &mut Look<'_>) -> Value {
    let peers = [
        json!(null),
        json!([{"podSelector": {}}]),
        json!([{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]),
        json!([{"namespaceSelector": {"matchLabels": {"app": "web"}}}, {"podSelector": {}}, {"ipBlock": {"cidr": "::/0"}}]),
        json!([{}, {}, {}, {}, {}]),
        json!([{"podSelector": {}, "ipBlock": {"cidr": "::/0"}}]),
        json!([{"ipBlock": {"cidr": "10.0.0.0/40"}}]),
    ];
    let ports = [
        json!(null),
        json!([{"port": 80}]),
        json!([{"port": 80, "endPort": 90}, {"protocol": "UDP", "port": 85}, {"port": "http"}]),
        json!([{"port": 80.5}]),
        json!([{"port": 70, "endPort": 85}]),
    ];
    let subjects = [
        json!({}),
        json!({"matchLabels": {"app": "web"}}),
        json!({"matchLabels": {"app": "db"}}),
        json!({"matchLabels": {"app": 5}}),
        json!(null),
    ];
    let types = [json!(null), json!(["Ingress"]), json!(["Egress", "Ingress"]), json!(["Both"]), json!("Ingress")];
    let unknown =
        [json!({}), json!({}), json!({}), json!({"volumes": [1]}), json!({"order": 5}), json!({"nodeName": "n1"})];
    let mut spec = json!({
        "podSelector": look.pick(&subjects),
        "policyTypes": look.pick(&types),
        "ingress": [{"from": look.pick(&peers), "ports": look.pick(&ports)}],
    });
    spec.as_object_mut().unwrap().append(look.pick(&unknown).as_object_mut().unwrap());
    if look.below(3) == 1 {
        spec["egress"] = json!([{"to": look.pick(&peers)}]);
    }
    json!({"spec": spec})
}

fn ban_list(look: &mut Look<'_>) -> Value {
    let entries = [
        json!([{"cidr": "203.0.113.0/24", "reason": "scans"}, {"cidr": "2001:db8::/32"}]),
        json!([]),
        json!(null),
        json!([{"cidr": "203.0.113.0/24", "expiresAt": "2030-01-01T00:00:00Z"}, {"cidr": "203.0.113.0"}, 5]),
        json!([{"cidr": "0.0.0.0/1"}, {"cidr": "::/0", "force": true}, {"expiresAt": "soon", "cidr": "192.0.2.0/24"}]),
        json!({"cidr": "203.0.113.0/24"}),
    ];
    let targets = [
        json!(null),
        json!({"podSelector": {"matchLabels": {"app": "web"}}}),
        json!({"namespaceSelector": {}}),
        json!({"podSelctor": {}}),
    ];
    let except = [json!(null), json!(["203.0.113.8/29"]), json!(["nowhere"]), json!("203.0.113.8/29")];
    let enforcement = [json!(null), json!("Audit"), json!("Enforce"), json!("enforce")];
    json!({
        "spec": {
            "entries": look.pick(&entries),
            "target": look.pick(&targets),
            "exceptCIDRs": look.pick(&except),
            "enforcement": look.pick(&enforcement),
        },
        "status": {"conditions": []},
    })
}

fn host_policy(look: &mut Look<'_>) -> Value {
    let nodes = [
        json!(null),
        json!({}),
        json!({"matchLabels": {"app": "web"}}),
        json!({"matchLabels": {"app": 5}}),
        json!("n1"),
    ];
    let ports = [
        json!([{"port": 9000, "endPort": 9022}]),
        json!([{"port": 22}, {"protocol": "UDP", "port": 53}]),
        json!([]),
        json!(null),
        json!([{"port": "http"}]),
    ];
    let peers = [
        json!(null),
        json!([{"nodes": {}}]),
        json!([{"pods": {"podSelector": {"matchLabels": {"app": "web"}}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]),
        json!([{"nodes": {"nodeSelector": {"matchLabels": {"app": "db"}}}}, {"nodes": {}}, {"nodes": {}}, {"pods": {}}]),
        json!([{"nodes": {}}, {"nodes": {}}, {"nodes": {}}, {"nodes": {}}, {"nodes": {}}]),
        json!([{"nodes": {}, "pods": {}}]),
        json!([{}]),
    ];
    let enforcement = [json!(null), json!("Enforce"), json!("Audit"), json!("audit"), json!(5)];
    let unknown = [json!({}), json!({}), json!({"volumes": [1]}), json!({"otherwise": "Reject"}), json!({"scope": []})];
    let mut spec = json!({
        "nodeSelector": look.pick(&nodes),
        "ports": look.pick(&ports),
        "from": look.pick(&peers),
        "enforcement": look.pick(&enforcement),
    });
    spec.as_object_mut().unwrap().append(look.pick(&unknown).as_object_mut().unwrap());
    json!({"spec": spec, "status": {"conditions": [{"type": "Accepted", "status": "True"}]}})
}
