//! What a document is, as its apiVersion and kind say.

use palisade_core::WorkloadKind;

use crate::metadata::{self, Scope};
use crate::syntax;

/// What a document is.
pub enum Kind<'a> {
    Namespace,
    Node,
    Pod,
    Service,
    Workload(WorkloadKind),
    NetworkPolicy(Version),
    HostPolicy,
    BanList,
    /// A file of a server outside of clusters, which no API server has.
    NodeAllowlist,
    /// Of a ban list, or no business of ours.
    ConfigMap,
    /// `List`, or a list of one kind, whose name it holds.
    List(Option<&'a str>),
    /// A policy kind of another engine.
    Foreign,
    /// No business of ours.
    Other,
}

/// Which `NetworkPolicy` it is.
#[derive(Clone, Copy)]
pub enum Version {
    /// networking.k8s.io/v1.
    Current,
    /// extensions/v1beta1.
    Old,
    /// Nothing that ever was one.
    Unknown,
}

impl<'a> Kind<'a> {
    /// What the apiVersion, if there is one, and the kind of a document say.
    pub fn of(version: Option<&str>, kind: &'a str) -> Kind<'a> {
        let group = version.map(|version| version.split_once('/').map_or("", |(group, _)| group));
        // Kinds of the same name in another group are other things, such as the Service of Knative.
        let is = |groups: &[&str]| group.is_none_or(|group| groups.contains(&group));
        match kind {
            "Namespace" if is(&[""]) => Kind::Namespace,
            "Node" if is(&[""]) => Kind::Node,
            "Pod" if is(&[""]) => Kind::Pod,
            "Service" if is(&[""]) => Kind::Service,
            "ConfigMap" if is(&[""]) => Kind::ConfigMap,
            "ReplicationController" if is(&[""]) => Kind::Workload(WorkloadKind::ReplicationController),
            "Deployment" if is(&["apps", "extensions"]) => Kind::Workload(WorkloadKind::Deployment),
            "StatefulSet" if is(&["apps"]) => Kind::Workload(WorkloadKind::StatefulSet),
            "DaemonSet" if is(&["apps", "extensions"]) => Kind::Workload(WorkloadKind::DaemonSet),
            "ReplicaSet" if is(&["apps", "extensions"]) => Kind::Workload(WorkloadKind::ReplicaSet),
            "Job" if is(&["batch"]) => Kind::Workload(WorkloadKind::Job),
            "CronJob" if is(&["batch"]) => Kind::Workload(WorkloadKind::CronJob),
            // Calico and Antrea have a kind of the same name.
            "NetworkPolicy" => match (group, version) {
                (_, Some("networking.k8s.io/v1")) => Kind::NetworkPolicy(Version::Current),
                (_, Some("extensions/v1beta1")) => Kind::NetworkPolicy(Version::Old),
                (None | Some("" | "networking.k8s.io" | "extensions"), _) => Kind::NetworkPolicy(Version::Unknown),
                _ => Kind::Foreign,
            },
            "HostPolicy" if is(&["palisade.dev"]) => Kind::HostPolicy,
            "BanList" if is(&["palisade.dev"]) => Kind::BanList,
            "NodeAllowlist" if is(&["palisade.dev"]) => Kind::NodeAllowlist,
            "CiliumNetworkPolicy"
            | "CiliumClusterwideNetworkPolicy"
            | "AdminNetworkPolicy"
            | "BaselineAdminNetworkPolicy"
            | "ClusterNetworkPolicy"
            | "GlobalNetworkPolicy" => Kind::Foreign,
            "List" => Kind::List(None),
            _ => match kind.strip_suffix("List") {
                Some(item) => Kind::List(Some(item)),
                None => Kind::Other,
            },
        }
    }

    /// Whether its objects have a namespace.
    pub fn scope(&self) -> Scope {
        match self {
            Kind::Namespace | Kind::Node | Kind::HostPolicy | Kind::BanList | Kind::NodeAllowlist => Scope::Cluster,
            _ => Scope::Namespace,
        }
    }

    /// How their names are written.
    pub fn name_syntax(&self) -> metadata::Syntax {
        match self {
            Kind::Namespace => syntax::dns_label,
            _ => syntax::dns_subdomain,
        }
    }
}
