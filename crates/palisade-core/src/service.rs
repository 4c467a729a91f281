//! v1 `Service`: where clients send, and where that leads.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::name::ObjectName;
use crate::net::{Family, Port, Transport};

/// The name of a `Service`, with its namespace.
pub type ServiceName = ObjectName;

/// A Service. Its pods are those of the workload of its name and of kind `service`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `spec.clusterIPs`, one of each family at most; empty if it is headless.
    pub addresses: Vec<IpAddr>,
    /// `spec.clusterIP: None`, or nothing that a node translates: names lead to the pods themselves.
    pub headless: bool,
    /// `spec.externalIPs`, and `status.loadBalancer.ingress` of the type `LoadBalancer`.
    pub external: Vec<IpAddr>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.internalTrafficPolicy`, for what comes to its own address.
    pub internal_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`, for what comes to ports of nodes and to external addresses.
    pub external_policy: TrafficPolicy,
    /// Whether the addresses were invented.
    pub assumed: bool,
}

/// To which pods a node leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// To all of them.
    #[default]
    Cluster,
    /// To those that run on the node. What comes from outside keeps its source.
    Local,
}

/// `ServicePort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `protocol`, TCP if absent.
    pub transport: Transport,
    /// `port`: that of the Service.
    pub port: Port,
    /// `targetPort`: that of its pods.
    pub target: TargetPort,
    /// `nodePort`: that of every node, for the types `NodePort` and `LoadBalancer`.
    pub node_port: Option<Port>,
}

/// `targetPort` of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// The same in every pod.
    Number(Port),
    /// The port that a pod declares under this name, for the protocol of the Service's port.
    Named(Arc<str>),
}

impl Service {
    /// Its own address in a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| Family::of(*address) == family)
    }
}

impl fmt::Display for TargetPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetPort::Number(port) => write!(f, "{port}"),
            TargetPort::Named(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for ServicePort {
    /// `tcp 80 (to http)`; the target is left out where it is the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServicePort { transport, port, target, .. } = self;
        write!(f, "{transport} {port}")?;
        if *target == TargetPort::Number(*port) { Ok(()) } else { write!(f, " (to {target})") }
    }
}
