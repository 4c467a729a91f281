//! The vocabulary every other crate speaks.
//!
//! Here are the shapes only: names, addresses, labels, policies, flows, tables. What a selector matches
//! or what a policy allows is *meaning*, and each witness (`palisade-compile`, `palisade-sim`) has its own
//! reading of it, so that one can judge the other. Nothing here does I/O.

pub mod address_set;
pub mod ban;
pub mod ban_tables;
pub mod diagnostic;
pub mod dialect;
pub mod flow;
pub mod host_policy;
pub mod host_tables;
pub mod labels;
pub mod name;
pub mod net;
pub mod policy;
pub mod server;
pub mod service;
pub mod snapshot;
pub mod tables;
pub mod verdict;

pub use address_set::{AddressRange, AddressSet};
pub use ban::{BanEntry, BanLimits, BanList, BanListName, BanPlace, BanSource, BanTarget};
pub use ban_tables::{BanChange, BanId, BanTables, TargetedBan};
pub use diagnostic::{Diagnostic, Level, Place};
pub use dialect::{Deviation, Dialect};
pub use flow::{End, Flow};
pub use host_policy::{HostGroup, HostPeer, HostPolicy, HostPolicyName, HostPort, HostScope, Otherwise};
pub use host_tables::{Guard, GuardId, GuardedPorts, Guards, HostChange, HostTables};
pub use labels::{Labels, Operator, Requirement, Selector};
pub use name::{NamespaceName, NodeName, ObjectName, PodName, PolicyName, WorkloadKind, WorkloadName};
pub use net::{Family, Port, PortRange, Traffic, Transport};
pub use policy::{Direction, NetworkPolicy, Peer, PerDirection, PortMatch, Ports, Rule};
pub use server::{AddressType, AdmittedNodes, SelectedPods, Server, ServerName};
pub use service::{Service, ServiceName, ServicePort, TargetPort, TrafficPolicy};
pub use snapshot::{Assumed, Change, ContainerPort, Namespace, Node, Pod, Snapshot};
pub use tables::{Admit, GroupId, Layer, PeerGroup, Rest, RestId, Tables, TablesChange};
pub use verdict::{Audit, Verdict};
