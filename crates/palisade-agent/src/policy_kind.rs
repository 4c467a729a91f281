//! The kinds of policies, and where a `NodeState` says how far each of them is in force.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::{ApiResource, GroupVersionKind};

use crate::ban_list;
use crate::definition::{GROUP, VERSION};
use crate::host_policy;
use crate::node_state::NodeStateStatus;
use crate::settings::Enforce;

/// The policies of pods, those of hosts, or bans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyKind {
    /// `NetworkPolicy`.
    Network,
    /// `HostPolicy`.
    Host,
    /// `BanList`.
    Ban,
}

impl PolicyKind {
    /// The kind as requests name it.
    pub fn resource(self) -> ApiResource {
        let own =
            |kind, plural| ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, kind), plural);
        match self {
            PolicyKind::Network => ApiResource::erase::<NetworkPolicy>(&()),
            PolicyKind::Host => own(host_policy::KIND, host_policy::PLURAL),
            PolicyKind::Ban => own(ban_list::KIND, ban_list::PLURAL),
        }
    }

    /// What an agent is told to enforce these.
    pub fn flag(self) -> &'static str {
        match self {
            PolicyKind::Network => Enforce::NETWORK_POLICY,
            PolicyKind::Host => Enforce::HOST,
            PolicyKind::Ban => Enforce::BANS,
        }
    }

    /// Whether an agent enforces these. One of before the field says nothing of it.
    pub fn is_enforced(self, status: &NodeStateStatus) -> bool {
        status.enforce.is_empty() || status.enforce.iter().any(|name| name == self.flag())
    }

    /// By which name it is told as an obstacle that changes of these were taken back.
    pub fn rolled_back(self) -> &'static str {
        match self {
            PolicyKind::Network => "rolled-back-network-policies",
            PolicyKind::Host => "rolled-back-host-policies",
            PolicyKind::Ban => "rolled-back-ban-lists",
        }
    }

    /// Whether an agent took changes of these back, since its node lost the API server with them.
    pub fn is_rolled_back(self, status: &NodeStateStatus) -> bool {
        status.obstacles.iter().any(|obstacle| obstacle == self.rolled_back())
    }

    /// Up to which version the rules on a node cover them, and how many it knows.
    pub fn covered(self, status: &NodeStateStatus) -> (&str, usize) {
        match self {
            PolicyKind::Network => (&status.covered.network_policies, status.cluster.network_policies),
            PolicyKind::Host => (&status.covered.host_policies, status.cluster.host_policies),
            PolicyKind::Ban => (&status.covered.ban_lists, status.cluster.ban_lists),
        }
    }
}
