//! One object of a live cluster, read by the readers of manifests: it means the same from either.

use std::sync::Arc;

use palisade_core::{BanList, Diagnostic, HostPolicy, Level, Namespace, NetworkPolicy, Node, ObjectName};

use super::{Kind, Object};
use crate::Limits;
use crate::metadata::{self, Metadata, Scope};
use crate::objects::{LEFT_OUT, READ_ALL_THE_SAME, ambiguous, duplicate_keys, rest_is_used};
use crate::pod::{self, PodObject};
use crate::reading::{At, Reading};
use crate::tree::{Span, Value};
use crate::{ban_list, host_policy, namespace, network_policy, node};

/// An object that was read.
pub struct Found {
    /// Its name as far as it can be told. A part that cannot be told is empty, which no real name is.
    pub name: ObjectName,
    /// `None` if its name cannot be told.
    pub content: Option<Content>,
    /// What is wrong with it.
    pub diagnostics: Vec<Diagnostic>,
}

/// What an object describes.
pub enum Content {
    Namespace(Namespace),
    Node(Node),
    Pod(PodObject),
    Policy(NetworkPolicy),
    HostPolicy(HostPolicy),
    BanList(BanList),
}

/// Reads an object. What is wrong with it harms no other.
pub fn read(kind: Kind, object: &Object, limits: &Limits, reading: &mut Reading) -> Found {
    let root = At::root(&object.tree);
    let (name, metadata) = identity(kind, &root, reading);
    let Some(metadata) = metadata else {
        let diagnostics = diagnostics(kind, &name, reading, LEFT_OUT);
        return Found { name, content: None, diagnostics };
    };
    let mut found = Vec::new();
    let (content, effect) = match kind {
        Kind::NetworkPolicy => {
            found = diagnostics(kind, &name, reading, READ_ALL_THE_SAME);
            let audit = network_policy::audit(&root, reading);
            found.extend(diagnostics(kind, &name, reading, network_policy::ENFORCES));
            let policy = network_policy::read(&root, name.clone(), limits.peers_per_policy, reading);
            let policy = NetworkPolicy { audit, ..policy };
            let effect = network_policy::effect(&policy);
            (Content::Policy(policy), effect)
        }
        Kind::HostPolicy => {
            found = diagnostics(kind, &name, reading, READ_ALL_THE_SAME);
            let policy = host_policy::read(&root, (&name.name).into(), limits.peers_per_policy, reading);
            let effect = host_policy::effect(&policy).to_string();
            (Content::HostPolicy(policy), effect)
        }
        Kind::BanList => {
            found = diagnostics(kind, &name, reading, READ_ALL_THE_SAME);
            let list = ban_list::read(&root, Arc::clone(&name.name), reading);
            let effect = ban_list::effect(&list).to_string();
            (Content::BanList(list), effect)
        }
        Kind::Namespace | Kind::Node | Kind::Pod => {
            duplicate_keys(&object.tree, reading);
            let content = match kind {
                Kind::Namespace => Content::Namespace(namespace::read(&name.name, Some(metadata), reading)),
                Kind::Node => Content::Node(node::read(&root, metadata, reading)),
                _ => Content::Pod(pod::read(&root, metadata, reading)),
            };
            (content, rest_is_used(kind.name()))
        }
    };
    found.extend(diagnostics(kind, &name, reading, &effect));
    Found { name, content: Some(content), diagnostics: shortened(found) }
}

/// The name of an object as [`read`] tells it.
pub fn name(kind: Kind, object: &Object, reading: &mut Reading) -> ObjectName {
    let (name, _) = identity(kind, &At::root(&object.tree), reading);
    reading.problems.clear();
    name
}

/// Which object it is, a part that cannot be told being empty; no metadata, and problems, if that is not enough.
fn identity(kind: Kind, root: &At<'_>, reading: &mut Reading) -> (ObjectName, Option<Metadata>) {
    let nobody = ObjectName { namespace: reading.share(""), name: reading.share("") };
    let Value::Map(entries) = &root.node.value else {
        let message = format!("expected a Kubernetes object, found {}", root.node.value);
        reading.problem(Level::Error, Span::default(), message);
        return (nobody, None);
    };
    if let Some((message, span)) = ambiguous(entries) {
        reading.problem(Level::Error, span, message);
        return (nobody, None);
    }
    let metadata = metadata::read(root, kind.scope(), kind.name_syntax(), reading);
    let is_told = metadata.name.is_some() && metadata.namespace.is_some();
    let name = ObjectName {
        namespace: match &metadata.namespace {
            Some(namespace) if kind.scope() == Scope::Namespace => Arc::clone(namespace),
            _ => nobody.namespace,
        },
        name: metadata.name.clone().unwrap_or(nobody.name),
    };
    if !is_told && reading.problems.is_empty() {
        reading.error(root, "metadata.name: expected a name, found nothing");
    }
    (name, is_told.then_some(metadata))
}

/// The problems found since the last time, as diagnostics of the object.
fn diagnostics(kind: Kind, name: &ObjectName, reading: &mut Reading, effect: &str) -> Vec<Diagnostic> {
    if reading.problems.is_empty() {
        return Vec::new();
    }
    let object = match (&*name.namespace, &*name.name) {
        (_, "") => kind.to_string(),
        ("", name) => format!("{kind} {name}"),
        _ => format!("{kind} {name}"),
    };
    let problems = std::mem::take(&mut reading.problems);
    problems.into_iter().map(|problem| problem.diagnostic(Some(&object), Some(effect))).collect()
}

/// How many diagnostics of one object are kept: whoever writes an object with thousands of errors gets no memory for them.
const DIAGNOSTICS_MAX: usize = 16;

/// The first diagnostics, errors before others if they are too many.
fn shortened(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let more = diagnostics.len().saturating_sub(DIAGNOSTICS_MAX);
    if more > 0 {
        diagnostics.sort_by_key(|diagnostic| std::cmp::Reverse(diagnostic.level));
        diagnostics.truncate(DIAGNOSTICS_MAX);
        let object = diagnostics[0].object.clone();
        diagnostics.push(Diagnostic { object, ..Diagnostic::new(Level::Note, format!("and {more} more of the kind")) });
        diagnostics.shrink_to_fit();
    }
    diagnostics
}
