//! NetworkPolicies as they are written: in a snapshot, what is absent, empty or without a say looks like what it means.

mod facts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

pub use facts::{Facts, Webhook};
use palisade_core::{NamespaceName, ObjectName, Place, PolicyName};

use crate::SourceText;
use crate::document::{self, Document};
use crate::metadata::Scope;
use crate::objects::kind::Kind;
use crate::report::{Origin, Report};
use crate::tree::{Key, Node, Value};

/// A field of an object. It prints as kubectl writes it: `spec.ingress[0].from`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath(Vec<Step>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Field(&'static str),
    Item(usize),
}

impl FieldPath {
    /// The object itself.
    pub fn root() -> FieldPath {
        FieldPath::default()
    }

    /// A field of what stands here.
    #[must_use]
    pub fn field(mut self, name: &'static str) -> FieldPath {
        self.0.push(Step::Field(name));
        self
    }

    /// An item of the list that stands here, from 0.
    #[must_use]
    pub fn item(mut self, index: usize) -> FieldPath {
        self.0.push(Step::Item(index));
        self
    }

    /// Whether it is the object itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if index == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Item(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// What is written in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form<'w> {
    /// The field is not there.
    Absent,
    /// `null`, or nothing after the colon.
    Null,
    /// Text.
    Text(&'w str),
    /// A list of so many items.
    List(usize),
    /// A number, a boolean, or a mapping.
    Other,
}

/// An object of whatever kind. It prints as diagnostics name it: `Deployment shop/web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its `kind`.
    pub kind: Arc<str>,
    /// `metadata.namespace`; `None` if it is of no namespace.
    pub namespace: Option<NamespaceName>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// The NetworkPolicies of an input, and which of its namespaces have an object.
pub struct Written<'a> {
    sources: &'a [SourceText],
    objects: Objects<'a>,
    /// The objects that are no policies: few findings are about them, and they are many.
    others: Option<BTreeMap<ObjectRef, Object<'a>>>,
    report: Report<'a>,
}

impl<'a> Written<'a> {
    /// None yet.
    pub(crate) fn new(sources: &'a [SourceText]) -> Written<'a> {
        Written { sources, objects: Objects::none(Keep::Policies), others: None, report: Report::new(sources) }
    }

    /// Takes those of a document. What is broken is left out, and so is what has no name.
    pub(crate) fn add(&mut self, source: usize, document: Document<'a>) {
        self.objects.add_document(source, document);
    }

    /// Whether it holds a policy.
    pub fn has_policy(&self, policy: &PolicyName) -> bool {
        self.objects.policies.contains_key(policy)
    }

    /// What is written in a field of a policy.
    pub fn form(&self, policy: &PolicyName, path: &FieldPath) -> Form<'_> {
        let Some(object) = self.objects.policies.get(policy) else { return Form::Absent };
        let mut node = &object.tree;
        for step in &path.0 {
            match child(node, *step) {
                Some((_, child)) => node = child,
                None => return Form::Absent,
            }
        }
        match &node.value {
            Value::Null => Form::Null,
            Value::Text(text) => Form::Text(text),
            Value::List(items) => Form::List(items.len()),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Map(_) => Form::Other,
        }
    }

    /// Whether the input holds the Namespace itself: the labels of one that other objects merely name are unknown.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.objects.namespaces.contains(name)
    }

    /// Where a field of a policy stands, or else the closest that is there around it. `None` if the policy is not there, or stands in no file.
    pub fn place(&mut self, policy: &PolicyName, path: &FieldPath) -> Option<Place> {
        let origin = self.objects.policies.get(policy)?.origin(path);
        self.report.place(origin)
    }

    /// What the input says beside its policies.
    pub fn facts(&self) -> &Facts {
        &self.objects.facts
    }

    /// Where a field of an object that is no policy stands, as [`Written::place`] has those of policies.
    pub fn place_of(&mut self, object: &ObjectRef, path: &FieldPath) -> Option<Place> {
        let sources = self.sources;
        let read = || {
            let mut objects = Objects::none(Keep::Others);
            for (source, text) in sources.iter().enumerate() {
                let documents = document::documents(&text.text).into_iter();
                documents.for_each(|document| objects.add_document(source, document));
            }
            objects.others
        };
        let origin = self.others.get_or_insert_with(read).get(object)?.origin(path);
        self.report.place(origin)
    }
}

/// Of which objects the trees are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Policies,
    Others,
}

struct Objects<'a> {
    keep: Keep,
    policies: BTreeMap<PolicyName, Object<'a>>,
    others: BTreeMap<ObjectRef, Object<'a>>,
    namespaces: BTreeSet<NamespaceName>,
    facts: Facts,
}

/// An object and the document that it stands in.
struct Object<'a> {
    tree: Node<'a>,
    source: usize,
    line: u32,
}

impl<'a> Objects<'a> {
    fn none(keep: Keep) -> Objects<'a> {
        let (policies, others, namespaces) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Objects { keep, policies, others, namespaces, facts: Facts::default() }
    }

    fn add_document(&mut self, source: usize, Document { tree, line, broken }: Document<'a>) {
        if broken.is_none() {
            self.add(Object { tree, source, line }, None);
        }
    }

    /// Adds an object, or the items of a list; an item of a typed list may leave out the kind and version that `inherited` holds.
    fn add(&mut self, object: Object<'a>, inherited: Option<(&str, &str)>) {
        let Object { tree, source, line } = object;
        let (kind, version) = match (tree.get_text("kind"), inherited) {
            (Some(kind), _) => (kind, tree.get_text("apiVersion")),
            (None, Some((kind, version))) => (kind, Some(version)),
            (None, None) => return,
        };
        match Kind::of(version, kind) {
            Kind::NetworkPolicy(_) => {
                if let (Keep::Policies, Some(name)) = (self.keep, name(&tree)) {
                    self.policies.insert(name, Object { tree, source, line });
                }
            }
            Kind::List(kind) => {
                let (kind, version) = (kind.map(str::to_string), version.map(str::to_string));
                for tree in items(tree) {
                    self.add(Object { tree, source, line }, kind.as_deref().zip(version.as_deref()));
                }
            }
            other => {
                if let Kind::Namespace = other {
                    let name = tree.get("metadata").and_then(|metadata| metadata.get_text("name"));
                    self.namespaces.extend(name.map(NamespaceName::from));
                }
                let is_namespaced = other.scope() == Scope::Namespace && !matches!(other, Kind::Other);
                let of = || reference(kind, &tree, is_namespaced);
                self.facts.add(kind, &tree, of);
                if let (Keep::Others, Some(object)) = (self.keep, of()) {
                    self.others.insert(object, Object { tree, source, line });
                }
            }
        }
    }
}

/// How an object is named. One of an unknown kind has a namespace if it says so.
fn reference(kind: &str, tree: &Node<'_>, is_namespaced: bool) -> Option<ObjectRef> {
    let metadata = tree.get("metadata")?;
    let namespace = metadata.get_text("namespace").filter(|namespace| !namespace.is_empty());
    let namespace = namespace.or(is_namespaced.then_some("default")).map(NamespaceName::from);
    Some(ObjectRef { kind: kind.into(), namespace, name: metadata.get_text("name")?.into() })
}

impl Object<'_> {
    fn origin(&self, path: &FieldPath) -> Origin {
        let name = self.tree.get("metadata").and_then(|metadata| metadata.get("name"));
        let mut span = name.map_or(self.tree.span, |name| name.span);
        let mut node = &self.tree;
        for step in &path.0 {
            let Some((key, child)) = child(node, *step) else { break };
            span = match key {
                // Of a value that begins below its key, or is none, the key tells more.
                Some(key) if child.value == Value::Null || child.span.line != key.span.line => key.span,
                _ => child.span,
            };
            node = child;
        }
        Origin { source: self.source, span, line: self.line }
    }
}

fn name(tree: &Node<'_>) -> Option<PolicyName> {
    let metadata = tree.get("metadata")?;
    let namespace = metadata.get_text("namespace").filter(|namespace| !namespace.is_empty());
    Some(ObjectName::new(namespace.unwrap_or("default"), metadata.get_text("name")?))
}

fn items(list: Node<'_>) -> Vec<Node<'_>> {
    let Value::Map(entries) = list.value else { return Vec::new() };
    match entries.into_iter().rfind(|(key, _)| key.text == "items") {
        Some((_, Node { value: Value::List(items), .. })) => items,
        _ => Vec::new(),
    }
}

/// What a step leads to, nulls included, and the key that it stands under.
fn child<'n, 'a>(node: &'n Node<'a>, step: Step) -> Option<(Option<&'n Key<'a>>, &'n Node<'a>)> {
    match (step, &node.value) {
        (Step::Field(name), Value::Map(entries)) => {
            let (key, node) = entries.iter().rfind(|(key, _)| key.text == name)?;
            Some((Some(key), node))
        }
        (Step::Item(index), Value::List(items)) => Some((None, items.get(index)?)),
        _ => None,
    }
}
