//! The `status` of a policy: where it is in force, as one agent reads it from what all of them say.
//!
//! It has no count of what a list bans at the moment: that changes with time alone, and each status that is written is told to every
//! agent, with the whole list. The metrics of each node have it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::DynamicObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a policy is in force. Written by the agent that holds the Lease palisade-status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    /// The metadata.generation of the policy that this is about.
    pub observed_generation: i64,
    /// The resourceVersion by which agents have that generation: one that covers it has the policy in force. Later ones, as of the
    /// status itself, bring nothing new.
    pub observed_resource_version: String,
    /// How many nodes it is for.
    pub nodes: Nodes,
    /// Accepted: it can be read. Fetched: what the source of a ban list holds is in force, and not what it held before. Programmed: it is in force on every node that it is for, which is one at least. Effective: nothing in it
    /// or on those nodes keeps it from having an effect.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// How many nodes a policy is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Nodes {
    /// Nodes that it is for, every one or those that it selects, but none of other systems than Linux.
    pub matched: usize,
    /// Those of them on which it is in force.
    pub programmed: usize,
}

/// The status of a policy; `None` if there is none, or none that can be read.
pub fn status_of(policy: &DynamicObject) -> Option<PolicyStatus> {
    serde_json::from_value(policy.data.get("status")?.clone()).ok()
}

/// The resourceVersion that agents have to cover for what a policy says now. Who writes its status makes later ones, by which nobody
/// gets anything new.
pub fn version_to_cover(policy: &DynamicObject) -> String {
    let observed = status_of(policy).filter(|status| Some(status.observed_generation) == policy.metadata.generation);
    let observed = observed.map(|status| status.observed_resource_version).filter(|version| !version.is_empty());
    observed.or_else(|| policy.metadata.resource_version.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn later_versions_of_the_same_generation_bring_nothing_new() {
        let check = |generation, status: &serde_json::Value, expected: &str| {
            let policy = json!({
                "apiVersion": "palisade.dev/v1alpha1", "kind": "HostPolicy",
                "metadata": { "name": "a", "generation": generation, "resourceVersion": "9" }, "status": status,
            });
            assert_eq!(version_to_cover(&serde_json::from_value(policy).unwrap()), expected, "{status}");
        };
        let observed = json!({ "observedGeneration": 2, "observedResourceVersion": "5" });
        check(2, &observed, "5");
        check(3, &observed, "9");
        check(2, &json!(null), "9");
        check(2, &json!({ "observedGeneration": 2 }), "9");
        check(2, &json!({ "observedGeneration": "2", "observedResourceVersion": 5 }), "9");
    }
}
