//! The Nodes of the clusters, as long as real ones are: with images, conditions, labels of a cloud, and who manages which field.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

pub const CLUSTERS: usize = 10;
/// Of each cluster.
pub const NODES: usize = 500;

/// A node of a cluster; both count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeNumber {
    pub cluster: usize,
    pub node: usize,
}

/// Between the addresses of neighbours there are others: they make no range.
const STEP: usize = 7;

impl NodeNumber {
    pub fn addresses(self) -> (Ipv4Addr, Ipv6Addr) {
        let NodeNumber { cluster, node } = self;
        let [cluster, host] = [cluster, 1 + node * STEP].map(|part| u16::try_from(part).unwrap());
        let v4 = 0x0a64_0000 + (u32::from(cluster) << 16) + u32::from(host);
        (Ipv4Addr::from(v4), Ipv6Addr::new(0xfd00, cluster, 0, 0, 0, 0, 1, host))
    }
}

/// All nodes of the start, of all clusters in turn.
pub fn all() -> impl Iterator<Item = NodeNumber> {
    (0..NODES).flat_map(|node| (0..CLUSTERS).map(move |cluster| NodeNumber { cluster, node }))
}

/// How long a Node is as JSON, in bytes.
pub fn size() -> usize {
    node(NodeNumber { cluster: 0, node: 0 }, 0).to_string().len()
}

/// A Node, whose kubelet has told of itself so many times.
pub fn node(number: NodeNumber, beats: usize) -> Value {
    let (v4, v6) = number.addresses();
    let name = format!("worker-{:04}.cluster-{}.example", number.node, number.cluster);
    let at = format!("2026-01-01T{:02}:{:02}:{:02}Z", beats / 3600 % 24, beats / 60 % 60, beats % 60);
    let conditions = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"].map(|kind| {
        json!({
            "type": kind, "status": if kind == "Ready" { "True" } else { "False" }, "lastHeartbeatTime": at,
            "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "KubeletHasSufficientMemory",
            "message": "kubelet has sufficient memory available",
        })
    });
    let capacity =
        json!({"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "200Gi", "hugepages-2Mi": "0"});
    let images = (0..25).map(|image| {
        let repository = format!("registry.example/team-{}/service-{image}", image % 5);
        json!({"names": [format!("{repository}@sha256:{}", "0123456789abcdef".repeat(4)), format!("{repository}:v1.{image}.0")], "sizeBytes": 123_456_789})
    });
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name, "creationTimestamp": "2026-01-01T00:00:00Z", "labels": labels(&name),
            "annotations": {
                "csi.volume.kubernetes.io/nodeid": "{\"ebs.csi.aws.com\":\"i-0123456789abcdef0\"}",
                "node.alpha.kubernetes.io/ttl": "0",
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
            "managedFields": [
                {"manager": "kube-controller-manager", "operation": "Update", "time": at, "fieldsV1": fields(15)},
                {"manager": "kubelet", "operation": "Update", "subresource": "status", "time": at, "fieldsV1": fields(60)},
            ],
        },
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"], "providerID": "aws:///eu-central-1a/i-0123456789abcdef0"},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": v4}, {"type": "InternalIP", "address": v6},
                {"type": "Hostname", "address": name}, {"type": "InternalDNS", "address": name},
            ],
            "capacity": capacity, "allocatable": capacity, "conditions": conditions,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}, "images": images.collect::<Vec<_>>(),
            "nodeInfo": {
                "architecture": "amd64", "bootID": "7a1c1a4e-0f43-4f7c-9d40-3f5b8ad9d7a1", "containerRuntimeVersion": "containerd://2.1.4",
                "kernelVersion": "6.12.0", "kubeProxyVersion": "", "kubeletVersion": "v1.34.1", "machineID": "ec2a1c1a4e0f434f7c9d403f5b8ad9d7",
                "operatingSystem": "linux", "osImage": "Debian GNU/Linux 13 (trixie)", "systemUUID": "ec2a1c1a-4e0f-434f-7c9d-403f5b8ad9d7",
            },
        },
    })
}

fn labels(name: &str) -> Value {
    json!({
        "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/instance-type": "m7i.4xlarge", "beta.kubernetes.io/os": "linux",
        "failure-domain.beta.kubernetes.io/region": "eu-central-1", "failure-domain.beta.kubernetes.io/zone": "eu-central-1a",
        "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
        "node-role.kubernetes.io/worker": "", "node.kubernetes.io/instance-type": "m7i.4xlarge",
        "topology.kubernetes.io/region": "eu-central-1", "topology.kubernetes.io/zone": "eu-central-1a",
    })
}

fn fields(count: usize) -> Value {
    (0..count).map(|number| (format!("f:field{number}"), json!({}))).collect::<Map<_, _>>().into()
}
