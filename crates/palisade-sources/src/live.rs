//! The objects of a live cluster, one event at a time: what changed in the snapshot, and what is wrong with which object.
//!
//! After any sequence of events the snapshot is the one that [`parse`](crate::parse) makes of the same objects in a file,
//! but for what `parse` invents: in a live cluster, a pod without a node or an address has none. A change costs as much
//! as what it touches.
//!
//! Read in this order: `object` (what is kept of what the API server sends), `read` (an object to what it describes),
//! then one file for what depends on other objects, or on the time: `namespaces`, `nodes`, `policies`, `bans`; `view` and `findings` hold the
//! results and tell what is news.

mod bans;
mod findings;
mod namespaces;
mod nodes;
mod object;
mod policies;
mod read;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use palisade_core::{
    BanEntry, BanList, BanListName, BanSource, Change, Diagnostic, HostPolicy, HostPolicyName, ObjectName, Pod,
    PodName, Snapshot, WorkloadKind, WorkloadName,
};

pub use object::Object;

use crate::metadata::{Owner, Scope, Syntax};
use crate::pod::PodObject;
use crate::reading::Reading;
use crate::{Limits, cluster, placement, syntax};
use bans::Bans;
use findings::Findings;
use namespaces::Namespaces;
use nodes::{Nodes, has_node_addresses};
use policies::Policies;
use read::{Content, Found};
use view::View;

/// The kinds that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// v1 `Namespace`.
    Namespace,
    /// v1 `Node`.
    Node,
    /// v1 `Pod`.
    Pod,
    /// networking.k8s.io/v1 `NetworkPolicy`.
    NetworkPolicy,
    /// palisade.dev/v1alpha1 `HostPolicy`.
    HostPolicy,
    /// palisade.dev/v1alpha1 `BanList`.
    BanList,
}

/// What an event means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// What changed in the snapshot, in an order in which it can be applied; empty if the event changed nothing that
    /// counts.
    pub changes: Vec<Change>,
    /// The objects with which something else is wrong than before.
    pub findings: Vec<Finding>,
}

/// What is wrong with an object now; an empty list: nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kind of the object.
    pub kind: Kind,
    /// Its name. The namespace is empty for kinds that have none; what cannot be told is empty too.
    pub name: ObjectName,
    /// What is wrong with it, without places; of very many the worst.
    pub diagnostics: Vec<Diagnostic>,
}

/// The cluster as the events so far describe it. [`Snapshot::workloads`] stays empty: what made a pod stands in the pod.
pub struct Live {
    limits: Limits,
    reading: Reading,
    view: View,
    findings: Findings,
    namespaces: Namespaces,
    nodes: Nodes,
    policies: Policies,
    bans: Bans,
    /// For each kind that is being listed, the objects that the list has not held so far.
    unlisted: BTreeMap<Kind, BTreeSet<ObjectName>>,
}

impl Live {
    /// A cluster of which nothing is known.
    pub fn new(limits: Limits) -> Live {
        Live {
            limits,
            reading: Reading::default(),
            view: View::default(),
            findings: Findings::default(),
            namespaces: Namespaces::default(),
            nodes: Nodes::default(),
            policies: Policies::default(),
            bans: Bans::default(),
            unlisted: BTreeMap::new(),
        }
    }

    /// The cluster now.
    pub fn snapshot(&self) -> &Snapshot {
        &self.view.snapshot
    }

    /// An object came or changed, or is an item of a list. One whose name cannot be told is reported and changes nothing.
    pub fn put(&mut self, kind: Kind, object: &Object) -> Update {
        let Found { name, content, diagnostics } = read::read(kind, object, &self.limits, &mut self.reading);
        if let Some(unlisted) = self.unlisted.get_mut(&kind) {
            unlisted.remove(&name);
        }
        match content {
            // A policy has the findings of its namespace's limits besides.
            Some(Content::Policy(policy)) => {
                if !self.policies.contains(&name) {
                    self.namespaces.enter(&name.namespace, &mut self.reading, &mut self.view);
                }
                self.policies.put(policy, diagnostics, &self.limits, &mut self.view, &mut self.findings);
                return self.update();
            }
            Some(Content::Namespace(namespace)) => {
                self.namespaces.describe(&name.name, Some(namespace), &mut self.reading, &mut self.view);
            }
            Some(Content::Node(node)) => self.nodes.describe(&name.name, Some(node), &mut self.view),
            Some(Content::Pod(pod)) => self.put_pod(&name, pod),
            Some(Content::HostPolicy(policy)) => self.view.host_policy(&(&name.name).into(), Some(Arc::new(policy))),
            Some(Content::BanList(list)) => self.bans.set(&name.name, Some(list), &mut self.view),
            None => {}
        }
        self.findings.set(kind, &name, diagnostics);
        self.update()
    }

    /// An object was deleted.
    pub fn remove(&mut self, kind: Kind, object: &Object) -> Update {
        let name = read::name(kind, object, &mut self.reading);
        self.remove_named(kind, &name);
        self.update()
    }

    /// It is so late now, in seconds since 1970: what has expired is gone. Before the first call nothing has.
    pub fn at(&mut self, now: i64) -> Update {
        self.bans.at(now, &mut self.view);
        self.update()
    }

    /// When something expires next, in seconds since 1970.
    pub fn next_expiry(&self) -> Option<i64> {
        self.bans.next_expiry()
    }

    /// The source of a ban list holds this, where the list has one.
    pub fn set_ban_source(&mut self, list: &BanListName, entries: Arc<[BanEntry]>) -> Update {
        self.bans.set_source(list, entries, &mut self.view);
        self.update()
    }

    /// The ban lists that have a source.
    pub fn ban_sources(&self) -> impl Iterator<Item = (&BanListName, &BanSource)> {
        self.bans.sources()
    }

    /// Config files of kube-restrict-ip come to these policies, and to no others.
    pub fn set_files(&mut self, policies: impl Iterator<Item = HostPolicy>) -> Update {
        let mut files: BTreeMap<HostPolicyName, HostPolicy> =
            policies.map(|policy| (policy.name.clone(), policy)).collect();
        let known = self.view.snapshot.host_policies.keys().filter(|name| name.object().is_none());
        for name in known.cloned().collect::<Vec<_>>() {
            if !files.contains_key(&name) {
                self.view.host_policy(&name, None);
            }
        }
        while let Some((name, policy)) = files.pop_first() {
            self.view.host_policy(&name, Some(Arc::new(policy)));
        }
        self.update()
    }

    /// These are the ban lists, and no others: there is no API server that has any.
    pub fn set_ban_lists(&mut self, lists: Vec<BanList>) -> Update {
        let names: BTreeSet<BanListName> = lists.iter().map(|list| Arc::clone(&list.name)).collect();
        for gone in self.bans.names().filter(|name| !names.contains(*name)).cloned().collect::<Vec<_>>() {
            self.bans.set(&gone, None, &mut self.view);
        }
        for list in lists {
            self.bans.set(&Arc::clone(&list.name), Some(list), &mut self.view);
        }
        self.update()
    }

    /// A list of all objects of a kind begins. A list that was begun before and not completed is forgotten.
    pub fn begin(&mut self, kind: Kind) {
        let cluster_wide = |name: &Arc<str>| ObjectName::new("", Arc::clone(name));
        let mut unlisted: BTreeSet<ObjectName> = match kind {
            Kind::Namespace => self.namespaces.described().map(cluster_wide).collect(),
            Kind::Node => self.nodes.described().map(cluster_wide).collect(),
            Kind::Pod => self.view.snapshot.pods.keys().cloned().collect(),
            Kind::NetworkPolicy => self.view.snapshot.policies.keys().cloned().collect(),
            Kind::HostPolicy => {
                let names = self.view.snapshot.host_policies.keys();
                names.filter_map(HostPolicyName::object).map(cluster_wide).collect()
            }
            Kind::BanList => self.bans.names().map(cluster_wide).collect(),
        };
        unlisted.extend(self.findings.of(kind).cloned());
        self.unlisted.insert(kind, unlisted);
    }

    /// The list is complete: what it did not hold is gone.
    pub fn end(&mut self, kind: Kind) -> Update {
        for name in self.unlisted.remove(&kind).into_iter().flatten() {
            self.remove_named(kind, &name);
        }
        self.update()
    }

    fn remove_named(&mut self, kind: Kind, name: &ObjectName) {
        if let Some(unlisted) = self.unlisted.get_mut(&kind) {
            unlisted.remove(name);
        }
        match kind {
            Kind::Namespace => self.namespaces.describe(&name.name, None, &mut self.reading, &mut self.view),
            Kind::Node => self.nodes.describe(&name.name, None, &mut self.view),
            Kind::Pod => self.remove_pod(name),
            Kind::NetworkPolicy if self.policies.contains(name) => {
                self.policies.remove(name, &self.limits, &mut self.view, &mut self.findings);
                self.namespaces.leave(&name.namespace, &mut self.reading, &mut self.view);
            }
            Kind::NetworkPolicy => {}
            Kind::HostPolicy => self.view.host_policy(&(&name.name).into(), None),
            Kind::BanList => self.bans.set(&name.name, None, &mut self.view),
        }
        self.findings.set(kind, name, Vec::new());
    }

    fn put_pod(&mut self, name: &PodName, mut object: PodObject) {
        let workload = object.owner.take().map(|owner| self.workload(name, owner, &object));
        let (pod, node_addresses) = cluster::pod(object, &mut self.reading);
        let told: Vec<_> = placement::told_by(&pod, &node_addresses).copied().collect();
        let mut pod = Pod { workload, ..pod };
        match self.view.snapshot.pods.get(name).map(|before| before.node.clone()) {
            None => self.namespaces.enter(&name.namespace, &mut self.reading, &mut self.view),
            Some(Some(before)) if pod.node.as_ref() != Some(&before) => {
                self.nodes.leave(&before, name, &mut self.view);
            }
            Some(_) => {}
        }
        if let Some(node) = &pod.node {
            self.nodes.join(node, name, &told, &mut self.view);
            if let Some(node) = self.view.snapshot.nodes.get(node).filter(|_| has_node_addresses(&pod)) {
                pod.addresses.clone_from(&node.addresses);
            }
        }
        self.view.pod(name, Some(Arc::new(pod)));
    }

    fn remove_pod(&mut self, name: &PodName) {
        let Some(pod) = self.view.snapshot.pods.get(name).map(Arc::clone) else { return };
        self.view.pod(name, None);
        if let Some(node) = &pod.node {
            self.nodes.leave(node, name, &mut self.view);
        }
        self.namespaces.leave(&name.namespace, &mut self.reading, &mut self.view);
    }

    /// What made a pod, as far as the pod tells.
    fn workload(&mut self, name: &PodName, owner: Owner, pod: &PodObject) -> WorkloadName {
        let owner = WorkloadName { namespace: Arc::clone(&name.namespace), kind: owner.kind, name: owner.name };
        match cluster::deployment(&owner, &pod.template.labels) {
            Some(deployment) => {
                let name = self.reading.share(deployment);
                WorkloadName { kind: WorkloadKind::Deployment, name, ..owner }
            }
            None => owner,
        }
    }

    /// What has happened since the last event.
    fn update(&mut self) -> Update {
        self.reading.tidy();
        Update { changes: std::mem::take(&mut self.view.changes), findings: std::mem::take(&mut self.findings.changed) }
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] =
        [Kind::Namespace, Kind::Node, Kind::Pod, Kind::NetworkPolicy, Kind::HostPolicy, Kind::BanList];

    /// The `kind` of its objects.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Namespace => "Namespace",
            Kind::Node => "Node",
            Kind::Pod => "Pod",
            Kind::NetworkPolicy => "NetworkPolicy",
            Kind::HostPolicy => "HostPolicy",
            Kind::BanList => "BanList",
        }
    }

    fn scope(self) -> Scope {
        match self {
            Kind::Namespace | Kind::Node | Kind::HostPolicy | Kind::BanList => Scope::Cluster,
            Kind::Pod | Kind::NetworkPolicy => Scope::Namespace,
        }
    }

    fn name_syntax(self) -> Syntax {
        match self {
            Kind::Namespace => syntax::dns_label,
            _ => syntax::dns_subdomain,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
