//! `HostPolicy` (palisade.dev/v1alpha1) after reading: who may reach ports of the nodes. A config file of kube-restrict-ip
//! is one, too.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::labels::Selector;
use crate::net::{Port, PortRange, Transport};
use crate::policy::write_block;

/// The name of a policy of ports of nodes; it lives in no namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPolicyName {
    /// `metadata.name` of a `HostPolicy`.
    Object(Arc<str>),
    /// `ipChain` of a config file of kube-restrict-ip.
    File(Arc<str>),
}

/// Policies that admit together. Where several groups guard a port, each of them must admit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostGroup {
    /// All `HostPolicy` objects of this scope.
    Objects(HostScope),
    /// One config file of kube-restrict-ip, by its `ipChain`.
    File(Arc<str>),
}

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

/// `spec.scope`: which packets to a port are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostScope {
    /// All that are sent to the port of a node: `HostSockets`, `NodePorts` and `HostPorts`.
    #[default]
    Everything,
    /// `HostSockets`: those that arrive at a socket of the node under this port, and not those that are translated on the way.
    HostSockets,
}

/// Who may reach some ports of some nodes. The policies of one group that guard a port of a node admit together those whom one
/// of them admits; whoever is to reach the port must be admitted by every group that guards it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPolicy {
    /// Its name.
    pub name: HostPolicyName,
    /// `spec.nodeSelector`: the nodes that it guards; absent selects every node.
    pub nodes: Selector,
    /// `spec.ports`: what it guards of them.
    pub ports: Vec<HostPort>,
    /// `spec.scope`.
    pub scope: HostScope,
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

impl HostPolicyName {
    /// What has such a name: the kind of the object, or the key of the file.
    pub fn kind(&self) -> &'static str {
        match self {
            HostPolicyName::Object(_) => "HostPolicy",
            HostPolicyName::File(_) => "ipChain",
        }
    }

    /// Where such a policy lists whom it admits.
    pub fn from_field(&self) -> &'static str {
        match self {
            HostPolicyName::Object(_) => "from",
            HostPolicyName::File(_) => "allowedNetworks",
        }
    }

    /// The name of the object; `None` for a file.
    pub fn object(&self) -> Option<&Arc<str>> {
        match self {
            HostPolicyName::Object(name) => Some(name),
            HostPolicyName::File(_) => None,
        }
    }
}

// Names are those of objects unless something else is said.
impl From<&str> for HostPolicyName {
    fn from(name: &str) -> HostPolicyName {
        HostPolicyName::Object(name.into())
    }
}

impl From<&Arc<str>> for HostPolicyName {
    fn from(name: &Arc<str>) -> HostPolicyName {
        HostPolicyName::Object(Arc::clone(name))
    }
}

impl fmt::Display for HostPolicyName {
    /// The bare name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPolicyName::Object(name) | HostPolicyName::File(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for HostGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostGroup::Objects(HostScope::Everything) => f.write_str("HostPolicy"),
            HostGroup::Objects(HostScope::HostSockets) => f.write_str("HostPolicy of HostSockets"),
            HostGroup::File(chain) => write!(f, "ipChain {chain}"),
        }
    }
}

impl HostPolicy {
    /// A policy of every node: its ports are for these blocks, and nobody else.
    pub fn of_blocks(
        name: HostPolicyName,
        ports: Vec<HostPort>,
        blocks: impl IntoIterator<Item = IpNet>,
    ) -> HostPolicy {
        HostPolicy {
            name,
            nodes: Selector::everything(),
            ports,
            scope: HostScope::Everything,
            from: blocks.into_iter().map(|cidr| HostPeer::Block { cidr, except: Vec::new() }).collect(),
            audit: false,
            otherwise: Otherwise::Drop,
            unreadable: None,
        }
    }

    /// With whom the policy admits together.
    pub fn group(&self) -> HostGroup {
        match &self.name {
            HostPolicyName::Object(_) => HostGroup::Objects(self.scope),
            HostPolicyName::File(chain) => HostGroup::File(Arc::clone(chain)),
        }
    }
}

impl HostScope {
    /// Every scope.
    pub const ALL: [HostScope; 2] = [HostScope::Everything, HostScope::HostSockets];
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
