//! The kind `NodeState` (palisade.dev/v1alpha1): what each agent tells the cluster of itself, one small object a node.
//!
//! `palisade wait` reads it, so that deployments and tests need no sleeps. Nothing of ours is written into Pods or
//! `NetworkPolicies`.

mod publish;

use std::borrow::Cow;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::ClusterResourceScope;
use kube::{Resource, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use crate::definition::{GROUP, VERSION};
use crate::definition::{Kind, definition, schema_of};
pub use publish::Told;
pub(crate) use publish::publish;

/// The kind.
pub const KIND: &str = "NodeState";
/// Its name in paths.
pub const PLURAL: &str = "nodestates";

/// What an agent says of itself. Its name is that of the Node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeState {
    /// `palisade.dev/v1alpha1`.
    pub api_version: String,
    /// `NodeState`.
    pub kind: String,
    /// The name is that of the Node, which owns it.
    pub metadata: ObjectMeta,
    /// What the agent says.
    pub status: NodeStateStatus,
}

/// What the agent of a node says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStateStatus {
    /// The version of palisade.
    pub version: String,
    /// What the agent is doing.
    pub phase: Phase,
    /// What it enforces, as --enforce names it: network-policy, host, bans.
    #[serde(default)]
    pub enforce: Vec<String>,
    /// The number of the rules in force, 1 to 255; it goes on with each change that may deny something. 0 where NetworkPolicies are not
    /// enforced.
    pub generation: u8,
    /// For each kind, the resourceVersion up to which the rules in force cover it.
    pub covered: Covered,
    /// The pods of this node.
    pub pods: Pods,
    /// Namespaces for whose policies the node has no room: their isolated pods are closed there; at most 32.
    #[serde(default)]
    pub closed_namespaces: Vec<String>,
    /// Ban lists whose source is away, not taken for a list, or not read yet; at most 32.
    #[serde(default)]
    pub ban_sources: Vec<BanSource>,
    /// What the agent knows of the cluster.
    pub cluster: Cluster,
    /// What goes wrong with the kernel, if something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Short names of what stands in the way of enforcement; palisade status on the node tells more.
    #[serde(default)]
    pub obstacles: Vec<String>,
    /// Whether pods are open between a reboot and the start of the agent.
    pub boot_gap: BootGap,
    /// When the agent started.
    pub started: Time,
    /// When this was written; once a minute if nothing changes. The agent is gone if it is over three minutes old.
    pub last_heartbeat: Time,
}

/// What the agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// The API server has not told everything yet.
    Listing,
    /// The policies are in force.
    InForce,
    /// The kernel refuses; it has the rules from before.
    Failing,
    /// Nothing is enforced, by palisade agent --cleanup or --emergency-stop.
    Paused,
}

/// Up to which resourceVersion the rules in force cover each kind; empty if a kind is not listed yet, or has no objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Covered {
    /// Of Namespaces.
    pub namespaces: String,
    /// Of Nodes. Alone it makes the agent write no sooner than the next heartbeat.
    pub nodes: String,
    /// Of Pods. Pods of other nodes alone make the agent write no sooner than the next heartbeat.
    pub pods: String,
    /// Of NetworkPolicies.
    pub network_policies: String,
    /// Of HostPolicies. Their status alone makes the agent write no sooner than the next heartbeat.
    #[serde(default)]
    pub host_policies: String,
    /// Of BanLists. Their status alone makes the agent write no sooner than the next heartbeat.
    #[serde(default)]
    pub ban_lists: String,
}

/// The pods of a node that have a network of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// How many there are.
    pub local: usize,
    /// How many of them have their rules in force.
    pub in_force: usize,
    /// Those whose rules are not in force, as namespace/name; at most 32.
    pub not_in_force: Vec<String>,
}

/// The source of a ban list that is away, not taken for a list, or not read yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BanSource {
    /// The list.
    pub list: String,
    /// Whether what it held last is banned.
    pub is_held: bool,
    /// Why it is not as it should be.
    pub why: String,
}

/// What an agent knows of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// How many nodes.
    pub nodes: usize,
    /// How many pods.
    pub pods: usize,
    /// How many policies are in force.
    pub network_policies: usize,
    /// How many policies have something wrong in them.
    pub network_policies_with_findings: usize,
    /// How many HostPolicies are in force.
    #[serde(default)]
    pub host_policies: usize,
    /// How many HostPolicies have something wrong in them.
    #[serde(default)]
    pub host_policies_with_findings: usize,
    /// How many BanLists are in force.
    #[serde(default)]
    pub ban_lists: usize,
    /// How many BanLists have something wrong in them.
    #[serde(default)]
    pub ban_lists_with_findings: usize,
}

/// Whether pods are open between a reboot and the start of the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootGap {
    /// They are: no unit on the host loads the last state before the kubelet starts.
    #[default]
    Open,
    /// They are not: palisade-restore.service loads the last state before the kubelet starts.
    Closed,
}

impl NodeState {
    /// The state of a node.
    pub fn new(metadata: ObjectMeta, status: NodeStateStatus) -> NodeState {
        NodeState { api_version: format!("{GROUP}/{VERSION}"), kind: KIND.to_string(), metadata, status }
    }

    /// The node.
    pub fn node(&self) -> String {
        self.name_any()
    }

    /// The definition of the kind, as `deploy/base` installs it.
    ///
    /// # Errors
    ///
    /// None that can happen: what is written here is a definition.
    pub fn definition() -> Result<CustomResourceDefinition, serde_json::Error> {
        definition(&Kind {
            name: KIND,
            plural: PLURAL,
            singular: "nodestate",
            columns: &[
                ("Phase", "string", ".status.phase", "What the agent is doing"),
                ("Pods", "integer", ".status.pods.local", "Pods of the node"),
                ("In force", "integer", ".status.pods.inForce", "Pods whose rules are in force"),
                ("Policies", "integer", ".status.cluster.networkPolicies", "NetworkPolicies of the cluster"),
                ("Host policies", "integer", ".status.cluster.hostPolicies", "HostPolicies of the cluster"),
                ("Boot gap", "string", ".status.bootGap", "Whether pods are open after a reboot"),
                ("Heartbeat", "date", ".status.lastHeartbeat", "When the agent last spoke"),
                ("Version", "string", ".status.version", "The version of palisade"),
            ],
            schema: json!({
                "description": "What the agent of a node says of itself; written by the agent alone.",
                "type": "object",
                "required": ["status"],
                "properties": { "status": schema_of::<NodeStateStatus>()? },
            }),
            has_status: false,
        })
    }
}

impl Resource for NodeState {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
