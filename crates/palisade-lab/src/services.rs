//! What leads Services, node ports and host ports to pods on each node: what kube-proxy writes, and the CNI plugin portmap, in short.
//!
//! It is read off the snapshot here, and not taken from what the oracle makes of a flow, so that the kernel is a witness of that, too. Which server
//! a packet is led to is told by the low bits of its source port, so that every one of them can be tried.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use palisade_core::{
    ContainerPort, Family, NodeName, ObjectName, Pod, Port, Service, ServicePort, Snapshot, TargetPort, TrafficPolicy,
    Transport, WorkloadKind, WorkloadName,
};
use palisade_nft::{Lead, Origin, Share, Translation};

/// More servers of one port are not tried.
const SERVERS_MAX: usize = 1 << 12;

/// A pod behind a port.
struct Server {
    node: Option<NodeName>,
    address: IpAddr,
    port: Port,
}

/// What a node translates. `addresses` are the node's, and `uplink` the index of the interface that leads away from its pods.
pub(crate) fn translation(
    snapshot: &Snapshot,
    node: &NodeName,
    addresses: &BTreeSet<IpAddr>,
    uplink: u32,
) -> Translation {
    let named = snapshot.nodes.get(node).map_or(&[][..], |node| &node.addresses);
    let first = |family| named.iter().copied().find(|address| Family::of(*address) == family);
    let own = Family::ALL.into_iter().filter_map(first).collect();
    let mut leads = Leads { node, leads: BTreeMap::new() };
    for (name, service) in &snapshot.services {
        for port in &service.ports {
            leads.add_service(snapshot, (name, service, port), addresses);
        }
    }
    for (to, servers) in host_ports(snapshot, node, addresses) {
        leads.add(Origin::Anybody, to, &servers, (TrafficPolicy::Cluster, false));
    }
    Translation { uplink, own, leads: leads.leads }
}

/// Which packets a node leads to this server, of those that come from there to this address and port.
pub(crate) fn share(
    translation: &Translation,
    origin: Origin,
    (transport, to, port): (Transport, IpAddr, Port),
    server: (IpAddr, Port),
) -> Option<Share> {
    let of = |origin| translation.leads.get(&origin).into_iter().flatten();
    let is_asked = |lead: &&Lead| (lead.transport, lead.address, lead.port) == (transport, to, port);
    let mut leads = of(origin).chain(of(Origin::Anybody)).filter(is_asked);
    leads.find(|lead| lead.to == Some(server)).map(|lead| lead.share)
}

/// The nodes to which balancers send what comes to the external addresses that are no node's own.
pub(crate) fn balanced(snapshot: &Snapshot) -> BTreeMap<IpAddr, NodeName> {
    let of_nodes: BTreeSet<&IpAddr> = snapshot.nodes.values().flat_map(|node| &node.addresses).collect();
    let mut balanced = BTreeMap::new();
    for service in snapshot.services.values() {
        for address in service.external.iter().filter(|address| !of_nodes.contains(address)) {
            balanced.extend(snapshot.nodes.keys().next().map(|node| (*address, node.clone())));
        }
    }
    balanced
}

/// Leads of one node.
struct Leads<'a> {
    node: &'a NodeName,
    leads: BTreeMap<Origin, Vec<Lead>>,
}

impl Leads<'_> {
    fn add_service(
        &mut self,
        snapshot: &Snapshot,
        (name, service, port): (&ObjectName, &Service, &ServicePort),
        addresses: &BTreeSet<IpAddr>,
    ) {
        let servers = servers(snapshot, name, port);
        for address in &service.addresses {
            let to = (port.transport, *address, port.port);
            self.add(Origin::Anybody, to, &servers, (service.internal_policy, false));
        }
        for address in &service.external {
            self.add_external((port.transport, *address, port.port), &servers, service);
        }
        let Some(node_port) = port.node_port else { return };
        for address in addresses.iter().filter(|address| service.address(Family::of(**address)).is_some()) {
            self.add_external((port.transport, *address, node_port), &servers, service);
        }
    }

    /// What comes from outside the cluster, or may.
    fn add_external(&mut self, to: (Transport, IpAddr, Port), servers: &[Server], service: &Service) {
        use TrafficPolicy::{Cluster, Local};
        match service.external_policy {
            Cluster => self.add(Origin::Anybody, to, servers, (Cluster, true)),
            Local => {
                self.add(Origin::Outside, to, servers, (Local, false));
                self.add(Origin::Pods, to, servers, (Cluster, false));
                self.add(Origin::Node, to, servers, (Cluster, true));
            }
        }
    }

    /// One lead for each server, and for each number that is left; or one that drops.
    fn add(
        &mut self,
        origin: Origin,
        (transport, address, port): (Transport, IpAddr, Port),
        servers: &[Server],
        (policy, masquerade): (TrafficPolicy, bool),
    ) {
        let of_family = |server: &&Server| Family::of(server.address) == Family::of(address);
        let servers: Vec<&Server> = servers.iter().filter(of_family).take(SERVERS_MAX).collect();
        if servers.is_empty() {
            return;
        }
        let is_led = |server: &&&Server| policy == TrafficPolicy::Cluster || server.node.as_ref() == Some(self.node);
        let led: Vec<(IpAddr, Port)> =
            servers.iter().filter(is_led).map(|server| (server.address, server.port)).collect();
        let lead = |share, to| Lead { address, transport, port, share, to, masquerade };
        let leads = self.leads.entry(origin).or_default();
        let count = led.len().next_power_of_two();
        match (led.as_slice(), u16::try_from(count - 1)) {
            ([], _) => leads.push(lead(Share::ALL, None)),
            ([only], _) => leads.push(lead(Share::ALL, Some(*only))),
            (_, Err(_)) => {}
            (led, Ok(mask)) => {
                let numbered = (0..=mask).zip(led.iter().cycle());
                leads.extend(numbered.map(|(number, to)| lead(Share { mask, number }, Some(*to))));
            }
        }
    }
}

/// The pods behind each port of a node; there are several only where no scheduler has seen them.
fn host_ports(
    snapshot: &Snapshot,
    node: &NodeName,
    addresses: &BTreeSet<IpAddr>,
) -> BTreeMap<(Transport, IpAddr, Port), Vec<Server>> {
    let mut found: BTreeMap<(Transport, IpAddr, Port), Vec<Server>> = BTreeMap::new();
    for pod in snapshot.pods.values().filter(|pod| has_own_address(pod) && pod.node.as_ref() == Some(node)) {
        for port in &pod.ports {
            let Some(host_port) = port.host_port else { continue };
            let is_asked = |address: &&IpAddr| port.host_address.is_none_or(|asked| asked == **address);
            for address in addresses.iter().filter(is_asked) {
                let Some(to) = pod.address(Family::of(*address)) else { continue };
                let server = Server { node: pod.node.clone(), address: to, port: port.port };
                found.entry((port.transport, *address, host_port)).or_default().push(server);
            }
        }
    }
    found
}

/// The pods behind a port of a Service, in the order of their names.
fn servers(snapshot: &Snapshot, name: &ObjectName, port: &ServicePort) -> Vec<Server> {
    let workload =
        WorkloadName { namespace: name.namespace.clone(), kind: WorkloadKind::Service, name: name.name.clone() };
    let names = snapshot.workloads.get(&workload);
    let mut servers = Vec::new();
    for pod in names.iter().flat_map(|names| names.iter()).filter_map(|name| snapshot.pods.get(name)) {
        let target = match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Named(name) => {
                let declares =
                    |found: &&ContainerPort| found.name.as_ref() == Some(name) && found.transport == port.transport;
                pod.ports.iter().find(declares).map(|found| found.port)
            }
        };
        let Some(port) = target else { continue };
        for address in Family::ALL.into_iter().filter_map(|family| pod.address(family)) {
            servers.push(Server { node: pod.node.clone(), address, port });
        }
    }
    servers
}

fn has_own_address(pod: &Pod) -> bool {
    !pod.finished && !pod.host_network
}
