//! `metadata`, which all kinds share.

use std::sync::Arc;

use palisade_core::{Labels, Level, NamespaceName, WorkloadKind};

use crate::reading::{At, Reading};
use crate::syntax;
use crate::tree::{Key, Node, Span, Value, shortened};

/// What is used of `metadata`.
#[derive(Debug)]
pub struct Metadata {
    /// `name`.
    pub name: Option<Arc<str>>,
    /// `generateName`, if there is no name.
    pub name_prefix: Option<String>,
    /// `namespace`; absent means `default`. `None` if it cannot be told.
    pub namespace: Option<NamespaceName>,
    /// `labels`.
    pub labels: Labels,
    /// The owner that controls the object, of `ownerReferences`.
    pub owner: Option<Owner>,
    /// Where the name stands, or else the object.
    pub span: Span,
}

/// An item of `ownerReferences` of a kind that makes pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub kind: WorkloadKind,
    pub name: Arc<str>,
}

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespace,
}

/// `ObjectMeta`, deprecated fields included.
const FIELDS: [&str; 16] = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
    "clusterName",
];

/// Reads the `metadata` of an object.
pub fn read(root: &At<'_>, scope: Scope, syntax: Syntax, reading: &mut Reading) -> Metadata {
    let mut metadata = Metadata {
        name: None,
        name_prefix: None,
        namespace: Some(reading.share("default")),
        labels: Labels::new(),
        owner: None,
        span: root.node.span,
    };
    let Some(at) = root.required("metadata", "at least a name", reading) else { return metadata };
    if at.entries(reading).is_none() {
        metadata.namespace = None;
        return metadata;
    }
    // What does not matter here may be newer than this list: a warning, and not a reason to doubt the object.
    at.known_fields(&FIELDS, Level::Warning, reading);
    for field in ["labels", "annotations"] {
        for key in at.node.get(field).map(Node::duplicate_keys).unwrap_or_default() {
            let message = format!("metadata.{field}: '{}' is written twice", shortened(&key.text));
            reading.problem(Level::Error, key.span, message);
        }
    }
    name(&at, syntax, &mut metadata, reading);
    if scope == Scope::Namespace
        && let Some(at) = at.field("namespace")
    {
        // Empty is absent, as for every field that `omitempty` marks.
        metadata.namespace = at.text(reading).map(|text| if text.is_empty() { "default" } else { text }).map(|text| {
            valid(&at, text, syntax::dns_label(text), reading);
            reading.share(text)
        });
    }
    metadata.labels = at.field("labels").map(|at| labels(&at, reading)).unwrap_or_default();
    metadata.owner = at.field("ownerReferences").and_then(|at| owner(&at, reading));
    metadata
}

/// The syntax of a kind's names.
pub type Syntax = fn(&str) -> Result<(), &'static str>;

fn name(at: &At<'_>, syntax: Syntax, metadata: &mut Metadata, reading: &mut Reading) {
    if let Some(at) = at.field("name") {
        metadata.span = at.node.span;
        if let Some(text) = at.text(reading) {
            valid(&at, text, syntax(text), reading);
            metadata.name = (!text.is_empty()).then(|| reading.share(text));
        }
    } else if let Some(at) = at.field("generateName") {
        metadata.span = at.node.span;
        metadata.name_prefix = at.text(reading).map(str::to_string);
    } else {
        reading.error(at, "name: expected a name, found nothing");
    }
}

/// Reports text that does not have its syntax.
pub fn valid(at: &At<'_>, text: &str, result: Result<(), &'static str>, reading: &mut Reading) -> bool {
    if let Err(expected) = result {
        reading.error(at, format!("expected {expected}, found '{}'", shortened(text)));
    }
    result.is_ok()
}

/// Reads labels. One that is not text is reported and left out; one with wrong syntax is reported and kept, since
/// it can be read.
pub fn labels(at: &At<'_>, reading: &mut Reading) -> Labels {
    let mut labels = Labels::new();
    for entry in at.entries(reading).unwrap_or_default() {
        let at = at.entry(entry);
        let key = &entry.0.text;
        let value = match &at.node.value {
            // A null in a map of strings is decoded as the empty string.
            Value::Null => "",
            _ => match at.text(reading) {
                Some(value) => value,
                None => continue,
            },
        };
        boolean_key(&at, &entry.0, reading);
        valid(&at, key, syntax::label_key(key), reading);
        valid(&at, value, syntax::label_value(value), reading);
        labels.insert(reading.share(key), reading.share(value));
    }
    labels
}

/// Warns of a label key such as `n`, which unquoted is a boolean in YAML, and so the key `false` for the API server.
pub fn boolean_key(at: &At<'_>, key: &Key<'_>, reading: &mut Reading) {
    if matches!(&*key.text, "true" | "false") && (1..=3).contains(&key.span.width) {
        reading.problem(Level::Warning, key.span, format!("{at}: the key is '{}', a boolean of YAML", key.text));
        reading.hint("put the key in quotes if you mean it as it is written");
    }
}

/// The owner that controls an object, if it is of a kind that makes pods.
fn owner(at: &At<'_>, reading: &mut Reading) -> Option<Owner> {
    let owners: Vec<_> = at.items(reading)?.map(|item| item.node).collect();
    let controls =
        |owner: &&&Node<'_>| matches!(owner.get("controller"), Some(node) if node.value == Value::Bool(true));
    let owner = owners.iter().find(controls).or(owners.first())?;
    let kind = WorkloadKind::from_name(owner.get_text("kind")?)?;
    Some(Owner { kind, name: reading.share(owner.get_text("name")?) })
}
