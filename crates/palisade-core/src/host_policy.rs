//! `HostPolicy` (palisade.dev/v1alpha1) after reading: who may reach ports of the nodes.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::labels::Selector;
use crate::net::{Port, PortRange, Transport};
use crate::policy::write_block;

/// The name of a `HostPolicy`; it lives in no namespace.
pub type HostPolicyName = Arc<str>;

/// Ports without which a node is lost to its cluster and to its administrator: SSH, the API server, the kubelet, etcd, and
/// DHCP. Every node of the cluster is admitted to them, whatever a policy that names them says.
pub const FAILSAFE_PORTS: [HostPort; 6] = [
    HostPort { transport: Transport::Tcp, range: PortRange::constant(22, 22) },
    HostPort { transport: Transport::Tcp, range: PortRange::constant(2379, 2380) },
    HostPort { transport: Transport::Tcp, range: PortRange::constant(6443, 6443) },
    HostPort { transport: Transport::Tcp, range: PortRange::constant(10250, 10250) },
    HostPort { transport: Transport::Udp, range: PortRange::constant(67, 68) },
    HostPort { transport: Transport::Udp, range: PortRange::constant(546, 547) },
];

/// Who may reach some ports of some nodes. All policies that guard a port of a node admit together those whom one of
/// them admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPolicy {
    /// Its name.
    pub name: HostPolicyName,
    /// `spec.nodeSelector`: the nodes that it guards; absent selects every node.
    pub nodes: Selector,
    /// `spec.ports`: what it guards of them.
    pub ports: Vec<HostPort>,
    /// `spec.from`: whom it admits; absent or empty is nobody.
    pub from: Vec<HostPeer>,
    /// `spec.enforcement: Audit`: the policy is left out of the verdict, and has a say in the shadow verdict alone.
    pub audit: bool,
    /// `spec.otherwise`.
    pub otherwise: Otherwise,
    /// Why the policy could not be read, if so: it guards the ports that could be read, without the failsafe ones, and admits nobody.
    pub unreadable: Option<String>,
}

/// One item of `spec.ports`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// `protocol`, TCP if absent.
    pub transport: Transport,
    /// `port`, or `port` to `endPort`.
    pub range: PortRange,
}

/// One item of `spec.from`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPeer {
    /// `nodes`: nodes of the cluster, by every address that they have.
    Nodes(Selector),
    /// `pods`: pods that have addresses of their own.
    Pods {
        /// `namespaceSelector`; absent selects every namespace.
        namespaces: Selector,
        /// `podSelector`; absent selects every pod.
        pods: Selector,
    },
    /// `ipBlock`: addresses, whoever has them.
    Block {
        /// `ipBlock.cidr`, its host bits cleared.
        cidr: IpNet,
        /// `ipBlock.except`, host bits cleared.
        except: Vec<IpNet>,
    },
}

/// `spec.otherwise`: what becomes of packets of those who are not admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Otherwise {
    /// They are dropped.
    #[default]
    Drop,
    /// They are answered with a TCP reset or an ICMP error.
    Reject,
}

impl HostPort {
    /// Whether it holds the port.
    pub fn contains(self, transport: Transport, port: Port) -> bool {
        self.transport == transport && self.range.contains(port)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport, self.range)
    }
}

impl fmt::Display for HostPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPeer::Nodes(selector) => write!(f, "nodes {selector}"),
            HostPeer::Pods { namespaces, pods } => write!(f, "pods {pods} in namespaces {namespaces}"),
            HostPeer::Block { cidr, except } => write_block(f, cidr, except),
        }
    }
}
