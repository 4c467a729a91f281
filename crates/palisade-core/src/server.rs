//! A server outside of clusters that has a `NodeAllowlist` (palisade.dev/v1alpha1) in force: ports that the nodes of clusters reach.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::host_policy::HostPort;
use crate::labels::Selector;
use crate::name::NodeName;

/// The name of a server: that of its list.
pub type ServerName = Arc<str>;

/// A server, and what its list says. What a list says of time, such as how long an address stays, is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Where it is. No input says so: they are invented.
    pub addresses: Vec<IpAddr>,
    /// `spec.clusters`: for each which of its nodes are admitted.
    pub clusters: Vec<AdmittedNodes>,
    /// `spec.staticCIDRs`: who is admitted whatever the clusters say; no host bits.
    pub static_cidrs: Vec<IpNet>,
    /// `spec.safety.within`: addresses of nodes outside are refused; empty is anywhere. No host bits.
    pub within: Vec<IpNet>,
    /// `spec.allow`: the ports that are closed to everybody else.
    pub ports: Vec<HostPort>,
}

/// One item of `spec.clusters`. The nodes of a snapshot stand for those of every cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedNodes {
    /// `name`.
    pub name: Arc<str>,
    /// `nodeSelector`; absent selects every node.
    pub nodes: Selector,
    /// `podSelector` and `podNamespaceSelector`: only nodes that run such a pod.
    pub pods: Option<SelectedPods>,
    /// `addressTypes`: by which of their addresses.
    pub address_types: Vec<AddressType>,
}

/// Pods that single out the nodes on which they run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectedPods {
    /// `podSelector`.
    pub pods: Selector,
    /// `podNamespaceSelector`; `None` is every namespace, whose labels then are of no interest.
    pub namespaces: Option<Selector>,
}

/// Which addresses of a node are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressType {
    /// `status.addresses` of this type.
    InternalIP,
    /// `status.addresses` of this type.
    ExternalIP,
    /// `spec.podCIDRs`: for clusters that do not hide pods behind their node.
    PodCIDR,
    /// What `egressAnnotation` names; it is not written in `addressTypes`.
    Egress,
}

impl AddressType {
    /// Those that `addressTypes` may name.
    pub const WRITTEN: [AddressType; 3] = [AddressType::InternalIP, AddressType::ExternalIP, AddressType::PodCIDR];
    /// Those of nodes whose file names none.
    pub const DEFAULT: [AddressType; 2] = [AddressType::InternalIP, AddressType::ExternalIP];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            AddressType::InternalIP => "InternalIP",
            AddressType::ExternalIP => "ExternalIP",
            AddressType::PodCIDR => "PodCIDR",
            AddressType::Egress => "Egress",
        }
    }

    /// The type with this name.
    pub fn named(name: &str) -> Option<AddressType> {
        AddressType::WRITTEN.into_iter().chain([AddressType::Egress]).find(|known| known.name() == name)
    }
}

/// The name under which the tables of a server stand beside those of nodes: no node can be called so.
pub fn machine(server: &ServerName) -> NodeName {
    format!("host/{server}").into()
}
