//! What the definitions of our kinds have in common.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use crate::policy_status::PolicyStatus;

/// The API group of our kinds.
pub const GROUP: &str = "palisade.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
/// Who writes what agents write, for server-side apply.
pub const FIELD_MANAGER: &str = "palisade-agent";

/// Whether packets are denied.
#[derive(JsonSchema, serde::Serialize)]
#[expect(dead_code, reason = "only its schema is used")]
pub enum Enforcement {
    Enforce,
    Audit,
}

impl Enforcement {
    pub fn enforce() -> Enforcement {
        Enforcement::Enforce
    }
}

/// Pods.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
pub struct PodsPeer {
    /// Of which namespaces; absent selects every namespace.
    namespace_selector: Option<LabelSelector>,
    /// Which; absent selects every pod.
    pod_selector: Option<LabelSelector>,
}

/// A cluster-scoped kind.
pub struct Kind<'a> {
    /// `NodeState`.
    pub name: &'a str,
    /// Its name in paths.
    pub plural: &'a str,
    /// What `kubectl get` takes for one.
    pub singular: &'a str,
    /// What `kubectl get` shows: name, type, path and meaning.
    pub columns: &'a [(&'a str, &'a str, &'a str, &'a str)],
    /// `openAPIV3Schema`.
    pub schema: Value,
    /// Whether `status` is a part with a path and rights of its own.
    pub has_status: bool,
}

/// The definition of a kind, as `deploy/base` installs it.
///
/// # Errors
///
/// If it is not of the form of one, which is not so for what is written in this crate.
pub fn definition(kind: &Kind<'_>) -> Result<CustomResourceDefinition, serde_json::Error> {
    let columns: Vec<Value> = kind
        .columns
        .iter()
        .map(|(name, of, path, description)| json!({ "name": name, "type": of, "jsonPath": path, "description": description }))
        .collect();
    serde_json::from_value(json!({
        "metadata": { "name": format!("{}.{GROUP}", kind.plural) },
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": { "kind": kind.name, "plural": kind.plural, "singular": kind.singular, "categories": ["palisade"] },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": kind.schema },
                "additionalPrinterColumns": columns,
                "subresources": kind.has_status.then(|| json!({ "status": {} })),
            }],
        },
    }))
}

/// The definition of a kind of policies, of a spec of this form; their status says where they are in force. `columns` are those of the
/// spec.
///
/// # Errors
///
/// As [`definition`].
pub fn policy_definition<Spec: JsonSchema>(
    [name, plural, singular]: [&str; 3],
    description: &str,
    columns: &[(&str, &str, &str, &str)],
) -> Result<CustomResourceDefinition, serde_json::Error> {
    let (programmed, effective) = (condition("Programmed"), condition("Effective"));
    let of_all = [
        ("Nodes matched", "integer", ".status.nodes.matched", "Nodes that it is for"),
        ("Nodes programmed", "integer", ".status.nodes.programmed", "Those on which it is in force"),
        ("Programmed", "string", &*programmed, "Whether it is in force on all of them"),
        ("Effective", "string", &*effective, "Whether nothing keeps it from having an effect"),
        ("Age", "date", ".metadata.creationTimestamp", "When it was made"),
    ];
    definition(&Kind {
        name,
        plural,
        singular,
        columns: &[columns, &of_all].concat(),
        schema: json!({
            "description": description,
            "type": "object",
            "required": ["spec"],
            "properties": { "spec": schema_of::<Spec>()?, "status": schema_of::<PolicyStatus>()? },
        }),
        has_status: true,
    })
}

/// Where `kubectl get` finds the status of a condition.
fn condition(of: &str) -> String {
    format!(".status.conditions[?(@.type==\"{of}\")].status")
}

/// The schema of a type, in the form that a definition may have.
pub fn schema_of<T: JsonSchema>() -> Result<Value, serde_json::Error> {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let settings = settings.with_transform(StructuralSchemaRewriter);
    let settings = settings.with_transform(OptionalEnum).with_transform(OptionalIntOrString);
    let settings = settings.with_transform(RecursiveTransform(known_format));
    let mut schema = serde_json::to_value(settings.into_generator().into_root_schema_for::<T>())?;
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("title");
    }
    Ok(schema)
}

/// The API server knows no format of numbers without a sign, and warns.
fn known_format(schema: &mut Schema) {
    if schema.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        schema.remove("format");
    }
}
