//! Nodes and addresses for pods that have none, invented once, the same for every command.
//!
//! Pods without a node go round robin, in the order of names, over the nodes of the input, or over `n1..nN` if it names none.
//! Every node owns a slice of the pod range; no invented address is one that the input uses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_core::{Diagnostic, Family, Level, Node, NodeName, Pod, PodName, WorkloadName};

use crate::Options;
use crate::addresses::{Range, slices};
use crate::objects::Placed;
use crate::report::{Origin, Report};
use crate::workload::WorkloadObject;

/// A pod on its way into the snapshot.
pub struct Draft {
    pub pod: Pod,
    pub origin: Origin,
    /// Addresses of its node that its status names.
    pub node_addresses: Vec<IpAddr>,
}

/// The nodes, before those without addresses get some.
pub struct Nodes {
    /// In the order in which pods are dealt out.
    names: Vec<NodeName>,
    by_name: BTreeMap<NodeName, Node>,
    /// Whether the input names none.
    invented: bool,
}

impl Nodes {
    /// The nodes that the input describes or that a pod is on; if there are none, `count` invented ones.
    pub fn new(
        described: BTreeMap<NodeName, Placed<Node>>,
        pods: &BTreeMap<PodName, Draft>,
        workloads: &BTreeMap<WorkloadName, Placed<WorkloadObject>>,
        count: usize,
    ) -> Nodes {
        let mut nodes: BTreeMap<NodeName, Node> =
            described.into_iter().map(|(name, node)| (name, node.object)).collect();
        let undescribed: Vec<NodeName> = (pods.values().filter_map(|draft| draft.pod.node.as_ref()))
            .chain(workloads.values().filter_map(|workload| workload.object.template.node.as_ref()))
            .filter(|name| !nodes.contains_key(*name))
            .cloned()
            .collect();
        nodes.extend(undescribed.into_iter().map(|name| (name, Node::default())));
        let mut told = told_by_pods(pods);
        for (name, node) in nodes.iter_mut().filter(|(_, node)| node.addresses.is_empty()) {
            node.addresses.extend(told.remove(name).unwrap_or_default());
        }
        let invented = nodes.is_empty();
        let names: Vec<NodeName> = if invented {
            (1..=count.max(1)).map(|number| format!("n{number}").into()).collect()
        } else {
            nodes.keys().cloned().collect()
        };
        if invented {
            nodes.extend(names.iter().map(|name| (Arc::clone(name), Node::default())));
        }
        Nodes { names, by_name: nodes, invented }
    }

    /// Every node, in the order in which pods are dealt out.
    pub fn names(&self) -> &[NodeName] {
        &self.names
    }
}

/// The addresses of nodes that the status of their pods names.
fn told_by_pods(pods: &BTreeMap<PodName, Draft>) -> BTreeMap<NodeName, BTreeSet<IpAddr>> {
    let mut addresses: BTreeMap<NodeName, BTreeSet<IpAddr>> = BTreeMap::new();
    for draft in pods.values() {
        if let Some(node) = &draft.pod.node {
            addresses.entry(Arc::clone(node)).or_default().extend(told_by(&draft.pod, &draft.node_addresses));
        }
    }
    addresses
}

/// The addresses of its node that the status of a pod names.
pub fn told_by<'a>(pod: &'a Pod, node_addresses: &'a [IpAddr]) -> impl Iterator<Item = &'a IpAddr> {
    let own = if pod.host_network { pod.addresses.as_slice() } else { &[] };
    node_addresses.iter().chain(own).filter(|_| !pod.finished)
}

/// Gives every pod its node, and every pod and node that has none its addresses.
pub fn place(
    mut nodes: Nodes,
    pods: &mut BTreeMap<PodName, Draft>,
    options: &Options,
    report: &mut Report<'_>,
) -> BTreeMap<NodeName, Arc<Node>> {
    let unplaced = pods.values_mut().filter(|draft| draft.pod.node.is_none());
    for (draft, node) in unplaced.zip(nodes.names.iter().cycle()) {
        draft.pod.node = Some(Arc::clone(node));
        draft.pod.assumed.node = true;
    }
    let mut taken = taken(&nodes, pods, report);
    let bare_nodes: Vec<NodeName> =
        nodes.names.iter().filter(|name| nodes.by_name[*name].addresses.is_empty()).cloned().collect();
    for family in &options.families {
        node_addresses(&mut nodes, &bare_nodes, *family, options, &mut taken, report);
    }
    let bare_pods: Vec<PodName> =
        pods.iter().filter(|(_, draft)| needs_addresses(&draft.pod)).map(|(name, _)| name.clone()).collect();
    for family in &options.families {
        pod_addresses(&mut nodes, pods, &bare_pods, *family, options, &mut taken, report);
    }
    for draft in pods.values_mut().filter(|draft| draft.pod.host_network && !draft.pod.finished) {
        if let Some(node) = draft.pod.node.as_ref().and_then(|name| nodes.by_name.get(name)) {
            draft.pod.addresses.clone_from(&node.addresses);
            draft.pod.assumed.addresses = node.assumed;
        }
    }
    nodes.by_name.into_iter().map(|(name, node)| (name, Arc::new(node))).collect()
}

fn needs_addresses(pod: &Pod) -> bool {
    pod.addresses.is_empty() && !pod.host_network && !pod.finished
}

/// Every address that the input uses, and who uses it. Finished pods have none any more.
fn taken(nodes: &Nodes, pods: &BTreeMap<PodName, Draft>, report: &mut Report<'_>) -> HashMap<IpAddr, Option<PodName>> {
    let mut taken: HashMap<IpAddr, Option<PodName>> =
        nodes.by_name.values().flat_map(|node| &node.addresses).map(|address| (*address, None)).collect();
    for (name, draft) in pods.iter().filter(|(_, draft)| !draft.pod.finished && !draft.pod.host_network) {
        for address in &draft.pod.addresses {
            if let Some(before) = taken.insert(*address, Some(name.clone())) {
                let owner = before.map_or("a node".to_string(), |pod| format!("pod {pod}"));
                let diagnostic = Diagnostic {
                    object: Some(format!("Pod {name}")),
                    ..Diagnostic::new(Level::Warning, format!("its address {address} is also that of {owner}"))
                };
                report.add(draft.origin, diagnostic);
            }
        }
    }
    taken
}

fn node_addresses(
    nodes: &mut Nodes,
    bare: &[NodeName],
    family: Family,
    options: &Options,
    taken: &mut HashMap<IpAddr, Option<PodName>>,
    report: &mut Report<'_>,
) {
    let Some(net) = of_family(&options.node_cidrs, family) else { return };
    let mut range = Range::new(net, 1);
    let mut without = 0;
    for name in bare {
        let Some(node) = nodes.by_name.get_mut(name) else { continue };
        match range.find(|address| !taken.contains_key(address)) {
            Some(address) => {
                taken.insert(address, None);
                node.addresses.push(address);
                node.assumed = true;
            }
            None => without += 1,
        }
    }
    too_small("node", net, without, report);
}

/// How many slices of a range are tried for those that no node has.
const SLICES_TRIED_MAX: usize = 1 << 16;

fn pod_addresses(
    nodes: &mut Nodes,
    pods: &mut BTreeMap<PodName, Draft>,
    bare: &[PodName],
    family: Family,
    options: &Options,
    taken: &mut HashMap<IpAddr, Option<PodName>>,
    report: &mut Report<'_>,
) {
    let Some(net) = of_family(&options.pod_cidrs, family) else { return };
    let mut crowd: HashMap<NodeName, usize> = HashMap::new();
    for draft in bare.iter().filter_map(|name| pods.get(name)) {
        *crowd.entry(draft.pod.node.clone().unwrap_or_default()).or_default() += 1;
    }
    let described: Vec<IpNet> = nodes.by_name.values().filter_map(|node| of_family(&node.pod_cidrs, family)).collect();
    let largest = crowd.values().copied().max().unwrap_or(0);
    // Blocks of nodes may cover more slices than anybody wants to try.
    let mut free = slices(net, nodes.names.len() + described.len(), largest)
        .take(SLICES_TRIED_MAX)
        .filter(|slice| !described.iter().any(|other| other.contains(slice) || slice.contains(other)));
    let mut ranges: HashMap<NodeName, Range> = HashMap::new();
    for name in &nodes.names {
        let Some(node) = nodes.by_name.get_mut(name) else { continue };
        // Address 1 is left to the node's gateway, as network plugins do.
        if let Some(own) = of_family(&node.pod_cidrs, family) {
            ranges.insert(Arc::clone(name), Range::new(own, 2));
        } else if let Some(slice) = free.next() {
            ranges.insert(Arc::clone(name), Range::new(slice, 2));
            // The range of a real node whose pods all have addresses stays unknown.
            if nodes.invented || crowd.contains_key(name) {
                node.pod_cidrs.push(slice);
            }
        }
    }
    let mut without = 0;
    for name in bare {
        let Some(draft) = pods.get_mut(name) else { continue };
        let range = draft.pod.node.as_ref().and_then(|node| ranges.get_mut(node));
        match range.and_then(|range| range.find(|address| !taken.contains_key(address))) {
            Some(address) => {
                taken.insert(address, None);
                draft.pod.addresses.push(address);
                draft.pod.assumed.addresses = true;
            }
            None => without += 1,
        }
    }
    too_small("pod", net, without, report);
}

fn of_family(nets: &[IpNet], family: Family) -> Option<IpNet> {
    nets.iter().copied().find(|net| Family::of(net.addr()) == family)
}

fn too_small(what: &str, net: IpNet, without: usize, report: &mut Report<'_>) {
    if without > 0 {
        let noun = if without == 1 { what.to_string() } else { format!("{what}s") };
        report.diagnostics.push(Diagnostic {
            effect: Some(format!(
                "{without} {noun} without an address of that family: flows to and from them have no answer in it"
            )),
            hint: Some(format!("give a larger range with --{what}-cidr")),
            ..Diagnostic::new(Level::Error, format!("the range {net} has no address left for {without} {noun}"))
        });
    }
}
