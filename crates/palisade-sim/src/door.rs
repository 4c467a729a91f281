//! Where Services, `NodePort`s and `hostPort`s lead: what kube-proxy and the CNI plugin `portmap` do with packets, as far as verdicts depend on it.
//!
//! The node that translates is that of the client for the address of a Service, and the one that the packet comes to for a port of a node.

use palisade_core::{
    Family, NodeName, Port, Service, ServiceName, ServicePort, Snapshot, TargetPort, Traffic, TrafficPolicy, Transport,
    WorkloadKind, WorkloadName,
};

use crate::decide::has_own_addresses;
use crate::packet::{Door, Endpoint, Owner, Packet, Via};
use crate::resolve::{ResolveError, addresses, error};

/// Where packets to an address and a port are led.
pub(crate) struct Way<'a> {
    door: Door,
    /// The Service and its port, unless it is a `hostPort`.
    service: Option<(&'a Service, &'a ServicePort)>,
    /// All servers behind it, of every family.
    servers: Vec<Server>,
}

/// A server, and its port.
#[derive(Clone)]
struct Server {
    endpoint: Endpoint,
    port: Port,
}

/// Where a node leads what is sent there; `None` if none translates it.
///
/// # Errors
///
/// For the own address of a Service: what it does not serve, and that nobody serves it.
pub(crate) fn way<'a>(
    snapshot: &'a Snapshot,
    to: &Endpoint,
    traffic: Traffic,
) -> Result<Option<Way<'a>>, ResolveError> {
    if matches!(to.owner, Owner::Pod(_)) {
        return Ok(None);
    }
    let own = snapshot.services.iter().find(|(_, service)| service.addresses.contains(&to.address));
    if let Some((name, service)) = own {
        let port = declared(name, service, traffic)?;
        return behind(snapshot, Door::Service(name.clone()), (name, service, port)).map(Some);
    }
    let Traffic::Port(transport, number) = traffic else { return Ok(None) };
    let is_of = |port: &&ServicePort| port.transport == transport;
    let ports = || {
        snapshot
            .services
            .iter()
            .flat_map(|(name, service)| service.ports.iter().map(move |port| (name, &**service, port)))
    };
    let external =
        ports().find(|(_, service, port)| service.external.contains(&to.address) && port.port == number && is_of(port));
    if let Some(found) = external {
        return behind(snapshot, Door::External(found.0.clone()), found).map(Some);
    }
    if to.owner != Owner::Node {
        return Ok(None);
    }
    let has_family = |service: &Service| service.address(Family::of(to.address)).is_some();
    let node_port =
        ports().find(|(_, service, port)| port.node_port == Some(number) && is_of(port) && has_family(service));
    match node_port {
        Some(found) => behind(snapshot, Door::NodePort(found.0.clone()), found).map(Some),
        None => Ok(host_port(snapshot, to, transport, number)),
    }
}

/// The port of a Service that this traffic goes to.
fn declared<'a>(name: &ServiceName, service: &'a Service, traffic: Traffic) -> Result<&'a ServicePort, ResolveError> {
    let is_it = |port: &&ServicePort| traffic == Traffic::Port(port.transport, port.port);
    if let Some(port) = service.ports.iter().find(is_it) {
        return Ok(port);
    }
    let hint = if service.ports.is_empty() {
        "it has no ports at all".to_string()
    } else {
        let ports: Vec<String> = service.ports.iter().map(ToString::to_string).collect();
        format!("its ports are {}; other ports of its pods are reached by the names of these", ports.join(", "))
    };
    error(format!("service {name} does not serve {traffic}"), hint)
}

/// The servers behind a port of a Service.
fn behind<'a>(
    snapshot: &Snapshot,
    door: Door,
    (name, service, port): (&ServiceName, &'a Service, &'a ServicePort),
) -> Result<Way<'a>, ResolveError> {
    let workload =
        WorkloadName { namespace: name.namespace.clone(), kind: WorkloadKind::Service, name: name.name.clone() };
    let pods = snapshot.workloads.get(&workload);
    let served = port;
    let mut servers = Vec::new();
    for (name, pod) in pods.iter().flat_map(|pods| pods.iter()).filter_map(|name| snapshot.pods.get_key_value(name)) {
        let number = match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Named(wanted) => pod
                .ports
                .iter()
                .find(|declared| declared.name.as_ref() == Some(wanted) && declared.transport == port.transport)
                .map(|declared| declared.port),
        };
        let Some(port) = number.filter(|_| !pod.finished) else { continue };
        servers.extend(addresses(snapshot, name, pod).into_iter().map(|endpoint| Server { endpoint, port }));
    }
    if servers.is_empty() {
        let hint = match &port.target {
            TargetPort::Named(port) => {
                format!("its selector selects no pod that has an address and a port named {port}")
            }
            TargetPort::Number(_) => "its selector selects no pod of its namespace that has an address".to_string(),
        };
        return error(format!("service {name} leads nowhere"), hint);
    }
    Ok(Way { door, service: Some((service, served)), servers })
}

/// The pods of a node that have a port of it.
fn host_port<'a>(snapshot: &Snapshot, to: &Endpoint, transport: Transport, number: Port) -> Option<Way<'a>> {
    let mut way: Option<Way<'a>> = None;
    for (name, pod) in snapshot.pods.iter().filter(|(_, pod)| has_own_addresses(pod) && pod.node == to.node) {
        let leads = pod.ports.iter().find(|port| {
            let is_asked = port.host_address.is_none_or(|address| address == to.address);
            port.host_port == Some(number) && port.transport == transport && is_asked
        });
        let Some(port) = leads.map(|port| port.port) else { continue };
        let way =
            way.get_or_insert_with(|| Way { door: Door::HostPort(name.clone()), service: None, servers: Vec::new() });
        way.servers.extend(addresses(snapshot, name, pod).into_iter().map(|endpoint| Server { endpoint, port }));
    }
    way
}

impl Way<'_> {
    /// The packets that a client's packet becomes, one for each server that it may be led to; none if there is none in its family.
    ///
    /// # Errors
    ///
    /// Where the client does not get to the address, and where a node has no server that the Service would lead it to.
    pub(crate) fn packets(
        &self,
        snapshot: &Snapshot,
        source: &Endpoint,
        to: &Endpoint,
        traffic: Traffic,
    ) -> Result<Vec<Packet>, ResolveError> {
        let (family, Traffic::Port(transport, _)) = (Family::of(to.address), traffic) else { return Ok(Vec::new()) };
        let servers: Vec<&Server> =
            self.servers.iter().filter(|server| Family::of(server.endpoint.address) == family).collect();
        let mut packets = Vec::new();
        let nodes = if servers.is_empty() { Vec::new() } else { self.nodes(snapshot, source, to, &servers)? };
        for node in nodes {
            let (locals_only, masquerades) = self.treatment(source, node.as_ref());
            let is_led = |server: &&&Server| !locals_only || server.endpoint.node == node;
            let led: Vec<&&Server> = servers.iter().filter(is_led).collect();
            if led.is_empty() {
                return self.no_server_on(node.as_ref());
            }
            for Server { endpoint, port } in led.into_iter().copied() {
                let own = || node.as_ref().and_then(|node| node_endpoint(snapshot, node, family));
                let is_hairpin = endpoint.address == source.address;
                let masquerade =
                    if masquerades || is_hairpin { own().filter(|own| own.address != source.address) } else { None };
                let via = Via {
                    door: self.door_to(endpoint),
                    to: to.clone(),
                    traffic,
                    node: node.clone(),
                    by_node: locals_only || masquerades || to.owner == Owner::Node,
                    masquerade,
                };
                packets.push(Packet {
                    family,
                    source: source.clone(),
                    destination: endpoint.clone(),
                    traffic: Traffic::Port(transport, *port),
                    via: Some(Box::new(via)),
                });
            }
        }
        Ok(packets)
    }

    /// The nodes that may translate the packet.
    fn nodes(
        &self,
        snapshot: &Snapshot,
        source: &Endpoint,
        to: &Endpoint,
        servers: &[&Server],
    ) -> Result<Vec<Option<NodeName>>, ResolveError> {
        match &self.door {
            Door::NodePort(_) | Door::HostPort(_) => Ok(vec![to.node.clone()]),
            Door::Service(_) | Door::External(_) if !source.owner.is_outside() => Ok(vec![source.node.clone()]),
            Door::Service(name) => self.not_from_outside(source, name),
            Door::External(_) if to.node.is_some() => Ok(vec![to.node.clone()]),
            // The balancer in front chooses any node, or with the traffic policy Local one that has a server.
            Door::External(_) => {
                let serves = |node: &NodeName| servers.iter().any(|server| server.endpoint.node.as_ref() == Some(node));
                let is_chosen = |node: &&NodeName| !self.is_external_local() || serves(node);
                Ok(snapshot.nodes.keys().filter(is_chosen).map(|node| Some(node.clone())).collect())
            }
        }
    }

    /// Whether the packet is led to servers of the node alone, and whether it leaves under the node's address. As kube-proxy does:
    /// what comes to the own address of a Service keeps its source. What comes to a node from outside can be led to another node only under
    /// the address of the first, or the answer would go past it; `externalTrafficPolicy: Local` keeps it on the node instead, but not what the
    /// node and its own pods send.
    fn treatment(&self, source: &Endpoint, node: Option<&NodeName>) -> (bool, bool) {
        match &self.door {
            Door::HostPort(_) => (false, false),
            Door::Service(_) => {
                (self.service.is_some_and(|(service, _)| service.internal_policy == TrafficPolicy::Local), false)
            }
            Door::External(_) | Door::NodePort(_) if !self.is_external_local() => (false, true),
            Door::External(_) | Door::NodePort(_) => match (&source.owner, source.node.as_ref() == node) {
                (Owner::Pod(_), true) => (false, false),
                (Owner::Node, true) => (false, true),
                _ => (true, false),
            },
        }
    }

    fn is_external_local(&self) -> bool {
        self.service.is_some_and(|(service, _)| service.external_policy == TrafficPolicy::Local)
    }

    /// The door as it leads to this server: several pods of a node may have one `hostPort`.
    fn door_to(&self, server: &Endpoint) -> Door {
        match (&self.door, &server.owner) {
            (Door::HostPort(_), Owner::Pod(name)) => Door::HostPort(name.clone()),
            _ => self.door.clone(),
        }
    }

    fn not_from_outside<T>(&self, source: &Endpoint, name: &ServiceName) -> Result<T, ResolveError> {
        let node_port = self.service.and_then(|(_, port)| Some((port.transport, port.node_port?)));
        error(
            format!("{source} is outside the cluster, and does not get to the address of service {name}"),
            match node_port {
                Some((transport, number)) => {
                    format!("it gets there by a port of a node: 'node/NAME {transport} {number}'")
                }
                None => "the Service has no port of nodes: it is for the inside".to_string(),
            },
        )
    }

    fn no_server_on<T>(&self, node: Option<&NodeName>) -> Result<T, ResolveError> {
        let node = node.map_or("the client's node", |node| node);
        let field =
            if matches!(self.door, Door::Service(_)) { "internalTrafficPolicy" } else { "externalTrafficPolicy" };
        error(
            format!("{} leads to no pod on {node}", self.door),
            format!("its {field} is Local: a node without a pod of it drops what comes"),
        )
    }
}

/// A node under its first address in a family.
fn node_endpoint(snapshot: &Snapshot, name: &NodeName, family: Family) -> Option<Endpoint> {
    let node = snapshot.nodes.get(name)?;
    let address = node.addresses.iter().copied().find(|address| Family::of(*address) == family)?;
    Some(Endpoint { address, owner: Owner::Node, node: Some(name.clone()) })
}
