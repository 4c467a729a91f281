//! The policies of each engine that ban what lists ban, and what they cannot do.

use std::collections::BTreeSet;

use ipnet::IpNet;
use palisade_core::{BanTarget, Direction, Family, NamespaceName, Selector, Snapshot};
use palisade_sim::selects;
use serde_json::{Value, json};

use super::selectors::{calico as calico_selector, label_selector};
use super::{Ban, Policies};

/// Before the name of each object.
const PREFIX: &str = "palisade-bans";
/// So many entries a pod may have in Cilium, unless it is told otherwise (`bpf-policy-map-max`).
const CILIUM_ENTRIES_MAX: usize = 16_384;
/// How long the value of a label may be.
const LABEL_MAX: usize = 63;

/// Policies that allow everything but what is banned, for each namespace where no other policy isolates pods.
pub fn network_policies(bans: &[Ban], snapshot: &Snapshot) -> Policies {
    let mut policies = Policies::default();
    if bans.is_empty() {
        return policies;
    }
    let (mut other_policies, mut second_bans) = (BTreeSet::new(), BTreeSet::new());
    for (namespace, labels) in snapshot.namespaces.iter().map(|(name, namespace)| (name, &namespace.labels)) {
        let is_here = |ban: &&Ban| ban.target.as_ref().is_none_or(|target| selects(&target.namespaces, labels));
        let mut here = bans.iter().filter(is_here);
        let Some(ban) = here.next() else { continue };
        second_bans.extend(here.map(|ban| ban.name.as_str()));
        let directions: Vec<Direction> =
            Direction::ALL.into_iter().rev().filter(|direction| !isolates(snapshot, namespace, *direction)).collect();
        if directions.len() < Direction::ALL.len() {
            other_policies.insert(&**namespace);
        }
        if !directions.is_empty() {
            policies.objects.push(network_policy(ban, namespace, &directions));
        }
    }
    policies.warnings = network_policy_warnings(&other_policies, &second_bans);
    if snapshot.namespaces.is_empty() {
        policies.warnings.push("no namespace is known: there is none to write a policy for".to_string());
    }
    policies.incomplete = !(other_policies.is_empty() && second_bans.is_empty()) || snapshot.namespaces.is_empty();
    policies
}

/// Whether a policy that we have not written isolates pods of the namespace.
fn isolates(snapshot: &Snapshot, namespace: &NamespaceName, direction: Direction) -> bool {
    let of_namespace = snapshot.policies.values().filter(|policy| policy.name.namespace == *namespace);
    of_namespace.filter(|policy| !policy.name.name.starts_with(PREFIX)).any(|policy| policy.rules[direction].is_some())
}

fn network_policy(ban: &Ban, namespace: &str, directions: &[Direction]) -> Value {
    let of_family = |family, cidr| {
        let except: Vec<&IpNet> = ban.blocks.iter().filter(|block| Family::of(block.addr()) == family).collect();
        let block = if except.is_empty() { json!({ "cidr": cidr }) } else { json!({ "cidr": cidr, "except": except }) };
        json!({ "ipBlock": block })
    };
    // Where blocks hold no pods (Cilium), pods would be cut off from one another.
    let peers = json!([{ "namespaceSelector": {} }, of_family(Family::V4, "0.0.0.0/0"), of_family(Family::V6, "::/0")]);
    let types: Vec<&str> = directions.iter().map(|direction| policy_type(*direction)).collect();
    let subjects = ban.target.as_ref().map_or(json!({}), |target| label_selector([("", &target.pods)]));
    let mut spec = json!({ "podSelector": subjects, "policyTypes": types });
    for direction in directions {
        let peers_field = if *direction == Direction::Ingress { "from" } else { "to" };
        spec[direction.name()] = json!([{ peers_field: peers }]);
    }
    let metadata = json!({ "name": object_name(ban), "namespace": namespace, "labels": own_label() });
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec })
}

fn network_policy_warnings(other_policies: &BTreeSet<&str>, second_bans: &BTreeSet<&str>) -> Vec<String> {
    let mut warnings: Vec<String> = [
        "NetworkPolicies can only allow: these allow everything else, so a policy that comes later does not isolate their pods, and one that allows a banned address ends its ban",
        "nodes and hostNetwork pods are not covered, nor namespaces that come later",
        "on Cilium blocks hold no nodes: pods would lose them, and the API server with them; use --as cilium",
    ]
    .map(str::to_string)
    .into();
    if !other_policies.is_empty() {
        let names = other_policies.iter().copied().collect::<Vec<_>>().join(", ");
        warnings.push(format!(
            "namespace {names}: other policies isolate pods; in their directions nothing is written, since it would open what they close"
        ));
    }
    if !second_bans.is_empty() {
        let names = second_bans.iter().copied().collect::<Vec<_>>().join(", ");
        warnings.push(format!(
            "BanList {names}: left out where the namespace has a ban already, since what two policies allow adds up"
        ));
    }
    warnings
}

/// Policies that deny and isolate nobody: for pods, and of bans for everybody one for nodes.
pub fn cilium(bans: &[Ban]) -> Policies {
    let policy = |name: String, who: &str, selector: &Value, blocks: &[IpNet]| {
        json!({
            "apiVersion": "cilium.io/v2",
            "kind": "CiliumClusterwideNetworkPolicy",
            "metadata": { "name": name, "labels": own_label() },
            "spec": {
                who: selector,
                "enableDefaultDeny": { "ingress": false, "egress": false },
                "ingressDeny": [{ "fromCIDR": blocks }],
                "egressDeny": [{ "toCIDR": blocks }],
            },
        })
    };
    let mut policies = Policies::default();
    for ban in bans {
        let selector = ban.target.as_ref().map_or(json!({}), cilium_selector);
        policies.objects.push(policy(object_name(ban), "endpointSelector", &selector, &ban.blocks));
        if ban.target.is_none() {
            let name = format!("{}-nodes", object_name(ban));
            policies.objects.push(policy(name, "nodeSelector", &json!({}), &ban.blocks));
        }
    }
    policies.warnings = [
        "Cilium 1.16 or later: before it, enableDefaultDeny is unknown, and these policies isolate every pod that they select",
        "nodes and hostNetwork pods are covered only with the host firewall (hostFirewall.enabled)",
        "addresses of pods and nodes, also of other clusters of a mesh, are in no block for Cilium",
    ]
    .map(str::to_string)
    .into();
    let most: usize = bans.iter().map(|ban| ban.blocks.len()).sum();
    if most > CILIUM_ENTRIES_MAX {
        policies.warnings.push(format!(
            "{most} blocks: a pod has room for {CILIUM_ENTRIES_MAX} unless bpf-policy-map-max is raised"
        ));
    }
    policies
}

/// Cilium knows labels of the pod by their source, and those of its namespace as labels of the pod.
fn cilium_selector(target: &BanTarget) -> Value {
    label_selector([("k8s:io.cilium.k8s.namespace.labels.", &target.namespaces), ("k8s:", &target.pods)])
}

/// A tier of our own, before the others. In the default tier a policy would isolate the pods that it selects, and `Pass` would skip
/// their NetworkPolicies; this one passes on what it does not deny
/// (<https://docs.tigera.io/calico/latest/network-policy/policy-tiers/tiered-policy>).
pub fn calico(bans: &[Ban]) -> Policies {
    let mut policies = Policies::default();
    if bans.is_empty() {
        return policies;
    }
    policies.objects.push(calico_object("Tier", "palisade", &json!({ "order": 10, "defaultAction": "Pass" })));
    for (order, ban) in bans.iter().enumerate() {
        if object_name(ban).len() > LABEL_MAX {
            policies.incomplete = true;
            policies
                .warnings
                .push(format!("BanList {}: left out, its name is too long for a label of its set", ban.name));
            continue;
        }
        let mut set = calico_object("GlobalNetworkSet", &object_name(ban), &json!({ "nets": ban.blocks }));
        set["metadata"]["labels"]["palisade.dev/bans"] = json!(object_name(ban));
        // What has no namespace: pods cannot ban themselves, and one another, by a label.
        let banned = json!({
            "selector": format!("palisade.dev/bans == '{}'", object_name(ban)),
            "namespaceSelector": "global()",
        });
        let mut spec = json!({
            "tier": "palisade",
            "order": order,
            "selector": calico_selector(ban.target.as_ref().map_or(&Selector::default(), |target| &target.pods)),
            "types": ["Ingress", "Egress"],
            "ingress": [{ "action": "Deny", "source": banned }],
            "egress": [{ "action": "Deny", "destination": banned }],
        });
        if let Some(target) = &ban.target {
            // All of them leaves host endpoints out.
            spec["namespaceSelector"] = json!(calico_selector(&target.namespaces));
        }
        let policy = calico_object("GlobalNetworkPolicy", &format!("palisade.{}", object_name(ban)), &spec);
        policies.objects.extend([set, policy]);
    }
    let warnings = [
        "Calico 3.29 or later, for its tiers; kubectl needs its API server, calicoctl does not",
        "nodes and hostNetwork pods are covered only where they have a HostEndpoint (automatic ones do), and a client that a node forwards to a pod under its own address is covered nowhere",
        "live connections may go on until they are opened anew",
    ];
    policies.warnings.extend(warnings.map(str::to_string));
    policies
}

fn calico_object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "projectcalico.org/v3",
        "kind": kind,
        "metadata": { "name": name, "labels": own_label() },
        "spec": spec,
    })
}

/// A list and `everybody` never share a name: that of a list comes after another word.
fn object_name(ban: &Ban) -> String {
    match ban.target {
        None => PREFIX.to_string(),
        Some(_) => format!("{PREFIX}-for-{}", ban.name),
    }
}

/// What tells our objects from others, for `kubectl apply --prune` and for people.
fn own_label() -> Value {
    json!({ "app.kubernetes.io/managed-by": "palisade" })
}

fn policy_type(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "Ingress",
        Direction::Egress => "Egress",
    }
}
