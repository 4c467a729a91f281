//! From documents to objects: which kind each is, one reader a kind, duplicates, and what cannot be told.

pub mod kind;

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_core::{
    BanList, BanListName, Diagnostic, HostPolicy, HostPolicyName, Level, Namespace, NamespaceName, NetworkPolicy,
    Node as ClusterNode, NodeName, ObjectName, PodName, PolicyName, ServerName, WorkloadName,
};

use crate::Limits;
use crate::document::{Broken, Document};
use crate::metadata::{self, Metadata, Scope};
use crate::node_allowlist::{self, NodeAllowlist};
use crate::pod::{self, PodObject};
use crate::reading::{At, Reading};
use crate::report::{Origin, Report};
use crate::service::{self, ServiceObject};
use crate::tree::{Key, Node, Span, Value, duplicates, shortened};
use crate::workload::{self, WorkloadObject};
use crate::{ban_list, config_map, host_policy, namespace, network_policy, node, restrict_ip};
use kind::{Kind, Version};

/// An object and where it stands.
#[derive(Debug)]
pub struct Placed<T> {
    pub origin: Origin,
    pub object: T,
}

/// Everything that the input describes, by name.
#[derive(Debug, Default)]
pub struct Objects {
    pub namespaces: BTreeMap<NamespaceName, Placed<Namespace>>,
    pub nodes: BTreeMap<NodeName, Placed<ClusterNode>>,
    pub pods: BTreeMap<PodName, Placed<PodObject>>,
    pub workloads: BTreeMap<WorkloadName, Placed<WorkloadObject>>,
    pub services: BTreeMap<ObjectName, Placed<ServiceObject>>,
    pub policies: BTreeMap<PolicyName, Placed<NetworkPolicy>>,
    pub host_policies: BTreeMap<HostPolicyName, Placed<HostPolicy>>,
    pub ban_lists: BTreeMap<BanListName, Placed<BanList>>,
    pub allowlists: BTreeMap<ServerName, Placed<NodeAllowlist>>,
    /// The texts of those that ban lists may name.
    pub config_maps: BTreeMap<String, Vec<String>>,
    /// How many objects of each policy kind of another engine.
    pub foreign: BTreeMap<String, usize>,
}

/// Reads documents into objects.
pub struct Reader<'r, 's> {
    pub objects: Objects,
    pub reading: Reading,
    pub report: &'r mut Report<'s>,
    pub limits: &'r Limits,
    /// A document is so broken that its namespace cannot be told.
    pub untold: bool,
    /// How many names had to be invented.
    pub invented_names: usize,
    /// How many objects there were, of whatever kind.
    pub seen: usize,
}

const UNTOLD: &str = "no verdict can be given: it may hold a policy of any namespace";

/// What errors in the `metadata` of a policy mean: a name that the API server would refuse leaves its meaning as it is.
pub const READ_ALL_THE_SAME: &str = "the API server would refuse it; it is read all the same";

/// What it means if the name of an object cannot be told.
pub const LEFT_OUT: &str = "the object is left out";

/// What errors in an object that is no policy mean.
pub fn rest_is_used(kind: &str) -> String {
    format!("the rest of the {} is used", kind.to_lowercase())
}

/// Why it cannot be told which object this is, and where that shows.
pub fn ambiguous(entries: &[(Key<'_>, Node<'_>)]) -> Option<(String, Span)> {
    let key = duplicates(entries).into_iter().find(|key| matches!(&*key.text, "kind" | "metadata"))?;
    Some((format!("'{}' is written twice: nobody can say which object this is", key.text), key.span))
}

/// Reports the keys that are written twice outside `metadata`, which looks for its own.
pub fn duplicate_keys(tree: &Node<'_>, reading: &mut Reading) {
    let Value::Map(entries) = &tree.value else { return };
    let inside = ["spec", "status"].into_iter().filter_map(|name| tree.get(name)).flat_map(Node::duplicate_keys);
    for key in duplicates(entries).into_iter().chain(inside) {
        reading.problem(Level::Error, key.span, format!("'{}' is written twice", shortened(&key.text)));
    }
}

impl<'r, 's> Reader<'r, 's> {
    /// One that has read nothing yet.
    pub fn new(report: &'r mut Report<'s>, limits: &'r Limits) -> Reader<'r, 's> {
        let (objects, reading) = (Objects::default(), Reading::default());
        Reader { objects, reading, report, limits, untold: false, invented_names: 0, seen: 0 }
    }

    /// Reads one document.
    pub fn document(&mut self, source: usize, document: &Document<'_>) {
        let origin = Origin { source, span: document.tree.span, line: document.line };
        match &document.broken {
            None => self.object(&document.tree, origin, None),
            Some(broken) => self.broken(&document.tree, origin, broken),
        }
    }

    /// Reads an object; an item of a typed list may leave out the kind and version that `inherited` holds.
    fn object(&mut self, tree: &Node<'_>, origin: Origin, inherited: Option<(&str, &str)>) {
        let Value::Map(entries) = &tree.value else {
            let message = format!("expected a Kubernetes object, found {}", tree.value);
            self.complain(Level::Warning, message, origin, "it is passed over");
            return;
        };
        if let Some((message, span)) = ambiguous(entries) {
            self.untold(message, Origin { span, ..origin });
            return;
        }
        let (kind, version) = match (tree.get_text("kind"), inherited) {
            (Some(kind), _) => (kind, tree.get_text("apiVersion")),
            (None, Some((kind, version))) => (kind, Some(version)),
            (None, None) => return self.without_kind(tree, origin),
        };
        self.seen += 1;
        match Kind::of(version, kind) {
            Kind::List(item_kind) => self.list(tree, origin, item_kind.zip(version)),
            Kind::Foreign => *self.objects.foreign.entry(kind.to_string()).or_default() += 1,
            Kind::ConfigMap => self.objects.config_maps.extend(config_map::read(tree)),
            Kind::NodeAllowlist => self.allowlist(tree, origin),
            Kind::Other => {}
            known => {
                if version.is_none() && !matches!(known, Kind::NetworkPolicy(_) | Kind::HostPolicy | Kind::BanList) {
                    let message = format!("apiVersion: expected that of a {kind}, found nothing");
                    self.reading.problem(Level::Warning, tree.span, message);
                }
                self.known(&known, kind, tree, origin, None);
            }
        }
    }

    fn without_kind(&mut self, tree: &Node<'_>, origin: Origin) {
        if let Some(kind) = tree.get("kind") {
            let message = format!("kind: expected text, found {}", kind.value);
            self.untold(message, Origin { span: kind.span, ..origin });
        } else if tree.get("apiVersion").is_some() {
            self.untold("kind: expected text, found nothing".to_string(), origin);
        } else {
            let message = "expected a Kubernetes object, found no kind";
            let hint = restrict_ip::is_config(tree).then(|| "--config takes the files of kube-restrict-ip".to_string());
            let effect = Some("it is passed over".to_string());
            self.report.add(origin, Diagnostic { effect, hint, ..Diagnostic::new(Level::Warning, message) });
        }
    }

    fn list(&mut self, tree: &Node<'_>, origin: Origin, inherited: Option<(&str, &str)>) {
        let Some(items) = tree.get("items") else { return };
        let Value::List(items) = &items.value else {
            let message = format!("items: expected a list, found {}", items.value);
            return self.untold(message, Origin { span: items.span, ..origin });
        };
        for item in items {
            self.object(item, Origin { span: item.span, ..origin }, inherited);
        }
    }

    /// A document that is neither YAML nor JSON, of which some top-level keys may be readable.
    fn broken(&mut self, tree: &Node<'_>, origin: Origin, broken: &Broken) {
        let at = Origin { span: broken.span, ..origin };
        let told = matches!(&tree.value, Value::Map(entries)
            if !duplicates(entries).iter().any(|key| matches!(&*key.text, "kind" | "metadata")));
        let (Some(kind), true) = (tree.get_text("kind"), told) else {
            return self.untold(broken.message.clone(), at);
        };
        self.seen += 1;
        match Kind::of(tree.get_text("apiVersion"), kind) {
            Kind::List(_) => self.untold(broken.message.clone(), at),
            Kind::ConfigMap | Kind::Other => {
                self.complain(Level::Error, broken.message.clone(), at, "the object is passed over");
            }
            Kind::NodeAllowlist => self.complain(Level::Error, broken.message.clone(), at, node_allowlist::NOTHING),
            Kind::Foreign => {
                *self.objects.foreign.entry(kind.to_string()).or_default() += 1;
                self.complain(Level::Error, broken.message.clone(), at, "the object is passed over");
            }
            // Metadata that is not found may be lost in what is broken.
            _ if tree.get("metadata").is_none() => self.untold(broken.message.clone(), at),
            known => self.known(&known, kind, tree, origin, Some(broken)),
        }
    }

    /// Reads an object of a kind that counts.
    fn known(&mut self, kind: &Kind, kind_text: &str, tree: &Node<'_>, origin: Origin, broken: Option<&Broken>) {
        let root = At::root(tree);
        let metadata = metadata::read(&root, kind.scope(), kind.name_syntax(), &mut self.reading);
        let Some(namespace) = metadata.namespace.clone() else {
            let problems = std::mem::take(&mut self.reading.problems);
            self.report.problems(problems, origin, Some(kind_text), Some(UNTOLD));
            self.untold = true;
            return;
        };
        let origin = Origin { span: metadata.span, ..origin };
        let object = match (&metadata.name, kind.scope()) {
            (Some(name), Scope::Namespace) => format!("{kind_text} {namespace}/{name}"),
            (Some(name), Scope::Cluster) => format!("{kind_text} {name}"),
            (None, _) => kind_text.to_string(),
        };
        if let Kind::NetworkPolicy(version) = kind {
            let problems = std::mem::take(&mut self.reading.problems);
            self.report.problems(problems, origin, Some(&object), Some(READ_ALL_THE_SAME));
            let name = PolicyName { name: self.policy_name(&metadata, &namespace), namespace };
            self.policy(name, *version, &root, origin, &object, broken);
            return;
        }
        if matches!(kind, Kind::HostPolicy | Kind::BanList) {
            let problems = std::mem::take(&mut self.reading.problems);
            self.report.problems(problems, origin, Some(&object), Some(READ_ALL_THE_SAME));
            let name = self.name_of_ours(&metadata, kind);
            self.version_of_ours(kind_text, &root, origin);
            match kind {
                Kind::BanList => self.ban_list(name, &root, origin, &object, broken),
                _ => self.host_policy(HostPolicyName::Object(name), &root, origin, &object, broken),
            }
            return;
        }
        let Some(name) = self.object_name(&metadata, kind, &namespace) else {
            let problems = std::mem::take(&mut self.reading.problems);
            self.report.problems(problems, origin, Some(&object), Some(LEFT_OUT));
            return;
        };
        if let Some(broken) = broken {
            self.reading.problem(Level::Error, broken.span, broken.message.clone());
        }
        duplicate_keys(tree, &mut self.reading);
        let effect = rest_is_used(kind_text);
        let before = self.insert(kind, ObjectName { namespace, name }, metadata, &root, origin);
        let problems = std::mem::take(&mut self.reading.problems);
        self.report.problems(problems, origin, Some(&object), Some(&effect));
        self.twice(before, origin, &object);
    }

    /// Reads the object itself and puts it in its place; the origin of one of the same name that it replaces.
    fn insert(
        &mut self,
        kind: &Kind,
        name: ObjectName,
        metadata: Metadata,
        root: &At<'_>,
        origin: Origin,
    ) -> Option<Origin> {
        let reading = &mut self.reading;
        let objects = &mut self.objects;
        match *kind {
            Kind::Namespace => {
                let object = namespace::read(&name.name, Some(metadata), reading);
                replace(&mut objects.namespaces, name.name, Placed { origin, object })
            }
            Kind::Node => {
                let object = node::read(root, metadata, reading);
                replace(&mut objects.nodes, name.name, Placed { origin, object })
            }
            Kind::Pod => {
                let object = pod::read(root, metadata, reading);
                replace(&mut objects.pods, name, Placed { origin, object })
            }
            Kind::Service => {
                let object = service::read(root, reading);
                replace(&mut objects.services, name, Placed { origin, object })
            }
            Kind::Workload(kind) => {
                let object = workload::read(kind, root, metadata, reading);
                let name = WorkloadName { namespace: name.namespace, kind, name: name.name };
                replace(&mut objects.workloads, name, Placed { origin, object })
            }
            Kind::NetworkPolicy(_)
            | Kind::HostPolicy
            | Kind::BanList
            | Kind::NodeAllowlist
            | Kind::ConfigMap
            | Kind::List(_)
            | Kind::Foreign
            | Kind::Other => None,
        }
    }

    fn policy(
        &mut self,
        name: PolicyName,
        version: Version,
        root: &At<'_>,
        origin: Origin,
        object: &str,
        broken: Option<&Broken>,
    ) {
        let audit = network_policy::audit(root, &mut self.reading);
        let problems = std::mem::take(&mut self.reading.problems);
        self.report.problems(problems, origin, Some(object), Some(network_policy::ENFORCES));
        match version {
            Version::Current => {}
            Version::Old => {
                let message = "extensions/v1beta1 is gone since Kubernetes 1.16: read as networking.k8s.io/v1";
                self.reading.problem(Level::Note, origin.span, message.to_string());
                self.reading.hint("write 'apiVersion: networking.k8s.io/v1'");
            }
            Version::Unknown => {
                let span = root.node.get("apiVersion").map_or(origin.span, |node| node.span);
                let message = "apiVersion: expected networking.k8s.io/v1 of a NetworkPolicy".to_string();
                self.reading.problem(Level::Error, span, message);
            }
        }
        let policy = match broken {
            Some(broken) => {
                self.reading.problem(Level::Error, broken.span, broken.message.clone());
                network_policy::lost(name.clone(), &broken.message)
            }
            None => network_policy::read(root, name.clone(), self.limits.peers_per_policy, &mut self.reading),
        };
        // Where the document is broken, the annotation may not be all there is to it.
        let policy = NetworkPolicy { audit: audit && broken.is_none(), ..policy };
        let effect = network_policy::effect(&policy);
        let problems = std::mem::take(&mut self.reading.problems);
        self.report.problems(problems, origin, Some(object), Some(&effect));
        let before = replace(&mut self.objects.policies, name, Placed { origin, object: policy });
        self.twice(before, origin, object);
    }

    fn host_policy(
        &mut self,
        name: HostPolicyName,
        root: &At<'_>,
        origin: Origin,
        object: &str,
        broken: Option<&Broken>,
    ) {
        let policy = match broken {
            Some(broken) => {
                self.reading.problem(Level::Error, broken.span, broken.message.clone());
                host_policy::lost(name.clone(), &broken.message)
            }
            None => host_policy::read(root, name.clone(), self.limits.peers_per_policy, &mut self.reading),
        };
        let problems = std::mem::take(&mut self.reading.problems);
        self.report.problems(problems, origin, Some(object), Some(host_policy::effect(&policy)));
        let before = replace(&mut self.objects.host_policies, name, Placed { origin, object: policy });
        self.twice(before, origin, object);
    }

    fn ban_list(&mut self, name: BanListName, root: &At<'_>, origin: Origin, object: &str, broken: Option<&Broken>) {
        let list = match broken {
            Some(broken) => {
                self.reading.problem(Level::Error, broken.span, broken.message.clone());
                ban_list::lost(name.clone(), &broken.message)
            }
            None => ban_list::read(root, name.clone(), &mut self.reading),
        };
        let problems = std::mem::take(&mut self.reading.problems);
        self.report.problems(problems, origin, Some(object), Some(ban_list::effect(&list)));
        let before = replace(&mut self.objects.ban_lists, name, Placed { origin, object: list });
        self.twice(before, origin, object);
    }

    /// A list with an error in it counts for nothing, as where it would be in force.
    fn allowlist(&mut self, tree: &Node<'_>, origin: Origin) {
        let list = node_allowlist::read(&At::root(tree), &mut self.reading);
        let problems = std::mem::take(&mut self.reading.problems);
        let is_wrong = problems.iter().any(|problem| problem.level == Level::Error);
        let object = list.as_ref().map(|list| format!("{} {}", node_allowlist::KIND, list.name));
        self.report.problems(problems, origin, object.as_deref(), Some(node_allowlist::NOTHING));
        let Some(list) = list.filter(|_| !is_wrong) else { return };
        let name = Arc::clone(&list.name);
        let before = replace(&mut self.objects.allowlists, name, Placed { origin, object: list });
        self.twice(before, origin, object.as_deref().unwrap_or_default());
    }

    /// The version of a kind of ours.
    fn version_of_ours(&mut self, kind: &str, root: &At<'_>, origin: Origin) {
        if root.node.get_text("apiVersion") != Some(host_policy::VERSION) {
            let span = root.node.get("apiVersion").map_or(origin.span, |node| node.span);
            let message = format!("apiVersion: expected {} of a {kind}", host_policy::VERSION);
            self.reading.problem(Level::Error, span, message);
        }
    }

    /// The name of a host policy or ban list; one that cannot be told is invented, so that the object still counts.
    fn name_of_ours(&mut self, metadata: &Metadata, kind: &Kind) -> Arc<str> {
        let invented = |reader: &mut Self| {
            let prefix = metadata.name_prefix.as_deref().unwrap_or("unnamed-");
            reader.invent_name(prefix, |objects, name| match kind {
                Kind::BanList => objects.ban_lists.contains_key(name),
                _ => objects.host_policies.contains_key(&name.into()),
            })
        };
        metadata.name.clone().unwrap_or_else(|| invented(self))
    }

    /// The name of a policy; one that cannot be told is invented, so that the policy still isolates.
    fn policy_name(&mut self, metadata: &Metadata, namespace: &NamespaceName) -> Arc<str> {
        if let Some(name) = &metadata.name {
            return Arc::clone(name);
        }
        let prefix = metadata.name_prefix.as_deref().unwrap_or("unnamed-");
        self.invent_name(prefix, |objects, name| {
            objects.policies.contains_key(&ObjectName::new(Arc::clone(namespace), name))
        })
    }

    /// The name of another object, invented as the API server does if there is a `generateName`.
    fn object_name(&mut self, metadata: &Metadata, kind: &Kind, namespace: &NamespaceName) -> Option<Arc<str>> {
        if metadata.name.is_some() {
            return metadata.name.clone();
        }
        let namespace = || Arc::clone(namespace);
        let taken = |objects: &Objects, name: &str| match *kind {
            Kind::Pod => objects.pods.contains_key(&ObjectName::new(namespace(), name)),
            Kind::Workload(kind) => {
                objects.workloads.contains_key(&WorkloadName { namespace: namespace(), kind, name: name.into() })
            }
            _ => false,
        };
        metadata.name_prefix.as_deref().map(|prefix| self.invent_name(prefix, taken))
    }

    fn invent_name(&mut self, prefix: &str, taken: impl Fn(&Objects, &str) -> bool) -> Arc<str> {
        loop {
            self.invented_names += 1;
            let name = format!("{prefix}{}", self.invented_names);
            if !taken(&self.objects, &name) {
                return name.into();
            }
        }
    }

    fn twice(&mut self, before: Option<Origin>, origin: Origin, object: &str) {
        // What an API server has is there to be replaced.
        let Some(before) = before.and_then(|before| self.report.reference(before)) else { return };
        let message = format!("written twice: this one counts, and not that of {before}");
        let object = Some(object.to_string());
        self.report.add(origin, Diagnostic { id: Some("NP009"), object, ..Diagnostic::new(Level::Warning, message) });
    }

    fn untold(&mut self, message: String, origin: Origin) {
        self.untold = true;
        self.complain(Level::Error, message, origin, UNTOLD);
    }

    fn complain(&mut self, level: Level, message: String, origin: Origin, effect: &str) {
        let effect = Some(effect.to_string());
        self.report.add(origin, Diagnostic { effect, ..Diagnostic::new(level, message) });
    }
}

fn replace<K: Ord, T>(map: &mut BTreeMap<K, Placed<T>>, key: K, value: Placed<T>) -> Option<Origin> {
    map.insert(key, value).map(|before| before.origin)
}
