//! Creating, changing and deleting objects, with what the API server fills in and refuses.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{
    failure::Failure,
    identity::now,
    resource::{DEFINITIONS, Resource},
    store::{Key, Object, Store},
};

/// Which part of an object a request may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but `status`, for kinds with a `status` subresource.
    Main,
    /// Only `status`.
    Status,
    /// Everything: what a test puts.
    Everything,
}

/// Creates an object in `namespace` (empty for kinds outside of namespaces).
pub(crate) fn create(store: &mut Store, resource: &Resource, namespace: &str, mut value: Value, part: Part) -> Written {
    check_shape(resource, &value)?;
    let stamp = store.identities.next_uid();
    let metadata = metadata_of(&mut value);
    if !named(metadata, "name") && named(metadata, "generateName") {
        let prefix = metadata["generateName"].as_str().unwrap_or_default();
        metadata.insert("name".to_owned(), format!("{prefix}{}", &stamp[stamp.len() - 5..]).into());
    }
    let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(Failure::invalid(
            resource,
            "",
            "metadata.name",
            "Required value: name or generateName is required",
        ));
    }
    let key = (namespace.to_owned(), name);
    if store.collection(&resource.id()).is_some_and(|collection| collection.get(&key).is_some()) {
        return Err(Failure::already_exists(resource, &key.1));
    }
    if part != Part::Everything && named(metadata, "resourceVersion") {
        return Err(Failure::bad_request("resourceVersion should not be set on objects to be created"));
    }
    place(resource, metadata, namespace)?;
    for (field, made) in [("uid", Value::from(stamp)), ("creationTimestamp", now().into())] {
        // What a test puts may say both itself; what a client sends may not.
        if part != Part::Everything || metadata.get(field).is_none_or(Value::is_null) {
            metadata.insert(field.to_owned(), made);
        }
    }
    metadata.insert("generation".to_owned(), 1.into());
    if part == Part::Main && resource.status {
        drop_field(&mut value, "status");
    }
    commit(store, resource, key, value)
}

/// Puts `value` in the place of an object that is there.
pub(crate) fn replace(store: &mut Store, resource: &Resource, key: &Key, mut value: Value, part: Part) -> Written {
    check_shape(resource, &value)?;
    let old_object = existing(store, resource, key)?;
    let old = old_object.value();
    let metadata = metadata_of(&mut value);
    if metadata.get("name").and_then(Value::as_str) != Some(&key.1) {
        let message = "the name of the object does not match the name on the URL".to_owned();
        return Err(Failure::bad_request(message));
    }
    place(resource, metadata, &key.0)?;
    if part != Part::Everything {
        check_preconditions(resource, &key.1, &old, metadata)?;
    }
    for field in ["uid", "creationTimestamp", "generation", "resourceVersion"] {
        let kept = part == Part::Everything && matches!(field, "uid" | "creationTimestamp") && named(metadata, field);
        if !kept {
            metadata.insert(field.to_owned(), old["metadata"][field].clone());
        }
    }
    let mut new = match part {
        Part::Status => with_field_of(old.clone(), &value, "status"),
        Part::Main if resource.status => with_field_of(value, &old, "status"),
        Part::Main | Part::Everything => value,
    };
    new["kind"] = resource.kind.clone().into();
    new["apiVersion"] = resource.api_version().into();
    if new == old {
        return Ok(old_object);
    }
    if meant(&new) != meant(&old) {
        new["metadata"]["generation"] = (old["metadata"]["generation"].as_u64().unwrap_or(0) + 1).into();
    }
    commit(store, resource, key.clone(), new)
}

/// Merges `patch` into an object that is there (RFC 7396).
pub(crate) fn patch(store: &mut Store, resource: &Resource, key: &Key, patch: &Value, part: Part) -> Written {
    let mut value = existing(store, resource, key)?.value();
    // A patch that names no version is for whatever is there.
    drop_field(&mut value["metadata"], "resourceVersion");
    merge(&mut value, patch);
    replace(store, resource, key, value, part)
}

/// Server-side apply, as far as it can be had without field owners: creates or merges.
pub(crate) fn apply(store: &mut Store, resource: &Resource, key: &Key, mut applied: Value, part: Part) -> Written {
    match existing(store, resource, key) {
        Ok(_) => patch(store, resource, key, &applied, part),
        Err(failure) if part == Part::Status => Err(failure),
        Err(_) => {
            check_shape(resource, &applied)?;
            metadata_of(&mut applied).insert("name".to_owned(), key.1.clone().into());
            create(store, resource, &key.0, applied, part)
        }
    }
}

/// Creates or replaces in one go what a test puts, `status` included.
pub(crate) fn put(store: &mut Store, resource: &Resource, value: Value) -> Written {
    let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
    let namespace = if resource.namespaced { text("namespace") } else { String::new() };
    let key = (namespace, text("name"));
    match existing(store, resource, &key) {
        Ok(_) => replace(store, resource, &key, value, Part::Everything),
        Err(_) => create(store, resource, &key.0, value, Part::Everything),
    }
}

/// Deletes an object at once: there is no grace period and there are no finalizers.
pub(crate) fn delete(store: &mut Store, resource: &Resource, key: &Key, preconditions: &Value) -> Written {
    let object = existing(store, resource, key)?;
    if let Some(preconditions) = preconditions.as_object() {
        check_preconditions(resource, &key.1, &object.value(), preconditions)?;
    }
    let deleted = store.remove(&resource.id(), key).ok_or_else(|| Failure::not_found(resource, &key.1))?;
    if resource.id() == DEFINITIONS {
        for defined in Resource::of_definition(&deleted.value()) {
            store.unregister(&defined.id());
        }
    }
    Ok(deleted)
}

type Written = Result<Arc<Object>, Failure>;

fn existing(store: &Store, resource: &Resource, key: &Key) -> Written {
    let found = store.collection(&resource.id()).and_then(|collection| collection.get(key));
    found.cloned().ok_or_else(|| Failure::not_found(resource, &key.1))
}

fn commit(store: &mut Store, resource: &Resource, key: Key, mut value: Value) -> Written {
    if resource.id() == DEFINITIONS {
        for defined in Resource::of_definition(&value) {
            store.register(defined);
        }
        let condition = |kind: &str| json!({ "type": kind, "status": "True", "reason": "Served", "message": "" });
        value["status"]["conditions"] = json!([condition("NamesAccepted"), condition("Established")]);
    }
    let name = key.1.clone();
    store.write(&resource.id(), key, value).ok_or_else(|| Failure::not_found(resource, &name))
}

/// An object of the kind, with `metadata` that is an object.
fn check_shape(resource: &Resource, value: &Value) -> Result<(), Failure> {
    let says = |field: &str, expected: &str| value.get(field).is_none_or(|said| said == expected);
    if !value.get("metadata").is_some_and(Value::is_object) {
        return Err(Failure::bad_request("the object provided is unrecognized: metadata is missing"));
    }
    if !says("kind", &resource.kind) || !says("apiVersion", &resource.api_version()) {
        let message = format!(
            "the object provided is {} {}, but the path is that of {} {}",
            value["apiVersion"],
            value["kind"],
            resource.api_version(),
            resource.kind
        );
        return Err(Failure::bad_request(message));
    }
    Ok(())
}

/// The namespace of an object is that of its path.
fn place(resource: &Resource, metadata: &mut Map<String, Value>, namespace: &str) -> Result<(), Failure> {
    if !resource.namespaced {
        metadata.shift_remove("namespace");
        return Ok(());
    }
    if namespace.is_empty() {
        return Err(Failure::bad_request("an empty namespace may not be set during creation"));
    }
    if metadata.get("namespace").and_then(Value::as_str).is_some_and(|said| said != namespace) {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Failure::bad_request(message));
    }
    metadata.insert("namespace".to_owned(), namespace.into());
    Ok(())
}

/// `resourceVersion` and `uid`, where a writer states them, are those of the object.
fn check_preconditions(resource: &Resource, name: &str, old: &Value, said: &Map<String, Value>) -> Result<(), Failure> {
    let differs = |field: &str| named(said, field) && said[field] != old["metadata"][field];
    if differs("uid") {
        let (wanted, found) = (&said["uid"], &old["metadata"]["uid"]);
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
        return Err(Failure::conflict(resource, name, &why));
    }
    if differs("resourceVersion") {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Failure::conflict(resource, name, why));
    }
    Ok(())
}

fn named(metadata: &Map<String, Value>, field: &str) -> bool {
    metadata.get(field).and_then(Value::as_str).is_some_and(|value| !value.is_empty())
}

/// The metadata of a value whose shape was checked.
fn metadata_of(value: &mut Value) -> &mut Map<String, Value> {
    if !value["metadata"].is_object() {
        value["metadata"] = json!({});
    }
    value["metadata"].as_object_mut().expect("made an object above")
}

fn drop_field(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.shift_remove(field);
    }
}

fn with_field_of(mut value: Value, source: &Value, field: &str) -> Value {
    match source.get(field) {
        Some(found) => value[field] = found.clone(),
        None => drop_field(&mut value, field),
    }
    value
}

/// What `metadata.generation` counts the changes of.
fn meant(value: &Value) -> Vec<(&String, &Value)> {
    let fields = value.as_object().into_iter().flatten();
    let mut meant: Vec<_> = fields.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status")).collect();
    meant.sort_by_key(|(name, _)| *name);
    meant
}

fn merge(value: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (field, part) in patch {
        if part.is_null() {
            drop_field(value, field);
        } else {
            merge(&mut value[field], part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &Value, patch: &Value, expected: &Value) {
        let mut merged = value.clone();
        merge(&mut merged, patch);
        assert_eq!(&merged, expected, "{value} with {patch}");
    }

    /// The examples of RFC 7396, appendix A, that differ in kind.
    #[test]
    fn merges() {
        check(&json!({"a": "b"}), &json!({"a": "c"}), &json!({"a": "c"}));
        check(&json!({"a": "b"}), &json!({"b": "c"}), &json!({"a": "b", "b": "c"}));
        check(&json!({"a": "b", "b": "c"}), &json!({"a": null}), &json!({"b": "c"}));
        check(&json!({"a": ["b"]}), &json!({"a": "c"}), &json!({"a": "c"}));
        check(&json!({"a": {"b": "c"}}), &json!({"a": {"b": "d", "c": null}}), &json!({"a": {"b": "d"}}));
        check(&json!({"a": "foo"}), &json!({"a": {"bb": {"ccc": null}}}), &json!({"a": {"bb": {}}}));
        check(&json!({"e": null}), &json!({"a": 1}), &json!({"e": null, "a": 1}));
    }

    #[test]
    fn unchanged_objects_keep_their_version_and_generation_counts_the_spec() {
        let mut store = Store::new(10);
        let pods = Resource::new("v1", "pods", "Pod");
        let pod = |node: &str, phase: &str| {
            let metadata = json!({ "name": "a", "namespace": "shop" });
            json!({ "metadata": metadata, "spec": { "nodeName": node }, "status": { "phase": phase } })
        };
        let mut stamped = |value| {
            let value = put(&mut store, &pods, value).unwrap().value();
            (value["metadata"]["resourceVersion"].as_str().unwrap().to_owned(), value["metadata"]["generation"].clone())
        };
        assert_eq!(stamped(pod("n1", "Pending")), ("2".to_owned(), json!(1)));
        assert_eq!(stamped(pod("n1", "Pending")), ("2".to_owned(), json!(1)));
        assert_eq!(stamped(pod("n1", "Running")), ("3".to_owned(), json!(1)));
        assert_eq!(stamped(pod("n2", "Running")), ("4".to_owned(), json!(2)));
    }
}
