//! From a flow as written to the packets that it stands for.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use palisade_core::{End, Family, Flow, NodeName, Pod, PodName, ServiceName, Snapshot, WorkloadKind, WorkloadName};

use crate::decide::{has_own_addresses, pods_at};
use crate::door::{Way, way};
use crate::packet::{Endpoint, Owner, Packet};

/// Why a flow stands for no packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveError {
    /// What was not found: lower case, no final dot.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ResolveError {}

pub(crate) fn error<T>(message: String, hint: impl Into<String>) -> Result<T, ResolveError> {
    Err(ResolveError { message, hint: hint.into() })
}

/// Every packet that the flow stands for; the flow is allowed only if all of them are.
///
/// A workload stands for all its pods that have an address, and names at both ends for every one of `families`
/// that both ends have. A name stands for the first address it has in a family. Where a node translates what goes to the destination, there is a
/// packet for each server that it may be led to. There is at least one packet.
///
/// # Errors
///
/// An end that the snapshot does not have or that has no address, and ends without a family in common; and where a Service leads nowhere.
pub fn resolve(snapshot: &Snapshot, flow: &Flow, families: &[Family]) -> Result<Vec<Packet>, ResolveError> {
    let sources = endpoints(snapshot, &flow.source)?;
    let is_outside = sources.iter().all(|source| source.owner.is_outside());
    let destinations = match front(snapshot, &flow.destination, is_outside) {
        Some(front) => front?,
        None => endpoints(snapshot, &flow.destination)?,
    };
    let ways = destinations.iter().map(|to| way(snapshot, to, flow.traffic)).collect::<Result<Vec<_>, _>>()?;
    let destinations: Vec<(Endpoint, Option<Way<'_>>)> = destinations.into_iter().zip(ways).collect();
    let mut packets = Vec::new();
    for family in Family::ALL.into_iter().filter(|family| families.contains(family)) {
        for source in sources.iter().filter(|end| Family::of(end.address) == family) {
            for (destination, way) in destinations.iter().filter(|(end, _)| Family::of(end.address) == family) {
                let led =
                    way.as_ref().map(|way| way.packets(snapshot, source, destination, flow.traffic)).transpose()?;
                let (source, destination, traffic) = (source.clone(), destination.clone(), flow.traffic);
                let direct = || vec![Packet { family, source, destination, traffic, via: None }];
                packets.extend(led.unwrap_or_else(direct));
            }
        }
    }
    if packets.is_empty() {
        let destinations: Vec<Endpoint> = destinations.into_iter().map(|(end, _)| end).collect();
        return no_common_family(flow, &sources, &destinations, families);
    }
    Ok(packets)
}

/// The addresses of a Service that is named as a destination: its own, or for who is outside those by which the outside gets there.
/// `None` if no Service is meant, or one that has no address: then its pods are.
fn front(snapshot: &Snapshot, end: &End, is_outside: bool) -> Option<Result<Vec<Endpoint>, ResolveError>> {
    let name = match end {
        End::Workload(name) => name,
        End::Pod(name) if !snapshot.pods.contains_key(name) => short_name(snapshot, name).ok()?,
        End::Pod(_) | End::Node(_) | End::Host(_) | End::Address(_) => return None,
    };
    let service = ServiceName::new(name.namespace.clone(), name.name.clone());
    let service = snapshot.services.get(&service).filter(|_| name.kind == WorkloadKind::Service)?;
    if service.headless {
        return None;
    }
    let addresses = if is_outside && !service.external.is_empty() { &service.external } else { &service.addresses };
    if addresses.is_empty() {
        let hint = "it has no spec.clusterIPs, and the range of those that are invented has none left";
        return Some(error(format!("service {}/{} has no address", name.namespace, name.name), hint));
    }
    let to = |address| {
        let node = node_at(snapshot, address);
        let owner = if node.is_some() { Owner::Node } else { Owner::Outside };
        Endpoint { address, owner, node }
    };
    Some(Ok(first_of_each_family(addresses).map(to).collect()))
}

/// Whose an address is: a pod's, or else a node's, or else a server's, or else nobody's. There is one answer, but for
/// an address that several pods have.
pub fn owners(snapshot: &Snapshot, address: IpAddr) -> Vec<Endpoint> {
    let mut owners = Vec::new();
    for (name, pod) in pods_at(snapshot, address) {
        owners.push(Endpoint { address, owner: Owner::Pod(name.clone()), node: pod.node.clone() });
    }
    if owners.is_empty() {
        let node = node_at(snapshot, address);
        let owner = if node.is_some() { Owner::Node } else { server_at(snapshot, address) };
        owners.push(Endpoint { address, owner, node });
    }
    owners
}

/// The node that has the address; what a hostNetwork pod has is its node's.
fn node_at(snapshot: &Snapshot, address: IpAddr) -> Option<NodeName> {
    let node = snapshot.nodes.iter().find(|(_, node)| node.addresses.contains(&address));
    let pod = snapshot.pods.values().find(|pod| pod.host_network && !pod.finished && pod.addresses.contains(&address));
    node.map(|(name, _)| name.clone()).or_else(|| pod?.node.clone())
}

fn server_at(snapshot: &Snapshot, address: IpAddr) -> Owner {
    let server = snapshot.servers.iter().find(|(_, server)| server.addresses.contains(&address));
    server.map_or(Owner::Outside, |(name, _)| Owner::Server(name.clone()))
}

/// The addresses of an end as a client, the first of each family for each pod or node; a Service is its pods.
///
/// # Errors
///
/// An end that the snapshot does not have, or that has no address.
pub fn endpoints(snapshot: &Snapshot, end: &End) -> Result<Vec<Endpoint>, ResolveError> {
    match end {
        End::Address(address) => Ok(owners(snapshot, *address)),
        End::Node(name) => match snapshot.nodes.get(name) {
            Some(node) if node.addresses.is_empty() => {
                error(format!("node {name} has no address"), "its status.addresses holds no IP address")
            }
            Some(node) => {
                let owned = |address| Endpoint { address, owner: Owner::Node, node: Some(name.clone()) };
                Ok(first_of_each_family(&node.addresses).map(owned).collect())
            }
            None => {
                let known = snapshot.nodes.keys().map(|node| format!("node/{node}"));
                error(format!("there is no node {name}"), suggestion(&end.to_string(), known))
            }
        },
        End::Host(name) => match snapshot.servers.get(name) {
            Some(server) if server.addresses.is_empty() => {
                error(format!("{end} has no address"), "the range of those that are invented has none left")
            }
            Some(server) => {
                let owned = |address| Endpoint { address, owner: Owner::Server(name.clone()), node: None };
                Ok(first_of_each_family(&server.addresses).map(owned).collect())
            }
            None => {
                let known = snapshot.servers.keys().map(|server| format!("host/{server}"));
                let hint = match snapshot.servers.len() {
                    0 => "the input has no NodeAllowlist, or none that can be read; a pod of a namespace called 'host' is 'pod:host/NAME'"
                        .to_string(),
                    _ => suggestion(&end.to_string(), known),
                };
                error(format!("there is no NodeAllowlist {name}"), hint)
            }
        },
        End::Pod(name) => match snapshot.pods.get(name) {
            Some(pod) => pod_endpoints(snapshot, name, pod),
            None => workload_endpoints(snapshot, short_name(snapshot, name)?),
        },
        End::Workload(name) if snapshot.workloads.contains_key(name) => workload_endpoints(snapshot, name),
        End::Workload(name) => {
            let known = snapshot.workloads.keys().map(ToString::to_string);
            error(
                format!("there is no {} {}/{}", name.kind, name.namespace, name.name),
                suggestion(&name.to_string(), known),
            )
        }
    }
}

/// The pods that an end means by name, finished ones among them.
pub(crate) fn pods_meant<'a>(snapshot: &'a Snapshot, end: &End) -> Vec<&'a Pod> {
    let workload = match end {
        End::Pod(name) => match snapshot.pods.get(name) {
            Some(pod) => return vec![pod],
            None => short_name(snapshot, name).ok(),
        },
        End::Workload(name) => Some(name),
        End::Node(_) | End::Host(_) | End::Address(_) => None,
    };
    let names = workload.and_then(|workload| snapshot.workloads.get(workload));
    names
        .into_iter()
        .flat_map(|names| names.iter())
        .filter_map(|name| snapshot.pods.get(name).map(|pod| &**pod))
        .collect()
}

fn pod_endpoints(snapshot: &Snapshot, name: &PodName, pod: &Pod) -> Result<Vec<Endpoint>, ResolveError> {
    if pod.finished {
        return error(
            format!("pod {name} has finished"),
            "a Succeeded or Failed pod has no address any more, so that nothing comes from it or reaches it",
        );
    }
    let found = addresses(snapshot, name, pod);
    if found.is_empty() {
        return error(format!("pod {name} has no address yet"), "its status.podIPs is empty");
    }
    Ok(found)
}

/// The addresses of a pod that has not finished; none if it has none yet.
pub(crate) fn addresses(snapshot: &Snapshot, name: &PodName, pod: &Pod) -> Vec<Endpoint> {
    if has_own_addresses(pod) {
        let owned = |address| Endpoint { address, owner: Owner::Pod(name.clone()), node: pod.node.clone() };
        return first_of_each_family(&pod.addresses).map(owned).collect();
    }
    // "spec.hostNetwork: use the host's network namespace": its addresses are the node's.
    let node = pod.node.as_ref().and_then(|node| snapshot.nodes.get(node));
    let of_node = node.map_or(&[][..], |node| &node.addresses);
    let all: Vec<IpAddr> = pod.addresses.iter().chain(of_node).copied().collect();
    let owned = |address| Endpoint { address, owner: Owner::Node, node: pod.node.clone() };
    first_of_each_family(&all).map(owned).collect()
}

fn first_of_each_family(addresses: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    Family::ALL.into_iter().filter_map(|family| addresses.iter().copied().find(|a| Family::of(*a) == family))
}

fn workload_endpoints(snapshot: &Snapshot, workload: &WorkloadName) -> Result<Vec<Endpoint>, ResolveError> {
    let WorkloadName { namespace, kind, name } = workload;
    let pods: Vec<(&PodName, &Pod)> = snapshot.workloads[workload]
        .iter()
        .filter_map(|name| snapshot.pods.get_key_value(name))
        .map(|(name, pod)| (name, &**pod))
        .collect();
    if pods.is_empty() {
        let hint = match kind {
            WorkloadKind::Service => "its selector selects no pod of its namespace",
            _ => "it has zero replicas, or the input leaves its pods out",
        };
        return error(format!("{kind} {namespace}/{name} has no pods"), hint);
    }
    if pods.iter().all(|(_, pod)| pod.finished) {
        return error(
            format!("every pod of {kind} {namespace}/{name} has finished"),
            "a Succeeded or Failed pod has no address any more, so that nothing comes from it or reaches it",
        );
    }
    let mut found = Vec::new();
    for (name, pod) in pods.into_iter().filter(|(_, pod)| !pod.finished) {
        found.extend(addresses(snapshot, name, pod));
    }
    if found.is_empty() {
        return error(
            format!("no pod of {kind} {namespace}/{name} has an address yet"),
            "their status.podIPs are empty",
        );
    }
    Ok(found)
}

/// The one workload that `namespace/name` means when no pod has that name. A Service is meant only if nothing that
/// makes pods is called so, since most Services are named after what they serve.
fn short_name<'a>(snapshot: &'a Snapshot, name: &PodName) -> Result<&'a WorkloadName, ResolveError> {
    let named: Vec<&WorkloadName> = snapshot
        .workloads
        .keys()
        .filter(|workload| workload.namespace == name.namespace && workload.name == name.name)
        .collect();
    let makers: Vec<&WorkloadName> = named.iter().copied().filter(|w| w.kind != WorkloadKind::Service).collect();
    match (makers.as_slice(), named.as_slice()) {
        ([workload], _) | ([], [workload]) => Ok(workload),
        ([], []) => {
            let pods = snapshot.pods.keys().map(ToString::to_string);
            let workloads =
                snapshot.workloads.keys().map(|workload| format!("{}/{}", workload.namespace, workload.name));
            error(format!("there is no pod or workload {name}"), suggestion(&name.to_string(), pods.chain(workloads)))
        }
        (several, _) => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            error(
                format!("{name} is no pod, and more than one workload is called so"),
                format!("write one of {}", names.join(", ")),
            )
        }
    }
}

fn no_common_family<T>(
    flow: &Flow,
    sources: &[Endpoint],
    destinations: &[Endpoint],
    families: &[Family],
) -> Result<T, ResolveError> {
    let has = |ends: &[Endpoint]| {
        let found: BTreeSet<Family> = ends.iter().map(|end| Family::of(end.address)).collect();
        found.into_iter().map(|family| family.to_string()).collect::<Vec<_>>().join(" and ")
    };
    let wanted: Vec<String> = families.iter().map(ToString::to_string).collect();
    error(
        format!(
            "{} has {} and {} has {}: no common family among {}",
            flow.source,
            has(sources),
            flow.destination,
            has(destinations),
            wanted.join(" and ")
        ),
        "a packet needs both of its addresses in one family",
    )
}

/// `did you mean …?` with the known name that differs least from a wrong one, or a few of the known names.
fn suggestion(wrong: &str, known: impl Iterator<Item = String>) -> String {
    let known: BTreeSet<String> = known.collect();
    let distance = |name: &String| edits(wrong, name);
    match known.iter().min_by_key(|name| distance(name)) {
        None => "the input has none at all".to_string(),
        // A third of the letters may be wrong; beyond that a name is another name.
        Some(nearest) if distance(nearest) * 3 <= wrong.chars().count() => format!("did you mean {nearest}?"),
        Some(_) => {
            let shown: Vec<&str> = known.iter().take(5).map(String::as_str).collect();
            let more = if known.len() > shown.len() { ", …" } else { "" };
            format!("known are {}{more}", shown.join(", "))
        }
    }
}

/// How many letters must be inserted, deleted or replaced to make one text of the other (Levenshtein distance).
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, candidate) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *candidate);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
