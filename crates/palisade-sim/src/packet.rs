//! A concrete packet: one family, one address at each end.

use std::fmt;
use std::net::IpAddr;

use palisade_core::{Family, NodeName, PodName, ServerName, ServiceName, Traffic};

/// The packet that opens a flow, after every Service, `NodePort` and `hostPort` has been resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Packet {
    /// The family of all addresses.
    pub family: Family,
    /// The client.
    pub source: Endpoint,
    /// The server.
    pub destination: Endpoint,
    /// The protocol, and the port of the server.
    pub traffic: Traffic,
    /// What led it there; `None` if the client sends it to the server itself.
    pub via: Option<Box<Via>>,
}

/// How a node leads a packet to the server: it rewrites the destination, and then perhaps the source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Via {
    /// By what.
    pub door: Door,
    /// Where the client sends it.
    pub to: Endpoint,
    /// What the client sends: the protocol, and the port of the door.
    pub traffic: Traffic,
    /// The node that rewrites it; `None` if no node runs the client yet.
    pub node: Option<NodeName>,
    /// Under whose address it leaves that node; `None` if that is still the client's.
    pub masquerade: Option<Endpoint>,
    /// Whether it matters on which node a server runs: for where the packet goes, or under which address it arrives.
    pub by_node: bool,
}

/// What a node translates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Door {
    /// The address of a Service.
    Service(ServiceName),
    /// An external address of a Service: of `externalIPs`, or of its load balancer.
    External(ServiceName),
    /// `nodePort` of a Service.
    NodePort(ServiceName),
    /// `hostPort` of a pod.
    HostPort(PodName),
}

/// A packet as a node on its way sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    /// The packet, without what led it here.
    pub(crate) packet: Packet,
    /// The node; `None` means every node on its way.
    pub(crate) node: Option<NodeName>,
    /// What has become of it.
    pub(crate) stage: Stage,
}

/// What has become of a packet on its way through a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is no door: from end to end it is the same.
    Plain,
    /// It leaves the node of its client for the node that translates it.
    Leaving,
    /// It is about to be translated.
    Entering,
    /// Its destination was rewritten, its source not yet.
    Translated,
    /// It comes to the node of the server from the one that translated it.
    Arriving,
}

impl Packet {
    /// What leads it to the server, for people: `via service shop/front (10.96.0.1 tcp 80) on node n1, to shop/front-1 tcp 8080`. `None` if nothing does.
    pub fn way(&self) -> Option<String> {
        let Via { door, to, traffic, node, .. } = &**self.via.as_ref()?;
        let on = node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
        let as_whom = self.hidden_behind().map(|source| format!(", as {source}")).unwrap_or_default();
        Some(format!("via {door} ({} {traffic}){on}, to {} {}{as_whom}", to.address, self.destination, self.traffic))
    }

    /// Whom the node of the server takes for the client, where that is not the client.
    pub(crate) fn hidden_behind(&self) -> Option<Endpoint> {
        let arriving = self.legs().pop().map(|leg| leg.packet.source);
        arriving.filter(|source| *source != self.source)
    }

    /// What the nodes on its way see, in its order.
    ///
    /// The node of the client sees what the client sends. The node that translates is asked before (of ports of nodes) and after: destinations are
    /// rewritten before policies are asked, sources afterwards. Another node that runs the server sees the rewritten source.
    pub(crate) fn legs(&self) -> Vec<Leg> {
        let plain = Packet { via: None, ..self.clone() };
        let Some(via) = &self.via else {
            return vec![Leg { packet: plain, node: None, stage: Stage::Plain }];
        };
        let mut legs = Vec::new();
        if via.to.owner == Owner::Node {
            let sent = Packet { destination: via.to.clone(), traffic: via.traffic, ..plain.clone() };
            let client = self.source.node.clone().filter(|_| matches!(self.source.owner, Owner::Pod(_)));
            if client.is_some() && client != via.node {
                legs.push(Leg { packet: sent.clone(), node: client, stage: Stage::Leaving });
            }
            legs.push(Leg { packet: sent, node: via.node.clone(), stage: Stage::Entering });
        }
        legs.push(Leg { packet: plain.clone(), node: via.node.clone(), stage: Stage::Translated });
        let server = self.destination.node.clone();
        if via.node.is_some() && server.is_some() && server != via.node {
            let source = via.masquerade.clone().unwrap_or(plain.source);
            legs.push(Leg { packet: Packet { source, ..plain }, node: server, stage: Stage::Arriving });
        }
        legs
    }
}

/// One end of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address in the packet.
    pub address: IpAddr,
    /// Whose address it is.
    pub owner: Owner,
    /// The node that the owner runs on, or that it is; `None` outside the cluster and for a pod that no node runs yet.
    pub node: Option<NodeName>,
}

/// Whose address it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A pod with its own network namespace.
    Pod(PodName),
    /// A node, or a hostNetwork pod on it: the two cannot be told apart.
    Node,
    /// A server outside of the cluster.
    Server(ServerName),
    /// Nobody the snapshot knows.
    Outside,
}

impl Owner {
    /// Whether it is no part of the cluster.
    pub fn is_outside(&self) -> bool {
        matches!(self, Owner::Server(_) | Owner::Outside)
    }
}

impl fmt::Display for Endpoint {
    /// As an end of a flow: `web/front`, `node/n1`, `203.0.113.7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.owner, &self.node) {
            (Owner::Pod(name), _) => write!(f, "{name}"),
            (Owner::Node, Some(node)) => write!(f, "node/{node}"),
            (Owner::Server(name), _) => write!(f, "host/{name}"),
            (Owner::Node, None) | (Owner::Outside, _) => write!(f, "{}", self.address),
        }
    }
}

impl fmt::Display for Packet {
    /// As a flow: `web/front -> db/pg tcp 5432`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {}", self.source, self.destination, self.traffic)
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Door::Service(name) => write!(f, "service {name}"),
            Door::External(name) => write!(f, "the external address of service {name}"),
            Door::NodePort(name) => write!(f, "the nodePort of service {name}"),
            Door::HostPort(name) => write!(f, "the hostPort of pod {name}"),
        }
    }
}
