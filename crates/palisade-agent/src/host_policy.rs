//! The definition of the kind `HostPolicy` (palisade.dev/v1alpha1), by which the API server refuses what cannot be read.
//!
//! What a policy means is read by `palisade_sources`, from manifests and from the API server alike; these types are only the form of it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;

use crate::definition::{Enforcement, PodsPeer, policy_definition};

/// The kind.
pub const KIND: &str = "HostPolicy";
/// Its name in paths.
pub const PLURAL: &str = "hostpolicies";

/// Who may reach some ports of some nodes.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
struct HostPolicySpec {
    /// The nodes whose ports are guarded; absent selects every node.
    node_selector: Option<LabelSelector>,
    /// Whether packets are denied (Enforce), or only counted and logged (Audit).
    #[schemars(default = "Enforcement::enforce")]
    enforcement: Enforcement,
    /// The ports that are guarded, as far as scope goes. Nobody reaches them but those in from, and the node
    /// itself; the failsafe ports (TCP 22, 2379-2380, 6443, 10250, UDP 67-68, 546-547) are open to every node besides.
    #[schemars(length(min = 1, max = 256))]
    ports: Vec<HostPort>,
    /// Which packets to the ports are meant: all of them, to sockets of the node, NodePorts and hostPorts (absent, or all three), or those
    /// alone that arrive at a socket of the node (HostSockets). NodePorts and hostPorts cannot be told apart.
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "set"))]
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self.size() == 3 || self == ['HostSockets']",
        "message": "scope must be HostSockets alone, or all of HostSockets, NodePorts and HostPorts",
    }]))]
    scope: Option<Vec<Scope>>,
    /// Who is admitted; absent or empty is nobody. All policies about a port, of one scope, admit together.
    #[schemars(length(max = 1024))]
    from: Option<Vec<HostPeer>>,
    /// What becomes of packets of others: dropped without a word (Drop), or answered by a reset or an ICMP error (Reject).
    #[schemars(default = "Otherwise::drop")]
    otherwise: Otherwise,
}

/// What becomes of packets of those who are not admitted.
#[derive(JsonSchema, serde::Serialize)]
#[expect(dead_code, reason = "only its schema is used")]
enum Otherwise {
    Drop,
    Reject,
}

/// What a packet to a port of a node may be meant for.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
enum Scope {
    HostSockets,
    NodePorts,
    HostPorts,
}

/// A transport.
#[derive(JsonSchema, serde::Serialize)]
#[schemars(rename_all = "UPPERCASE")]
#[serde(rename_all = "UPPERCASE")]
#[expect(dead_code, reason = "only its schema is used")]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// Some ports.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "!has(self.endPort) || self.endPort >= self.port", "message": "endPort must not be less than port" },
]))]
#[expect(dead_code, reason = "only its schema is used")]
struct HostPort {
    /// TCP, UDP or SCTP.
    #[schemars(default = "Protocol::tcp")]
    protocol: Protocol,
    /// The port, or the first of a range.
    #[schemars(range(min = 1, max = 65535))]
    port: i32,
    /// The last port of a range, inclusive.
    #[schemars(range(min = 1, max = 65535))]
    end_port: Option<i32>,
}

/// Somebody who is admitted: just one of the three.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.nodes), has(self.pods), has(self.ipBlock)].filter(given, given).size() == 1",
    "message": "just one of nodes, pods and ipBlock must be given",
}]))]
#[expect(dead_code, reason = "only its schema is used")]
struct HostPeer {
    /// Nodes of this cluster, by every address that they have; {} is every node. Pods of the hosts' network are their node.
    nodes: Option<NodesPeer>,
    /// Pods with a network of their own.
    pods: Option<PodsPeer>,
    /// Addresses, whoever has them.
    ip_block: Option<BlockPeer>,
}

/// Nodes.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
struct NodesPeer {
    /// Which; absent selects every node.
    node_selector: Option<LabelSelector>,
}

/// Addresses.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "isCIDR(self.cidr)", "message": "cidr must be one, as in 10.0.0.0/8 or fd00::/8" },
    {
        "rule": "!isCIDR(self.cidr) || !has(self.except) || self.except.all(hole, isCIDR(hole) && cidr(self.cidr).containsCIDR(hole))",
        "message": "each of except must be a CIDR within cidr",
    },
]))]
#[expect(dead_code, reason = "only its schema is used")]
struct BlockPeer {
    /// The block.
    #[schemars(length(max = 43))]
    cidr: String,
    /// Blocks within it that are not meant.
    #[schemars(length(max = 64), inner(length(max = 43)))]
    except: Option<Vec<String>>,
}

impl Otherwise {
    fn drop() -> Otherwise {
        Otherwise::Drop
    }
}

impl Protocol {
    fn tcp() -> Protocol {
        Protocol::Tcp
    }
}

/// The definition of the kind, as `deploy/base` installs it.
///
/// # Errors
///
/// None that can happen: what is written here is a definition.
pub fn host_policy_definition() -> Result<CustomResourceDefinition, serde_json::Error> {
    policy_definition::<HostPolicySpec>(
        [KIND, PLURAL, "hostpolicy"],
        "Who may reach some ports of some nodes. A port that no policy guards is open.",
        &[
            ("Enforcement", "string", ".spec.enforcement", "Whether packets are denied, or only counted"),
            ("Ports", "string", ".spec.ports[*].port", "The guarded ports, of ranges the first"),
            ("Otherwise", "string", ".spec.otherwise", "What becomes of packets of others"),
        ],
    )
}
