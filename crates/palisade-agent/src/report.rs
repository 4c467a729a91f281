//! What is in force, as `palisade status` shows it. The same value answers on the socket and prints as `--output json`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::node_state::BootGap;

/// The state of one agent.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The node.
    pub node: String,
    /// The version of palisade.
    pub version: String,
    /// What the agent is doing.
    pub phase: Phase,
    /// The number of the rules in force, 1 to 255; it goes on with each change that may deny something. 0 where policies of pods are not
    /// enforced.
    pub generation: u8,
    /// For each kind that is watched, how far the rules in force cover it.
    pub watches: BTreeMap<String, Watch>,
    /// The pods of this node.
    pub pods: Vec<PodReport>,
    /// How many pods of the cluster are known.
    pub cluster_pods: usize,
    /// How many policies are known.
    pub policies: usize,
    /// Those of them that are audited, so that they have no say.
    pub audited: Vec<String>,
    /// Objects with something wrong in them.
    pub findings: Vec<ObjectFindings>,
    /// What becomes of addresses of the pod range that belong to no known pod.
    pub unknown_pods: UnknownPodsReport,
    /// Packets of pods under addresses that are not theirs.
    pub forged_sources: ForgedSourcesReport,
    /// Host policies; `None` where they are not enforced.
    pub host: Option<HostReport>,
    /// Ban lists; `None` where they are not enforced.
    #[serde(default)]
    pub bans: Option<BansReport>,
    /// What stands in the way of enforcement, or limits it.
    pub preflight: Vec<Obstacle>,
    /// Whether pods are open between a reboot and the start of the agent.
    pub boot_gap: BootGap,
    /// The last thing that went wrong with the kernel, if it still is.
    pub error: Option<String>,
    /// The latest repairs after changes by other programs, newest first.
    pub repairs: Vec<Repair>,
}

/// What the agent is doing.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The API server has not told everything yet; the kernel keeps what it has, or has the last state.
    Listing,
    /// The policies are in force.
    InForce,
    /// The kernel refuses; it has the rules from before, and the agent tries again.
    Failing,
    /// Paused by `palisade agent --cleanup` or `--emergency-stop`: nothing is enforced.
    Paused,
}

/// How far a kind is covered.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Watch {
    /// The latest `metadata.resourceVersion` that the rules in force take into account.
    pub resource_version: String,
    /// Whether the list is complete.
    pub complete: bool,
    /// Why the watch does not answer, if it does not.
    pub error: Option<String>,
}

/// A pod of this node.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodReport {
    /// `namespace/name`.
    pub pod: String,
    /// Its addresses; none as long as it has none.
    pub addresses: Vec<IpAddr>,
    /// Since when its rules are what they are; `None` while they are not in force.
    pub since: Option<Timestamp>,
    /// The policies that isolate it for ingress; `None` if it is not isolated.
    pub ingress: Option<Vec<String>>,
    /// The same for egress.
    pub egress: Option<Vec<String>>,
    /// The interface of the node by which alone it may send, under its own addresses; `None` while none is bound to it.
    pub interface: Option<String>,
    /// Its packets that were denied.
    pub denied: DeniedReport,
}

/// Packets of a pod that were denied, since the agent runs or its table was made, whichever is longer ago.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DeniedReport {
    /// On their way to it, and answers to those.
    pub ingress: u64,
    /// That it sent, and answers to those.
    pub egress: u64,
}

/// The source of a ban list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BanSourceReport {
    /// The list.
    pub list: String,
    /// `fetched`; `stale` if what it held last holds; `missing` if it never held anything.
    pub condition: String,
}

/// What is in force of host policies.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HostReport {
    /// How many policies are known.
    pub policies: usize,
    /// Those of them that are audited, so that they deny nothing.
    pub audited: Vec<String>,
    /// The ports of this node that are guarded: `tcp 9000-9022`.
    pub guarded: Vec<String>,
    /// Packets to guarded ports that were denied, and replies from them, since the agent runs.
    pub denied: u64,
    /// Packets that would have been denied with audited policies in force.
    pub would_deny: u64,
    /// The config files of kube-restrict-ip that are followed.
    #[serde(default)]
    pub config_files: Vec<ConfigFileReport>,
}

/// A config file of kube-restrict-ip.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConfigFileReport {
    /// Where it is to be.
    pub path: PathBuf,
    /// The name of what holds of it; `None` if nothing does.
    pub ip_chain: Option<String>,
    /// `in-force`, `waited-for`, `gone` or `unreadable`. What a file said last holds while it is gone or cannot be read.
    pub condition: String,
}

/// What is in force of ban lists.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BansReport {
    /// How many lists are known.
    pub lists: usize,
    /// Those of them that are audited, so that they ban nothing.
    pub audited: Vec<String>,
    /// How many entries the lists have, without those that have expired.
    pub entries: usize,
    /// How many ranges of addresses they come to, overlaps united and what is spared taken out.
    pub ranges: usize,
    /// The sources of lists.
    #[serde(default)]
    pub sources: Vec<BanSourceReport>,
    /// When the next entry expires.
    pub next_expiry: Option<Timestamp>,
    /// Packets with a banned end that were dropped, since the agent runs.
    pub denied: u64,
    /// Packets that would have been dropped with audited lists in force.
    pub would_deny: u64,
}

/// Packets of pods under addresses that are not theirs.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ForgedSourcesReport {
    /// Whether they are dropped.
    pub dropped: bool,
    /// How many were, since the agent runs or its table was made, whichever is longer ago.
    pub packets: u64,
}

/// What is wrong with an object.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ObjectFindings {
    /// `NetworkPolicy db/allow-web`.
    pub object: String,
    /// One line each: `error: spec.podSelector: …`.
    pub findings: Vec<String>,
}

/// What becomes of addresses of the pod range that belong to no known pod.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UnknownPodsReport {
    /// Whether they are dropped.
    pub dropped: bool,
    /// The pod ranges of the node.
    pub pod_ranges: Vec<IpNet>,
}

/// Something that stands in the way of enforcement.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Obstacle {
    /// A short name that stays the same: `bridge-nf-call-iptables`.
    pub name: String,
    /// What was found.
    pub found: String,
    /// What it means for enforcement.
    pub means: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The table was put right after a change by another program.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    /// When.
    pub at: Timestamp,
    /// The program that changed it; `?` if the kernel does not say.
    pub by: String,
    /// How many operations it took.
    pub operations: usize,
}
