//! Names of objects. Cheap to clone: a cluster repeats them a lot.

use std::fmt;
use std::sync::Arc;

/// The name of a namespace.
pub type NamespaceName = Arc<str>;
/// The name of a node.
pub type NodeName = Arc<str>;
/// The name of a pod, with its namespace.
pub type PodName = ObjectName;
/// The name of a `NetworkPolicy`, with its namespace.
pub type PolicyName = ObjectName;

/// `namespace/name`. The two parts are kept apart, never joined, so that no two objects can share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// `metadata.namespace`.
    pub namespace: NamespaceName,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl ObjectName {
    /// A name from its two parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        ObjectName { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The kinds that make pods, and `service`, which gathers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// apps/v1 `Deployment`.
    Deployment,
    /// apps/v1 `StatefulSet`.
    StatefulSet,
    /// apps/v1 `DaemonSet`.
    DaemonSet,
    /// apps/v1 `ReplicaSet`.
    ReplicaSet,
    /// v1 `ReplicationController`.
    ReplicationController,
    /// batch/v1 `Job`.
    Job,
    /// batch/v1 `CronJob`.
    CronJob,
    /// v1 Service: the pods that its selector selects.
    Service,
}

impl WorkloadKind {
    /// Every kind with the names kubectl takes for it, the first being the one we print.
    pub const NAMES: [(WorkloadKind, &'static [&'static str]); 8] = [
        (WorkloadKind::Deployment, &["deployment", "deploy", "deployments"]),
        (WorkloadKind::StatefulSet, &["statefulset", "sts", "statefulsets"]),
        (WorkloadKind::DaemonSet, &["daemonset", "ds", "daemonsets"]),
        (WorkloadKind::ReplicaSet, &["replicaset", "rs", "replicasets"]),
        (WorkloadKind::ReplicationController, &["replicationcontroller", "rc", "replicationcontrollers"]),
        (WorkloadKind::Job, &["job", "jobs"]),
        (WorkloadKind::CronJob, &["cronjob", "cj", "cronjobs"]),
        (WorkloadKind::Service, &["service", "svc", "services"]),
    ];

    /// The kind that kubectl calls by this name, in any case.
    pub fn from_name(text: &str) -> Option<WorkloadKind> {
        WorkloadKind::NAMES
            .into_iter()
            .find(|(_, names)| names.iter().any(|name| name.eq_ignore_ascii_case(text)))
            .map(|(kind, _)| kind)
    }

    /// Its `kind`, as manifests have it.
    pub fn kind(self) -> &'static str {
        match self {
            WorkloadKind::Deployment => "Deployment",
            WorkloadKind::StatefulSet => "StatefulSet",
            WorkloadKind::DaemonSet => "DaemonSet",
            WorkloadKind::ReplicaSet => "ReplicaSet",
            WorkloadKind::ReplicationController => "ReplicationController",
            WorkloadKind::Job => "Job",
            WorkloadKind::CronJob => "CronJob",
            WorkloadKind::Service => "Service",
        }
    }

    /// The name we print.
    pub fn name(self) -> &'static str {
        WorkloadKind::NAMES.iter().find(|(kind, _)| *kind == self).map_or("workload", |(_, names)| names[0])
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `namespace/kind/name`: what users deployed, where a pod is only one of its copies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadName {
    /// Where it is.
    pub namespace: NamespaceName,
    /// What it is.
    pub kind: WorkloadKind,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind, self.name)
    }
}
