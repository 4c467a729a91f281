//! `HostPolicy` (palisade.dev/v1alpha1).
//!
//! It fails closed as far as nobody is locked out: a policy with anything in it that cannot be read admits nobody to the ports
//! that can be, and leaves those alone without which a node is lost.

use palisade_core::host_policy::FAILSAFE_PORTS;
use palisade_core::{
    HostPeer, HostPolicy, HostPolicyName, HostPort, HostScope, Level, Otherwise, Port, PortRange, Selector,
};

use crate::network_policy::{block_peer, port_range, protocol};
use crate::reading::{At, Reading};
use crate::selector;
use crate::tree::{Value, shortened};

/// What `scope` may list.
const SCOPES: [&str; 3] = ["HostSockets", "NodePorts", "HostPorts"];

/// The API version of the kind.
pub const VERSION: &str = "palisade.dev/v1alpha1";

/// Reads the policy. Errors in `reading`, those found before included, make it unreadable.
pub fn read(root: &At<'_>, name: HostPolicyName, peers_max: usize, reading: &mut Reading) -> HostPolicy {
    root.known_fields(&["apiVersion", "kind", "metadata", "spec", "status"], Level::Warning, reading);
    let mut policy = guarding_nothing(name);
    if let Some(spec) = root.required("spec", "at least ports", reading) {
        read_spec(&spec, &mut policy, peers_max, reading);
    }
    if let Some(problem) = reading.problems.iter().find(|problem| problem.level == Level::Error) {
        close(&mut policy, problem.message.clone());
    }
    policy
}

/// The policy as it stands in place of one that is lost whole: nobody can tell which ports it guards.
pub fn lost(name: HostPolicyName, reason: &str) -> HostPolicy {
    HostPolicy { unreadable: Some(reason.to_string()), ..guarding_nothing(name) }
}

/// What an unreadable policy does, for its diagnostics.
pub fn effect(policy: &HostPolicy) -> &'static str {
    if policy.ports.is_empty() { "the policy guards nothing" } else { "the policy admits nobody to its ports" }
}

/// A policy of every node, about no port.
pub fn guarding_nothing(name: HostPolicyName) -> HostPolicy {
    HostPolicy::of_blocks(name, Vec::new(), [])
}

/// What is left of a policy that cannot be read: it admits nobody to its ports, without the failsafe ones.
pub fn close(policy: &mut HostPolicy, reason: String) {
    policy.from.clear();
    policy.ports = policy.ports.iter().flat_map(|port| without_failsafe(*port)).collect();
    policy.unreadable = Some(reason);
}

/// What is left of some ports if the failsafe ones are taken out.
fn without_failsafe(port: HostPort) -> Vec<HostPort> {
    let mut left = vec![port];
    for failsafe in FAILSAFE_PORTS.into_iter().filter(|failsafe| failsafe.transport == port.transport) {
        let (first, last) = (failsafe.range.first().get(), failsafe.range.last().get());
        let around = |part: HostPort| {
            let below =
                Port::new(first - 1).and_then(|end| PortRange::new(part.range.first(), end.min(part.range.last())));
            let above =
                Port::new(last + 1).and_then(|start| PortRange::new(start.max(part.range.first()), part.range.last()));
            below.into_iter().chain(above).map(move |range| HostPort { range, ..part })
        };
        left = left.into_iter().flat_map(around).collect();
    }
    left
}

fn read_spec(spec: &At<'_>, policy: &mut HostPolicy, peers_max: usize, reading: &mut Reading) {
    if spec.entries(reading).is_none() {
        return;
    }
    let known = ["nodeSelector", "enforcement", "ports", "scope", "from", "otherwise"];
    spec.known_fields(&known, Level::Error, reading);
    if let Some(at) = spec.field("nodeSelector") {
        policy.nodes = selector::read(&at, reading).unwrap_or_default();
    }
    policy.audit = choice(spec, "enforcement", [("Enforce", false), ("Audit", true)], reading);
    policy.otherwise = choice(spec, "otherwise", [("Drop", Otherwise::Drop), ("Reject", Otherwise::Reject)], reading);
    if let Some(at) = spec.field("scope") {
        policy.scope = scope(&at, reading).unwrap_or_default();
    }
    let ports = spec.field("ports");
    let items = ports.as_ref().and_then(|at| at.items(reading));
    for item in items.into_iter().flatten() {
        policy.ports.extend(host_port(&item, reading));
    }
    if ports.is_none_or(|at| matches!(&at.node.value, Value::List(items) if items.is_empty())) {
        reading.error(spec, "ports: expected at least one port, found none");
    }
    let Some(from) = spec.field("from") else { return };
    let Some(items) = from.items(reading) else { return };
    if items.len() > peers_max {
        reading.error(&from, format!("the policy has more than {peers_max} peers"));
        return;
    }
    policy.from = items.filter_map(|item| peer(&item, reading)).collect();
}

/// A field that is one of a few words; absent it is the first of them.
pub fn choice<T: Copy>(spec: &At<'_>, name: &str, [first, second]: [(&str, T); 2], reading: &mut Reading) -> T {
    let Some(at) = spec.field(name) else { return first.1 };
    match at.text(reading) {
        Some(text) if text == second.0 => second.1,
        Some(text) if text != first.0 => {
            reading.error(&at, format!("expected {} or {}, found '{}'", first.0, second.0, shortened(text)));
            first.1
        }
        _ => first.1,
    }
}

/// `scope`: sockets alone, or all. A packet that is translated does not tell whether a `NodePort` or a `hostPort` did it.
pub fn scope(at: &At<'_>, reading: &mut Reading) -> Option<HostScope> {
    let mut named = [false; SCOPES.len()];
    for item in at.items(reading)? {
        let text = item.text(reading)?;
        let Some(index) = SCOPES.iter().position(|scope| *scope == text) else {
            reading.error(&item, format!("expected {}, found '{}'", SCOPES.join(" or "), shortened(text)));
            return None;
        };
        named[index] = true;
    }
    match named {
        [true, false, false] => Some(HostScope::HostSockets),
        [true, true, true] => Some(HostScope::Everything),
        _ => {
            reading.error(at, "expected HostSockets alone, or all three: HostSockets, NodePorts and HostPorts");
            reading
                .hint("NodePorts and hostPorts cannot be told apart, nor guarded without the sockets of the same port");
            None
        }
    }
}

/// One item of `ports`. A number is needed: a guard around every port would hold the ports that nobody thinks of.
pub fn host_port(at: &At<'_>, reading: &mut Reading) -> Option<HostPort> {
    at.known_fields(&["protocol", "port", "endPort"], Level::Error, reading)?;
    let transport = protocol(at, reading)?;
    let port = at.required("port", "a number", reading)?;
    let range = port_range(&port, at.field("endPort").as_ref(), reading)?;
    Some(HostPort { transport, range })
}

/// One item of `from`: just one of its three fields.
fn peer(at: &At<'_>, reading: &mut Reading) -> Option<HostPeer> {
    at.known_fields(&["nodes", "pods", "ipBlock"], Level::Error, reading)?;
    match (at.field("nodes"), at.field("pods"), at.field("ipBlock")) {
        (Some(nodes), None, None) => nodes_peer(&nodes, reading),
        (None, Some(pods), None) => pods_peer(&pods, reading),
        (None, None, Some(block)) => {
            let (cidr, except) = block_peer(&block, reading)?;
            Some(HostPeer::Block { cidr, except })
        }
        (None, None, None) => {
            reading.error(at, "expected nodes, pods or an ipBlock, found nothing");
            reading.hint("write 'nodes: {}' for every node of the cluster");
            None
        }
        _ => {
            reading.error(at, "nodes, pods and an ipBlock cannot stand together");
            reading.hint("make list items of them");
            None
        }
    }
}

fn nodes_peer(at: &At<'_>, reading: &mut Reading) -> Option<HostPeer> {
    at.known_fields(&["nodeSelector"], Level::Error, reading)?;
    Some(HostPeer::Nodes(optional_selector(at, "nodeSelector", reading)?))
}

fn pods_peer(at: &At<'_>, reading: &mut Reading) -> Option<HostPeer> {
    at.known_fields(&["namespaceSelector", "podSelector"], Level::Error, reading)?;
    let namespaces = optional_selector(at, "namespaceSelector", reading);
    let pods = optional_selector(at, "podSelector", reading);
    Some(HostPeer::Pods { namespaces: namespaces?, pods: pods? })
}

/// A selector that selects everything if it is absent.
pub fn optional_selector(at: &At<'_>, name: &str, reading: &mut Reading) -> Option<Selector> {
    match at.field(name) {
        Some(at) => selector::read(&at, reading),
        None => Some(Selector::everything()),
    }
}

#[cfg(test)]
mod tests {
    use palisade_core::Transport;

    use super::*;

    #[test]
    fn failsafe_ports_are_taken_out_of_ranges() {
        let check = |transport, (first, last), expected: &str| {
            let range = PortRange::new(Port::new(first).unwrap(), Port::new(last).unwrap()).unwrap();
            let left = without_failsafe(HostPort { transport, range });
            let left: Vec<String> = left.iter().map(ToString::to_string).collect();
            assert_eq!(left.join(", "), expected);
        };
        check(Transport::Tcp, (22, 22), "");
        check(Transport::Udp, (22, 22), "udp 22");
        check(Transport::Tcp, (9000, 9022), "tcp 9000-9022");
        check(Transport::Tcp, (1, 65535), "tcp 1-21, tcp 23-2378, tcp 2381-6442, tcp 6444-10249, tcp 10251-65535");
        check(Transport::Udp, (67, 600), "udp 69-545, udp 548-600");
    }
}
