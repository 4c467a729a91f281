//! `NetworkPolicy` (networking.k8s.io/v1), checked as the API server does
//! (`pkg/apis/networking/validation`), with the defaults of the API applied.
//!
//! It fails closed. A policy with anything in it that cannot be read isolates what it selects and allows nothing: a
//! rule that is read in part may allow more than was meant.

use std::net::IpAddr;

use ipnet::IpNet;
use palisade_core::{
    Direction, Level, NetworkPolicy, Peer, PerDirection, PolicyName, Port, PortMatch, PortRange, Ports, Rule, Selector,
    Transport,
};

use crate::metadata::valid;
use crate::reading::{At, Reading, as_integer};
use crate::selector;
use crate::syntax;
use crate::tree::{Value, shortened};

/// Reads the policy. Errors in `reading`, those found before included, make it unreadable.
pub fn read(root: &At<'_>, name: PolicyName, peers_max: usize, reading: &mut Reading) -> NetworkPolicy {
    root.known_fields(&["apiVersion", "kind", "metadata", "spec", "status"], Level::Warning, reading);
    let Some(spec) = root.field("spec") else {
        // An absent spec is an empty one.
        let rules = PerDirection { ingress: Some(Vec::new()), egress: None };
        return closed(
            NetworkPolicy { name, subjects: Selector::everything(), rules, unreadable: None, audit: false },
            reading,
        );
    };
    if spec.entries(reading).is_none() {
        return lost(name, "spec: expected a mapping");
    }
    spec.known_fields(&["podSelector", "policyTypes", "ingress", "egress"], Level::Error, reading);
    let subjects = match spec.field("podSelector") {
        Some(at) => selector::read(&at, reading).unwrap_or_default(),
        None => Selector::everything(),
    };
    let isolates = directions(&spec, reading);
    let mut peers_left = peers_max;
    let mut rules_of = |direction: Direction, peers: &str| {
        let rules = spec.field(direction.name()).map(|at| rules(&at, peers, &mut peers_left, peers_max, reading));
        // Rules of a direction that is not among the types are checked, and have no say.
        isolates[direction].then(|| rules.unwrap_or_default())
    };
    let rules =
        PerDirection { ingress: rules_of(Direction::Ingress, "from"), egress: rules_of(Direction::Egress, "to") };
    closed(NetworkPolicy { name, subjects, rules, unreadable: None, audit: false }, reading)
}

/// What errors in [`audit`] mean.
pub const ENFORCES: &str = "the policy enforces";

/// Reads the annotation that asks to leave the policy out of verdicts. Whatever is wrong with it, the policy can be read.
pub fn audit(root: &At<'_>, reading: &mut Reading) -> bool {
    let annotations = root.node.get("metadata").and_then(|metadata| metadata.get("annotations"));
    let Some(node) = annotations.and_then(|annotations| annotations.get("palisade.dev/audit")) else { return false };
    if node.value == Value::Text("true".into()) {
        return true;
    }
    reading.problem(
        Level::Error,
        node.span,
        format!("annotation palisade.dev/audit: expected 'true', found {}", node.value),
    );
    match node.value {
        Value::Bool(true) => reading.hint("put it in quotes"),
        _ => reading.hint("remove the annotation if the policy is to enforce"),
    }
    false
}

/// The policy as it stands in place of one that is lost whole: it isolates its namespace.
pub fn lost(name: PolicyName, reason: &str) -> NetworkPolicy {
    NetworkPolicy {
        name,
        subjects: Selector::everything(),
        rules: PerDirection { ingress: Some(Vec::new()), egress: Some(Vec::new()) },
        unreadable: Some(reason.to_string()),
        audit: false,
    }
}

/// Takes all rules from a policy that cannot be read.
pub fn close(policy: &mut NetworkPolicy, reason: String) {
    for direction in Direction::ALL {
        if let Some(rules) = &mut policy.rules[direction] {
            rules.clear();
        }
    }
    policy.unreadable = Some(reason);
}

/// The policy as it stands once it is closed.
pub fn closed_copy(policy: &NetworkPolicy, reason: String) -> NetworkPolicy {
    let closed = |rules: &Option<Vec<Rule>>| rules.as_ref().map(|_| Vec::new());
    NetworkPolicy {
        name: policy.name.clone(),
        subjects: policy.subjects.clone(),
        rules: PerDirection { ingress: closed(&policy.rules.ingress), egress: closed(&policy.rules.egress) },
        unreadable: Some(reason),
        audit: policy.audit,
    }
}

/// What an unreadable policy does, for its diagnostics.
pub fn effect(policy: &NetworkPolicy) -> String {
    let pods = if policy.subjects == Selector::everything() {
        format!("every pod of namespace {}", policy.name.namespace)
    } else {
        "the pods it selects".to_string()
    };
    if policy.audit {
        format!("the policy is audited: it would isolate {pods} and allow nothing")
    } else {
        format!("the policy isolates {pods} and allows nothing")
    }
}

fn closed(mut policy: NetworkPolicy, reading: &Reading) -> NetworkPolicy {
    if let Some(problem) = reading.problems.iter().find(|problem| problem.level == Level::Error) {
        close(&mut policy, problem.message.clone());
    }
    policy
}

/// `spec.policyTypes`: absent or empty means ingress, and egress too if there are egress rules. Where the types
/// cannot be told, both.
fn directions(spec: &At<'_>, reading: &mut Reading) -> PerDirection<bool> {
    const BOTH: PerDirection<bool> = PerDirection { ingress: true, egress: true };
    let mut isolates = PerDirection::default();
    let types = spec.field("policyTypes");
    let items = match &types {
        Some(at) => match at.items(reading) {
            Some(items) => Some(items),
            None => return BOTH,
        },
        None => None,
    };
    let mut told = true;
    let mut count = 0;
    for item in items.into_iter().flatten() {
        count += 1;
        match &item.node.value {
            Value::Text(text) if text == "Ingress" => isolates.ingress = true,
            Value::Text(text) if text == "Egress" => isolates.egress = true,
            other => {
                reading.error(&item, format!("expected Ingress or Egress, found {other}"));
                told = false;
            }
        }
    }
    if count > 2
        && let Some(at) = &types
    {
        reading.error(at, format!("expected at most two types, found {count}"));
    }
    if count == 0 {
        return match spec.field("egress").map(|at| &at.node.value) {
            None => PerDirection { ingress: true, egress: false },
            Some(Value::List(rules)) => PerDirection { ingress: true, egress: !rules.is_empty() },
            Some(_) => BOTH,
        };
    }
    if told { isolates } else { BOTH }
}

fn rules(at: &At<'_>, peers_field: &str, peers_left: &mut usize, peers_max: usize, reading: &mut Reading) -> Vec<Rule> {
    let Some(items) = at.items(reading) else { return Vec::new() };
    let mut rules = Vec::new();
    for item in items {
        if item.node.value == Value::Null {
            reading.warning(&item, format!("an empty rule allows every peer and every port of {peers_field}"));
            reading.id("NP023");
            rules.push(Rule { peers: None, ports: Ports::All });
            continue;
        }
        item.known_fields(&[peers_field, "ports"], Level::Error, reading);
        let peers = item.field(peers_field).map(|at| peers(&at, reading)).unwrap_or_default();
        let Some(left) = peers_left.checked_sub(peers.len()) else {
            reading.error(&item, format!("the policy has more than {peers_max} peers"));
            return rules;
        };
        *peers_left = left;
        let ports = item.field("ports").map(|at| ports(&at, reading)).unwrap_or_default();
        rules.push(Rule {
            peers: (!peers.is_empty()).then_some(peers),
            ports: if ports.is_empty() { Ports::All } else { Ports::Listed(ports) },
        });
    }
    rules
}

fn peers(at: &At<'_>, reading: &mut Reading) -> Vec<Peer> {
    let Some(items) = at.items(reading) else { return Vec::new() };
    items.filter_map(|item| peer(&item, reading)).collect()
}

/// One `NetworkPolicyPeer`: selectors, or an `ipBlock`.
fn peer(at: &At<'_>, reading: &mut Reading) -> Option<Peer> {
    if at.node.value != Value::Null {
        at.known_fields(&["podSelector", "namespaceSelector", "ipBlock"], Level::Error, reading)?;
    }
    let (pods, namespaces, block) = (at.field("podSelector"), at.field("namespaceSelector"), at.field("ipBlock"));
    match (pods, namespaces, block) {
        (None, None, None) => {
            reading.error(at, "expected a podSelector, a namespaceSelector or an ipBlock, found nothing");
            reading.id("NP008");
            reading.hint(
                "leave out the list to match every peer, or write 'podSelector: {}' for every pod of the namespace",
            );
            None
        }
        (None, None, Some(block)) => {
            let (cidr, except) = block_peer(&block, reading)?;
            Some(Peer::Block { cidr, except })
        }
        (pods, namespaces, None) => {
            let pods = pods.map(|at| selector::read(&at, reading));
            let namespaces = namespaces.map(|at| selector::read(&at, reading));
            Some(Peer::Pods {
                namespaces: match namespaces {
                    Some(read) => Some(read?),
                    None => None,
                },
                pods: match pods {
                    Some(read) => read?,
                    None => Selector::everything(),
                },
            })
        }
        (_, _, Some(_)) => {
            reading.error(at, "an ipBlock cannot stand together with selectors");
            reading.id("NP008");
            reading.hint("make two list items of them");
            None
        }
    }
}

/// An `ipBlock`: its `cidr`, and its `except`.
pub fn block_peer(at: &At<'_>, reading: &mut Reading) -> Option<(IpNet, Vec<IpNet>)> {
    at.known_fields(&["cidr", "except"], Level::Error, reading)?;
    let cidr = at.required("cidr", "a block of addresses", reading)?;
    let cidr = block(&cidr, reading)?;
    let mut excepted = Vec::new();
    if let Some(at) = at.field("except") {
        for item in at.items(reading)? {
            let except = block(&item, reading)?;
            // `except` must lie within `cidr` and be smaller than it.
            if !(cidr.contains(&except) && except.prefix_len() > cidr.prefix_len()) {
                reading.error(&item, format!("{except} does not lie strictly within {cidr}"));
                reading.id("NP003");
                return None;
            }
            excepted.push(except);
        }
    }
    Some((cidr, excepted))
}

/// A block of addresses. Host bits are legal and mean nothing.
pub fn block(at: &At<'_>, reading: &mut Reading) -> Option<IpNet> {
    let text = at.text(reading)?;
    let Ok(net) = text.parse::<IpNet>() else {
        reading.error(at, format!("expected a block such as 10.0.0.0/8 or fd00::/8, found '{}'", shortened(text)));
        reading.id("NP002");
        if text.parse::<IpAddr>().is_ok() {
            reading.hint(format!("for one address write '{text}/{}'", if text.contains(':') { 128 } else { 32 }));
        }
        return None;
    };
    // `::ffff:10.0.0.0/104` reads as IPv4 in one place and as IPv6 in the other: nobody can say what it allows.
    if matches!(net.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
        reading.error(at, format!("an IPv4 block within IPv6 is ambiguous, found '{text}'"));
        reading.id("NP002");
        reading.hint("write the IPv4 block");
        return None;
    }
    Some(net.trunc())
}

fn ports(at: &At<'_>, reading: &mut Reading) -> Vec<PortMatch> {
    let Some(items) = at.items(reading) else { return Vec::new() };
    items.filter_map(|item| port_match(&item, reading)).collect()
}

/// One `NetworkPolicyPort`.
fn port_match(at: &At<'_>, reading: &mut Reading) -> Option<PortMatch> {
    if at.node.value == Value::Null {
        reading.warning(at, "an empty port means every TCP port");
        return Some(PortMatch::Every(Transport::Tcp));
    }
    at.known_fields(&["protocol", "port", "endPort"], Level::Error, reading)?;
    let protocol = protocol(at, reading)?;
    let end = at.field("endPort");
    let Some(port) = at.field("port") else {
        return match end {
            None => Some(PortMatch::Every(protocol)),
            Some(end) => {
                reading.error(&end, "endPort needs a port to start from");
                reading.id("NP006");
                None
            }
        };
    };
    if let Value::Text(name) = &port.node.value {
        let well = valid(&port, name, syntax::port_name(name), reading);
        if name.parse::<u16>().is_ok() {
            reading.hint("write the number without quotes");
        }
        if let Some(end) = end {
            reading.error(&end, "endPort needs a port that is a number");
            reading.id("NP006");
            return None;
        }
        return well.then(|| PortMatch::Named(protocol, reading.share(name)));
    }
    port_range(&port, end.as_ref(), reading).map(|range| PortMatch::Range(protocol, range))
}

/// `port`, a number, to `endPort`, both included.
pub fn port_range(port: &At<'_>, end: Option<&At<'_>>, reading: &mut Reading) -> Option<PortRange> {
    let first = port_number(port, reading)?;
    let Some(end) = end else { return Some(PortRange::single(first)) };
    let last = port_number(end, reading)?;
    let range = PortRange::new(first, last);
    if range.is_none() {
        reading.error(end, format!("endPort {last} is less than port {first}"));
        reading.id("NP006");
    }
    range
}

/// The `protocol` of a port; TCP if it is absent.
pub fn protocol(at: &At<'_>, reading: &mut Reading) -> Option<Transport> {
    at.field("protocol").map_or(Some(Transport::Tcp), |at| transport(&at, reading))
}

/// A `protocol`, in upper case as the API has it.
fn transport(at: &At<'_>, reading: &mut Reading) -> Option<Transport> {
    let text = at.text(reading)?;
    let known = Transport::ALL.into_iter().find(|transport| transport.name().to_ascii_uppercase() == text);
    if known.is_none() {
        reading.error(at, format!("expected TCP, UDP or SCTP, found '{}'", shortened(text)));
        if let Ok(transport) = text.parse::<Transport>() {
            reading.hint(format!("write {}", transport.name().to_ascii_uppercase()));
        }
    }
    known
}

/// A port number.
pub fn port_number(at: &At<'_>, reading: &mut Reading) -> Option<Port> {
    let port = as_integer(&at.node.value).and_then(|number| u16::try_from(number).ok()).and_then(Port::new);
    if port.is_none() {
        reading.error(at, format!("expected a port from 1 to 65535, found {}", at.node.value));
    }
    port
}
